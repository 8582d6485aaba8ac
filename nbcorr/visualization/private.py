"""A copy of a model to work on, so that the model itself is never touched, and a quick one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from nbcorr.network.hooks import captured, device_and_dtype, evaluating
from nbcorr.network.wrappers import named_modules
from nbcorr.visualization.folding import Pairs, fold
from nbcorr.visualization.forward import Network

# Folding changes the order of a few multiplications, nothing else.
TOLERANCE = 1e-3


class Private(NamedTuple):
    """A model in eval mode whose weights ask for no gradients, and what it is."""

    model: nn.Module
    is_copy: bool


def private(stack: ExitStack, model: nn.Module) -> Private:
    """A deep copy of a model, or the model itself where it has none.

    Weights made in inference mode are ordinary ones in the copy.
    """
    try:
        with torch.inference_mode(False):
            return Private(copy.deepcopy(model).eval().requires_grad_(False), is_copy=True)
    except Exception:  # whatever a module may hold: locks, files, tensors with a graph
        return itself(stack, model)


def itself(stack: ExitStack, model: nn.Module) -> Private:
    """The model itself, which is as it was when the stack closes."""
    stack.enter_context(evaluating(model))
    stack.enter_context(frozen(model))
    return Private(model, is_copy=False)


@contextmanager
def noticed(model: nn.Module) -> Iterator[list[str]]:
    """The modules of a model that run inside this context, whoever runs them.

    Those of a copy should not: a function that a module holds is not copied with it.
    """
    ran: list[str] = []
    names = [n for n, part in named_modules(model) if not isinstance(part, torch.jit.ScriptModule)]
    with captured(model, {name: lambda *_, name=name: ran.append(name) for name in names}):
        yield ran


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No weight asks for a gradient inside this context; every flag comes back afterwards."""
    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        for weight, _ in flags:
            weight.requires_grad_(False)
        yield
    finally:
        for weight, flag in flags:
            weight.requires_grad_(flag)


def quickened(
    network: Network, pairs: Pairs, inputs: Any, expected: dict[str, torch.Tensor]
) -> tuple[Network, int]:
    """The network made quicker, where its layers then say the same; else as it was.

    Parameters
    ----------
    network : Network
        Of a private copy.
    pairs : list of (convolution, normalisation)
        Names of modules that may become one.
    inputs, expected
        One picture as the model is given it, and the outputs of all layers for it.

    Returns
    -------
    (Network, int)
        And how many normalisations were folded.
    """
    device, dtype = device_and_dtype(network.model)
    if dtype not in (torch.float32, torch.float64):
        return network, 0
    quick = copy.deepcopy(network.model)
    folded = fold(quick, pairs)
    if device.type == "cpu":
        _lay_channels_last(quick)
    try:
        with torch.no_grad():
            found = Network(quick, network.layers, inputs).outputs(inputs, network.layers, 1)
    # It looks at strides, or at a normalisation that is gone.
    except (RuntimeError, AttributeError, TypeError):
        return network, 0
    if not all(_agree(found[layer], expected[layer].detach()) for layer in expected):
        return network, 0
    return Network(quick, network.layers, inputs), folded


def _lay_channels_last(model: nn.Module) -> None:
    """What convolutions on the CPU are quickest with; their outputs follow."""
    for module in model.modules():
        # Not the whole model: weights of five axes have no such layout.
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _agree(found: torch.Tensor, expected: torch.Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    scale = expected.abs().max().item() if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True)
