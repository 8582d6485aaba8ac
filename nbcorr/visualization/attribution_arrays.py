"""Attributions of batches as labelled arrays, put together and summed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr

from nbcorr.network.batches import Batch
from nbcorr.network.tokens import Tokens, as_map, has_places

Variable = tuple[tuple[str, ...], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the numbers of a layer's output lie, one batch of them for every score.

    Attributes
    ----------
    axis : int
        Of the units in the output.
    tokens : Tokens
    of_image : bool
        Whether an image went in, so that tokens are patches of it.
    scores : mapping of dimension to size
        What the scores lie on beside the samples; empty for one score.
    """

    axis: int
    tokens: Tokens
    of_image: bool
    scores: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def by_place(self, values: torch.Tensor) -> Variable:
        """Values of the output's shape, for every score: (scores, batch, ...)."""
        flat = values.flatten(0, 1)
        if flat.ndim == 2:
            return self._variable(values, flat, ("neuron",))
        if self._is_map(flat):
            maps = as_map(flat, self.axis, self.tokens)
            return self._variable(values, maps, ("neuron", "y", "x"))
        places = flat.movedim(self.axis, 1).flatten(2)
        return self._variable(values, places, ("neuron", "position"))

    def off_map(self, values: torch.Tensor) -> Variable | None:
        """The sums over class and register tokens, which have no place; None without any."""
        flat = values.flatten(0, 1)
        if flat.ndim != 3 or not self._is_map(flat):
            return None
        tokens = flat.movedim(self.axis, 1)
        front = tokens.shape[2] - as_map(flat, self.axis, self.tokens)[0, 0].numel()
        return self._variable(values, tokens[:, :, :front].sum(2), ("neuron",)) if front else None

    def by_score(self, scores: Sequence[torch.Tensor]) -> Variable:
        """Scores of shape (batch,) or (batch, rows, columns)."""
        stacked = torch.stack([score.movedim(0, -1) for score in scores])
        shape = (*self.scores.values(), stacked.shape[-1])
        return (*self.scores, "sample"), to_array(stacked.reshape(shape))

    def _is_map(self, output: torch.Tensor) -> bool:
        patches = self.of_image and has_places(output, self.axis, self.tokens)
        return output.ndim == 4 or (output.ndim == 3 and patches)

    def _variable(
        self, values: torch.Tensor, flat: torch.Tensor, dims: tuple[str, ...]
    ) -> Variable:
        shape = (*self.scores.values(), values.shape[1], *flat.shape[1:])
        return (*self.scores, "sample", *dims), to_array(flat.reshape(shape))


def check_finite(what: str, values: torch.Tensor, batch: Batch, first: int) -> None:
    """A ValueError that names a sample with a number that is not; batch along the second axis."""
    finite = values.transpose(0, 1).flatten(1).isfinite().all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        name = first + row if batch.sample is None else batch.sample[row]
        raise ValueError(f"{what} has NaN or infinite values at sample {name!s}; expected numbers")


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """On the CPU, float32."""
    return tensor.detach().to("cpu", torch.float32).numpy()


def labelled(part: xr.Dataset, batch: Batch, first: int) -> xr.Dataset:
    """A batch's Dataset with the samples' ids, positions where there are none, and labels."""
    ids = np.arange(first, first + len(batch)) if batch.sample is None else batch.sample
    part = part.assign_coords(sample=ids)
    return part if batch.label is None else part.assign_coords(label=("sample", batch.label))


def concatenated(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Batches' Datasets as one.

    Raises
    ------
    ValueError
        If there are none, or their sizes differ in more than the number of samples.
    """
    if not parts:
        raise ValueError("the inputs are empty: no samples were found, expected at least one")
    sizes = [{k: v for k, v in part.sizes.items() if k != "sample"} for part in parts]
    other = next((each for each in sizes if each != sizes[0]), None)
    if other is not None:
        raise ValueError(f"inputs differ in size: {sizes[0]} and {other}; expected one size")
    return xr.concat(parts, "sample", coords="minimal", compat="override", join="override")


def summed(data: xr.Dataset) -> xr.Dataset:
    """With the sums of ``attribution`` by neuron, by position and in all, and what they miss."""
    found = data["attribution"]
    within = [str(d) for d in found.dims if d in {"neuron", "channel", "feature"}]
    places = [str(d) for d in found.dims if d in {"y", "x", "position"}]
    sums = {"total": _sum(found, [*within, *places])}
    if places:
        sums["by_position"] = _sum(found, within)
    if "neuron" in within:
        sums["by_neuron"] = _sum(found, places)
    if "off_map" in data:
        sums["by_neuron"] = sums["by_neuron"] + data["off_map"]
        sums["total"] = _sum(sums["by_neuron"], ["neuron"])
    if "score_baseline" in data:
        sums["gap"] = data["score"] - data["score_baseline"] - sums["total"]
    return data.assign(sums)


def _sum(values: xr.DataArray, dims: list[str]) -> xr.DataArray:
    return values.sum(dims, dtype=np.float64, skipna=False).astype(np.float32)
