"""Looking into a model without leaving a trace: modes and hooks that live inside a ``with``."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from nbcorr.network.wrappers import eager, submodule, unwrapped

Callback = Callable[[torch.Tensor, int, tuple[Any, ...]], torch.Tensor | None]
# What is told of a layer without a tensor: its name, which call it is, and the error.
Without = Callable[[str, int, TypeError], None]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode; every module's own mode comes back afterwards."""
    # A frozen torch.jit module has no mode.
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    model.eval()
    try:
        yield model
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def inference(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode and without gradients; both come back afterwards."""
    with evaluating(model), torch.no_grad():
        yield model


@contextmanager
def captured(
    model: nn.Module, callbacks: Mapping[str, Callback], without: Without | None = None
) -> Iterator[None]:
    """Call ``callbacks[name](output, call, args)`` whenever the module of that name has run.

    Parameters
    ----------
    model : torch.nn.Module
        Plain, compiled or ``DataParallel``; compiled modules run eagerly inside the block.
    callbacks : mapping of module name to callable
        Each is given the module's output (the first tensor in it), which call of this module in
        the current forward pass it is, counted from 0 (activation modules are often reused), and
        the module's positional arguments. A tensor it returns replaces the output.
    without : callable, optional
        Called with name, call and error where a module's output holds no tensor, in the place of
        the error.

    Raises
    ------
    AttributeError
        If there is no module of that name.
    TypeError
        If torch runs the module without hooks or, while it runs, its output holds no tensor and
        nobody wants to be told.

    Notes
    -----
    The hooks are gone when the block ends, however it ends. They never hold on to an output, so
    what the callback does not keep is freed as in a plain forward pass.
    """
    modules = {name: _hookable(model, name) for name in callbacks}
    # Of each thread its own: the replicas of a DataParallel model run side by side.
    calls = threading.local()
    handles = []

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            call = vars(calls).get(name, 0)
            vars(calls)[name] = call + 1
            try:
                tensor = _tensor_of(name, module, output)
            except TypeError as error:
                if without is None:
                    raise
                return without(name, call, error)
            replacement = callbacks[name](tensor, call, args)
            return None if replacement is None else replaced_first(output, replacement)

        return hook

    try:
        # A forward pass that failed leaves counts behind, so they start anew with each.
        root = unwrapped(model)
        handles.append(root.register_forward_pre_hook(lambda *_: vars(calls).clear()))
        for name, module in modules.items():
            handles.append(module.register_forward_hook(hook_for(name)))
        with eager():
            yield
    finally:
        for handle in handles:
            handle.remove()


def _hookable(model: nn.Module, name: str) -> nn.Module:
    module = submodule(model, name)
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"layer {name!r} is a {type(module).__name__}, which torch runs without hooks; "
            "expected the torch.nn.Module it was made from"
        )
    return module


def _tensor_of(name: str, module: nn.Module, output: Any) -> torch.Tensor:
    try:
        return first_tensor(output)
    except TypeError:
        raise TypeError(
            f"layer {name!r}, a {type(module).__name__}, gave {type(output).__name__}; "
            "expected a tensor somewhere in it"
        ) from None


def first_tensor(output: Any) -> torch.Tensor:
    """The first tensor of a module's output: a tensor, tuple, list, dict or dataclass.

    Raises
    ------
    TypeError
        If there is no tensor in it.
    """
    if isinstance(output, torch.Tensor):
        return output
    for part in output_parts(output):
        if _holds_tensor(part):
            return first_tensor(part)
    raise TypeError(f"a layer gave {type(output).__name__}; expected a tensor somewhere in it")


def replaced_first(output: Any, tensor: torch.Tensor) -> Any:
    """The same output with ``tensor`` in the place of its first tensor."""
    if isinstance(output, torch.Tensor):
        return tensor
    if isinstance(output, tuple | list):
        parts = list(output)
        position = next(i for i, part in enumerate(parts) if _holds_tensor(part))
        parts[position] = replaced_first(parts[position], tensor)
        if hasattr(output, "_fields"):
            return type(output)(*parts)
        return type(output)(parts)
    if isinstance(output, dict):
        key = next(k for k, part in output.items() if _holds_tensor(part))
        changed = output.copy()
        changed[key] = replaced_first(output[key], tensor)
        return changed
    name = next(
        f.name for f in dataclasses.fields(output) if _holds_tensor(getattr(output, f.name))
    )
    return dataclasses.replace(output, **{name: replaced_first(getattr(output, name), tensor)})


def output_parts(output: Any) -> list[Any]:
    """The parts of a tuple, list, dict or dataclass; none of anything else."""
    if isinstance(output, tuple | list):
        return list(output)
    if isinstance(output, dict):
        return list(output.values())
    if dataclasses.is_dataclass(output):
        return [getattr(output, field.name) for field in dataclasses.fields(output)]
    return []


def _holds_tensor(part: Any) -> bool:
    try:
        first_tensor(part)
    except TypeError:
        return False
    return True


def device_and_dtype(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where the model's numbers live and of what kind its floating-point ones are."""
    tensors = [*model.parameters(), *model.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    floating = [t.dtype for t in tensors if t.is_floating_point()]
    return device, floating[0] if floating else torch.get_default_dtype()
