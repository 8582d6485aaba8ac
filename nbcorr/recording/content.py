"""What a recording was made of, so that the same one is recognised and another is not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

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


def provenance(model: nn.Module, layout: Layout, inputs: str, reader: Reader) -> dict[str, Any]:
    """What made a recording, for its attrs; ``inputs`` says what became of the raw inputs."""
    from nbcorr import __version__

    said = {
        "model": type(model).__name__,
        "fingerprint": fingerprint(model),
        "layers": list(layout.units),
        "pool": layout.pools[0] if len(layout.pools) == 1 else list(layout.pools),
        "input": inputs,
        "nbcorr_version": __version__,
        "torch_version": torch.__version__,
    }
    return said | ({"left_out": dict(reader.left_out)} if reader.left_out else {})
