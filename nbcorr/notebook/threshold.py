"""The threshold that neurons have to pass: what it is on, where it stands, and how many pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import numpy as np

from nbcorr.notebook.plots import SLIDER_MARGIN, Spread

MEASURES = {"rho": "|ρ|", "auc": "AUC", "q": "q"}
_LOWEST_Q = -12


def status(markup: str) -> str:
    """A line that a screen reader says when it changes."""
    return f'<div role="status" aria-live="polite" style="line-height:1.45">{markup}</div>'


class ThresholdPicker(widgets.VBox):
    """Buttons for the measure, a histogram of it over all neurons, and a slider along its axis."""

    def __init__(self) -> None:
        # Under the histogram; the line of text below says the value.
        below: dict[str, Any] = {
            "readout": False,
            "layout": {"width": "auto", "margin": SLIDER_MARGIN},
        }
        self.measures = widgets.ToggleButtons(
            options=[(text, name) for name, text in MEASURES.items()],
            style={"button_width": "56px"},
            tooltips=["Spearman's rho, unsigned", "AUC or 1 - AUC, within strata", "BH q"],
        )
        self.sliders: dict[str, Any] = {
            "rho": widgets.FloatSlider(min=0, max=1, step=0.005, **below),
            "auc": widgets.FloatSlider(value=0.5, min=0.5, max=1, step=0.005, **below),
            "q": widgets.FloatLogSlider(value=1, min=_LOWEST_Q, max=0, step=0.1, **below),
        }
        self.spread, self.count = Spread(), widgets.HTML()
        self._place = widgets.VBox([self.sliders["rho"]])
        super().__init__(children=[self.measures, self.spread.figure, self._place, self.count])

    def on_measure(self, act: Callable[[str], None]) -> None:
        """Call ``act`` with the measure whose button was pressed."""
        self.measures.observe(lambda change: act(change["new"]), "value")

    def on_threshold(self, act: Callable[[float], None]) -> None:
        """Call ``act`` with the threshold on the measure of now when its slider has moved."""
        for name, slider in self.sliders.items():
            slider.observe(self._when(name, act), "value")

    def _when(self, measure: str, act: Callable[[float], None]) -> Callable[[Any], None]:
        return lambda change: act(change["new"]) if self.measures.value == measure else None

    def use(self, measure: str) -> float:
        """Turn to a measure; the threshold that was left there."""
        self.measures.value = measure
        self._place.children = (self.sliders[measure],)
        return self.sliders[measure].value

    def show(self, values: np.ndarray, threshold: float, largest: float | None) -> None:
        """Draw the values of the measure of now with the threshold and the largest possible one."""
        slider = self.sliders[self.measures.value]
        if self.measures.value == "q":
            self._show_q(values, threshold)
        else:
            if largest is not None:
                slider.max = _ceiling(max(largest, float(np.nanmax(values, initial=0.0))))
            self.spread.axis.label = (
                "|ρ| (dashed: largest possible)" if largest is not None else "AUC or 1 - AUC"
            )
            self.spread.show(values, slider.min, slider.max, largest)
            self.spread.mark(threshold)
        slider.value = min(max(threshold, _bottom(slider)), _top(slider))

    def _show_q(self, values: np.ndarray, threshold: float) -> None:
        lowest = 10.0**_LOWEST_Q
        self.spread.axis.label = "log10 q"
        self.spread.show(np.log10(np.maximum(values, lowest)), _LOWEST_Q, 0, None)
        self.spread.mark(float(np.log10(max(threshold, lowest))))

    def say(self, markup: str) -> None:
        """Say it below the slider."""
        self.count.value = status(markup)


def _bottom(slider: Any) -> float:
    return 10.0**slider.min if isinstance(slider, widgets.FloatLogSlider) else slider.min


def _top(slider: Any) -> float:
    return 10.0**slider.max if isinstance(slider, widgets.FloatLogSlider) else slider.max


def _ceiling(value: float) -> float:
    return min(1.0, float(np.ceil(value * 20) / 20))
