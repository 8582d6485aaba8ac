"""Running a model only as far as the layers one asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from nbcorr.network.batches import Batch
from nbcorr.network.hooks import captured, device_and_dtype
from nbcorr.network.layers import module_and_call
from nbcorr.network.names import unknown
from nbcorr.network.tokens import as_map, has_places, image_of, tokens_of
from nbcorr.network.units import governors, unit_axis
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


class Network:
    """A model, and how the outputs of some of its layers are laid out.

    Parameters
    ----------
    model : torch.nn.Module
    layers : iterable of str
        Those that are ever to be read.
    inputs : tensor or mapping of keyword arguments
        As the model is given them, which tells how the patches of a vision transformer lie.

    Raises
    ------
    ValueError
        If a layer does not exist.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str], inputs: Any) -> None:
        self.model = model
        self.layers = list(dict.fromkeys(layers))
        modules = {layer: module_and_call(layer)[0] for layer in self.layers}
        names = [name for name, _ in named_modules(model)]
        for layer, module in modules.items():
            if module not in names:
                raise ValueError(unknown("layer", layer, filter(None, names)))
        decides = governors(model, modules.values())
        self._decides = {layer: decides[module] for layer, module in modules.items()}
        self._tokens = tokens_of(model, inputs)
        self._places = image_of(inputs) is not None

    def outputs(
        self, inputs: Any, layers: Collection[str], count: int | None = None
    ) -> dict[str, torch.Tensor]:
        """The layers' outputs, units along axis 1, in the order in which the layers run.

        Patches of a vision transformer are maps, without class and register tokens. ``count`` is
        how many images there are.

        Raises
        ------
        ValueError
            If an output has not so many rows.
        """
        left = set(layers)

        def reader(layer: str) -> Reader:
            def keep(output: torch.Tensor) -> torch.Tensor:
                left.discard(layer)
                # What still runs may work on it in place.
                return self._arranged(layer, output.clone() if left else output, count)

            return keep

        return read(self.model, inputs, {layer: reader(layer) for layer in layers}) if left else {}

    def _arranged(self, layer: str, output: torch.Tensor, count: int | None) -> torch.Tensor:
        if output.ndim < 2 or (count is not None and len(output) != count):
            raise ValueError(
                f"layer {layer!r} gave shape {tuple(output.shape)} for {count} images; "
                "expected the images along its first axis"
            )
        axis = unit_axis(self._decides[layer], output)
        if output.ndim == 3 and self._places and has_places(output, axis, self._tokens):
            return as_map(output, axis, self._tokens)
        return output.movedim(axis, 1)


def probed(network: Network, inputs: Any, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """The outputs of all layers for one picture, after checking that they can be had.

    Raises
    ------
    ValueError
        If a layer does not run or has no gradient to the picture, or the model fails on pictures
        of this shape before the layers have run.
    """
    with _running(network.model) as stack:
        try:
            outputs = network.outputs(inputs, network.layers, 1)
        except Exception as error:
            raise ValueError(
                f"{type(network.model).__name__} cannot take images of shape {shape}: "
                f"{stack[-1] if stack else 'its forward'} fails with {error}"
            ) from error
    for layer in network.layers:
        if layer not in outputs:
            raise ValueError(f"layer {layer!r} did not run in the model's forward pass")
        if not outputs[layer].requires_grad:
            raise ValueError(f"layer {layer!r} has no gradient to the image; expected one")
    return outputs


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
