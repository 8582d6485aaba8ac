"""Pooled outputs that follow from the pooled inputs, so that a map need not be read again.

Reading the maps is what recording costs. A batch normalisation in eval mode is a line per channel:
the mean of a line is the line of the mean, and where it rises the largest is the line of the
largest. A ReLU changes no order: the largest of what it gives is what it gives for the largest.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

# Never decreasing, and exact: no value is rounded on the way. Subclasses may do anything.
_KEEPS_ORDER = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
_LINES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


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


def derived(
    module: nn.Module,
    pool: str,
    pooled: torch.Tensor,
    read: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor | None:
    """A layer's pooled output from its pooled input; None where its map must be read.

    Parameters
    ----------
    module : torch.nn.Module
        The layer.
    pool : str
        Name of the pooling.
    pooled : torch.Tensor, shape (batch, units)
        The layer's input, pooled the same way.
    read : callable
        From indices of units to their pooled outputs, shape (batch, len(indices)), for units that
        must be read where others need not.

    Returns
    -------
    torch.Tensor, shape (batch, units), or None
        Within the rounding of one multiplication of what reading the map gives; exact for "max"
        of a ReLU.
    """
    # A hook besides the one that asks may change what the layer gives.
    everywhere = nn.modules.module._global_forward_hooks
    if len(module._forward_hooks) > 1 or everywhere or "forward" in vars(module):
        return None
    if pool == "max" and type(module) in _KEEPS_ORDER:
        return functional.hardtanh(pooled, *_limits(module))
    if isinstance(module, _BatchNorm) and type(module) in _LINES and pool in ("mean", "max"):
        return _on_the_line(module, pool, pooled, read)
    return None


def _on_the_line(
    module: _BatchNorm,
    pool: str,
    pooled: torch.Tensor,
    read: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor | None:
    mean = module.running_mean
    if module.training or mean is None or mean.dtype != pooled.dtype:
        return None
    line = functional.batch_norm(
        pooled, mean, module.running_var, module.weight, module.bias, eps=module.eps
    )
    if pool == "max" and module.weight is not None:
        falling = (module.weight < 0).nonzero()[:, 0]
        if len(falling):
            line[:, falling] = read(falling)
    return line


def _limits(module: nn.Module) -> tuple[float, float]:
    if isinstance(module, nn.Hardtanh):
        return module.min_val, module.max_val
    return 0.0, float("inf")
