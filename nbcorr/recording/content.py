"""What a recording was made of, so that the same one is recognised and another is not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn

from nbcorr.network.batches import Batch, some_batches
from nbcorr.network.reading import Reader
from nbcorr.network.wrappers import unwrapped
from nbcorr.recording.rows import Layout

# Batches of a dataset that are looked at to recognise it; of arrays all are.
_LOOKED_AT = 16
# Where in memory an object lies is no part of what it is.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(model: nn.Module) -> str:
    """A short hash of a model's modules, their settings and weights: equal model, equal hash."""
    model = unwrapped(model)
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        settings = _ADDRESS.sub("", module.extra_repr())
        digest.update(f"{name}{type(module).__qualname__}{settings}".encode())
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def code_hash(function: Any) -> str:
    """A short hash of what a callable does, as far as it can be seen.

    Its code, constants and defaults and what it has enclosed; a module's `fingerprint`. What it
    calls by name is not followed.
    """
    digest = hashlib.sha256()
    _add_value(digest, function)
    return digest.hexdigest()[:16]


def forward_hash(model: nn.Module) -> str:
    """A short hash of the code of every ``forward`` in a model, those of torch aside."""
    kinds = dict.fromkeys(type(module) for module in model.modules())
    own = [kind.forward for kind in kinds if not kind.__module__.startswith("torch.")]
    return code_hash(own)


def _add_value(digest: Any, value: Any) -> None:
    if isinstance(value, nn.Module):
        digest.update(fingerprint(value).encode())
    elif isinstance(value, np.ndarray | torch.Tensor):
        array = np.ascontiguousarray(value.detach().cpu() if torch.is_tensor(value) else value)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    elif isinstance(value, CodeType):
        digest.update(value.co_code + repr(value.co_names).encode())
        for constant in value.co_consts:
            _add_value(digest, constant)
    elif isinstance(value, FunctionType):
        enclosed = [cell.cell_contents for cell in value.__closure__ or ()]
        for part in (value.__code__, value.__defaults__, value.__kwdefaults__, *enclosed):
            _add_value(digest, part)
    elif isinstance(value, partial):
        for part in (value.func, *value.args, *sorted(value.keywords.items())):
            _add_value(digest, part)
    elif isinstance(value, tuple | list):
        for part in value:
            _add_value(digest, part)
    else:
        digest.update(_ADDRESS.sub("", f"{type(value).__qualname__}{value!r}").encode())


def hooked_modules(model: nn.Module) -> list[str]:
    """Modules with forward hooks of someone else, which change what the model gives."""
    return [
        name or type(model).__name__
        for name, module in model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]


def same_data(
    digests: list[str], data: Any, batch_size: int, prepare: Callable[[Batch], Batch]
) -> bool | None:
    """Whether data is what batches of these digests were; None where only a run through it tells.

    All of an array is looked at, of a torch Dataset sixteen batches evenly over it. ``prepare`` is
    what is done to a batch before its digest is taken.
    """
    some = some_batches(data, batch_size, _LOOKED_AT)
    if some is None:
        return None
    if max(some, default=-1) != len(digests) - 1:
        return False
    return all(prepare(batch).digest() == digests[at] for at, batch in some.items())


def provenance(
    model: nn.Module, weights: str, layout: Layout, inputs: str, reader: Reader
) -> dict[str, Any]:
    """What made a recording, for its attrs.

    ``weights`` is the model's `fingerprint`, ``inputs`` says what became of the raw inputs.
    """
    from nbcorr import __version__

    said = {
        "model": type(model).__name__,
        "fingerprint": weights,
        "layers": list(layout.units),
        "pool": layout.pools[0] if len(layout.pools) == 1 else list(layout.pools),
        "input": inputs,
        "nbcorr_version": __version__,
        "torch_version": torch.__version__,
    }
    return said | ({"left_out": dict(reader.left_out)} if reader.left_out else {})
