"""Models in a wrapper: compiled ones and those spread over devices, looked into as plain ones."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# What wrappers call the module they hold, in the names of its layers.
_WRAPPED = ("_orig_mod", "module")


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of any ``torch.compile``, ``DataParallel`` or nest of them.

    Raises
    ------
    TypeError
        If it is no module, or one that torch runs without hooks: a ``torch.jit`` script or trace,
        an exported program.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
    inner = _inner(model)
    if isinstance(inner, torch.jit.ScriptModule) or _is_exported(inner):
        raise TypeError(
            f"model is a {type(inner).__name__}, which torch runs without hooks; "
            "expected the torch.nn.Module it was made from"
        )
    return inner


def is_wrapper(module: nn.Module) -> bool:
    """Whether it only holds another module, compiled or spread over devices."""
    return _inner(module) is not module


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module under the names it has without wrappers, a shared one under each of them.

    Wrappers are left out, at whatever depth; so is what a ``torch.jit`` module holds.
    """
    yield from _named(model, "")


def submodule(model: nn.Module, name: str) -> nn.Module:
    """The module of that name, with or without the wrappers' parts in it (``module.conv1``).

    Raises
    ------
    AttributeError
        If there is none.
    """
    module = _inner(model)
    for part in name.split(".") if name else []:
        child = None if isinstance(module, torch.jit.ScriptModule) else module._modules.get(part)
        if child is not None:
            module = _inner(child)
        elif part not in _WRAPPED:
            raise AttributeError(f"{type(model).__name__} has no module {name!r}")
    return module


class _Eagerness:
    """How many blocks in this process, of any thread, want every module to be run as written.

    What torch can be told of this holds for all threads: the first block sets it, the last one
    puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before = contextlib.ExitStack()

    def enter(self) -> None:
        with self._lock:
            if self._blocks == 0:
                self._set()
            self._blocks += 1

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                self._before.close()

    def _set(self) -> None:
        fast = torch.backends.mha.get_fastpath_enabled()
        self._before.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        # Nothing can have been compiled without it, and importing it takes a second.
        if "torch._dynamo" in sys.modules:
            self._before.enter_context(torch.compiler.set_stance("force_eager"))


_EAGERNESS = _Eagerness()


@contextmanager
def eager() -> Iterator[None]:
    """Every module runs as it was written, so that the hooks in it are called.

    Compiled code does not call hooks registered later, and torch's fused transformer layers pass
    nested tensors between them. What was compiled is kept, and runs again after the block. Both
    are settings of torch for all threads: a model that another thread runs meanwhile gives its
    usual numbers, more slowly.
    """
    _EAGERNESS.enter()
    try:
        yield
    finally:
        _EAGERNESS.leave()


def _inner(module: nn.Module) -> nn.Module:
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(module, torch.jit.ScriptModule):
            return module
        # Not by getattr, which costs most where there is none, and that is nearly always.
        elif (compiled := module._modules.get("_orig_mod")) is not None:
            module = compiled
        else:
            return module


def _is_exported(model: nn.Module) -> bool:
    """Whether it came from ``torch.export``, which takes ``eval`` away from what it makes."""
    return isinstance(model, torch.fx.GraphModule) and "eval" in vars(model)


def _named(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    module = _inner(module)
    yield name, module
    for part, child in _children(module).items():
        yield from _named(child, f"{name}.{part}" if name else part)


def _children(module: nn.Module) -> dict[str, nn.Module]:
    if isinstance(module, torch.jit.ScriptModule):
        return {}
    return {part: child for part, child in module._modules.items() if child is not None}
