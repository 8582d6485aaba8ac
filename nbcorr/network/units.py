"""Along which axis of a layer's output its units lie."""

from __future__ import annotations

import torch
from torch import nn

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
