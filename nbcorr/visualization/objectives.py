"""``nc.objectives``: what pictures can be made to maximise, to be added and multiplied.

Everything here is larger where a picture does better, but for the four amounts at the end
(``total_variation``, ``l1``, ``l2``, ``blur``): those are kept small by subtracting them::

    nc.visualize(model, channel("features.3", 17) - 0.1 * total_variation())

Source: Lucid's ``optvis/objectives`` (Olah, Mordvintsev, Schubert, Distill 2017), with means in the
place of its sums, so that numbers do not depend on the size of a picture.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr
from torch import nn

from nbcorr.network.neurons import parse_neurons
from nbcorr.visualization.objective import Objective, OtherLayer
from nbcorr.visualization.objective_kinds import (
    Alignment,
    Blur,
    Channel,
    DeepDream,
    Direction,
    Diversity,
    Interpolation,
    Neuron,
    Norm,
    TotalVariation,
)

__all__ = [
    "Objective",
    "alignment",
    "blur",
    "channel",
    "class_logit",
    "deepdream",
    "difference",
    "direction",
    "direction_at",
    "diversity",
    "group",
    "interpolation",
    "l1",
    "l2",
    "neuron",
    "total_variation",
]


def channel(layer: str, unit: int) -> Objective:
    """The mean of a unit over all positions.

    Parameters
    ----------
    layer : str
        A module's name; ``name#2`` is its second call in one forward pass.
    unit : int
    """
    return Channel(layer, operator.index(unit))


def neuron(layer: str, unit: int, y: int | None = None, x: int | None = None) -> Objective:
    """A unit at one position; the middle where none is given.

    Parameters
    ----------
    layer : str
    unit : int
    y, x : int, optional
        In the layer's own map, the patches of a vision transformer included. Of a sequence of
        tokens that is no map, ``x`` is the token.
    """
    return Neuron(layer, operator.index(unit), y, x)


def direction(layer: str, vector: Any, cossim_pow: float = 0) -> Objective:
    """How far a layer goes in a direction, the mean over all positions.

    Parameters
    ----------
    layer : str
    vector : array-like, shape (units,)
        Taken as it is: a longer vector gives a larger value.
    cossim_pow : float
        The dot product is multiplied by the cosine similarity, at least 0.1, to this power: larger
        ones ask more for the direction and less for the length.

    Raises
    ------
    ValueError
        If the vector has not one axis, or is zero or not finite.
    """
    return Direction(layer, _vector(vector), float(cossim_pow), everywhere=True)


def direction_at(
    layer: str,
    vector: Any,
    y: int | None = None,
    x: int | None = None,
    cossim_pow: float = 0,
) -> Objective:
    """How far a layer goes in a direction at one position; the middle where none is given.

    Parameters
    ----------
    layer, vector, cossim_pow : as for `direction`
    y, x : as for `neuron`

    Raises
    ------
    ValueError
        If the vector has not one axis, or is zero or not finite.
    """
    return Direction(layer, _vector(vector), float(cossim_pow), False, y, x)


def group(neurons: Any, weights: Sequence[float] | None = None) -> Objective:
    """Neurons together, of whatever layers: the weighted sum of their means.

    Parameters
    ----------
    neurons : as for ``nc.visualize``
    weights : sequence of float, optional
        One per neuron; None: all 1.

    Raises
    ------
    ValueError
        If there are not as many weights as neurons.
    """
    chosen = parse_neurons(neurons)
    factors = [1.0] * len(chosen) if weights is None else [float(weight) for weight in weights]
    if len(factors) != len(chosen):
        raise ValueError(f"{len(factors)} weights for {len(chosen)} neurons; expected one each")
    parts = [w * channel(*one) for w, one in zip(factors, chosen, strict=True)]
    return functools.reduce(operator.add, parts)


def class_logit(index: int) -> Objective:
    """What the model's last layer says for a class, before any softmax of the caller's.

    Parameters
    ----------
    index : int
    """
    return Channel("", operator.index(index))


def difference(neuron_a: Any, neuron_b: Any, other_model: nn.Module | None = None) -> Objective:
    """What drives one neuron and not another, of the same model or of another one.

    Parameters
    ----------
    neuron_a, neuron_b : ``"layer:unit"`` or ``(layer, unit)``
    other_model : torch.nn.Module, optional
        The one that ``neuron_b`` is in; it is given the same inputs.

    Raises
    ------
    ValueError
        If either is not one neuron.
    """
    layer, unit = _one(neuron_b)
    other = layer if other_model is None else OtherLayer(other_model, layer)
    return Channel(*_one(neuron_a)) - Channel(other, unit)


def interpolation(neuron_a: Any, neuron_b: Any) -> Objective:
    """From one neuron to another over the pictures of ``diverse=n``; one picture: half of each.

    Parameters
    ----------
    neuron_a, neuron_b : ``"layer:unit"`` or ``(layer, unit)``

    Raises
    ------
    ValueError
        If either is not one neuron.
    """
    return Interpolation(Channel(*_one(neuron_a)), Channel(*_one(neuron_b)))


def diversity(layer: str) -> Objective:
    """How much the pictures of ``diverse=n`` differ in what goes together in a layer.

    Minus the mean cosine similarity of a picture's Gram matrix to the others', in -1..0.

    Parameters
    ----------
    layer : str
    """
    return Diversity(layer)


def alignment(layer: str, decay: float = 2) -> Objective:
    """How alike neighbouring pictures of ``diverse=n`` are in a layer, place by place.

    Minus the mean squared difference to the next four on either side, divided by ``decay`` once
    more for every step between them.

    Parameters
    ----------
    layer : str
    decay : float
    """
    return Alignment(layer, float(decay))


def deepdream(layer: str) -> Objective:
    """Whatever a layer sees already: the mean square of all its outputs.

    Parameters
    ----------
    layer : str
    """
    return DeepDream(layer)


def total_variation() -> Objective:
    """How much neighbouring pixels differ: the mean absolute difference; to be subtracted."""
    return TotalVariation()


def l1(centre: float = 0.5) -> Objective:
    """How far pixels are from grey: the mean absolute difference; to be subtracted.

    Parameters
    ----------
    centre : float
        What counts as grey.
    """
    return Norm(1, float(centre))


def l2(centre: float = 0.5) -> Objective:
    """How far pixels are from grey: the mean squared difference; to be subtracted.

    Parameters
    ----------
    centre : float
        What counts as grey.
    """
    return Norm(2, float(centre))


def blur() -> Objective:
    """How much a small blur would change a picture; to be subtracted.

    Half the mean squared difference to the picture blurred over 3x3 pixels, the blurred one taken
    for a constant: subtracting it pulls every picture towards its blurred self (Nguyen et al.
    2015).
    """
    return Blur()


def _one(neuron: Any) -> tuple[str, int]:
    found = parse_neurons(neuron)
    if len(found) != 1:
        raise ValueError(f"{len(found)} neurons given; expected one, such as 'features.3:17'")
    return found[0]


def _vector(values: Any) -> torch.Tensor:
    values = values.values if isinstance(values, xr.DataArray) else values
    vector = torch.as_tensor(values).detach().to("cpu", torch.float32)
    if vector.ndim != 1:
        raise ValueError(f"a direction has shape {tuple(vector.shape)}; expected (units,)")
    if not vector.isfinite().all() or not vector.any():
        raise ValueError(
            "a direction is zero or not finite; expected a finite vector of some length"
        )
    return vector.clone()
