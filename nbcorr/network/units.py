"""Along which axis of a layer's output its units lie."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn

from nbcorr.network.wrappers import named_modules, submodule

# Modules whose units lie on the last axis whatever the number of axes (tokens, channels-last).
_UNITS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)
_UNITS_SECOND = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)


@dataclasses.dataclass(frozen=True)
class Governor:
    """What decides along which axis a layer's units lie.

    Attributes
    ----------
    module : torch.nn.Module
    units : frozenset of int
        How many units the modules of its kind have that stand beside the layer: an activation may
        be shared among them.
    """

    module: nn.Module
    units: frozenset[int] = frozenset()


def governor(model: nn.Module, name: str) -> Governor:
    """What decides along which axis the units of one layer lie: see `governors`."""
    return governors(model, [name])[name]


def governors(model: nn.Module, names: Iterable[str]) -> dict[str, Governor]:
    """What decides along which axis each layer's units lie.

    The layer itself where it is a convolution, a linear layer or another whose axis is known; else,
    an activation for example, the nearest such module declared before it, or behind it where there
    is none before. A ReLU after a Conv1d has its channels on axis 1, one after a Linear on the
    last.

    Raises
    ------
    AttributeError
        If there is no module of a name.
    """
    walk = _Walk(model)
    return {name: walk.governor(submodule(model, name)) for name in names}


class _Walk:
    """The modules of a model in the order they were declared, and which of them are known."""

    def __init__(self, model: nn.Module):
        self.first: dict[nn.Module, int] = {}
        self.parents: dict[nn.Module, set[str]] = defaultdict(set)
        self.known: list[int] = []
        self.modules: list[nn.Module] = []
        # Units of what is known, by the parent it is in, at whatever depth, and by its kind.
        self.units: dict[tuple[str, bool], set[int]] = defaultdict(set)
        for at, (name, module) in enumerate(named_modules(model)):
            self.modules.append(module)
            self.first.setdefault(module, at)
            self.parents[module].add(name.rpartition(".")[0])
            if isinstance(module, _UNITS_LAST + _UNITS_SECOND):
                self.known.append(at)
                self._note_units(name, module)

    def _note_units(self, name: str, module: nn.Module) -> None:
        units = _units_of(module)
        while name and units is not None:
            name = name.rpartition(".")[0]
            self.units[name, isinstance(module, _UNITS_LAST)].add(units)

    def governor(self, module: nn.Module) -> Governor:
        """What decides for one of them."""
        if not self.known:
            return Governor(module)
        before = bisect_right(self.known, self.first[module])
        nearest = self.modules[self.known[max(before - 1, 0)]]
        if nearest is module:
            return Governor(module)
        last = isinstance(nearest, _UNITS_LAST)
        beside = (self.units[parent, last] for parent in self.parents[module])
        return Governor(nearest, frozenset().union(*beside))


def unit_axis(decides: Governor, output: torch.Tensor) -> int:
    """The axis of an output along which its units lie, by the layer's `governor`.

    Convolutions, normalisations over channels and poolings: axis 1. Linear, LayerNorm, embedding,
    attention and recurrent layers: the last. Where another axis alone has as many places as the
    governor has units, that one (permuted maps, ``LayerNorm2d``). Where none has, or nothing is
    known: axis 1 of a map (4 or 5 axes), the last of a sequence (3 axes).

    Raises
    ------
    ValueError
        If the layer puts time before the samples.
    """
    module = decides.module
    if getattr(module, "batch_first", True) is False and output.ndim == 3:
        raise ValueError(
            f"{type(module).__name__} has batch_first=False and gives time first, shape "
            f"{tuple(output.shape)}; expected the samples along the first axis"
        )
    if output.ndim <= 2:
        return output.ndim - 1
    usual, units = _usual_axis(module, output.ndim), _units_of(module)
    if units is None or output.shape[usual] in {units, *decides.units}:
        return usual
    fitting = [axis for axis in range(1, output.ndim) if output.shape[axis] == units]
    # With none the output is of another module: an activation that all of a network shares.
    return fitting[0] if len(fitting) == 1 else _axis_of_unknown(output.ndim)


def _usual_axis(module: nn.Module, ndim: int) -> int:
    planar = _is_planar(module)
    # timm and torchvision have a LayerNorm2d over the channels of maps.
    if isinstance(module, _UNITS_LAST) and not planar:
        return ndim - 1
    second = isinstance(module, (*_UNITS_SECOND, nn.LayerNorm)) and not (planar and ndim == 3)
    return 1 if second else _axis_of_unknown(ndim)


def _axis_of_unknown(ndim: int) -> int:
    return ndim - 1 if ndim == 3 else 1


def _units_of(module: nn.Module) -> int | None:
    """How many units a module was built with, or None where that is not known."""
    if isinstance(module, nn.RNNBase):
        return module.hidden_size * (1 + module.bidirectional)
    if isinstance(module, nn.LayerNorm):
        return module.normalized_shape[-1]
    names = ("out_channels", "out_features", "num_features", "embedding_dim", "embed_dim")
    return next((value for n in names if isinstance(value := getattr(module, n, None), int)), None)


def _is_planar(module: nn.Module) -> bool:
    """Whether its maps have two or three places, so that three axes are no map of its own."""
    return type(module).__name__.endswith(("2d", "3d"))
