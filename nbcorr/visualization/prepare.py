"""From what people ask for to networks ready to make pictures, and the errors on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import nn

from nbcorr.network.layers import module_and_call
from nbcorr.visualization.folding import found_pairs
from nbcorr.visualization.forward import Network, probed
from nbcorr.visualization.jobs import Wanted, wanted
from nbcorr.visualization.objective import Objective, OtherLayer, Outputs
from nbcorr.visualization.private import private, quickened
from nbcorr.visualization.render import Networks, layers_in

ORIGINAL = "the model itself: it cannot be deep-copied"


class Prepared(NamedTuple):
    """What pictures are made of.

    Attributes
    ----------
    wanted : Wanted
    networks : Networks
    order : list of str
        The main model's layers in the order in which they run.
    runs_on : str
        What the pictures are made with: the model, or a copy of it.
    behaviour : list of str
        A few numbers of what every layer says of one picture.
    """

    wanted: Wanted
    networks: Networks
    order: list[str]
    runs_on: str
    behaviour: list[str]


def prepared(
    stack: ExitStack,
    model: nn.Module,
    asked: Any,
    picture: torch.Tensor,
    preprocess: Callable[[torch.Tensor], Any],
) -> Prepared:
    """Networks for all that was asked for, seen to work on one picture.

    Parameters
    ----------
    stack : contextlib.ExitStack
        Models that cannot be copied are as they were when it closes.
    model : torch.nn.Module
    asked : as for ``nc.visualize``
    picture : torch.Tensor, shape (1, channels, height, width) or (1, features)
        One that asks for a gradient.
    preprocess : callable

    Raises
    ------
    ValueError
        If a neuron or layer does not exist, has no gradient to the picture, or cannot take
        pictures of this shape.
    """
    mine = stack.enter_context(private(model))
    inputs = preprocess(picture)

    def outputs(layers: list[str]) -> Outputs:
        return probed(Network(mine.model, layers, inputs), inputs, tuple(picture.shape[1:]))

    found = wanted(asked, model, outputs, picture)
    network, order, runs_on, seen = _ready(mine, None, found.objectives, inputs, picture)
    networks: dict[nn.Module | None, Network] = {None: network}
    for other in _other_models(found.objectives):
        copied = stack.enter_context(private(other))
        networks[other], _, _, more = _ready(copied, other, found.objectives, inputs, picture)
        seen |= more
    for objective in found.objectives:
        _check_value(objective, seen, picture)
    return Prepared(found, Networks(networks), order, runs_on, _behaviour(seen))


def _ready(
    mine: Any,
    model: nn.Module | None,
    objectives: Sequence[Objective],
    inputs: Any,
    picture: torch.Tensor,
) -> tuple[Network, list[str], str, dict[Any, torch.Tensor]]:
    """A network that has shown that it works, the order of its layers, and what they said."""
    network = Network(mine.model, layers_in(model, objectives), inputs)
    kept = {module_and_call(layer)[0] for layer in network.layers}
    with found_pairs(mine.model, kept) as pairs:
        seen = probed(network, inputs, tuple(picture.shape[1:]))
    named = {(layer if model is None else OtherLayer(model, layer)): seen[layer] for layer in seen}
    if not mine.is_copy:
        return network, list(seen), ORIGINAL, named
    network, said = quickened(network, pairs, inputs, seen)
    return network, list(seen), said, named


def _check_value(objective: Objective, seen: Outputs, picture: torch.Tensor) -> None:
    """That an objective has one value, with a gradient, for one picture."""
    value = objective.value(seen, picture)
    if value.shape != (1,):
        raise ValueError(
            f"{objective.label} gave shape {tuple(value.shape)} for one picture; expected (1,)"
        )
    if not value.requires_grad:
        raise ValueError(f"{objective.label} has no gradient to the image; expected one")


def _other_models(objectives: Sequence[Objective]) -> list[nn.Module]:
    layers = [layer for objective in objectives for layer in objective.layers]
    return list(dict.fromkeys(x.model for x in layers if isinstance(x, OtherLayer)))


def _behaviour(seen: dict[Any, torch.Tensor]) -> list[str]:
    values = [output.detach().double() for output in seen.values()]
    return [f"{v.mean().item():.4g} {v.std(correction=0).item():.4g}" for v in values]
