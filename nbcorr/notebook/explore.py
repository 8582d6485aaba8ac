"""The linked explorer: layers, threshold, map and card of the neurons."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import numpy as np
import traitlets
import xarray as xr

from nbcorr.correlation.controls import folded
from nbcorr.correlation.correlate import correlate
from nbcorr.correlation.ladder import holds
from nbcorr.correlation.outcomes import CELLS, cells
from nbcorr.correlation.reading import signal_of
from nbcorr.correlation.table import rounded_p
from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label, parse_neurons
from nbcorr.notebook.card import card_html
from nbcorr.notebook.fallback import explorer_png
from nbcorr.notebook.on_demand import Pictures
from nbcorr.notebook.plots import MAX_POINTS, Map
from nbcorr.notebook.samples import Samples, Selections
from nbcorr.notebook.threshold import MEASURES, ThresholdPicker
from nbcorr.recording.arrays import over_neurons

# What is known of a selection of samples at once.
_LIVE_MEASURES = ("auc", "q")


def explore(
    recording: xr.Dataset,
    correlates: xr.Dataset | None = None,
    *,
    exemplars: xr.Dataset | None = None,
    visualizations: xr.Dataset | None = None,
    model: Any = None,
    data: Any = None,
    preprocess: Callable[..., Any] | None = None,
    transforms: str = "robust",
) -> Explorer:
    """Explore the correlates of a recording in the notebook.

    Parameters
    ----------
    recording : xarray.Dataset
    correlates : xarray.Dataset, optional
        As ``nc.correlate`` makes it; computed with its defaults when not given.
    exemplars, visualizations : xarray.Dataset, optional
        Pictures already made; the card shows them at once.
    model, data : optional
        With both, pictures of any other neuron are made when it is chosen.
    preprocess, transforms : optional
        For these pictures, as for ``nc.visualize``.

    Returns
    -------
    Explorer
        A widget. ``.neurons`` is what is selected (as correlates), ``.neuron`` the one on the
        card, ``.layers``, ``.measure`` and ``.threshold`` what the controls stand at, ``.samples``
        the ids of the selected samples, of which ``.neurons`` are then the live correlates. All
        but the first can be set from Python too.

    Raises
    ------
    ValueError
        If the correlates are of other neurons than the recording's, or of several signals.
    """
    recording = over_neurons(recording)
    correlates = correlate(recording) if correlates is None else over_neurons(correlates)
    signal_of(correlates)
    foreign = correlates.indexes["neuron"].difference(recording.indexes["neuron"])
    if len(foreign):
        raise ValueError(
            f"the correlates hold neuron {neuron_label(*foreign[0])}, which is not in the recording"
        )
    options = {"preprocess": preprocess, "transforms": transforms}
    return Explorer(recording, correlates, exemplars, visualizations, model, data, options)


class Explorer(widgets.VBox):
    """Linked views of correlates; everything chosen in them can be read and set from Python."""

    layers = traitlets.Tuple(help="names of the layers shown; empty: all of them")
    measure = traitlets.Enum(list(MEASURES), "rho", help="what the threshold is on")
    threshold = traitlets.Float(0.0, help="smallest |rho| or AUC, or largest q, that is shown")
    neuron = traitlets.Unicode("", help="the neuron on the card, 'layer:unit'")
    samples = traitlets.Tuple(help="ids of the samples selected; none: the signal's correlates")

    def __init__(
        self,
        recording: xr.Dataset,
        correlates: xr.Dataset,
        exemplars: xr.Dataset | None = None,
        visualizations: xr.Dataset | None = None,
        model: Any = None,
        data: Any = None,
        options: dict[str, Any] | None = None,
    ):
        self._recording, self._correlates = recording, correlates
        self._pictures = Pictures(exemplars, visualizations, model, data, options or {})
        # Widget callbacks may come in another thread while a cell is running.
        self._lock = threading.RLock()
        self._shown = np.arange(0)
        answers = {"label", "prediction", "baseline"} <= set(recording.coords)
        self._cell = cells(recording).values if answers else None
        self._selections = Selections(recording, correlates, self._answer_again)
        self._live: xr.Dataset | None = None
        self._measure_before = "rho"
        self._build()
        super().__init__(children=[self._head, self._body, self._samples])
        self.add_class("nbcorr-explorer")
        self._wire()
        self._filter()
        self.neuron = self._strongest()

    # What a person reads from Python ------------------------------------------------------

    @property
    def neurons(self) -> xr.Dataset:
        """The brushed neurons, or all that pass the threshold, as correlates.

        Where samples are selected: live correlates of the selection, with ``auc``, ``p``, ``q``.
        """
        brushed = self._map.selected
        return self._mapped.isel(neuron=self._shown[brushed] if len(brushed) else self._shown)

    @traitlets.validate("layers")
    def _valid_layers(self, proposal: dict[str, Any]) -> tuple[str, ...]:
        known = [name for name, _ in self._layer_counts()]
        for name in proposal["value"]:
            if name not in known:
                raise ValueError(unknown("layer", name, known))
        return tuple(proposal["value"])

    @traitlets.validate("neuron")
    def _valid_neuron(self, proposal: dict[str, Any]) -> str:
        if not proposal["value"]:
            return ""
        index = self._correlates.indexes["neuron"]
        if parse_neurons(proposal["value"])[0] not in index:
            known = [neuron_label(*neuron) for neuron in index]
            raise ValueError(unknown("neuron", proposal["value"], known))
        return proposal["value"]

    @traitlets.validate("measure")
    def _valid_measure(self, proposal: dict[str, Any]) -> str:
        if self._live is not None and proposal["value"] not in _LIVE_MEASURES:
            raise ValueError(
                f"{MEASURES[proposal['value']]} is not known of selected samples; expected "
                f"{' or '.join(_LIVE_MEASURES)}"
            )
        return proposal["value"]

    @traitlets.validate("samples")
    def _valid_samples(self, proposal: dict[str, Any]) -> tuple[Any, ...]:
        selected = self._samples.bools(proposal["value"])
        return tuple(self._samples.ids[selected].tolist())

    # The views ----------------------------------------------------------------------------

    def _build(self) -> None:
        wide = {"width": "auto"}
        self._head = widgets.HTML(_head_html(self._correlates, self._cell))
        self._layer_list = widgets.SelectMultiple(
            options=[(f"{name}  ({count})", name) for name, count in self._layer_counts()],
            rows=min(8, max(3, len(self._layer_counts()))),
            layout=wide,
            tooltip="Layers; none chosen: all",
        )
        self._picker, self._map = ThresholdPicker(), Map()
        self._list = widgets.Select(options=[], rows=6, layout=wide, tooltip="Neurons by effect")
        self._card = widgets.HTML()
        self._samples = Samples(
            self._recording, self._cell, signal_of(self._correlates), self._take_samples
        )
        column = {"padding": "4px 8px", "min_width": "260px", "overflow": "visible"}
        self._body = widgets.HBox(
            [
                widgets.VBox(
                    [_title("Layers"), self._layer_list, _title("Threshold"), self._picker],
                    layout={**column, "flex": "1 1 270px"},
                ),
                widgets.VBox(
                    [_title("Neurons: drag to brush"), self._map.figure, self._list],
                    layout={**column, "flex": "1.3 1 320px"},
                ),
                widgets.VBox([self._card], layout={**column, "flex": "1.5 1 380px"}),
            ],
            layout={"display": "flex", "flex_flow": "row wrap", "align_items": "flex-start"},
        )

    def _wire(self) -> None:
        traitlets.link((self._layer_list, "value"), (self, "layers"))
        self._picker.on_measure(self._take_measure)
        self._picker.on_threshold(self._take_threshold)
        self._map.on_brush(self._fill_list)
        self._list.observe(self._take_neuron, "value")
        self.observe(lambda change: self._change_measure(), "measure")
        self.observe(lambda change: self._filter(), ["layers", "threshold"])
        self.observe(lambda change: self._show_card(), "neuron")
        self.observe(lambda change: self._change_samples(), "samples")

    def _take_threshold(self, value: float) -> None:
        self.threshold = value

    def _take_measure(self, measure: str) -> None:
        try:
            self.measure = measure
        except ValueError as refused:
            self._picker.use(self.measure)
            self._picker.say(html.escape(str(refused)))

    def _take_neuron(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self.neuron = change["new"]

    def _take_samples(self, samples: tuple[Any, ...]) -> None:
        self.samples = samples

    def _change_samples(self) -> None:
        """Show what the neurons make of the selection, or the signal's correlates again."""
        with self._lock:
            selected = self._samples.bools(self.samples)
            if self._live is None:
                self._samples.say("Ranking the neurons …")
            try:
                live = self._selections.correlates(selected) if selected.any() else None
            except Exception:
                self.samples = ()
                raise
            was_live, self._live = self._live is not None, live
            self._samples.mark(selected)
            if was_live != (live is not None):
                self._swap_measure()
            self._follow_live()

    def _swap_measure(self) -> None:
        """|rho| is not computed live: AUC stands in for it until the signal is back."""
        if self._live is None:
            self.measure = self._measure_before
        else:
            self._measure_before = self.measure
            self.measure = "auc" if self.measure not in _LIVE_MEASURES else self.measure

    def _follow_live(self) -> None:
        self._samples.say(self._live.attrs["sentence"] if self._live is not None else "")
        self._filter()
        if self.neuron:
            self._draw_card(parse_neurons(self.neuron)[0])

    def _answer_again(self) -> None:
        """Replace an approximate answer by the exact one; called from another thread."""
        with self._lock:
            if self._live is not None and self._live.attrs["approximate"]:
                self._live = self._selections.correlates(self._samples.bools(self.samples))
                self._follow_live()

    def _change_measure(self) -> None:
        with self._lock:
            self.threshold = self._picker.use(self.measure)
            self._filter()

    def _filter(self) -> None:
        """Follow the layers and the threshold: spread, count, map and list."""
        with self._lock:
            here = self._in_layers()
            values = self._values(self.measure)
            largest = self._largest_possible() if self.measure == "rho" else None
            self._picker.show(values[here], self.threshold, largest)
            passing = values <= self.threshold if self.measure == "q" else values >= self.threshold
            alive = ~self._mapped["dead"].values.astype(bool)
            kept = np.flatnonzero(here & passing & alive)
            order = np.argsort(-folded(self._mapped["auc"].values[kept]), kind="stable")
            self._shown = kept[order][:MAX_POINTS]
            self._picker.say(self._count_html(len(kept), int((here & alive).sum())))
            chosen = self._mapped.isel(neuron=self._shown)
            live = self._live is not None  # no control was run, none can be passed
            passing = np.zeros(len(kept[:MAX_POINTS]), bool) if live else holds(chosen).values
            self._map.brush.selected = None
            self._map.show(chosen["auc"].values, chosen["q"].values, passing)
            self._fill_list()

    def _fill_list(self) -> None:
        with self._lock:
            chosen = self.neurons
            labels = [neuron_label(*neuron) for neuron in chosen.indexes["neuron"]]
            texts = [
                (f"{label}   AUC {auc:.2f}", label)
                for label, auc in zip(labels, chosen["auc"].values.tolist(), strict=True)
            ]
            with self._list.hold_sync():
                self._list.value = None  # else the first of the new options takes the card
                self._list.options = texts
                if self.neuron in labels:
                    self._list.value = self.neuron
            # A selection of samples comes and goes: it does not take the card, nor make pictures.
            if labels and self.neuron not in labels and self._live is None:
                self._list.value = labels[0]

    def _show_card(self) -> None:
        with self._lock:
            if not self.neuron:
                self._card.value = ""
                return
            if self.neuron in [label for _, label in self._list.options]:
                self._list.value = self.neuron
            neuron = parse_neurons(self.neuron)[0]
            missing = self._pictures.missing(neuron)
            self._draw_card(neuron, "Looking for exemplars and rendering …" if missing else "")
            if missing:
                self._draw_card(neuron, self._pictures.make(neuron))

    def _draw_card(self, neuron: tuple[str, int], note: str = "") -> None:
        index = self._recording.indexes["neuron"]
        activation = self._recording["activation"].isel(neuron=index.get_loc(neuron)).values
        self._card.value = card_html(
            neuron,
            self._correlates,
            activation,
            self._cell,
            exemplars=self._pictures.exemplars(neuron),
            visualizations=self._pictures.visualizations(neuron),
            note=note or self._live_note(neuron),
        )

    def _live_note(self, neuron: tuple[str, int]) -> str:
        """What the card, which is about the signal, adds on the selected samples."""
        if self._live is None:
            return ""
        one = self._live.isel(neuron=self._live.indexes["neuron"].get_loc(neuron))
        sign = "about " if one.attrs["approximate"] else ""
        return (
            f"selected samples: AUC {sign}{float(one['auc']):.2f}, "
            f"q {sign}{rounded_p(float(one['q']))}; below: {signal_of(self._correlates)}"
        )

    # Numbers behind the views -------------------------------------------------------------

    @property
    def _mapped(self) -> xr.Dataset:
        """The correlates in the views: of the selected samples, or of the signal."""
        return self._correlates if self._live is None else self._live

    def _layer_counts(self) -> list[tuple[str, int]]:
        names = self._correlates.indexes["neuron"].get_level_values("layer")
        return [(str(name), int((names == name).sum())) for name in names.unique()]

    def _in_layers(self) -> np.ndarray:
        names = self._correlates.indexes["neuron"].get_level_values("layer")
        return np.asarray(names.isin(self.layers)) if self.layers else np.ones(len(names), bool)

    def _values(self, measure: str) -> np.ndarray:
        values = self._mapped[measure].values
        if measure == "q":
            return values
        return folded(values) if measure == "auc" else np.abs(values)

    def _largest_possible(self) -> float:
        """The largest |rho| any of the neurons could reach with this signal."""
        values = self._correlates["rho_max"].values[self._in_layers()]
        return float(np.nanmax(values)) if np.isfinite(values).any() else 1.0

    def _strongest(self) -> str:
        """The neuron farthest beyond the untrained twins, where they are known, or from chance."""
        known = "excess" in self._correlates
        effect = (self._correlates["excess"] if known else folded(self._correlates["auc"])).values
        passing = holds(self._correlates).values
        effect = np.where(passing, effect, np.nan) if passing.any() else effect
        if not np.isfinite(effect).any():
            return ""
        return neuron_label(*self._correlates.indexes["neuron"][int(np.nanargmax(effect))])

    def _count_html(self, passing: int, alive: int) -> str:
        sign = "≤" if self.measure == "q" else "≥"
        value = f"{self.threshold:.1e}" if self.measure == "q" else f"{self.threshold:.3f}"
        of = "" if self._live is None else " for the selected samples"
        if self._live is not None and self._live.attrs["approximate"]:
            of += " (approximately)"
        more = f" The map shows the {MAX_POINTS} strongest." if passing > MAX_POINTS else ""
        return (
            f"<b>{passing}</b> of {alive} live neurons have "
            f"{MEASURES[self.measure]} {sign} {value}{of}.{more}"
        )

    def _picture(self) -> bytes:
        if not self.neuron:
            return explorer_png(self._correlates, None, None, None)
        neuron = parse_neurons(self.neuron)[0]
        known = self._pictures.exemplars(neuron), self._pictures.visualizations(neuron)
        return explorer_png(self._correlates, neuron, *known)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return bundle
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        data["image/png"] = self._picture()
        data["text/plain"] = f"Explorer of {self._correlates.sizes['neuron']} neurons"
        return data, metadata


def _title(text: str) -> widgets.HTML:
    return widgets.HTML(f"<b>{html.escape(text)}</b>")


def _head_html(correlates: xr.Dataset, cell: np.ndarray | None) -> str:
    table = ""
    if cell is not None:
        counts = " · ".join(f"{name} <b>{int((cell == name).sum())}</b>" for name in CELLS)
        table = f"<div>{counts}</div>"
    return (
        f'<div style="max-width:100ch;line-height:1.45">{table}'
        f"<div>{html.escape(correlates.attrs.get('sentence', ''))}</div></div>"
    )
