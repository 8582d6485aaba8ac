"""What an attribution is of: a logit, a difference of two, a neuron or a place of a later layer."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from nbcorr.network.layers import call_label, module_and_call, resolve_layers
from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label
from nbcorr.network.tokens import Tokens, as_map
from nbcorr.network.units import Governor, governor, unit_axis
from nbcorr.network.wrappers import named_modules
from nbcorr.recording.answers import possible_scores
from nbcorr.recording.exemplars import check_units

Position = tuple[int, int] | str | None


@dataclasses.dataclass(frozen=True)
class Target:
    """One number per sample, or a map of numbers, that an attribution explains.

    Attributes
    ----------
    label : str
        For people.
    layer : str or None
        Whose output it is read from; None: the model's own.
    score : callable
        From that output and the batch's `Tokens` to a tensor, shape (batch,) or
        (batch, rows, columns).
    """

    label: str
    layer: str | None
    score: Callable[[Any, Tokens], torch.Tensor]


def targets_of(
    model: nn.Module, target: Any, classes: Sequence[str], position: Position
) -> list[Target]:
    """The targets as ``nc.attribute`` takes them; a list is several.

    Raises
    ------
    ValueError
        If a class, layer or position does not exist or is none.
    """
    several = target if isinstance(target, list) else [target]
    if not several:
        raise ValueError("no target was given; expected a class, for example 3, or 'layer:unit'")
    if position == "each" and isinstance(target, list):
        raise ValueError("position='each' is of one target; expected no list of targets with it")
    return [_target(model, each, classes, _checked(position)) for each in several]


def target_dims(target: Any, position: Position) -> tuple[str, ...]:
    """The dimensions that the targets are on; none for a single number."""
    if position == "each":
        return "target_y", "target_x"
    return ("target",) if isinstance(target, list) else ()


def one_layer(model: nn.Module, layer: str) -> str:
    """The layer under its first name; ``act#2`` is the second call of ``act``.

    Raises
    ------
    ValueError
        If there is none of that name, or the name stands for several.
    """
    name, call = module_and_call(layer)
    found = resolve_layers(model, name)
    if len(found) > 1:
        raise ValueError(
            f"{layer!r} stands for {len(found)} layers, {', '.join(found[:4])} …; expected one"
        )
    return call_label(found[0], call)


def class_scores(output: Any) -> torch.Tensor:
    """A classifier's scores, shape (batch, classes).

    The output itself, what is called ``logits`` in it, or the only tensor of this shape; one score
    per sample is one class.

    Raises
    ------
    ValueError
        If there are none, or several tensors could be the scores.
    """
    parts = possible_scores(output)
    scores = [part for part in parts if part.ndim == 2 or (part.ndim == 1 and len(parts) == 1)]
    if len(scores) != 1:
        shapes = ", ".join(str(tuple(part.shape)) for part in parts) or "no tensor"
        raise ValueError(
            f"the model gave {shapes}; expected one tensor of class scores, shape "
            "(batch, classes). Of another output name the neuron, for example 'features.3:17'"
        )
    return scores[0].reshape(len(scores[0]), -1)


def _target(model: nn.Module, target: Any, classes: Sequence[str], position: Position) -> Target:
    later = _later_layer(model, target, classes)
    if later is not None:
        return _of_layer(model, *later, position)
    if position is not None:
        raise ValueError(f"target {target!r} is a class, which has no position={position!r}")
    pair = target if isinstance(target, tuple) else (target,)
    if not 1 <= len(pair) <= 2:
        raise ValueError(f"target {target!r} has {len(pair)} parts; expected one class or two")
    indices = [_class_index(model, each, classes) for each in pair]
    names = [classes[i] if i < len(classes) else str(i) for i in indices]
    return Target(" - ".join(names), None, partial(_logit, indices=indices))


def _later_layer(
    model: nn.Module, target: Any, classes: Sequence[str]
) -> tuple[str, int | None] | None:
    """The layer, and the unit, that a target names; None where it is of classes."""
    if isinstance(target, tuple) and len(target) == 2 and isinstance(target[0], str):
        if target[0] in classes or isinstance(target[1], str):
            return None
        return target[0], operator.index(target[1])
    if not isinstance(target, str) or target in classes:
        return None
    layer, _, unit = target.rpartition(":")
    if layer and unit.isdigit():
        return layer, int(unit)
    return (target, None) if module_and_call(target)[0] in _layers(model) else None


def _class_index(model: nn.Module, name: Any, classes: Sequence[str]) -> int:
    if isinstance(name, str):
        if name in classes:
            return list(classes).index(name)
        hint = "" if classes else " (names of classes are known by classes=)"
        raise ValueError(unknown("class or layer", name, [*classes, *_layers(model)]) + hint)
    try:
        index = operator.index(name)
    except TypeError:
        raise ValueError(
            f"target {name!r} is a {type(name).__name__}; expected the index or the name of a "
            "class, a pair of them, or a neuron, for example 'features.3:17'"
        ) from None
    if index < 0:
        raise ValueError(f"there is no class {index}; expected 0 or more")
    return index


def _logit(output: Any, _: Tokens, indices: Sequence[int]) -> torch.Tensor:
    scores = class_scores(output)
    for index in indices:
        if index >= scores.shape[1]:
            raise ValueError(
                f"there is no class {index}: the model has {scores.shape[1]}, "
                f"0 to {scores.shape[1] - 1}"
            )
    first = scores[:, indices[0]]
    return first if len(indices) == 1 else first - scores[:, indices[1]]


def _of_layer(model: nn.Module, layer: str, unit: int | None, position: Position) -> Target:
    layer = one_layer(model, layer)
    if unit is None and position is None:
        raise ValueError(
            f"target {layer!r} is a whole layer; expected a neuron of it, {layer + ':0'!r}, or a "
            "place in it: position=(row, column)"
        )
    label = layer if unit is None else neuron_label(layer, unit)
    if position is not None:
        label += f" at {'each position' if position == 'each' else position}"
    decides = governor(model, module_and_call(layer)[0])
    read = partial(_activation, decides=decides, layer=layer, unit=unit, position=position)
    return Target(label, layer, read)


def _activation(
    output: torch.Tensor,
    tokens: Tokens,
    decides: Governor,
    layer: str,
    unit: int | None,
    position: Position,
) -> torch.Tensor:
    """A unit's mean over its positions, or what it or all units together give at a position."""
    axis = unit_axis(decides, output)
    check_units(layer, [unit or 0], output.shape[axis])
    if position is None:
        return output.movedim(axis, 1)[:, unit].reshape(len(output), -1).mean(1)
    maps = as_map(output, axis, tokens)
    values = torch.linalg.vector_norm(maps, dim=1) if unit is None else maps[:, unit]
    if isinstance(position, str):
        return values
    row, column = position
    if row >= values.shape[1] or column >= values.shape[2]:
        raise ValueError(
            f"layer {layer!r} has no position {position}: its maps have {values.shape[1]} rows "
            f"and {values.shape[2]} columns"
        )
    return values[:, row, column]


def _checked(position: Any) -> Position:
    if position is None or position == "each":
        return position
    pair = np.asarray(position)
    if pair.shape != (2,) or pair.dtype.kind not in "iu" or pair.min() < 0:
        raise ValueError(f"position is {position!r}; expected (row, column) or 'each'")
    return int(pair[0]), int(pair[1])


def _layers(model: nn.Module) -> list[str]:
    return [name for name, _ in named_modules(model) if name]
