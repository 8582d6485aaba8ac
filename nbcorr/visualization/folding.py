"""Convolutions that take over the normalisation behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

Pairs = list[tuple[str, str]]


@contextmanager
def found_pairs(model: nn.Module, kept: Collection[str]) -> Iterator[Pairs]:
    """Convolutions and the batch normalisations given what they gave, as the model runs inside.

    Each has run once, in eval mode, with statistics of its own and without hooks of anyone's.

    Parameters
    ----------
    model : torch.nn.Module
    kept : collection of str
        Modules that must stay as they are.

    Yields
    ------
    list of (convolution, normalisation)
        Names of modules; filled when the block ends.
    """
    names = {module: name for name, module in model.named_modules()}
    candidates = [m for m in names if _foldable(m) and names[m] not in kept]
    calls: Counter[nn.Module] = Counter()
    # Outputs are held on to, so that no other tensor gets their identity; an operation in place
    # between the two counts their version up.
    made: dict[int, tuple[nn.Module, torch.Tensor, int]] = {}
    seen: dict[nn.Module, nn.Module] = {}

    def look(module: nn.Module, args: Any, output: Any) -> None:
        calls[module] += 1
        if isinstance(module, _CONVOLUTIONS) and isinstance(output, torch.Tensor):
            made[id(output)] = (module, output, output._version)
        elif args and id(args[0]) in made:
            convolution, output, version = made[id(args[0])]
            if output._version == version:
                seen[module] = convolution

    pairs: Pairs = []
    handles = [module.register_forward_hook(look) for module in candidates]
    try:
        yield pairs
    finally:
        for handle in handles:
            handle.remove()
        made.clear()
    pairs += [(names[c], names[n]) for n, c in seen.items() if calls[n] == calls[c] == 1]


def fold(model: nn.Module, pairs: Pairs) -> int:
    """Let convolutions do what the normalisations behind them did, in place.

    Parameters
    ----------
    model : torch.nn.Module
    pairs : list of (convolution, normalisation)

    Returns
    -------
    int
        How many were folded.

    Notes
    -----
    ``g (w x + b - m) / s + h`` is a convolution with weights ``w g / s`` and bias
    ``(b - m) g / s + h``, where s is the root of the running variance plus epsilon.
    """
    for convolution, normalisation in pairs:
        _fold(model.get_submodule(convolution), model.get_submodule(normalisation))
        parent, _, child = normalisation.rpartition(".")
        model.get_submodule(parent)._modules[child] = nn.Identity()
    return len(pairs)


@torch.no_grad()
def _fold(convolution: Any, norm: Any) -> None:
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.affine:
        factor = factor * norm.weight.double()
    bias = -norm.running_mean.double() * factor
    if convolution.bias is not None:
        bias = bias + convolution.bias.double() * factor
    if norm.affine:
        bias = bias + norm.bias.double()
    weight = convolution.weight
    per_output = factor.view(-1, *[1] * (weight.ndim - 1))
    convolution.weight = nn.Parameter((weight.double() * per_output).to(weight.dtype), False)
    convolution.bias = nn.Parameter(bias.to(weight.dtype), False)


def _foldable(module: nn.Module) -> bool:
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return False
    if type(module) in _NORMS:
        return not module.training and module.running_mean is not None
    # One whose weight is made anew at each pass has none of its own.
    return isinstance(module, _CONVOLUTIONS) and "weight" in module._parameters
