"""Sprite sheets: the pictures of a whole layer, appearing as they are made."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pandas as pd
import traitlets
import xarray as xr

from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label
from nbcorr.notebook.interfaces import still
from nbcorr.notebook.interfaces.base import STATIC, Interface
from nbcorr.notebook.interfaces.content import EXEMPLAR, ICON, packed
from nbcorr.notebook.interfaces.icons import INSTEAD, Icons
from nbcorr.notebook.interfaces.sheets import check_variables, sheet
from nbcorr.visualization.sprites import Sprites

#: While pictures are made, the page is given them anew about so many times.
REFRESHES = 50
#: Pictures on a page without a kernel.
STILL = 80


class SpriteSheet(Interface):
    """The pictures of a whole layer, shown as they are made; sorted and filtered by any numbers.

    Parameters
    ----------
    work : Sprites or xarray.Dataset
        Of ``nc.sprites``: the buttons stop it and let it go on. Or pictures there are already, of
        ``nc.visualize``.
    values : xarray.Dataset or DataArray over ``neuron``, optional
        Numbers of the neurons, to sort and filter by: correlates, selectivity …
    exemplars : xarray.Dataset, optional
        Of ``nc.exemplars``: real images beside the chosen neuron's picture.

    Attributes
    ----------
    neuron : str
        The chosen neuron, ``"layer:unit"``, or ``""``; one of another layer, that a linked view
        chose, is marked nowhere.
    sort : str
        Name of the numbers it is sorted by, the largest first, or ``""``: as given.
    least : float or None
        Neurons with smaller numbers, and those without, are left out.
    work : Sprites
        What makes the pictures.
    neurons : list of str
        All of them, in the order given.
    shown : list of str
        Those shown, in the order shown.

    Raises
    ------
    ValueError
        If values are not over ``neuron``, or hold no numbers of these neurons; or pictures are
        something else.
    """

    _esm = STATIC / "sprite_sheet.js"

    sort = traitlets.Unicode("", help="what it is sorted by").tag(sync=True)
    least = traitlets.Float(None, allow_none=True, help="least value shown").tag(sync=True)
    made = traitlets.Dict(help="the pictures there are").tag(sync=True)
    progress = traitlets.Dict(help="done, total and running").tag(sync=True)

    def __init__(
        self,
        work: Sprites | xr.Dataset,
        *,
        values: xr.Dataset | xr.DataArray | None = None,
        exemplars: xr.Dataset | None = None,
    ) -> None:
        self.work = work = work if isinstance(work, Sprites) else _finished(work)
        self._sent = -1
        self._refreshing = threading.RLock()
        self._values = _columns(values, work.neurons)
        self._icons = Icons(work.neurons, None, exemplars)
        super().__init__(content=self._content())
        # In this order, so that nothing that is made meanwhile goes unseen.
        work.on_change(self._follow)
        self._follow()
        self.on_msg(self._take_message)

    @property
    def neurons(self) -> list[str]:
        """Every neuron, in the order given."""
        return [neuron_label(*neuron) for neuron in self.work.neurons]

    @property
    def shown(self) -> list[str]:
        """Those shown, in the order shown."""
        labels = self.neurons
        values = self._values.get(self.sort)
        if values is None:
            return labels
        order = np.argsort(-values, kind="stable")
        if self.least is not None:
            order = order[values[order] >= self.least]
        return [labels[i] for i in order]

    def show(self, exemplars: xr.Dataset) -> None:
        """Show exemplars that were found since.

        Parameters
        ----------
        exemplars : xarray.Dataset
            Of ``nc.exemplars``.

        Raises
        ------
        ValueError
            If they are something else.
        """
        with self._lock:
            self._icons.add(exemplars=exemplars)
            self.content = self._content()

    @traitlets.validate("sort")
    def _valid_sort(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] and proposal["value"] not in self._values:
            raise ValueError(unknown("value", proposal["value"], self._values))
        return str(proposal["value"])

    def _content(self) -> dict[str, Any]:
        real = [self._icons.real(neuron, INSTEAD) for neuron in self.work.neurons]
        ends = np.cumsum([0, *map(len, real)]).tolist()
        return {
            "title": _title(self.work.neurons),
            "labels": self.neurons,
            "values": {name: packed(column) for name, column in self._values.items()},
            "exemplars": sheet([image for images in real for image in images], EXEMPLAR),
            "exemplar_ends": ends,
            "note": self._note(sum(map(bool, real))),
        }

    def _note(self, held: int) -> str:
        if held == len(self.work.neurons):
            return ""
        found = f"Exemplars of {held} of {len(self.work.neurons)}" if held else "No exemplars given"
        return f"{found}: widget.show(nc.exemplars(model, data, widget.neurons)) adds them."

    def _follow(self) -> None:
        """Tell the page what has been made; called from the working thread too."""
        work = self.work
        with self._refreshing:
            running = work.running
            step = max(1, work.total // REFRESHES)
            if work.done != self._sent and (work.done >= self._sent + step or not running):
                self._send_pictures()
            self.progress = {"done": work.done, "total": work.total, "running": running}
            error = work.error
            self.says = "" if error is None else f"{type(error).__name__}: {error}"

    def _send_pictures(self) -> None:
        made = self.work.pictures
        if made is None:
            return
        self._sent = made.sizes["neuron"]
        images = made["image"].transpose("neuron", "y", "x", "channel").values
        places = made.indexes["neuron"].get_indexer(pd.MultiIndex.from_tuples(self.work.neurons))
        self._icons.add(pictures=made)
        self.made = {
            "sheet": sheet(list(images), ICON),
            "places": packed(places.astype(np.int32)),
            "reach": [self._icons.reach(neuron) for neuron in made.indexes["neuron"]],
        }

    def _take_message(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """What the page's buttons ask for; what goes wrong is said there."""
        try:
            if message.get("do") == "start":
                self.work.start()
            elif message.get("do") == "stop":
                self.work.stop()
                self.says = "Stopping after the pictures that are being made …"
        except Exception as error:
            self.says = f"{type(error).__name__}: {error}"

    def _words(self) -> str:
        work = self.work
        return f"Sprite sheet of {_title(work.neurons)}: {work.done} of {work.total} pictures"

    def _still(self) -> bytes:
        places = {label: i for i, label in enumerate(self.neurons)}
        shown = [self.work.neurons[places[label]] for label in self.shown[:STILL]]
        columns = min(10, max(1, len(shown)))
        rows = max(1, -(-len(shown) // columns))
        figure = still.new_figure(0.9 * columns, 1.05 * rows)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for place in axes:
            place.set_axis_off()
        still.draw_neurons(axes, self._icons, [(neuron, f":{neuron[1]}") for neuron in shown])
        return still.png(figure)


def _finished(pictures: Any) -> Sprites:
    """Work that is done."""
    check_variables("work", pictures, ("image",), "visualize")
    if "neuron" not in pictures.indexes:
        raise ValueError(f"pictures are over {tuple(pictures.dims)}; expected those of neurons")
    work = Sprites(None, list(pictures.indexes["neuron"]), (), 1, {})
    work.keep(pictures)
    return work


def _title(neurons: list[tuple[str, int]]) -> str:
    layers = list(dict.fromkeys(layer for layer, _ in neurons))
    return layers[0] if len(layers) == 1 else f"{len(layers)} layers"


def _columns(
    values: xr.Dataset | xr.DataArray | None, neurons: list[tuple[str, int]]
) -> dict[str, np.ndarray]:
    """Every variable with one number per neuron, NaN where it is not known."""
    if values is None:
        return {}
    if isinstance(values, xr.DataArray):
        values = values.to_dataset(name=str(values.name or "value"))
    if "neuron" not in values.indexes:
        raise ValueError(f"values are over {tuple(values.dims)}; expected a Dataset over 'neuron'")
    places = values.indexes["neuron"].get_indexer(pd.MultiIndex.from_tuples(neurons))
    if not (places >= 0).any():
        raise ValueError(
            f"values have none of the neurons, {neuron_label(*neurons[0])!r} for example"
        )
    return {
        str(name): np.where(places >= 0, column.values[places], np.nan).astype(np.float32)
        for name, column in values.data_vars.items()
        if column.dims == ("neuron",) and column.dtype.kind in "fiub"
    }
