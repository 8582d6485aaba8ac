"""Gradients through ReLUs that are off, so that neurons silent at the start get going."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class RedirectedReLU(torch.autograd.Function):
    """``clamp(x, 0, upper)`` whose gradient, where all of it is blocked, is let through.

    For each sample in ``rows``: if anything passes the ordinary gradient, that is the gradient; if
    nothing does, it passes everywhere except where it would push a value further out of range.

    Notes
    -----
    Source: Lucid, ``misc/redirected_relu_grad.py`` (Olah et al., Distill 2017). What was clamped
    is told from the output alone: saving it costs nothing, since the next layer keeps it too.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, rows: torch.Tensor, upper: float, inplace: bool
    ) -> torch.Tensor:
        """Clamp, in place where the module does so."""
        out = x.clamp_(0, upper) if inplace else x.clamp(0, upper)
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(out, rows)
        ctx.upper = upper
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """The ordinary gradient, or the redirected one for the samples it vanishes in."""
        out, rows = ctx.saved_tensors
        (grad,) = grads
        passed = torch.ops.aten.hardtanh_backward(grad, out, 0, ctx.upper)
        others = tuple(range(1, grad.ndim))
        # The length, quicker to be had than any other test, is 0 for very small numbers too.
        short = rows & (torch.linalg.vector_norm(passed, dim=others) == 0)
        if not short.any():
            return passed, None, None, None
        blocked = short & (passed == 0).flatten(1).all(1)
        below, above = out <= 0, out >= ctx.upper
        redirected = grad.masked_fill((below & (grad > 0)) | (above & (grad < 0)), 0)
        chosen = torch.where(blocked.view(-1, *[1] * len(others)), redirected, passed)
        return chosen, None, None, None


@contextmanager
def redirected_relus(model: nn.Module, rows: torch.Tensor) -> Iterator[None]:
    """Every ``nn.ReLU`` and ``nn.ReLU6`` redirects the gradient of the samples in ``rows``.

    ``rows`` is a boolean per image. Functional ReLUs (``torch.relu``) cannot be reached from
    outside, and modules whose first axis is not the images are left alone.
    """
    changed = [m for m in model.modules() if type(m) in (nn.ReLU, nn.ReLU6)]
    before = [module.__dict__.get("forward") for module in changed]
    try:
        for module in changed:
            module.__dict__["forward"] = _forward(module, rows)
        yield
    finally:
        for module, forward in zip(changed, before, strict=True):
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.__dict__["forward"] = forward


def _forward(module: nn.Module, rows: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    ordinary = module.forward
    upper = 6.0 if isinstance(module, nn.ReLU6) else math.inf
    inplace = bool(module.inplace)

    def forward(x: torch.Tensor) -> torch.Tensor:
        if x.shape[:1] != rows.shape:
            return ordinary(x)
        return RedirectedReLU.apply(x, rows, upper, inplace)

    return forward
