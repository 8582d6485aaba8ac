"""Pooled outputs that follow from the pooled inputs, so that a map need not be read again.

Reading the maps is what recording costs. A batch normalisation in eval mode is a line per channel:
the mean of a line is the line of the mean, and where it rises the largest is the line of the
largest. A ReLU changes no order: the largest of what it gives is what it gives for the largest.
A linear layer, or a convolution of one pixel, does the same to every position: the mean of what it
gives is what it gives for the mean.
"""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from nbcorr.network.pooling import Pooling
from nbcorr.network.tokens import Tokens

# Never decreasing, and exact: no value is rounded on the way. Subclasses may do anything.
_KEEPS_ORDER = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
_LINES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# An input is worth reading for an output of so many times its units; neither is worth a product
# where there are few positions.
_WORTH, _MANY = 2, 16
_ROUNDING = 1e-4


class LastPooled:
    """The last map that was pooled, for as long as nobody has changed it.

    It holds no map alive. A tensor's version counts the writes to it, which tells an in-place
    change; tensors of inference mode have none and are never recognised.
    """

    def __init__(self) -> None:
        self._map: weakref.ref[torch.Tensor] | None = None
        self._version, self._axis = 0, 0
        self._pooled: list[torch.Tensor] = []

    def remember(self, output: torch.Tensor, axis: int, pooled: list[torch.Tensor]) -> None:
        """That this is what came out of pooling ``output``, its units along ``axis``."""
        if output.is_inference():
            self._map = None
            return
        self._map, self._version = weakref.ref(output), output._version
        self._axis, self._pooled = axis, pooled

    def behind(self, module: nn.Module, inputs: object, axis: int) -> list[torch.Tensor]:
        """The pooled values of ``inputs``, what the module was called with; none if unknown."""
        if self._map is None or self._map() is not inputs or axis != self._axis:
            return []
        assert isinstance(inputs, torch.Tensor)
        # The one write that the module itself did.
        own = 1 if getattr(module, "inplace", False) else 0
        return self._pooled if inputs._version == self._version + own else []


class Run(NamedTuple):
    """One run of a layer: what it was called with and what it gave, units along ``axis``."""

    module: nn.Module
    inputs: Any
    output: torch.Tensor
    axis: int
    tokens: Tokens


def derived(run: Run, pool: Pooling, known: torch.Tensor | None) -> torch.Tensor | None:
    """A layer's pooled output from its pooled input; None where its map must be read.

    Parameters
    ----------
    run : Run
    pool : Pooling
    known : torch.Tensor, shape (batch, units), or None
        The layer's input, pooled the same way. An input that nobody has pooled is read if it is
        much smaller than what follows from it.

    Returns
    -------
    torch.Tensor, shape (batch, units), or None
        Within the rounding of one multiplication, or of one row of them, of what reading the map
        gives; exact for "max" of a ReLU.
    """
    module = run.module
    # A hook besides the one that asks may change what the layer gives.
    everywhere = nn.modules.module._global_forward_hooks
    if len(module._forward_hooks) > 1 or everywhere or "forward" in vars(module):
        return None
    if pool.name == "mean" and is_affine(module):
        return _affine(run, pool, known)
    if known is None:
        return None
    if pool.name == "max" and type(module) in _KEEPS_ORDER:
        return functional.hardtanh(known, *_limits(module))
    if pool.name in ("mean", "max") and isinstance(module, _BatchNorm) and type(module) in _LINES:
        return _on_the_line(module, run, pool, known)
    return None


def is_affine(module: nn.Module) -> bool:
    """Whether a layer should do the same to every position: its weights times what is there.

    Subclasses, which may do otherwise, are in it: see `needs_a_look`.
    """
    if not isinstance(getattr(module, "weight", None), torch.Tensor):
        return False
    if isinstance(module, nn.Linear):
        return True
    if not isinstance(module, _CONVOLUTIONS) or module.groups > 1:
        return False
    # With a window of one position "same" is no padding, and "valid" none ever.
    padding = () if isinstance(module.padding, str) else module.padding
    return {*module.kernel_size, *module.stride} == {1} and not any(padding)


def needs_a_look(module: nn.Module) -> bool:
    """Whether what follows is to be compared with what is read before it is believed."""
    return is_affine(module) and type(module) not in (nn.Linear, *_CONVOLUTIONS)


def agree(follows: torch.Tensor, seen: torch.Tensor) -> bool:
    """Whether they differ by no more than the rounding of a long sum."""
    return bool((follows - seen).abs().max() <= _ROUNDING * seen.abs().max())


def _affine(run: Run, pool: Pooling, known: torch.Tensor | None) -> torch.Tensor | None:
    weight: Any = run.module.weight
    bias: Any = run.module.bias
    per_unit = run.output[0].numel() / run.output.shape[run.axis]
    if weight.dtype != run.output.dtype or per_unit < _MANY:
        return None
    if known is None:
        if not isinstance(run.inputs, torch.Tensor) or len(weight) < _WORTH * weight[0].numel():
            return None
        known = pool(run.inputs, run.axis, run.tokens)
    return functional.linear(known.to(weight.dtype), weight.flatten(1), bias)


def _on_the_line(
    module: _BatchNorm, run: Run, pool: Pooling, known: torch.Tensor
) -> torch.Tensor | None:
    mean = module.running_mean
    if module.training or mean is None or mean.dtype != known.dtype:
        return None
    line = functional.batch_norm(
        known, mean, module.running_var, module.weight, module.bias, eps=module.eps
    )
    if pool.name == "max" and module.weight is not None:
        falling = (module.weight < 0).nonzero()[:, 0]
        if len(falling):
            units = run.output.index_select(run.axis, falling)
            line[:, falling] = pool(units, run.axis, run.tokens)
    return line


def _limits(module: nn.Module) -> tuple[float, float]:
    if isinstance(module, nn.Hardtanh):
        return module.min_val, module.max_val
    return 0.0, float("inf")
