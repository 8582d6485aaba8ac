"""Running a model only as far as the neurons one asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from nbcorr.network.batches import Batch
from nbcorr.network.hooks import captured, device_and_dtype
from nbcorr.network.layers import module_and_call
from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label
from nbcorr.network.units import governor, unit_axis
from nbcorr.network.wrappers import named_modules

Reader = Callable[[torch.Tensor], Any]


class _EnoughSeen(BaseException):
    """Every layer asked for has run; not an Exception, so that no model swallows it."""


def read(model: nn.Module, inputs: Any, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """What each reader makes of its layer's output, in the order in which the layers run.

    Parameters
    ----------
    model : torch.nn.Module
    inputs : tensor or mapping of keyword arguments
        Brought to the model's device and dtype.
    readers : mapping of layer to callable
        Layers are module names, ``name#2`` the second call of a module in one forward pass. A
        reader is called as soon as its layer has run: a later in-place operation cannot change
        what it sees. After the last of them the forward pass ends.
    """
    found: dict[str, Any] = {}
    wanted: dict[str, dict[int, str]] = {}
    for layer in readers:
        module, call = module_and_call(layer)
        wanted.setdefault(module, {})[call] = layer

    def look(module: str, output: torch.Tensor, call: int) -> None:
        layer = wanted[module].get(call)
        if layer is not None:
            found[layer] = readers[layer](output)
            if len(found) == len(readers):
                raise _EnoughSeen

    callbacks: dict[str, Any] = {
        module: lambda output, call, _, module=module: look(module, output, call)
        for module in wanted
    }
    batch = Batch(inputs).to(*device_and_dtype(model))
    with captured(model, callbacks), suppress(_EnoughSeen):
        batch.run(model)
    return found


def order_of_layers(
    model: nn.Module, inputs: Any, neurons: Sequence[tuple[str, int]], shape: tuple[int, ...]
) -> list[str]:
    """The layers of the neurons in the order in which they run, after checking that they can.

    Raises
    ------
    ValueError
        If a layer does not exist or does not run, a unit is past the layer's last, or the model
        fails on images of this shape before the layers have run.
    """
    modules = dict(named_modules(model))
    layers = list(dict.fromkeys(layer for layer, _ in neurons))
    for layer in layers:
        if module_and_call(layer)[0] not in modules:
            raise ValueError(unknown("layer", layer, [name for name in modules if name]))
    readers = {layer: _counter(governor(model, module_and_call(layer)[0])) for layer in layers}
    with _running(model) as stack:
        try:
            units = read(model, inputs, readers)
        except Exception as error:
            raise ValueError(
                f"{type(model).__name__} cannot take images of shape {shape}: "
                f"{stack[-1] if stack else 'its forward'} fails with {error}"
            ) from error
    for layer in layers:
        if layer not in units:
            raise ValueError(f"layer {layer!r} did not run in the model's forward pass")
    for layer, unit in neurons:
        if unit >= units[layer]:
            raise ValueError(
                f"no neuron {neuron_label(layer, unit)!r}: layer {layer!r} has {units[layer]} "
                f"units, the last is {neuron_label(layer, units[layer] - 1)!r}"
            )
    return list(units)


def unit_reader(
    module: nn.Module, rows: Sequence[int], units: Sequence[int], batch: int, pool: str
) -> Reader:
    """A reader that gives the activation of ``units[i]`` on image ``rows[i]``, pooled.

    ``pool`` is ``"mean"`` or ``"max"`` over the positions (space or tokens); the value itself for
    dense outputs. The result is float32, shape (len(rows),).
    """

    def reader(output: torch.Tensor) -> torch.Tensor:
        if output.ndim < 2 or output.shape[0] != batch:
            raise ValueError(
                f"a layer gave shape {tuple(output.shape)} for {batch} images; "
                "expected the images along its first axis"
            )
        maps = output.movedim(unit_axis(module, output), 1)[list(rows), list(units)]
        values = maps.reshape(len(rows), -1).float()
        return values.mean(1) if pool == "mean" else values.amax(1)

    return reader


def _counter(module: nn.Module) -> Reader:
    return lambda output: output.shape[unit_axis(module, output)] if output.ndim > 1 else 0


@contextmanager
def _running(model: nn.Module) -> Iterator[list[str]]:
    """The modules that have begun and not yet ended, outermost first."""
    stack: list[str] = []
    handles = []
    try:
        for name, module in model.named_modules():
            label = f"layer {name!r}" if name else type(module).__name__
            begin = module.register_forward_pre_hook(lambda *_, label=label: stack.append(label))
            end = module.register_forward_hook(lambda *_: _drop(stack))
            handles += [begin, end]
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def _drop(stack: list[str]) -> None:
    stack.pop()
