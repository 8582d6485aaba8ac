"""The activation atlas: a map of what a layer can say, cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import traitlets
import xarray as xr
from torch import nn

from nbcorr.notebook.interfaces import still
from nbcorr.notebook.interfaces.base import STATIC, NeuronInterface
from nbcorr.notebook.interfaces.content import EXEMPLAR, ICON, packed
from nbcorr.notebook.interfaces.icons import Icons
from nbcorr.notebook.interfaces.sheets import check_variables, mosaic, sheet, strongest

NEEDED = ("picture", "count", "vector", "image", "relative")


class ActivationAtlas(NeuronInterface):
    """A map of what a layer can say: pictures of mean activations, similar ones close together.

    Hover or choose a cell to see its picture larger, how many positions of real images went into
    it, the pieces of images most like it, its classes and the neurons that make it up. Choose a
    class to see where on the map it lies.

    Parameters
    ----------
    atlas : xarray.Dataset
        Of ``nc.activation_atlas``.
    pictures, exemplars : xarray.Dataset, optional
        Of ``nc.visualize`` and ``nc.exemplars``: the neurons beside the cells.
    k : int
        Neurons named of each cell.
    model : torch.nn.Module, optional
        With it, pictures of neurons can be made from within the widget.
    preprocess : callable, optional
        For these, as for ``nc.visualize``.

    Attributes
    ----------
    cell : (row, column)
        The chosen cell.
    shown_class : str
        The class whose place on the map is shown, or ``""``.
    neuron : str
        The chosen neuron, ``"layer:unit"``, or ``""``.
    atlas : xarray.Dataset
        What was given.
    neurons : list of str
        Every neuron that can be shown.

    Raises
    ------
    ValueError
        If the Dataset is another one, or k is below 1.

    Notes
    -----
    Source: Carter et al., "Exploring neural networks with activation atlases" (Distill 2019).
    """

    _esm = STATIC / "activation_atlas.js"

    cell = traitlets.Tuple(
        traitlets.Int(), traitlets.Int(), help="row and column of the chosen cell"
    ).tag(sync=True)
    shown_class = traitlets.Unicode("", help="the class shown on the map").tag(sync=True)

    def __init__(
        self,
        atlas: xr.Dataset,
        *,
        pictures: xr.Dataset | None = None,
        exemplars: xr.Dataset | None = None,
        k: int = 4,
        model: nn.Module | None = None,
        preprocess: Callable[..., Any] | None = None,
    ) -> None:
        check_variables("atlas", atlas, NEEDED, "activation_atlas")
        if k < 1:
            raise ValueError(f"k is {k}; expected at least 1")
        self.atlas = atlas
        vectors = atlas["vector"].transpose("direction", "neuron").values
        units = np.argsort(-vectors, axis=1, kind="stable")[:, :k]
        held = np.unique(units)
        neurons = [(atlas.attrs["at"], int(unit)) for unit in held]
        shape = tuple(atlas.sizes[dim] for dim in ("channel", "y", "x"))
        icons = Icons(neurons, pictures, exemplars, model, shape, preprocess)
        content = self._content() | {
            "neurons": packed(np.searchsorted(held, units).astype(np.int32)),
            "values": packed(np.take_along_axis(vectors, units, 1).astype(np.float32)),
        }
        shown = np.where(atlas["picture"].values >= 0, atlas["count"].values, -1)
        super().__init__(icons, content=content, cell=strongest(shown))

    @traitlets.validate("cell")
    def _valid_cell(self, proposal: dict[str, Any]) -> tuple[int, int]:
        row, column = proposal["value"]
        rows, columns = self.atlas["picture"].shape
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(
                f"cell is {(row, column)}; expected a row from 0 to {rows - 1} and a column from "
                f"0 to {columns - 1}"
            )
        return row, column

    @traitlets.validate("shown_class")
    def _valid_class(self, proposal: dict[str, Any]) -> str:
        known = self._classes()[0]
        if proposal["value"] and proposal["value"] not in known:
            raise ValueError(f"no class {proposal['value']!r} on the map; it has {known}")
        return str(proposal["value"])

    def _content(self) -> dict[str, Any]:
        atlas = self.atlas
        images = atlas["image"].transpose("direction", "y", "x", "channel").values
        names, values, measure = self._classes()
        patches, places = _patches(atlas)
        return {
            "layer": atlas.attrs["at"],
            "model": atlas.attrs.get("model", ""),
            "projection": {"umap": "UMAP", "pca": "PCA"}.get(atlas.attrs["projection"], ""),
            "positions": int(atlas.attrs["positions"]),
            "least": int(atlas.attrs["least"]),
            "sheet": sheet(list(images), ICON),
            "pictures": packed(atlas["picture"].values.astype(np.int32)),
            "count": packed(atlas["count"].values.astype(np.int32)),
            "relative": packed(atlas["relative"].values.astype(np.float32)),
            "classes": names,
            "class_measure": measure,
            "class_values": packed(values.astype(np.float32)),
            "patches": patches,
            "patch_places": places,
        }

    def _classes(self) -> tuple[list[str], np.ndarray, str]:
        """Names, values (directions, classes) and what these are."""
        atlas = self.atlas
        if "attribution" in atlas:
            names = atlas["target"].values
            return [str(n) for n in names], atlas["attribution"].values, "attribution"
        if "label_count" in atlas:
            counts = atlas["label_count"].transpose("direction", "class").values
            shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
            return [str(n) for n in atlas["class"].values], shares, "share of labels"
        return [], np.zeros((atlas.sizes["direction"], 0)), ""

    def _words(self) -> str:
        row, column = self.cell
        atlas = self.atlas
        return (
            f"Activation atlas of {atlas.attrs['at']}: {atlas.attrs['positions']} positions in "
            f"{atlas.sizes['direction']} cells; row {row + 1}, column {column + 1}: "
            f"{int(atlas['count'].values[row, column])} positions"
        )

    def _still(self) -> bytes:
        figure = still.new_figure(4.6, 4.8)
        axes = figure.subplots()
        still.draw_image(axes, mosaic(self.atlas), f"Activation atlas of {self.atlas.attrs['at']}")
        return still.png(figure)


def _patches(atlas: xr.Dataset) -> tuple[dict[str, Any], list[list[int]]]:
    """The real patches of all cells, and which of them belong to each."""
    if "patch" not in atlas:
        return sheet([], EXEMPLAR), [[] for _ in range(atlas.sizes["direction"])]
    dims = ("direction", "rank", "patch_y", "patch_x", "patch_channel")
    patches = atlas["patch"].transpose(*dims).values
    there = np.isfinite(patches).all(axis=(2, 3, 4))
    numbers = np.where(there, np.cumsum(there).reshape(there.shape) - 1, -1)
    places = [[n for n in row if n >= 0] for row in numbers.tolist()]
    return sheet(list(patches[there]), EXEMPLAR), places
