"""The explorer's samples: taken by lasso or by name, and what the neurons make of them at once."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.correlation.live import LiveCorrelates
from nbcorr.network.names import unknown
from nbcorr.notebook.plots import MAX_POINTS, SHAPES, SampleMap
from nbcorr.notebook.threshold import status

# Two sets of ranks may be kept: within strata, and for selections of whole strata.
_MEMORY = 1 << 30
# As the columns of the explorer above, so that this plot begins where its map does.
_COLUMN = {"padding": "4px 8px", "min_width": "260px", "overflow": "visible"}
_NO_GROUP = ("", None)
_GLYPHS = {"both right": "●", "only A": "▲", "only B": "■", "neither": "✚"}


class Selections:
    """Live correlates of selections of samples; nothing is ranked before the first is asked for.

    Parameters
    ----------
    recording, correlates : xarray.Dataset
        The neurons and the strata are those of the correlates.
    when_exact : callable
        Called from another thread when what was approximate can be asked for again.
    """

    def __init__(
        self, recording: xr.Dataset, correlates: xr.Dataset, when_exact: Callable[[], None]
    ) -> None:
        activations = recording[["activation"]]
        index = recording.indexes["neuron"]
        if not index.equals(correlates.indexes["neuron"]):
            activations = activations.isel(neuron=index.get_indexer(correlates.indexes["neuron"]))
        self._recording = activations
        name = str(correlates.attrs.get("strata", "none"))
        self._strata = name if name in recording.coords else None
        self._when_exact = when_exact
        self._live: dict[str | None, LiveCorrelates] = {}

    def correlates(self, selected: np.ndarray) -> xr.Dataset:
        """The live correlates of the selected samples (bool) against the others.

        Within strata, but for whole strata, which only an unstratified answer can tell apart.
        """
        strata = None if self._whole_strata(selected) else self._strata
        if strata not in self._live:
            self._live[strata] = LiveCorrelates(self._recording, strata, memory=_MEMORY)
            if not self._live[strata].exact:
                waiting = threading.Thread(
                    target=self._wait, args=[self._live[strata]], daemon=True
                )
                waiting.start()
        return self._live[strata].select(selected)

    def _whole_strata(self, selected: np.ndarray) -> bool:
        if self._strata is None:
            return True
        codes, _ = pd.factorize(self._recording[self._strata].values, use_na_sentinel=False)
        size, taken = np.bincount(codes), np.bincount(codes, weights=selected)
        return bool(((taken == 0) | (taken == size)).all())

    def _wait(self, live: LiveCorrelates) -> None:
        live.wait()
        if live.exact:
            self._when_exact()


class Samples(widgets.VBox):
    """A row that opens on the samples: lasso some in a plot, or take a group by its name.

    Parameters
    ----------
    recording : xarray.Dataset
    cell : array of str, shape (n_samples,), optional
        The cell of the 2x2 table of each sample.
    signal : str
        What "Back to ..." goes back to.
    choose : callable
        Called with the ids of the samples that a person has taken; () for none.
    """

    def __init__(
        self,
        recording: xr.Dataset,
        cell: np.ndarray | None,
        signal: str,
        choose: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self.ids = pd.Index(recording["sample"].values)
        self._choose = choose
        self._columns = _numeric_columns(recording)
        self._cell = np.full(len(self.ids), "") if cell is None else cell
        self._label = recording["label"].values if "label" in recording.coords else None
        self._taken_by = ""  # "lasso", "group", or "" for anything else
        self._is_lassoed = False
        self.map: SampleMap | None = None
        self.opener = widgets.ToggleButton(
            description="Samples", icon="caret-right", tooltip="Select samples"
        )
        self.back = widgets.Button(
            description=f"Back to {signal}", disabled=True, layout={"width": "auto"}
        )
        self.said = widgets.HTML(layout={"flex": "1 1 300px", "margin": "2px 8px"})
        self.group = widgets.Dropdown(
            options=[("…", _NO_GROUP), *_groups(self._cell, self._label)], description="Select"
        )
        self._place = widgets.VBox()
        bar = widgets.HBox(
            [self.opener, self.back, self.said],
            layout={"flex_flow": "row wrap", "align_items": "center", "padding": "4px 8px"},
        )
        super().__init__(children=[bar, self._place])
        self.opener.observe(lambda change: self._open(change["new"]), "value")
        self.group.observe(lambda change: self._take_group(change["new"]), "value")
        self.back.on_click(lambda button: self._take(np.zeros(len(self.ids), bool), ""))

    def bools(self, samples: Iterable[Any]) -> np.ndarray:
        """Which samples these ids are of.

        Raises
        ------
        ValueError
            If an id is not in the recording, or all of them are there.
        """
        asked = pd.Index(list(samples), dtype=object)
        if any(isinstance(one, (bool, np.bool_)) for one in asked) and self.ids.dtype != bool:
            raise ValueError("the samples are True and False; expected ids of samples")
        absent = asked[~asked.isin(self.ids)]
        if len(absent):
            raise ValueError(unknown("sample", absent[0], map(str, self.ids)))
        selected = np.asarray(self.ids.isin(asked))
        if selected.all():
            raise ValueError(
                f"all {len(self.ids)} samples are selected; expected others to compare them with"
            )
        return selected

    def mark(self, selected: np.ndarray) -> None:
        """Bring the selected samples (bool) out, and forget what is not how they were taken."""
        self.back.disabled = not selected.any()
        self._is_lassoed = self._taken_by == "lasso"
        if self._taken_by != "group":
            self.group.value = _NO_GROUP
        if self.map is not None:
            self.map.mark(selected)
            if not self._is_lassoed:
                self.map.forget_lassos()

    def say(self, text: str) -> None:
        """Say it beside the buttons, to a screen reader too."""
        self.said.value = status(html.escape(text))

    # Opening the row ----------------------------------------------------------------------

    def _open(self, is_open: bool) -> None:
        self.opener.icon = "caret-down" if is_open else "caret-right"
        if is_open and not self._place.children:
            self._place.children = (self._plot() if self._columns else self.group,)
        self._place.layout.display = None if is_open else "none"

    def _plot(self) -> widgets.Widget:
        self.map = SampleMap(self._cell, _some_of_each(self._cell))
        self.map.on_lasso(self._take_lasso)
        names = list(self._columns)
        self.across = widgets.Dropdown(options=names, value=names[0], description="Across")
        self.up = widgets.Dropdown(options=names, value=names[:2][-1], description="Up")
        for axis in (self.across, self.up):
            axis.observe(lambda change: self._draw(), "value")
        self.count = widgets.HTML()
        self._draw()
        controls = [self.group, self.across, self.up, widgets.HTML(self._legend()), self.count]
        return widgets.HBox(
            [
                widgets.VBox(controls, layout={**_COLUMN, "flex": "1 1 270px"}),
                widgets.VBox([self.map.figure], layout={**_COLUMN, "flex": "2.8 1 700px"}),
            ],
            layout={"flex_flow": "row wrap", "align_items": "flex-start"},
        )

    def _draw(self) -> None:
        """Draw the samples by the two numbers chosen; lassos of other numbers are forgotten."""
        assert self.map is not None
        self._is_lassoed = False
        self.map.forget_lassos()
        x, y = (self._columns[axis.value] for axis in (self.across, self.up))
        self.map.show(x, y, self.across.value, self.up.value)
        drawn, known = len(self.map.drawn), len(self.ids)
        rest = " A lasso takes those not drawn, too." if drawn < known else ""
        self.count.value = (
            f'<div style="line-height:1.45;max-width:40ch">{drawn} of {known} samples drawn. '
            f"Drag to lasso; again for more.{rest}</div>"
        )

    def _legend(self) -> str:
        return "".join(
            f'<div style="line-height:1.45"><span aria-hidden="true" style="display:inline-block;'
            f'width:1.6em;color:{SHAPES[name][1]}">{_GLYPHS[name]}</span>{name}</div>'
            for name in _GLYPHS
            if name in self._cell
        )

    # Taking samples -----------------------------------------------------------------------

    def _take_group(self, group: tuple[str, Any]) -> None:
        kind, value = group
        if group != _NO_GROUP:
            column = self._cell if kind == "cell" else self._label
            self._take(np.asarray(column == value), "group")

    def _take_lasso(self) -> None:
        assert self.map is not None
        taken = self.map.lassoed()
        if len(taken) or self._is_lassoed:  # else lassos were taken away
            self._take(np.isin(np.arange(len(self.ids)), taken), "lasso")

    def _take(self, selected: np.ndarray, taken_by: str) -> None:
        """Hand the samples on; an error is said here rather than only in a log."""
        self._taken_by = taken_by
        try:
            self._choose(tuple(self.ids[selected].tolist()))
        except Exception as error:
            self.say(f"{type(error).__name__}: {error}")
        finally:
            self._taken_by = ""


def _numeric_columns(recording: xr.Dataset) -> dict[str, np.ndarray]:
    """What samples can be drawn by: confidence and loss first, ids that are numbers last."""
    columns = {
        str(name): column.values.astype(np.float64)
        for name, column in recording.coords.items()
        if column.dims == ("sample",) and column.dtype.kind in "iuf"
    }
    order = ["confidence", "loss", *(name for name in columns if name != "sample"), "sample"]
    return {name: columns[name] for name in dict.fromkeys(order) if name in columns}


def _groups(cell: np.ndarray, label: np.ndarray | None) -> list[tuple[str, tuple[str, Any]]]:
    """The cells and the labels, each with its number of samples, for a dropdown."""
    groups = [
        (f"{name} ({count})", ("cell", name))
        for name in ("only A", "only B", "neither", "both right")
        if (count := int((cell == name).sum()))
    ]
    if label is not None:
        codes, values = pd.factorize(label, sort=True)
        counts = np.bincount(codes[codes >= 0], minlength=len(values))
        groups += [
            (f"label {value} ({count})", ("label", value))
            for value, count in zip(values.tolist(), counts, strict=True)
        ]
    return groups


def _some_of_each(cell: np.ndarray) -> np.ndarray:
    """Samples to draw: of each cell as many as there is room for, the rarest cell in full."""
    rng = np.random.default_rng(0)
    names, sizes = np.unique(cell, return_counts=True)
    some, room = [], MAX_POINTS
    for done, cell_number in enumerate(np.argsort(sizes)):
        take = min(int(sizes[cell_number]), room // (len(names) - done))
        some.append(rng.choice(np.flatnonzero(cell == names[cell_number]), take, replace=False))
        room -= take
    return np.sort(np.concatenate(some))
