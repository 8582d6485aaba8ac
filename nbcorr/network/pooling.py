"""From a layer's output to one number per sample and unit."""

from __future__ import annotations

import torch
from torch import nn

from nbcorr.network.names import unknown

POOLS = ("mean", "max")

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


def governor(model: nn.Module, name: str) -> nn.Module:
    """The module that decides along which axis a layer's units lie.

    Itself where it is a convolution, a linear layer or another whose axis is known; else, an
    activation for example, the nearest such module before it in the model. A ReLU after a Conv1d
    has its channels on axis 1, one after a Linear on the last.
    """
    found = model.get_submodule(name)
    nearest: nn.Module | None = None
    for other, module in model.named_modules():
        if isinstance(module, _UNITS_LAST + _UNITS_SECOND):
            nearest = module
        if other == name or module is found:
            break
    return nearest if nearest is not None else found


def unit_axis(module: nn.Module, output: torch.Tensor) -> int:
    """The axis of an output along which its units lie, by the layer's `governor`.

    Convolutions, normalisations over channels and poolings: axis 1. Linear, LayerNorm, embedding,
    attention and recurrent layers: the last. Where that does not fit the number of axes, or
    nothing is known: axis 1 of a map (4 or 5 axes), the last of a sequence (3 axes).

    Raises
    ------
    ValueError
        If the layer puts time before the samples.
    """
    if getattr(module, "batch_first", True) is False and output.ndim == 3:
        raise ValueError(
            f"{type(module).__name__} has batch_first=False and gives time first, shape "
            f"{tuple(output.shape)}; expected the samples along the first axis"
        )
    if isinstance(module, _UNITS_LAST) or output.ndim <= 2:
        return output.ndim - 1
    flat = output.ndim == 3
    if isinstance(module, _UNITS_SECOND) and not (flat and _is_planar(module)):
        return 1
    return output.ndim - 1 if flat else 1


def _is_planar(module: nn.Module) -> bool:
    """Whether its maps have two or three places, so that three axes are no map of its own."""
    return type(module).__name__.endswith(("2d", "3d"))


def check_pool(pool: str) -> str:
    """The name of a pooling, or a ValueError with the nearest one that exists."""
    if pool not in POOLS:
        raise ValueError(unknown("pooling", pool, POOLS))
    return pool


def positions(output: torch.Tensor, axis: int) -> torch.Tensor:
    """A layer's output as (batch, units, positions); dense outputs have one position."""
    if output.ndim < 2:
        return output.reshape(output.shape[0] if output.ndim else 1, 1, 1)
    return output.movedim(axis, 1).flatten(2) if output.ndim > 2 else output.unsqueeze(2)


def pool_units(output: torch.Tensor, axis: int, pool: str) -> torch.Tensor:
    """One number per sample and unit, shape (batch, units).

    Parameters
    ----------
    output : torch.Tensor, at least one axis
        What a layer gave for a batch; the first axis is the samples.
    axis : int
        The axis of the units.
    pool : {"mean", "max"}
        How the positions (space, time, tokens) are brought to one number.
    """
    if output.ndim <= 2:
        # A copy: an in-place activation that follows would change a view.
        return positions(output, axis)[:, :, 0].clone()
    over = tuple(a for a in range(1, output.ndim) if a != axis)
    return output.mean(over) if pool == "mean" else output.amax(over)
