"""The layers of a model, and the ways to choose among them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from nbcorr.network.batches import batches
from nbcorr.network.hooks import captured, device_and_dtype, inference
from nbcorr.network.names import unknown
from nbcorr.network.units import governors, unit_axis
from nbcorr.network.wrappers import named_modules, submodule, unwrapped

# One way to choose layers: a name, glob or kind, a class, or a question put to each module.
Choice = str | type[nn.Module] | Callable[[str, nn.Module], bool]

_ACTIVATIONS = tuple(
    getattr(nn.modules.activation, name)
    for name in nn.modules.activation.__all__
    if name not in {"MultiheadAttention", "Softmax", "Softmax2d", "LogSoftmax", "Softmin"}
)
# Libraries write their own (GELUActivation, QuickGELU, MemoryEfficientSwish), known by name.
_ACTIVATION_NAMES = ("swish", *(cls.__name__.lower() for cls in _ACTIVATIONS))
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
# Not chosen by "all", "auto" or a glob: passive, or run by torch without hooks.
_UNFIT = (*_PASSIVE, torch.jit.ScriptModule)
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
        Plain, compiled or ``DataParallel``.
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
        If the example is an iterator, which would lose a batch, or the model is none that can be
        hooked.
    """
    model = unwrapped(model)
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


def resolve_layers(model: nn.Module, chosen: Choice | Collection[Choice]) -> list[str]:
    """Module names for a choice of layers, in the order the model holds them.

    Parameters
    ----------
    model : torch.nn.Module
        Compiled and ``DataParallel`` models have the layer names of the plain one; names with
        the wrapper's part in them (``module.conv1``) are accepted too.
    chosen : str, class, callable, or several of them
        - a name (``"features.3"``), a glob over leaf modules (``"features.*"``) or a kind, the
          name of a class (``"Conv2d"``);
        - ``"all"``, every leaf module, or ``"auto"``: the activation modules (ReLU, GELU …) where
          the model has any, else every leaf module with parameters;
        - a class (``nn.Conv2d``): its instances, those of subclasses included;
        - a callable ``(name, module) -> bool``, asked about every module.

        A module that the model holds under several names has the first of them.

    Raises
    ------
    ValueError
        If a choice matches nothing, the nearest name or kind is offered; or if there is no layer
        at all.
    TypeError
        If a choice is none of these, or the model none that can be hooked.
    """
    model = unwrapped(model)
    first = _first_names(model)
    found = {name for choice in _choices(chosen) for name in _matches(model, first, choice)}
    if not found:
        raise ValueError(
            f"no layers were chosen of {type(model).__name__}; expected names, globs or 'all' "
            "(a model that is a single layer has none: wrap it in nn.Sequential)"
        )
    return [name for name in first.values() if name in found]


def is_explicit(model: nn.Module, chosen: Choice | Collection[Choice]) -> set[str]:
    """The layers that were asked for by their own name."""
    first = _first_names(model)
    names = [c for c in _choices(chosen) if isinstance(c, str)]
    return {own for name in names if (own := _own_name(model, first, name))}


def leaf_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that make activations of their own rather than containing others that do.

    Under their first names, without wrappers; what torch runs without hooks is left out.
    """
    leaves: dict[str, nn.Module] = {}
    for module, name in _first_names(model).items():
        inside = any(ancestor in leaves for ancestor in _ancestors(name))
        whole = isinstance(module, _ACTIVE) or not any(module.children())
        if name and whole and not inside and not isinstance(module, _UNFIT):
            leaves[name] = module
    return leaves


def _first_names(model: nn.Module) -> dict[nn.Module, str]:
    """Every module of the model itself with its first name; the model's own is empty."""
    names: dict[nn.Module, str] = {}
    for name, module in named_modules(unwrapped(model)):
        names.setdefault(module, name)
    return names


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


def _choices(chosen: Choice | Collection[Choice]) -> list[Choice]:
    if isinstance(chosen, str) or callable(chosen) or not isinstance(chosen, Collection):
        return [chosen]
    return list(chosen)


def _matches(model: nn.Module, first: dict[nn.Module, str], choice: Choice) -> list[str]:
    if isinstance(choice, str):
        return _named(model, first, choice)
    modules = {name: module for module, name in first.items() if name}
    if isinstance(choice, type):
        matched = [name for name, module in modules.items() if isinstance(module, choice)]
        if not matched:
            kinds = sorted({type(module).__name__ for module in modules.values()})
            raise ValueError(unknown("layer of kind", choice.__name__, kinds))
    elif callable(choice) and not isinstance(choice, nn.Module):
        matched = [name for name, module in modules.items() if choice(name, module)]
        if not matched:
            raise ValueError(
                f"the predicate chose none of the {len(modules)} layers of "
                f"{type(model).__name__}; expected True for one at least"
            )
    else:
        raise TypeError(
            f"layers are chosen by {type(choice).__name__}; expected a name, glob, kind, class "
            "or callable (name, module) -> bool"
        )
    return matched


def _named(model: nn.Module, first: dict[nn.Module, str], choice: str) -> list[str]:
    """What a name, glob or kind stands for."""
    own = _own_name(model, first, choice)
    if own:
        return [own]
    leaves = leaf_modules(model)
    if choice == "all":
        return list(leaves)
    if choice == "auto":
        active = [name for module, name in first.items() if name and _activates(module)]
        return active or [name for name, module in leaves.items() if _has_parameters(module)]
    named = list(named_modules(model))
    globbed = [(n, m) for n, m in named if first[m] in leaves] if "*" in choice else named
    matched = [
        first[module]
        for name, module in globbed
        if name and (fnmatch.fnmatchcase(name, choice) or type(module).__name__ == choice)
    ]
    if not matched:
        kinds = {type(module).__name__ for _, module in named}
        raise ValueError(unknown("layer", choice, [name for name, _ in named if name] + [*kinds]))
    return matched


def _own_name(model: nn.Module, first: dict[nn.Module, str], name: str) -> str | None:
    """The first name of the module that is called so, without wrappers."""
    try:
        return first[submodule(model, name)]
    except AttributeError:
        return None


def _activates(module: nn.Module) -> bool:
    if isinstance(module, _ACTIVATIONS):
        return True
    own = type(module).__name__.lower()
    bare = not _has_parameters(module) and not any(module.children())
    return bare and any(name in own for name in _ACTIVATION_NAMES)


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
            units[name] = output.shape[unit_axis(decide[name], output)] if output.ndim > 1 else 1

    def without(name: str, call: int, _: TypeError) -> None:
        calls[name] = call + 1

    if isinstance(example, Iterator):
        raise TypeError(
            f"the example is a {type(example).__name__}, which would lose a batch; expected an "
            "array, a batch, labelled images, a Dataset or a DataLoader"
        )
    decide = governors(model, leaves)
    callbacks = {
        name: (lambda output, call, _, name=name: look(name, output, call)) for name in leaves
    }
    device, dtype = device_and_dtype(model)
    batch = next(batches(example, batch_size=1)).sorted_out(model).to(device, dtype)
    with inference(model), captured(model, callbacks, without):
        batch.run(model)
