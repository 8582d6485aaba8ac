"""Caricatures: an image beside what layers make of it, one layer at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import traitlets
import xarray as xr
from torch import nn

from nbcorr.network.names import unknown
from nbcorr.notebook.interfaces import still
from nbcorr.notebook.interfaces.base import STATIC, NeuronInterface
from nbcorr.notebook.interfaces.content import SUBSTRATE, packed, sprite
from nbcorr.notebook.interfaces.icons import Icons
from nbcorr.notebook.interfaces.sheets import check_variables, sheet

NEEDED = ("image", "likeness", "relative", "top_unit", "top_share", "input")


class Caricature(NeuronInterface):
    """An image and its caricatures by some layers, to be wiped from one to the other.

    Parameters
    ----------
    found : xarray.Dataset
        Of ``nc.caricature``.
    pictures, exemplars : xarray.Dataset, optional
        Of ``nc.visualize`` and ``nc.exemplars``: the neurons that are exaggerated most.
    model : torch.nn.Module, optional
        With it, pictures of neurons can be made from within the widget.
    preprocess : callable, optional
        For these, as for ``nc.visualize``.

    Attributes
    ----------
    layer : str
        The chosen layer.
    neuron : str
        The chosen neuron, ``"layer:unit"``, or ``""``.
    found : xarray.Dataset
        What was given.
    neurons : list of str
        Every neuron that can be shown.

    Raises
    ------
    ValueError
        If the Dataset is another one.

    Notes
    -----
    Source: the recipe ``caricature`` of Lucid.
    """

    _esm = STATIC / "caricature.js"

    layer = traitlets.Unicode(help="the chosen layer").tag(sync=True)

    def __init__(
        self,
        found: xr.Dataset,
        *,
        pictures: xr.Dataset | None = None,
        exemplars: xr.Dataset | None = None,
        model: nn.Module | None = None,
        preprocess: Callable[..., Any] | None = None,
    ) -> None:
        check_variables("found", found, NEEDED, "caricature")
        self.found = found
        self._layers = [str(layer) for layer in found["layer"].values]
        pairs = [
            (layer, unit)
            for layer, units in zip(self._layers, found["top_unit"].values.tolist(), strict=True)
            for unit in units
            if unit >= 0
        ]
        shape = tuple(found.sizes[dim] for dim in ("channel", "y", "x"))
        icons = Icons(pairs, pictures, exemplars, model, shape, preprocess)
        super().__init__(icons, content=self._content(pairs), layer=self._layers[0])

    @traitlets.validate("layer")
    def _valid_layer(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] not in self._layers:
            raise ValueError(unknown("layer", proposal["value"], self._layers))
        return str(proposal["value"])

    def _content(self, pairs: list[tuple[str, int]]) -> dict[str, Any]:
        found = self.found
        places = {pair: i for i, pair in enumerate(pairs)}
        neurons = [
            [places.get((layer, unit), -1) for unit in units]
            for layer, units in zip(self._layers, found["top_unit"].values.tolist(), strict=True)
        ]
        images = found["image"].transpose("picture", "y", "x", "channel").values
        return {
            "layers": self._layers,
            "model": found.attrs.get("model", ""),
            "input": sprite([found["input"].values], SUBSTRATE),
            "sheet": sheet(list(images), SUBSTRATE),
            "likeness": packed(found["likeness"].values.astype(np.float32)),
            "relative": packed(found["relative"].values.astype(np.float32)),
            "neurons": neurons,
            "share": packed(found["top_share"].values.astype(np.float32)),
        }

    def _words(self) -> str:
        found = self.found
        each = [
            f"{layer} (likeness {likeness:.2f}, {relative:.1f} times as strong)"
            for layer, likeness, relative in zip(
                self._layers, found["likeness"].values, found["relative"].values, strict=True
            )
        ]
        return f"Caricatures by {', '.join(each)}"

    def _still(self) -> bytes:
        images = self.found["image"].transpose("picture", "y", "x", "channel").values
        figure = still.new_figure(2.4 * (1 + len(images)), 2.7)
        axes = figure.subplots(1, 1 + len(images), squeeze=False)[0]
        still.draw_image(axes[0], self.found["input"].values, "the image")
        for place, image, layer in zip(axes[1:], images, self._layers, strict=True):
            still.draw_image(place, image, layer)
        return still.png(figure)
