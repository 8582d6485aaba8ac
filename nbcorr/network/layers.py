"""The layers of a model, and the ways to choose among them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from nbcorr.network.batches import batches
from nbcorr.network.hooks import captured, device_and_dtype, inference
from nbcorr.network.names import unknown
from nbcorr.network.pooling import governor, unit_axis

_ACTIVATIONS = tuple(
    getattr(nn.modules.activation, name)
    for name in nn.modules.activation.__all__
    if name not in {"MultiheadAttention", "Softmax", "Softmax2d", "LogSoftmax", "Softmin"}
)
# They pass on what another layer made: no neurons of their own.
_PASSIVE = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.modules.dropout._DropoutNd,
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
)
# They make neurons even where a subclass holds helper modules (a convolution with its padding).
_ACTIVE = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.modules.batchnorm._NormBase,
    nn.RNNBase,
    nn.MultiheadAttention,
)


def layers(model: nn.Module, example: Any = None) -> xr.Dataset:
    """What a model consists of: one row a layer.

    Parameters
    ----------
    model : torch.nn.Module
    example : batch, array, DataLoader or labelled images, optional
        Something the model can be run on. With it every layer's shape is known; without it only
        what the parameters tell.

    Returns
    -------
    xarray.Dataset
        Over ``layer`` (module names): ``kind`` (class), ``units`` (number of neurons, -1 where
        unknown), ``output_shape`` (of one sample, "" where unknown), ``bytes`` (of one sample's
        output as float32, -1 where unknown) and ``calls`` (times it runs in one forward pass,
        -1 where unknown).

    Raises
    ------
    TypeError
        If the example is an iterator, which would lose a batch.
    """
    leaves = leaf_modules(model)
    shapes: dict[str, tuple[int, ...]] = {}
    units = {name: _units_of_parameters(module) for name, module in leaves.items()}
    calls = dict.fromkeys(leaves, -1 if example is None else 0)
    if example is not None:
        _run_once(model, leaves, example, shapes, units, calls)
    sizes = [4 * int(np.prod(shapes[name])) if name in shapes else -1 for name in leaves]
    return xr.Dataset(
        {
            "kind": ("layer", [type(module).__name__ for module in leaves.values()]),
            "units": ("layer", np.array([units[name] for name in leaves], dtype=np.int64)),
            "output_shape": (
                "layer",
                ["x".join(map(str, shapes.get(name, ()))) for name in leaves],
            ),
            "bytes": ("layer", np.array(sizes, dtype=np.int64), {"units": "bytes per sample"}),
            "calls": ("layer", np.array([calls[name] for name in leaves], dtype=np.int64)),
        },
        coords={"layer": list(leaves)},
        attrs={"model": type(model).__name__},
    )


def resolve_layers(model: nn.Module, chosen: str | Sequence[str]) -> list[str]:
    """Module names for a choice of layers, in the order the model holds them.

    Parameters
    ----------
    model : torch.nn.Module
    chosen : str or sequence of str
        Names, globs (``"features.*"``), kinds (``"Conv2d"``), ``"all"`` (every leaf module) or
        ``"auto"``: the activation modules (ReLU, GELU …) where the model has any, else every
        leaf module with parameters.

    Raises
    ------
    ValueError
        If a name matches nothing, the nearest one is offered; or if there is no layer at all.
    """
    wanted = [chosen] if isinstance(chosen, str) else list(chosen)
    found: set[str] = set()
    for choice in wanted:
        found.update(_matches(model, choice))
    if not found:
        raise ValueError(
            f"no layers were chosen of {type(model).__name__}; expected names, globs or 'all' "
            "(a model that is a single layer has none: wrap it in nn.Sequential)"
        )
    return [name for name, _ in model.named_modules() if name in found]


def is_explicit(model: nn.Module, chosen: str | Sequence[str]) -> set[str]:
    """The layers that were asked for by their own name."""
    names = {name for name, _ in model.named_modules()}
    return names & ({chosen} if isinstance(chosen, str) else set(chosen))


def leaf_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that make activations of their own rather than containing others that do."""
    leaves: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        inside = any(ancestor in leaves for ancestor in _ancestors(name))
        whole = isinstance(module, _ACTIVE) or not any(module.children())
        if name and whole and not inside and not isinstance(module, _PASSIVE):
            leaves[name] = module
    return leaves


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def call_label(name: str, call: int) -> str:
    """The layer a module's n-th call stands for: ``act``, then ``act#2``, ``act#3`` …"""
    return name if call == 0 else f"{name}#{call + 1}"


def module_and_call(layer: str) -> tuple[str, int]:
    """The module's name and the call (from 0) that a layer's name stands for."""
    name, mark, number = layer.rpartition("#")
    # The first call is the plain name: "act#1" and "act#0" are no layers.
    numbered = mark and number.isdigit() and int(number) > 1
    return (name, int(number) - 1) if numbered else (layer, 0)


def _matches(model: nn.Module, choice: str) -> list[str]:
    modules = dict(model.named_modules())
    if choice in modules and choice:
        return [choice]
    leaves = leaf_modules(model)
    if choice == "all":
        return list(leaves)
    if choice == "auto":
        active = [name for name, module in leaves.items() if isinstance(module, _ACTIVATIONS)]
        return active or [name for name, module in leaves.items() if _has_parameters(module)]
    globbed = leaves if "*" in choice else modules
    matched = [
        name
        for name, module in globbed.items()
        if name and (fnmatch.fnmatchcase(name, choice) or type(module).__name__ == choice)
    ]
    if not matched:
        raise ValueError(unknown("layer", choice, [name for name in modules if name]))
    return matched


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _units_of_parameters(module: nn.Module) -> int:
    for attribute in ("out_channels", "out_features", "num_features", "hidden_size", "embed_dim"):
        value = getattr(module, attribute, None)
        if isinstance(value, int):
            return value
    return -1


def _run_once(
    model: nn.Module,
    leaves: dict[str, nn.Module],
    example: Any,
    shapes: dict[str, tuple[int, ...]],
    units: dict[str, int],
    calls: dict[str, int],
) -> None:
    def look(name: str, output: torch.Tensor, call: int) -> None:
        calls[name] = call + 1
        if call == 0:
            shapes[name] = tuple(output.shape[1:])
            units[name] = output.shape[unit_axis(governors[name], output)] if output.ndim > 1 else 1

    if isinstance(example, Iterator):
        raise TypeError(
            f"the example is a {type(example).__name__}, which would lose a batch; expected an "
            "array, a batch, labelled images, a Dataset or a DataLoader"
        )
    governors = {name: governor(model, name) for name in leaves}
    callbacks = {
        name: (lambda output, call, _, name=name: look(name, output, call)) for name in leaves
    }
    device, dtype = device_and_dtype(model)
    batch = next(batches(example, batch_size=1)).to(device, dtype)
    with inference(model), captured(model, callbacks):
        batch.run(model)
