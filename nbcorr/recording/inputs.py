"""The raw input features of every sample: what they tell as well was not learnt."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from nbcorr.network.tokens import image_of
from nbcorr.recording.arrays import with_features
from nbcorr.recording.growing import GrowingArray

# Places along each side of a picture, and features in all, that are kept.
SIDE, MOST_FEATURES = 16, 1024

# Samples of an array that are averaged at a time.
_ROWS = 1024


class Plan(NamedTuple):
    """How inputs of one shape are brought to features.

    Attributes
    ----------
    shape : tuple of int
        Of one sample.
    places, kept : tuple of int
        Rows and columns (1 row for a vector) of each of its maps, before and after averaging.
    features : list of str
        ``"channel:row,column"``; ``"row,column"`` of a table; ``"17"`` or, where neighbours are
        averaged, ``"34-36"`` of a vector.
    how : str
        What was done, in words.
    """

    shape: tuple[int, ...]
    places: tuple[int, int]
    kept: tuple[int, int]
    features: list[str]
    how: str


class InputPlan:
    """What becomes of the inputs of one recording, decided by its first batch.

    Inputs that are no features (token ids, dicts), and those whose shape changes on the way, are
    not kept. ``how`` says in words what was done.
    """

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self.how = ""

    @property
    def features(self) -> list[str]:
        """Their names; empty where inputs are not kept."""
        return [] if self._plan is None else self._plan.features

    def features_of(self, inputs: Any) -> np.ndarray | None:
        """A batch's features, shape (batch, n_features), float32; None where they are not kept.

        Of inputs by name those of the image among them.
        """
        image = image_of(inputs) if isinstance(inputs, Mapping) else None
        inputs = inputs if image is None else image
        if not self.how:
            self._plan, self.how = plan_for(inputs)
        elif self._plan is not None and self._plan.shape != (now := _shape(inputs)):
            self.how = f"not kept: inputs of shapes {self._plan.shape} and {now}"
            self._plan = None
        return None if self._plan is None else averaged(inputs, self._plan)


def with_inputs(recording: xr.Dataset, inputs: Any) -> xr.Dataset:
    """The recording with ``input(sample, feature)`` of inputs in one array, read in parts.

    Parameters
    ----------
    recording : xarray.Dataset
    inputs : array, shape (n_samples, ...), any real dtype; lazy ones too

    Raises
    ------
    ValueError
        If there is not one row per sample, or an input is not finite.
    """
    sample, shape = recording["sample"].values, np.shape(inputs)
    if not shape or shape[0] != len(sample):
        raise ValueError(f"inputs have shape {shape}; expected a row for each of {len(sample)}")
    plan, rows = InputPlan(), GrowingArray()
    for start in range(0, len(sample), _ROWS):
        part = np.asarray(inputs[start : start + _ROWS], dtype=np.float32)
        finite = np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if not finite.all():
            name = sample[start + int(np.argmin(finite))]
            raise ValueError(f"sample {name!s} has NaN or infinite inputs; expected finite numbers")
        features = plan.features_of(torch.tensor(part))
        if features is not None:
            rows.extend(features, len(sample))
    recording = recording.assign_attrs(input=plan.how)
    return with_features(recording, rows.array(), plan.features) if plan.features else recording


def plan_for(inputs: Any) -> tuple[Plan | None, str]:
    """What becomes of inputs like these, and that in words; None where nothing is kept.

    Parameters
    ----------
    inputs : tensor, shape (batch, ...), or anything a model is called with
        Pictures (batch, ..., rows, columns), tables (batch, rows, columns) or vectors.
    """
    if not isinstance(inputs, torch.Tensor):
        return None, f"not kept: the inputs are a {type(inputs).__name__}"
    shape = _shape(inputs)
    if inputs.dtype in (torch.int16, torch.int32, torch.int64) and len(shape) < 2:
        return None, "not kept: whole numbers in a row are taken for token ids"
    maps = prod(shape[:-2])
    if not 0 < maps <= MOST_FEATURES or 0 in shape or inputs.is_complex():
        return None, f"not kept: inputs of shape {shape} and {inputs.dtype} have no plain features"
    if len(shape) < 2:
        return _plan_vector(shape)
    rows, columns = shape[-2:]
    sides = ((min(rows, side), min(columns, side)) for side in range(SIDE, 0, -1))
    kept = next(side for side in sides if maps * prod(side) <= MOST_FEATURES)
    how = f"{kept[0]} x {kept[1]} of {rows} x {columns} "
    if len(shape) == 2:
        how += "values"
    else:
        how += f"pixels, {maps} channel" + ("" if maps == 1 else "s")
    return Plan(shape, (rows, columns), kept, _place_names(shape[:-2], kept), how), how


def averaged(inputs: torch.Tensor, plan: Plan) -> np.ndarray:
    """A batch's features, shape (batch, features), float32: means over even parts of each map."""
    maps = inputs.detach().to(torch.float32)
    maps = maps.reshape(len(inputs), prod(plan.shape[:-2]), *plan.places)
    (rows, columns), (kept_rows, kept_columns) = plan.places, plan.kept
    if kept_rows < rows:
        parts = [maps[:, :, start:end].mean(2) for start, end in _spans(rows, kept_rows)]
        maps = torch.stack(parts, dim=2)
    if kept_columns < columns:
        maps = maps @ _averaging(columns, kept_columns).to(maps.device)
    # A copy: nobody but the recording writes to it.
    return maps.flatten(1).cpu().numpy().copy()


def _plan_vector(shape: tuple[int, ...]) -> tuple[Plan, str]:
    length = prod(shape)
    kept = min(length, MOST_FEATURES)
    spans = [(start, end - 1) for start, end in _spans(length, kept)]
    names = [str(first) if first == last else f"{first}-{last}" for first, last in spans]
    how = f"{kept} of {length} features" + (", neighbours averaged" if kept < length else "")
    return Plan(shape, (1, length), (1, kept), names, how), how


def _place_names(maps: tuple[int, ...], kept: tuple[int, int]) -> list[str]:
    before = [",".join(map(str, place)) + ":" for place in product(*map(range, maps))]
    places = [f"{row},{column}" for row, column in product(*map(range, kept))]
    return [(name if maps else "") + place for name in before for place in places]


def _shape(inputs: Any) -> tuple[int, ...]:
    return tuple(getattr(inputs, "shape", ())[1:])


def _averaging(length: int, parts: int) -> torch.Tensor:
    """The matrix (length, parts) whose product with values is their mean over each part."""
    matrix = torch.zeros(length, parts)
    for part, (start, end) in enumerate(_spans(length, parts)):
        matrix[start:end, part] = 1 / (end - start)
    return matrix


def _spans(length: int, parts: int) -> list[tuple[int, int]]:
    """Even parts, as adaptive average pooling has them; they overlap where it does not divide."""
    return [(i * length // parts, -(-(i + 1) * length // parts)) for i in range(parts)]
