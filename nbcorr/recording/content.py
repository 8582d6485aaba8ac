"""What a recording was made of, so that the same one is recognised and another is not."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn

from nbcorr.network.batches import Batch, some_batches
from nbcorr.network.reading import Reader
from nbcorr.recording.hashing import Digest
from nbcorr.recording.rows import Layout

# Batches of a dataset that are looked at to recognise it; of arrays all are.
_LOOKED_AT = 16


def fingerprint(model: nn.Module) -> str:
    """A short hash of a model's modules, their settings and weights: equal model, equal hash.

    Settings are the plain values that a module holds: numbers, text, arrays, functions and tuples
    of them. What its ``forward`` assigns, counters and caches, is none of it.
    """
    digest = Digest()
    digest.add(model)
    return str(digest)


def code_hash(function: Any) -> str:
    """A short hash of what a callable does, as far as it can be seen.

    Its code, constants and defaults and what it has enclosed or, an object, holds; a module's
    `fingerprint`. What it calls by name is not followed.
    """
    digest = Digest()
    digest.add(function)
    return str(digest)


def forward_hash(model: nn.Module) -> str:
    """A short hash of the code of every ``forward`` in a model, those of torch aside."""
    kinds = dict.fromkeys(type(module) for module in model.modules())
    own = [kind.forward for kind in kinds if not kind.__module__.startswith("torch.")]
    return code_hash([*own, *_replaced_forwards(model)])


def _replaced_forwards(model: nn.Module) -> list[CodeType]:
    """Code that was put in the place of a module's ``forward``; a compiled one does as before."""
    found = []
    for module in model.modules():
        own = inspect.unwrap(vars(module).get("forward", module.forward))
        function = getattr(own, "__func__", own)
        if isinstance(function, FunctionType) and function is not type(module).forward:
            found.append(function.__code__)
    return found


def hooked_modules(model: nn.Module) -> list[str]:
    """Modules with forward hooks of someone else, which change what the model gives."""
    of_torch = nn.modules.module
    everywhere = of_torch._global_forward_hooks or of_torch._global_forward_pre_hooks
    found = ["every module"] if everywhere else []
    for name, module in model.named_modules():
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if any(map(_is_foreign, hooks)):
            found.append(name or type(model).__name__)
    return found


def _is_foreign(hook: Any) -> bool:
    # By hooks torch computes the weights of weight_norm, spectral_norm and prune.
    return not type(hook).__module__.startswith("torch.nn.utils.")


def same_data(
    digests: list[str], data: Any, batch_size: int, prepare: Callable[[Batch], Batch]
) -> bool | None:
    """Whether data is what batches of these digests were; None where only a run through it tells.

    All of an array is looked at, of one on disk or a torch Dataset sixteen batches evenly over it.
    ``prepare`` is what is done to a batch before its digest is taken.
    """
    some = some_batches(data, batch_size, _LOOKED_AT)
    if some is None:
        return None
    count, chosen = some
    if count != len(digests):
        return False
    return all(prepare(batch).digest() == digests[at] for at, batch in chosen)


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
