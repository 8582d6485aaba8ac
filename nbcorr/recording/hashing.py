"""Short hashes of what models and functions are: their weights, settings and code."""

from __future__ import annotations

import dis
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache, cached_property, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

from nbcorr.network.wrappers import unwrapped

# torch's own, a forward that was put in the place of another, and what transformers calls a model.
_NO_SETTINGS = {*vars(nn.Module()), "forward", "name_or_path"}
_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.Tensor, np.ndarray, np.generic)
_CALL = "__call__"
_MENTIONS = ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR")
# Where in memory an object lies is no part of what it is.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Digest:
    """A hash of values of any kind, the same in every process."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        # Functions may enclose themselves.
        self._inside: set[int] = set()

    def __str__(self) -> str:
        return self._hash.hexdigest()[:16]

    def add(self, value: Any) -> None:
        """A value as far as it can be seen: what a function calls by name is not followed."""
        if isinstance(value, nn.Module):
            self._add_model(unwrapped(value))
        elif isinstance(value, np.ndarray | torch.Tensor):
            self._add_array(value)
        elif isinstance(value, CodeType):
            self._add_all((value.co_code, value.co_names, value.co_consts))
        elif isinstance(value, FunctionType):
            self._add_function(value)
        elif isinstance(value, MethodType):
            self._add_all((value.__func__, value.__self__))
        elif isinstance(value, partial):
            self._add_all((value.func, value.args, value.keywords))
        elif isinstance(value, tuple | list):
            self._add_all(value)
        elif isinstance(value, dict):
            self._add_all((name, value[name]) for name in sorted(value, key=repr))
        elif isinstance(value, set | frozenset):
            # In an order that does not change from process to process.
            self._add_all(sorted(value, key=repr))
        elif isinstance(called := getattr(type(value), _CALL, None), FunctionType):
            self._add_all((called, type(value).__qualname__, *_settings(value)))
        else:
            self._add_text(_ADDRESS.sub("", f"{type(value).__qualname__}{value!r}"))

    def _add_model(self, model: nn.Module) -> None:
        """Its modules with their settings, and all weights and buffers."""
        for name, module in model.named_modules():
            settings = _ADDRESS.sub("", module.extra_repr())
            self._add_text(f"{name}{type(module).__qualname__}{settings}")
            self._add_all(_settings(module))
            kept_back = sorted(module._non_persistent_buffers_set)
            self._add_all((name, module._buffers[name]) for name in kept_back)
        self._add_all(model.state_dict().items())

    def _add_all(self, values: Iterable[Any]) -> None:
        parts = list(values)
        self._add_text(f"{len(parts)} parts")
        for part in parts:
            self.add(part)

    def _add_text(self, text: str) -> None:
        self._hash.update(f"{text}\0".encode())

    def _add_array(self, value: np.ndarray | torch.Tensor) -> None:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
            value = value.dequantize() if value.is_quantized else value.to_dense()
            self._add_text(f"{value.dtype}{tuple(value.shape)}")
            array = value.flatten().view(torch.uint8).numpy()
        elif value.dtype.hasobject:
            return self._add_all(value.tolist())
        else:
            self._add_text(f"{value.dtype}{value.shape}")
            array = np.ascontiguousarray(value).view(np.uint8)
        self._hash.update(array.data)

    def _add_function(self, function: FunctionType) -> None:
        if id(function) not in self._inside:
            self._inside.add(id(function))
            enclosed = [cell.cell_contents for cell in function.__closure__ or ()]
            self._add_all((function.__code__, function.__defaults__, function.__kwdefaults__))
            self._add_all(enclosed)


def _settings(held: Any) -> Iterator[tuple[str, Any]]:
    """The plain values and functions that an object holds, but for what running it changes."""
    kind: Any = type(held)
    own, changing = _assigned(kind, "__init__"), _assigned(kind, "forward", _CALL)
    beside = getattr(held, "_parameters", ())
    for name, value in sorted(getattr(held, "__dict__", {}).items()):
        if name in _NO_SETTINGS or name in changing or not _is_plain(value):
            continue
        # Libraries note in a module what they did with it.
        if name.startswith("_") and name not in own:
            continue
        # torch's weight_norm, spectral_norm and prune compute "weight" from "weight_orig".
        if isinstance(value, torch.Tensor) and any(p.startswith(f"{name}_") for p in beside):
            continue
        # What a function encloses may be the model itself.
        yield name, value.__code__ if isinstance(value, FunctionType) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(part is None or _is_plain(part) for part in value)
    return isinstance(value, (*_PLAIN, FunctionType, BuiltinFunctionType))


@cache
def _assigned(kind: type, *methods: str) -> frozenset[str]:
    """Attributes that methods of a class, or others that they mention, assign."""
    bases = [vars(base) for base in kind.__mro__ if base is not nn.Module]
    assigned = {n for base in bases for n, value in base.items() if type(value) is cached_property}
    mentioned = list(methods)
    for method in mentioned:
        for step in (step for base in bases for step in _steps(base.get(method))):
            if step.opname == "STORE_ATTR":
                assigned.add(step.argval)
            elif step.opname in _MENTIONS and step.argval not in mentioned:
                mentioned += [step.argval] if hasattr(kind, step.argval) else []
    return frozenset(assigned)


def _steps(function: Any) -> Iterator[dis.Instruction]:
    """The steps of a function, of those defined in it and of the one that it wraps."""
    code = function if isinstance(function, CodeType) else getattr(function, "__code__", None)
    if code is not None:
        yield from dis.get_instructions(code)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from _steps(constant)
    if hasattr(function, "__wrapped__"):
        yield from _steps(function.__wrapped__)
