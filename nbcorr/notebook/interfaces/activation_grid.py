"""The activation grid: every position of an image as a picture of what a layer makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import traitlets
import xarray as xr
from torch import nn

from nbcorr.network.neurons import neuron_label
from nbcorr.notebook.interfaces import still
from nbcorr.notebook.interfaces.base import STATIC, NeuronInterface
from nbcorr.notebook.interfaces.content import ICON, SUBSTRATE, packed, quantized, sprite
from nbcorr.notebook.interfaces.icons import Icons
from nbcorr.notebook.interfaces.sheets import check_variables, mosaic, sheet, strongest

NEEDED = ("picture", "strength", "activation", "vector", "image", "relative", "input")


class ActivationGrid(NeuronInterface):
    """What a layer makes of an image, a picture at each position, sized by how strongly it answers.

    Hover or choose a position to see its picture larger, where it lies in the image, and which
    neurons answer most there.

    Parameters
    ----------
    grid : xarray.Dataset
        Of ``nc.activation_grid``.
    pictures, exemplars : xarray.Dataset, optional
        Of ``nc.visualize`` and ``nc.exemplars``: the neurons beside the positions.
    k : int
        Neurons named at each position.
    model : torch.nn.Module, optional
        With it, pictures of neurons can be made from within the widget.
    preprocess : callable, optional
        For these, as for ``nc.visualize``.

    Attributes
    ----------
    position : (row, column)
        The chosen position.
    neuron : str
        The chosen neuron, ``"layer:unit"``, or ``""``.
    grid : xarray.Dataset
        What was given.
    neurons : list of str
        Every neuron that can be shown.

    Raises
    ------
    ValueError
        If the Dataset is another one, or k is below 1.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018).
    """

    _esm = STATIC / "activation_grid.js"

    position = traitlets.Tuple(
        traitlets.Int(), traitlets.Int(), help="row and column of the chosen position"
    ).tag(sync=True)

    def __init__(
        self,
        grid: xr.Dataset,
        *,
        pictures: xr.Dataset | None = None,
        exemplars: xr.Dataset | None = None,
        k: int = 4,
        model: nn.Module | None = None,
        preprocess: Callable[..., Any] | None = None,
    ) -> None:
        check_variables("grid", grid, NEEDED, "activation_grid")
        if k < 1:
            raise ValueError(f"k is {k}; expected at least 1")
        self.grid = grid
        self._values = grid["activation"].transpose("row", "column", "neuron").values
        self._units = np.argsort(-self._values, axis=-1, kind="stable")[..., :k]
        held = np.unique(self._units)
        neurons = [(grid.attrs["at"], int(unit)) for unit in held]
        shape = tuple(grid.sizes[dim] for dim in ("channel", "y", "x"))
        icons = Icons(neurons, pictures, exemplars, model, shape, preprocess)
        super().__init__(
            icons, content=self._content(held), position=strongest(grid["strength"].values)
        )

    @traitlets.validate("position")
    def _valid_position(self, proposal: dict[str, Any]) -> tuple[int, int]:
        row, column = proposal["value"]
        rows, columns = self.grid["picture"].shape
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(
                f"position is {(row, column)}; expected a row from 0 to {rows - 1} and a column "
                f"from 0 to {columns - 1}"
            )
        return row, column

    def _content(self, held: np.ndarray) -> dict[str, Any]:
        grid = self.grid
        values = np.take_along_axis(self._values, self._units, -1)
        maps = grid["activation"].transpose("neuron", "row", "column").values[held]
        images = grid["image"].transpose("direction", "y", "x", "channel").values
        return {
            "layer": grid.attrs["at"],
            "model": grid.attrs.get("model", ""),
            "groups": int(grid.attrs.get("groups", 0)),
            "input": sprite([grid["input"].values], SUBSTRATE),
            "sheet": sheet(list(images), ICON),
            "pictures": packed(grid["picture"].values.astype(np.int32)),
            "strength": packed(grid["strength"].values.astype(np.float32)),
            "relative": packed(grid["relative"].values.astype(np.float32)),
            "neurons": packed(np.searchsorted(held, self._units).astype(np.int32)),
            "values": packed(values.astype(np.float32)),
            "maps": quantized(maps),
        }

    def _here(self) -> list[tuple[tuple[str, int], float]]:
        """The neurons at the chosen position, with their values."""
        values = self._values[self.position]
        layer = self.grid.attrs["at"]
        return [
            ((layer, unit), float(values[unit])) for unit in self._units[self.position].tolist()
        ]

    def _words(self) -> str:
        row, column = self.position
        rows, columns = self.grid["picture"].shape
        named = ", ".join(f"{neuron_label(*neuron)} {value:.3g}" for neuron, value in self._here())
        return (
            f"Activation grid of {self.grid.attrs['at']}, {rows} x {columns} positions; row "
            f"{row + 1}, column {column + 1}: {named}"
        )

    def _still(self) -> bytes:
        figure = still.new_figure(7.5, 3.8)
        left, right = figure.subplots(1, 2)
        shown = self.grid["input"].values
        still.draw_image(left, shown, "the image")
        cells = self.grid.sizes["row"], self.grid.sizes["column"]
        still.draw_cell(left, self.position, cells, shown.shape)
        still.draw_image(right, mosaic(self.grid), self.grid.attrs["at"])
        return still.png(figure)
