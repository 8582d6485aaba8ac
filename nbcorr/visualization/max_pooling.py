"""Max-pooling with a gradient that is shared among the values near the largest."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

# What keeps the quotient from dividing by zero, in units of the activation (Lucid's constant).
EPSILON = 1e-2
MAX_POOLS = (nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)


def smoothed(module: nn.Module, x: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    """What a max-pooling gave, with the gradient of a smooth pooling in the place of its own.

    Parameters
    ----------
    module : nn.MaxPool1d, 2d, 3d or an adaptive one
    x, pooled : torch.Tensor
        Its input and its output.

    Returns
    -------
    torch.Tensor
        Equal to ``pooled``; its gradient is that of ``mean(x²) / (0.01 + mean(|x|))`` over the
        same windows.

    Raises
    ------
    ValueError
        If the pooling is dilated.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018), notebook
    AttrSpatial of its library Lucid: the largest value takes all of the gradient, others that are
    nearly as large none, which shows as a checkerboard. The authors warn that this hides what the
    network does.
    """
    return _Smoothed.apply(x, pooled, module)


class _Smoothed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, pooled: torch.Tensor, module: nn.Module) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.module = module
        return pooled.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            smooth = _mean(ctx.module, x**2) / (EPSILON + _mean(ctx.module, x.abs()))
            (grad,) = torch.autograd.grad(smooth, x, grads[0])
        return grad, None, None


def _mean(module: Any, x: torch.Tensor) -> torch.Tensor:
    """The mean over the windows that a max-pooling takes the largest of; padding left out."""
    places = int(type(module).__name__[-2])
    if isinstance(module, nn.modules.pooling._AdaptiveMaxPoolNd):
        return getattr(functional, f"adaptive_avg_pool{places}d")(x, module.output_size)
    dilation = module.dilation if isinstance(module.dilation, tuple) else (module.dilation,)
    if any(step != 1 for step in dilation):
        raise ValueError(f"a {type(module).__name__} has dilation {module.dilation}; expected 1")
    # The 1d one has no way to leave the padding out of the mean, so what is padding is counted.
    pool = getattr(functional, f"avg_pool{places}d")
    window = (module.kernel_size, module.stride, module.padding, module.ceil_mode)
    filled = pool(torch.ones_like(x[:1, :1]), *window)
    return pool(x, *window) / filled
