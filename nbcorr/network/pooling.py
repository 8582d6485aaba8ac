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


def unit_axis(module: nn.Module, output: torch.Tensor) -> int:
    """The axis of a layer's output along which its units lie.

    Convolutions, normalisations over channels and poolings: axis 1. Linear, LayerNorm, embedding,
    attention and recurrent layers: the last. Any other module: axis 1 of a map (4 or 5 axes), the
    last of a sequence (3 axes).
    """
    if isinstance(module, _UNITS_SECOND):
        return 1
    if isinstance(module, _UNITS_LAST) or output.ndim <= 3:
        return output.ndim - 1
    return 1


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
