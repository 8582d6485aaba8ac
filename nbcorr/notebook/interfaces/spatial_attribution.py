"""Spatial attribution: where what a layer sees at a position came from, and where it goes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
import xarray as xr
from torch import nn

from nbcorr.network.names import unknown
from nbcorr.notebook.interfaces import still
from nbcorr.notebook.interfaces.base import STATIC, Interface
from nbcorr.notebook.interfaces.content import SUBSTRATE, displayable, quantized, sprite
from nbcorr.visualization.attribute import attribute
from nbcorr.visualization.semantic_dictionary import layer_cube, one_image

#: Numbers that the attribution of one pair of layers may take (1 GiB).
_MOST = 1 << 28


class SpatialAttribution(Interface):
    """Hover a position in one layer: where it came from in earlier layers, where it goes in later.

    What a layer sees at a position is the length of its activation vector there; its attribution
    to the positions of an earlier layer is activation times gradient, summed over the neurons.

    Parameters
    ----------
    model : torch.nn.Module
    image : array or tensor, shape (channels, height, width)
        As the model takes it.
    layers : sequence of str
        Two or more that give maps or patches, the earlier first.
    max_pool : {"exact", "smooth"}
        As for ``nc.attribute``.
    shown : array, shape (y, x, channel), optional
        The image as people see it, in 0..1. By default the input, brought there linearly.

    Attributes
    ----------
    layer : str
        The layer of the chosen position.
    position : (row, column)
    neuron : str
        Not used by this widget itself; linked ones may share it.
    pairs : dict
        By (earlier, later): DataArray ``(target_y, target_x, y, x)``, what the earlier layer's
        positions contributed to each position of the later one.

    Raises
    ------
    ValueError
        If the image is not one image, fewer than two layers are named, one gives no maps or is
        not on the way to the next, or their maps are too large.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018), and the notebook
    AttrSpatial of its library Lucid.
    """

    _esm = STATIC / "spatial_attribution.js"

    layer = traitlets.Unicode("", help="the layer of the chosen position").tag(sync=True)
    position = traitlets.Tuple(
        traitlets.Int(), traitlets.Int(), help="row and column of the chosen position"
    ).tag(sync=True)

    def __init__(
        self,
        model: nn.Module,
        image: Any,
        layers: Sequence[str],
        *,
        max_pool: str = "exact",
        shown: Any = None,
    ) -> None:
        names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
        if len(names) < 2:
            raise ValueError(f"layers is {layers!r}; expected two or more different ones")
        batch = one_image(image)
        cubes = {name: layer_cube(model, batch, name)["activation"] for name in names}
        self.pairs = {
            (earlier, later): _between(model, batch, cubes, earlier, later, max_pool)
            for earlier, later in itertools.combinations(names, 2)
        }
        self._sizes = {name: (cube.sizes["y"], cube.sizes["x"]) for name, cube in cubes.items()}
        self._shown = displayable(batch[0]) if shown is None else np.asarray(shown)
        middle = names[len(names) // 2]
        super().__init__(
            layer=middle,
            position=_strongest(cubes[middle]),
            content={
                "model": type(model).__name__,
                "picture": sprite([self._shown], SUBSTRATE),
                "layers": [
                    {"name": name, "rows": rows, "columns": columns}
                    for name, (rows, columns) in self._sizes.items()
                ],
                "pairs": {
                    f"{names.index(a)},{names.index(b)}": quantized(_maps(pair))
                    for (a, b), pair in self.pairs.items()
                },
            },
        )

    @traitlets.validate("layer")
    def _valid_layer(self, proposal: dict[str, Any]) -> str:
        if proposal["value"] not in self._sizes:
            raise ValueError(unknown("layer", proposal["value"], list(self._sizes)))
        rows, columns = self._sizes[proposal["value"]]
        row, column = self.position
        # A position of another layer may lie outside this one.
        self.set_trait("position", (min(row, rows - 1), min(column, columns - 1)))
        return proposal["value"]

    @traitlets.validate("position")
    def _valid_position(self, proposal: dict[str, Any]) -> tuple[int, int]:
        row, column = proposal["value"]
        rows, columns = self._sizes[self.layer]
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(
                f"position is {(row, column)}; expected a row from 0 to {rows - 1} and a column "
                f"from 0 to {columns - 1}"
            )
        return row, column

    def attribution(self, layer: str) -> xr.DataArray:
        """What a layer has to do with the chosen position, ``(y, x)``.

        Of an earlier layer, what its positions contributed to the chosen one; of a later layer,
        what the chosen one contributed to each of its positions.

        Raises
        ------
        ValueError
            If the layer is not one of the others.
        """
        row, column = self.position
        if (layer, self.layer) in self.pairs:
            return self.pairs[layer, self.layer].isel(target_y=row, target_x=column)
        if (self.layer, layer) in self.pairs:
            later = self.pairs[self.layer, layer].isel(y=row, x=column)
            return later.rename(target_y="y", target_x="x")
        raise ValueError(unknown("other layer", layer, [n for n in self._sizes if n != self.layer]))

    def _words(self) -> str:
        row, column = self.position
        chain = " → ".join(self._sizes)
        return f"Spatial attribution ({chain}) of {self.layer}, row {row + 1}, column {column + 1}"

    def _still(self) -> bytes:
        figure = still.new_figure(3 * len(self._sizes), 3.1)
        axes = figure.subplots(1, len(self._sizes))
        for place, name in zip(axes, self._sizes, strict=True):
            still.draw_image(place, self._shown, name)
            if name == self.layer:
                still.draw_cell(place, self.position, self._sizes[name], self._shown.shape)
            else:
                still.draw_heat(place, self.attribution(name).values, self._shown.shape)
        return still.png(figure)


def _between(
    model: nn.Module,
    batch: Any,
    cubes: dict[str, xr.DataArray],
    earlier: str,
    later: str,
    max_pool: str,
) -> xr.DataArray:
    targets = cubes[later].sizes["y"] * cubes[later].sizes["x"]
    if targets * cubes[earlier].size > _MOST:
        raise ValueError(
            f"layer {later!r} has {targets} positions and layer {earlier!r} {cubes[earlier].size} "
            f"activations, together more than {_MOST} numbers; expected layers with smaller maps"
        )
    found = attribute(
        model, batch, later, earlier, position="each", max_pool=max_pool, progress=False
    )
    return found["by_position"].isel(sample=0, drop=True)


def _maps(pair: xr.DataArray) -> np.ndarray:
    """The map of the earlier layer for each position of the later one, (positions, y, x)."""
    values = pair.transpose("target_y", "target_x", "y", "x").values
    return values.reshape(-1, *values.shape[2:])


def _strongest(activation: xr.DataArray) -> tuple[int, int]:
    length = np.linalg.norm(activation.transpose("neuron", "y", "x").values, axis=0)
    row, column = np.unravel_index(int(length.argmax()), length.shape)
    return int(row), int(column)
