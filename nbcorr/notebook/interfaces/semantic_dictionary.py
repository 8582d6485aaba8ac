"""The semantic dictionary: hover a position of an image, see what a layer sees there."""

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
from nbcorr.notebook.interfaces.content import SUBSTRATE, displayable, packed, quantized, sprite
from nbcorr.notebook.interfaces.icons import Icons
from nbcorr.visualization.semantic_dictionary import one_image, semantic_dictionary


class SemanticDictionary(NeuronInterface):
    """Hover a position of an image: the neurons that answer most there, as pictures.

    A click or the arrow keys choose a position, a click on a neuron chooses it and shows where it
    answers in the image.

    Parameters
    ----------
    model : torch.nn.Module
    image : array or tensor, shape (channels, height, width)
        As the model takes it.
    layer : str
        One that gives maps or patches.
    pictures : xarray.Dataset, optional
        Of ``nc.visualize``. Without, labels and exemplars are shown, and pictures can be made
        from within the widget or by its ``render()``.
    exemplars : xarray.Dataset, optional
        Of ``nc.exemplars``: real images beside the pictures.
    k : int
        Neurons at each position.
    of : {"activation", "attribution"}
        What they are ranked by.
    target : as for ``nc.attribute``, optional
        For attributions.
    shown : array, shape (y, x, channel), optional
        The image as people see it, in 0..1. By default the input, brought there linearly.
    preprocess : callable, optional
        For pictures made on demand, as for ``nc.visualize``.

    Attributes
    ----------
    position : (row, column)
        The chosen position of the layer's map.
    neuron : str
        The chosen neuron, ``"layer:unit"``, or ``""``.
    dictionary : xarray.Dataset
        ``top_unit`` and ``top_value(y, x, rank)``, all positions.
    neurons : list of str
        Every neuron that can be shown.

    Raises
    ------
    ValueError
        If the image is not one image, the layer gives no maps, or arguments do not fit.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018).
    """

    _esm = STATIC / "semantic_dictionary.js"

    position = traitlets.Tuple(
        traitlets.Int(), traitlets.Int(), help="row and column of the chosen position"
    ).tag(sync=True)

    def __init__(
        self,
        model: nn.Module,
        image: Any,
        layer: str,
        *,
        pictures: xr.Dataset | None = None,
        exemplars: xr.Dataset | None = None,
        k: int = 4,
        of: str = "activation",
        target: Any = None,
        shown: Any = None,
        preprocess: Callable[..., Any] | None = None,
    ) -> None:
        found = semantic_dictionary(model, image, layer, k, of=of, target=target)
        batch = one_image(image)
        units = np.unique(found["top_unit"].values)
        icons = Icons(
            [(layer, int(unit)) for unit in units],
            pictures,
            exemplars,
            model,
            tuple(batch.shape[1:]),
            preprocess,
        )
        self.dictionary = found
        self._shown = displayable(batch[0]) if shown is None else np.asarray(shown)
        super().__init__(
            icons,
            content=_content(found, units, layer, self._shown),
            position=_strongest(found),
        )

    @traitlets.validate("position")
    def _valid_position(self, proposal: dict[str, Any]) -> tuple[int, int]:
        row, column = proposal["value"]
        rows, columns = self.dictionary.sizes["y"], self.dictionary.sizes["x"]
        if not (0 <= row < rows and 0 <= column < columns):
            raise ValueError(
                f"position is {(row, column)}; expected a row from 0 to {rows - 1} and a column "
                f"from 0 to {columns - 1}"
            )
        return row, column

    def _here(self) -> list[tuple[tuple[str, int], float]]:
        """The neurons at the chosen position, with their values."""
        here = self.dictionary.isel(y=self.position[0], x=self.position[1])
        units, values = here["top_unit"].values.tolist(), here["top_value"].values.tolist()
        layer = self.dictionary.attrs["at"]
        return [((layer, unit), value) for unit, value in zip(units, values, strict=True)]

    def _words(self) -> str:
        named = ", ".join(f"{neuron_label(*neuron)} {value:.3g}" for neuron, value in self._here())
        row, column = self.position
        return f"Semantic dictionary, row {row + 1}, column {column + 1}: {named}"

    def _still(self) -> bytes:
        here = self._here()
        figure = still.new_figure(3 + 1.4 * len(here), 2.6)
        axes = figure.subplots(1, 1 + len(here), width_ratios=[2, *[1] * len(here)], squeeze=False)[
            0
        ]
        still.draw_image(axes[0], self._shown, self.dictionary.attrs["at"])
        grid = self.dictionary.sizes["y"], self.dictionary.sizes["x"]
        still.draw_cell(axes[0], self.position, grid, self._shown.shape)
        words = [
            (neuron, f"{still.short(neuron_label(*neuron))}\n{value:.3g}") for neuron, value in here
        ]
        still.draw_neurons(axes[1:], self._icons, words)
        return still.png(figure)


def _content(found: xr.Dataset, units: np.ndarray, layer: str, shown: np.ndarray) -> dict[str, Any]:
    of = found.attrs["of"]
    at = np.searchsorted(units, found["top_unit"].transpose("y", "x", "rank").values)
    return {
        "layer": layer,
        "model": found.attrs["model"],
        "measure": of,
        "target": str(found.attrs.get("target", "")) if of == "attribution" else "",
        "picture": sprite([shown], SUBSTRATE),
        "neurons": packed(at.astype(np.int32)),
        "values": packed(found["top_value"].transpose("y", "x", "rank").values),
        "maps": quantized(found[of].transpose("neuron", "y", "x").values[units]),
    }


def _strongest(found: xr.Dataset) -> tuple[int, int]:
    """Where the layer answers most."""
    strength = found["strength"].values
    row, column = np.unravel_index(int(np.argmax(strength)), strength.shape)
    return int(row), int(column)
