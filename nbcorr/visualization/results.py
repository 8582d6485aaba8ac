"""Pictures as a labelled Dataset, beside the exemplars of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.recording.arrays import neuron_coords
from nbcorr.visualization.jobs import Wanted
from nbcorr.visualization.render import Pictures
from nbcorr.visualization.shelf import Made

NO_EXEMPLARS = "none given; exemplars=nc.exemplars(model, data, neurons) puts them beside"
NOT_OF_NEURONS = "none: these objectives are no neurons, which nc.exemplars are of"


def labelled(
    wanted: Wanted, made: Made, exemplars: xr.Dataset | None, attrs: dict[str, Any]
) -> xr.Dataset:
    """The pictures of what has all of them.

    Parameters
    ----------
    wanted : Wanted
    made : mapping of (place in wanted, kind) to Pictures
    exemplars : xarray.Dataset, optional
        Of ``nc.exemplars``.
    attrs : dict
        What made them.
    """
    kinds, kept = _whole(made)
    over = "objective" if wanted.neurons is None else "neuron"
    dataset = xr.Dataset(coords=_coords(wanted, kept), attrs=attrs)
    for kind in kinds:
        dataset.update(_columns(kind, over, [made[p, kind] for p in kept]))
    if wanted.neurons is None:
        return dataset.assign_attrs(exemplars=NOT_OF_NEURONS)
    return _beside(dataset, [wanted.neurons[p] for p in kept], exemplars)


def _whole(made: Made) -> tuple[list[str], list[int]]:
    """The kinds of pictures, and what has all of them; else what has one, and that kind alone."""
    kinds = list(dict.fromkeys(kind for _, kind in made))
    places = sorted({place for place, _ in made})
    kept = [place for place in places if all((place, kind) in made for kind in kinds)]
    if kept:
        return kinds, kept
    first = kinds[0]
    return [first], [place for place in places if (place, first) in made]


def _coords(wanted: Wanted, kept: Sequence[int]) -> Any:
    if wanted.neurons is None:
        return {"objective": np.array([wanted.objectives[p].label for p in kept], dtype=object)}
    neurons = [wanted.neurons[p] for p in kept]
    return neuron_coords([layer for layer, _ in neurons], [unit for _, unit in neurons])


def _columns(kind: str, over: str, pictures: Sequence[Pictures]) -> dict[str, Any]:
    images = np.stack([one.images.numpy() for one in pictures])
    axes = ("y", "x", "channel") if images.ndim == 5 else ("feature",)
    images = np.moveaxis(images, 2, -1) if images.ndim == 5 else images
    reached = np.stack([one.reached.numpy() for one in pictures])
    if kind == "diverse":
        return {
            "image_diverse": ((over, "variant", *axes), images),
            "reached_diverse": ((over, "variant"), reached),
        }
    if kind == "negative":
        return {
            "image_negative": ((over, *axes), images[:, 0]),
            "reached_negative": (over, reached[:, 0]),
        }
    fresh = np.stack([one.reached_fresh.numpy() for one in pictures])
    return {
        "image": ((over, *axes), images[:, 0]),
        "reached": (over, reached[:, 0]),
        "reached_fresh": (over, fresh[:, 0]),
    }


def _beside(
    dataset: xr.Dataset, neurons: Sequence[tuple[str, int]], exemplars: xr.Dataset | None
) -> xr.Dataset:
    """With the exemplars, where there are any, and how the pictures compare with the best."""
    if exemplars is None:
        unknown = ("neuron", np.full(len(neurons), np.nan, dtype=np.float32))
        found = dataset.assign(best_exemplar=unknown, relative=unknown)
        return found.assign_attrs(exemplars=NO_EXEMPLARS)
    places = {neuron: place for place, neuron in enumerate(exemplars.indexes["neuron"])}
    rows = np.array([places.get(neuron, -1) for neuron in neurons])
    there = exemplars.isel(neuron=np.maximum(rows, 0))
    activation = there["activation"].transpose("neuron", "rank").values.astype(np.float32)
    activation[rows < 0] = np.nan
    best = activation[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(best > 0, dataset["reached"].values / best, np.nan)
    dataset = dataset.assign(
        best_exemplar=("neuron", best),
        relative=("neuron", relative.astype(np.float32)),
        exemplar=(("neuron", "rank"), _samples(there, rows < 0)),
        exemplar_activation=(("neuron", "rank"), activation),
    )
    if "mask" in there:
        mask = (
            there["mask"].transpose("neuron", "rank", "y", "x").values
            & (rows >= 0)[:, None, None, None]
        )
        same = mask.shape[2:] == tuple(dataset.sizes.get(axis) for axis in ("y", "x"))
        axes = ("y", "x") if same else ("exemplar_y", "exemplar_x")
        dataset["mask"] = (("neuron", "rank", *axes), mask)
    missing = [
        f"{layer}:{unit}" for (layer, unit), row in zip(neurons, rows, strict=True) if row < 0
    ]
    said = f"given, but not of {', '.join(missing[:8])}" if missing else "given"
    return dataset.assign_attrs(exemplars=said)


def _samples(exemplars: xr.Dataset, missing: np.ndarray) -> np.ndarray:
    """The ids of samples; -1 or "" where a neuron has no exemplars."""
    samples = exemplars["sample"].transpose("neuron", "rank").values.copy()
    samples[missing] = -1 if samples.dtype.kind in "iuf" else ""
    return samples
