"""Channel attribution: which neurons of a layer speak for an answer and which against it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import traitlets
import xarray as xr
from torch import nn

from nbcorr.network.neurons import neuron_label
from nbcorr.notebook.interfaces import still
from nbcorr.notebook.interfaces.base import STATIC, NeuronInterface
from nbcorr.notebook.interfaces.content import SUBSTRATE, displayable, packed, sprite
from nbcorr.notebook.interfaces.icons import Icons
from nbcorr.visualization.attribute import attribute
from nbcorr.visualization.semantic_dictionary import one_image


class ChannelAttribution(NeuronInterface):
    """The neurons that contribute most to a logit, or to one logit rather than another.

    Bars show each neuron's share in the whole image or, at a position that is hovered or chosen,
    its share there; hovering or choosing a neuron shows where its share comes from.

    Parameters
    ----------
    model : torch.nn.Module
    image : array or tensor, shape (channels, height, width)
        As the model takes it.
    layer : str
        One that gives maps or patches.
    target : class, pair of classes or neuron
        As for ``nc.attribute``; of a pair, the neurons speak for the first or for the second.
    pictures, exemplars : xarray.Dataset, optional
        Of ``nc.visualize`` and ``nc.exemplars``.
    k : int
        Neurons on each side, for and against.
    method : str
        As for ``nc.attribute`` at a layer.
    classes : sequence of str, optional
        Names of the model's classes.
    shown : array, shape (y, x, channel), optional
        The image as people see it, in 0..1. By default the input, brought there linearly.
    preprocess : callable, optional
        For pictures made on demand, as for ``nc.visualize``.

    Attributes
    ----------
    position : (row, column) or ()
        The chosen position, if any.
    neuron : str
        The chosen neuron, ``"layer:unit"``, or ``""``.
    attribution : xarray.Dataset
        As ``nc.attribute`` gives it, of all neurons.
    neurons : list of str
        Every neuron that is shown.

    Raises
    ------
    ValueError
        If the image is not one image, the layer gives no maps, no neuron contributes, or
        arguments do not fit.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018). An attribution
    is a first-order account: it can miss what only neurons together would change.
    """

    _esm = STATIC / "channel_attribution.js"

    position = traitlets.Tuple(help="row and column of the chosen position, or ()").tag(sync=True)

    def __init__(
        self,
        model: nn.Module,
        image: Any,
        layer: str,
        target: Any,
        *,
        pictures: xr.Dataset | None = None,
        exemplars: xr.Dataset | None = None,
        k: int = 4,
        method: str = "gradient",
        classes: Sequence[str] | None = None,
        shown: Any = None,
        preprocess: Callable[..., Any] | None = None,
    ) -> None:
        if k < 1:
            raise ValueError(f"k is {k}; expected at least 1")
        batch = one_image(image)
        found = attribute(
            model, batch, target, layer, method=method, classes=classes, progress=False
        ).isel(sample=0)
        _check(found, layer)
        strongest = _strongest(found["by_neuron"].values, k)
        icons = Icons(
            [(layer, unit) for unit in strongest],
            pictures,
            exemplars,
            model,
            tuple(batch.shape[1:]),
            preprocess,
        )
        self.attribution = found
        self._shown = displayable(batch[0]) if shown is None else np.asarray(shown)
        super().__init__(
            icons, content=_content(found, strongest, layer, isinstance(target, tuple), self._shown)
        )

    @traitlets.validate("position")
    def _valid_position(self, proposal: dict[str, Any]) -> tuple[int, ...]:
        position = tuple(proposal["value"])
        rows, columns = self.attribution.sizes["y"], self.attribution.sizes["x"]
        if position and not (
            len(position) == 2 and 0 <= position[0] < rows and 0 <= position[1] < columns
        ):
            raise ValueError(
                f"position is {position}; expected () or a row from 0 to {rows - 1} and a column "
                f"from 0 to {columns - 1}"
            )
        return position

    def _values(self) -> list[tuple[tuple[str, int], float]]:
        """What is shown: the neurons with their attributions."""
        if self.position:
            row, column = self.position
            values = self.attribution["attribution"].isel(y=row, x=column).values
        else:
            values = self.attribution["by_neuron"].values
        return [(neuron, float(values[neuron[1]])) for neuron in self._icons.neurons]

    def _words(self) -> str:
        named = ", ".join(f"{neuron_label(*n)} {value:+.3g}" for n, value in self._values())
        return f"Channel attribution of {self.attribution.attrs['target']}: {named}"

    def _still(self) -> bytes:
        values = self._values()
        positive = self.content["positive"]
        rows = [values[:positive], values[positive:]]
        most = max(len(row) for row in rows)
        figure = still.new_figure(3 + 1.4 * most, 4.0)
        grid = figure.add_gridspec(2, 2 + most)
        target = self.attribution.attrs["target"]
        still.draw_image(figure.add_subplot(grid[:, :2]), self._shown, target)
        for i, row in enumerate(rows):
            axes = [figure.add_subplot(grid[i, 2 + j]) for j in range(len(row))]
            words = [(n, f"{still.short(neuron_label(*n))}\n{value:+.3g}") for n, value in row]
            still.draw_neurons(axes, self._icons, words)
        return still.png(figure)


def _check(found: xr.Dataset, layer: str) -> None:
    if not {"y", "x"} <= set(found["attribution"].dims):
        raise ValueError(
            f"layer {layer!r} gives no maps; expected a layer with positions, as a convolution or "
            "the blocks of a vision transformer have them"
        )
    if found["by_neuron"].ndim > 1:
        raise ValueError("several targets were given; expected one, or a pair of classes")
    if not found["by_neuron"].values.any():
        raise ValueError(
            f"no neuron of layer {layer!r} contributes to {found.attrs['target']!r} in this image"
        )


def _strongest(values: np.ndarray, k: int) -> list[int]:
    """Units that speak for the target most, then those that speak against it, k of each."""
    order = np.argsort(-values, kind="stable")
    positive = order[values[order] > 0][:k]
    negative = order[::-1][values[order[::-1]] < 0][:k]
    return [*positive.tolist(), *negative.tolist()]


def _content(
    found: xr.Dataset, units: list[int], layer: str, pair: bool, shown: np.ndarray
) -> dict[str, Any]:
    target = str(found.attrs["target"])
    values = found["by_neuron"].values[units]
    return {
        "layer": layer,
        "model": found.attrs["model"],
        "target": target,
        "sides": _sides(target, pair),
        "positive": int((values > 0).sum()),
        "picture": sprite([shown], SUBSTRATE),
        "values": packed(values.astype(np.float32)),
        "maps": packed(found["attribution"].transpose("neuron", "y", "x").values[units]),
        "total": packed(found["by_position"].values.astype(np.float32)),
        "summary": _summary(found, units),
    }


def _sides(target: str, pair: bool) -> list[str]:
    first, minus, second = target.partition(" - ")
    if pair and minus:
        return [f"for {first}", f"for {second}"]
    return [f"for {target}", f"against {target}"]


def _summary(found: xr.Dataset, units: list[int]) -> str:
    by_neuron = found["by_neuron"].values
    rest = len(by_neuron) - len(units)
    left = float(np.delete(by_neuron, units).sum())
    text = f"score {float(found['score']):.3g}"
    if rest:
        text += f", the other {rest} neuron{'s' * (rest > 1)} together {left:+.3g}"
    return text.replace("-", "−")
