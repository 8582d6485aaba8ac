"""The explorer's small plots: how neurons spread, how strong and sure each is, the samples."""

from __future__ import annotations

from collections.abc import Callable

import bqplot
import numpy as np

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
PURPLE = "#CC79A7"

# bqplot draws one SVG element a point; beyond this a page gets slow.
MAX_POINTS = 2000
_MARGIN = {"top": 8, "bottom": 34, "left": 46, "right": 16}
# A slider's track starts half a handle (8 px) inside it.
SLIDER_MARGIN = "0 4px 0 34px"
_LABEL = "var(--jp-ui-font-color1, #222)"
# Marker and colour of each cell of the 2x2 table; "" where it is not known.
SHAPES = {
    "both right": ("circle", GREY),
    "only A": ("triangle-up", ORANGE),
    "only B": ("square", BLUE),
    "neither": ("cross", PURPLE),
    "": ("circle", BLUE),
}
_OPACITY, _FAINT = 0.85, 0.15


class Spread:
    """A histogram over the scale of the threshold, with the largest possible value marked."""

    def __init__(self) -> None:
        self.x = bqplot.LinearScale(min=0.0, max=1.0)
        count = bqplot.LinearScale(min=0.0)
        scales = {"x": self.x, "y": count}
        self.bars = bqplot.Bars(
            x=[0.0], y=[0.0], scales=scales, colors=[BLUE], opacities=[0.7], padding=0.0
        )
        unit = {"x": self.x, "y": bqplot.LinearScale(min=0.0, max=1.0)}
        self.limit = bqplot.Lines(
            x=[0.0, 0.0], y=[0.0, 1.0], scales=unit, colors=[ORANGE], stroke_width=2
        )
        self.largest = bqplot.Lines(
            x=[0.0, 0.0],
            y=[0.0, 1.0],
            scales=unit,
            colors=[GREEN],
            line_style="dashed",
            stroke_width=2,
        )
        self.axis = bqplot.Axis(
            scale=self.x, tick_format="~g", grid_lines="none", label_color=_LABEL
        )
        self.counts = bqplot.Axis(
            scale=count, orientation="vertical", tick_format="d", grid_lines="none"
        )
        self.figure = bqplot.Figure(
            marks=[self.bars, self.limit, self.largest],
            axes=[self.axis, self.counts],
            fig_margin=_MARGIN,
            layout={"height": "170px", "width": "100%"},
        )

    def show(self, values: np.ndarray, low: float, high: float, largest: float | None) -> None:
        """Draw finite ``values`` between ``low`` and ``high``; mark the largest possible one."""
        counts, edges = np.histogram(values[np.isfinite(values)], bins=30, range=(low, high))
        self.x.min, self.x.max = float(low), float(high)
        self.axis.tick_values = _ticks(low, high)
        self.counts.tick_values = _ticks(0, max(1, counts.max()), whole=True)
        with self.bars.hold_sync():
            self.bars.x, self.bars.y = (edges[:-1] + edges[1:]) / 2, counts.astype(float)
        self.largest.x = [largest, largest] if largest is not None else [low, low]
        self.largest.visible = largest is not None

    def mark(self, threshold: float) -> None:
        """Move the line of the threshold."""
        self.limit.x = [threshold, threshold]


class Map:
    """Neurons by effect (AUC) and by how sure it is (-log10 q), to be brushed.

    Those that pass every control are diamonds, the others circles: told apart without colour.
    """

    def __init__(self) -> None:
        self.x, self.y = bqplot.LinearScale(), bqplot.LinearScale(min=0.0)
        self.others = self._points("circle", GREY)
        self.passing = self._points("diamond", ORANGE)
        self._places = {self.others: np.arange(0), self.passing: np.arange(0)}
        self.across = bqplot.Axis(scale=self.x, label="AUC", tick_format=".2f", label_color=_LABEL)
        self.up = bqplot.Axis(
            scale=self.y,
            orientation="vertical",
            label="-log10 q",
            tick_format="~g",
            label_offset="34px",
            label_color=_LABEL,
        )
        marks = list(self._places)
        self.brush = bqplot.interacts.BrushSelector(
            x_scale=self.x, y_scale=self.y, marks=marks, color=BLUE
        )
        self.figure = bqplot.Figure(
            marks=marks,
            axes=[self.across, self.up],
            interaction=self.brush,
            fig_margin={**_MARGIN, "bottom": 44},
            layout={"height": "330px", "width": "100%"},
        )

    @property
    def selected(self) -> np.ndarray:
        """The brushed neurons, as positions in what `show` was given; empty: no brush."""
        brushed = [
            places[mark.selected]
            for mark, places in self._places.items()
            if mark.selected is not None and len(mark.selected)
        ]
        return np.sort(np.concatenate(brushed)) if brushed else np.arange(0)

    def on_brush(self, act: Callable[[], None]) -> None:
        """Call ``act`` whenever the brush has taken other neurons."""
        for mark in self._places:
            mark.observe(lambda change: act(), "selected")

    def show(self, auc: np.ndarray, q: np.ndarray, holds: np.ndarray) -> None:
        """Draw these neurons; nothing is brushed then."""
        sure = -np.log10(np.maximum(q, 1e-300))
        if len(auc):
            reach = max(0.05, 1.1 * float(np.abs(auc - 0.5).max()))
            self.x.min, self.x.max = 0.5 - reach, 0.5 + reach
            self.y.max = max(1.5, 1.1 * float(sure.max()))
            self.across.tick_values = _ticks(0.5 - reach, 0.5 + reach)
            self.up.tick_values = _ticks(0, self.y.max)
        for mark, here in ((self.others, ~holds), (self.passing, holds)):
            self._places[mark] = np.flatnonzero(here)
            mark.selected = None
            with mark.hold_sync():
                mark.x, mark.y = auc[here], sure[here]

    def _points(self, marker: str, colour: str) -> bqplot.Scatter:
        return bqplot.Scatter(
            x=np.zeros(0),
            y=np.zeros(0),
            scales={"x": self.x, "y": self.y},
            colors=[colour],
            marker=marker,
            default_size=40,
            stroke="#555555",
            selected_style={"stroke": BLUE, "stroke-width": "2"},
            unselected_style={"opacity": "0.25"},
        )


class SampleMap:
    """Samples by two of their numbers, to be lassoed; each cell of the 2x2 table has its shape.

    Parameters
    ----------
    cell : array of str, shape (n_samples,)
        The cell of each sample, a key of `SHAPES`.
    some : array of int
        The samples to draw. A lasso takes the others too: which are drawn is no part of a question.
    """

    def __init__(self, cell: np.ndarray, some: np.ndarray) -> None:
        self.scales = {"x": bqplot.LinearScale(), "y": bqplot.LinearScale()}
        self._cell, self._some = cell, some
        self._marks = {name: self._points(name) for name in SHAPES if name in cell}
        self.drawn = self._caught = np.arange(0)
        # A lasso reports to every mark on its own: to this one, of all samples and unseen, once.
        self.net = bqplot.Lines(x=[], y=[], scales=self.scales, visible=False)
        self.lasso = bqplot.interacts.LassoSelector(
            x_scale=self.scales["x"], y_scale=self.scales["y"], marks=[self.net], color=BLUE
        )
        self.across = bqplot.Axis(scale=self.scales["x"], tick_format="~g", label_color=_LABEL)
        self.up = bqplot.Axis(
            scale=self.scales["y"],
            orientation="vertical",
            tick_format="~g",
            label_offset="34px",
            label_color=_LABEL,
        )
        self.figure = bqplot.Figure(
            marks=[*self._marks.values(), self.net],
            axes=[self.across, self.up],
            interaction=self.lasso,
            display_toolbar=False,
            fig_margin={**_MARGIN, "bottom": 44},
            layout={"height": "330px", "width": "100%"},
        )

    def show(self, x: np.ndarray, y: np.ndarray, x_name: str, y_name: str) -> None:
        """Draw the samples at these places; one that is not finite is left out."""
        for axis, values, name in ((self.across, x, x_name), (self.up, y, y_name)):
            low, high = _ends(values)
            axis.scale.min, axis.scale.max = low, high
            axis.tick_values, axis.label = _ticks(low, high), name
        finite = np.isfinite(x) & np.isfinite(y)
        self.drawn, self._caught = self._some[finite[self._some]], np.flatnonzero(finite)
        for mark, places in (*self._by_cell(), (self.net, self._caught)):
            with mark.hold_sync():
                mark.x, mark.y = x[places], y[places]

    def lassoed(self) -> np.ndarray:
        """The lassoed samples, drawn or not."""
        taken = self.net.selected
        return self._caught[[] if taken is None else np.asarray(taken, dtype=np.int64)]

    def on_lasso(self, act: Callable[[], None]) -> None:
        """Call ``act`` whenever the lassos hold other samples."""
        self.net.observe(lambda change: act(), "selected")

    def forget_lassos(self) -> None:
        """Take the drawn lassos away."""
        self.net.selected = None
        self.lasso.reset()

    def mark(self, selected: np.ndarray) -> None:
        """Bring these samples (bool) out; without any, all look the same."""
        opacity = np.where(selected | ~selected.any(), _OPACITY, _FAINT)
        for mark, places in self._by_cell():
            mark.opacities = opacity[places].tolist()

    def _by_cell(self) -> list[tuple[bqplot.Scatter, np.ndarray]]:
        """Every mark with the samples it draws."""
        cell = self._cell[self.drawn]
        return [(mark, self.drawn[cell == name]) for name, mark in self._marks.items()]

    def _points(self, cell: str) -> bqplot.Scatter:
        marker, colour = SHAPES[cell]
        return bqplot.Scatter(
            x=np.zeros(0),
            y=np.zeros(0),
            scales=self.scales,
            colors=[colour],
            marker=marker,
            default_size=36,
            opacities=[_OPACITY],
            stroke="#555555",
            stroke_width=0.5,
        )


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Where an axis begins and ends so that no value lies on its edge."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    edge = 0.04 * (high - low) or 0.5
    return low - edge, high + edge


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """About four round values between two ends."""
    span = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(span))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= span)
    step = max(1.0, np.ceil(step)) if whole else step
    first = np.ceil(low / step - 1e-9)
    return [float(round(step * i, 10)) for i in np.arange(first, high / step + 1e-9)]
