"""From what people ask for to networks ready to make pictures, and the errors on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import nn

from nbcorr.network.layers import module_and_call
from nbcorr.visualization.folding import Pairs, found_pairs
from nbcorr.visualization.forward import Network, probed
from nbcorr.visualization.jobs import Wanted, wanted
from nbcorr.visualization.objective import Layer, Objective, OtherLayer, Outputs
from nbcorr.visualization.private import Private, itself, noticed, private, quickened
from nbcorr.visualization.render import Networks, layers_in

COPY = "a copy of the model"
ORIGINAL = "the model itself, which cannot be copied"


class Ready(NamedTuple):
    """A network that has shown that it works.

    Attributes
    ----------
    model : torch.nn.Module or None
        The one that people know it as; None is the main one.
    network : Network
    pairs : list of (convolution, normalisation)
        What can be folded.
    seen : dict of layer to tensor
        What the layers said of one picture, in the order in which they ran.
    is_copy : bool
    """

    model: nn.Module | None
    network: Network
    pairs: Pairs
    seen: dict[str, torch.Tensor]
    is_copy: bool

    def detached(self) -> Ready:
        """Without the graph behind what was seen."""
        return self._replace(seen={layer: o.detach() for layer, o in self.seen.items()})

    def named(self) -> dict[Layer, torch.Tensor]:
        """What the layers said, under the names that objectives have for them."""
        if self.model is None:
            return {layer: self.seen[layer] for layer in self.seen}
        return {OtherLayer(self.model, layer): self.seen[layer] for layer in self.seen}


class Prepared(NamedTuple):
    """What pictures are made of, the main network first."""

    wanted: Wanted
    ready: list[Ready]
    inputs: Any

    def order(self) -> list[str]:
        """The layers of the main model in the order in which they run."""
        return list(self.ready[0].seen)

    def networks(self, quick: bool = True) -> tuple[Networks, str]:
        """The networks, made quicker where that changes nothing, and what the main one is."""
        networks: dict[nn.Module | None, Network] = {}
        said = []
        for one in self.ready:
            network, what = one.network, COPY if one.is_copy else ORIGINAL
            if quick and one.is_copy:
                network, folded = quickened(network, one.pairs, self.inputs, one.seen)
                what += f", {folded} normalisations folded" if folded else ""
            networks[one.model] = network
            said.append(what)
        return Networks(networks), said[0]

    def behaviour(self) -> dict[Layer, str]:
        """Two numbers of what every layer says of one picture."""
        seen = {
            layer: o.detach().double() for one in self.ready for layer, o in one.named().items()
        }
        return {
            layer: f"{output.mean().item():.4g} {output.std(correction=0).item():.4g}"
            for layer, output in seen.items()
        }


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
    inputs = preprocess(picture)
    mine = private(stack, model)
    if not mine.is_copy:
        return _prepared(stack, mine, model, asked, picture, inputs)
    with noticed(model) as ran:
        try:
            tried = _prepared(stack, mine, model, asked, picture, inputs)
        except Exception:
            if not ran:
                raise
    return _prepared(stack, itself(stack, model), model, asked, picture, inputs) if ran else tried


def _prepared(
    stack: ExitStack,
    mine: Private,
    model: nn.Module,
    asked: Any,
    picture: torch.Tensor,
    inputs: Any,
) -> Prepared:
    shape = tuple(picture.shape[1:])

    def outputs(layers: list[str]) -> Outputs:
        seen = probed(Network(mine.model, layers, inputs), inputs, shape)
        return {layer: seen[layer] for layer in seen}

    found = wanted(asked, model, outputs, picture)
    ready = [_ready(mine, None, found.objectives, inputs, shape)]
    for other in _other_models(found.objectives):
        ready.append(_ready(private(stack, other), other, found.objectives, inputs, shape))
    seen = {layer: output for one in ready for layer, output in one.named().items()}
    for objective in found.objectives:
        _check_value(objective, seen, picture)
    # The graph behind them would be kept as long as they are.
    return Prepared(found, [one.detached() for one in ready], inputs)


def _ready(
    mine: Private,
    model: nn.Module | None,
    objectives: Sequence[Objective],
    inputs: Any,
    shape: tuple[int, ...],
) -> Ready:
    network = Network(mine.model, layers_in(model, objectives), inputs)
    kept = {module_and_call(layer)[0] for layer in network.layers}
    with found_pairs(mine.model, kept) as pairs:
        seen = probed(network, inputs, shape)
    return Ready(model, network, pairs, seen, mine.is_copy)


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
