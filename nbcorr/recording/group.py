"""A Dataset in a Zarr group of uncompressed arrays, which any reader of Zarr v3 reads."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.recording.flat import check_format, flatten, is_large, restore
from nbcorr.recording.planes import Plane, Segment, stacked

# Values in one chunk: 4 MB of float32. Smaller ones cost more files, larger ones memory.
CHUNK_VALUES = 1 << 20
# Samples of a growing recording that are turned to neuron-major order at a time.
SLAB = 4096


def neurons_per_chunk(n_neurons: int, samples: int) -> int:
    """Neurons that fill a chunk of so many samples."""
    return max(1, min(n_neurons, CHUNK_VALUES // max(1, samples)))


def write_group(
    folder: Path,
    dataset: xr.Dataset,
    facts: dict[str, Any],
    in_place: dict[str, tuple[int, ...]] | None = None,
) -> None:
    """Write a Dataset as a Zarr group; only when all is written does it become one.

    Parameters
    ----------
    folder : Path
    dataset : xarray.Dataset
        Lazy arrays are read block by block.
    facts : dict
        What stands beside the Dataset's own description.
    in_place : dict of str to tuple of int, optional
        Arrays whose chunks are in the folder already, with the shape of their chunks.
    """
    in_place = in_place or {}
    variables, description = flatten(dataset)
    for name, variable in variables.items():
        kind = variable.dtype.kind
        variable = _as_numbers(name, variable)
        chunks = in_place.get(name) or _chunks(variable)
        _declare(folder / name, variable, chunks, {"text": kind} if kind in "US" else {})
        if name not in in_place:
            _write(folder / name, variable, chunks)
    own = {**facts, **description, "arrays": list(variables)}
    attributes = {**description["attrs"], "nbcorr": own}
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    beside = folder / "zarr.json.new"
    beside.write_text(json.dumps(group, indent=1), "utf-8")
    os.replace(beside, folder / "zarr.json")


def read_facts(folder: Path) -> dict[str, Any]:
    """What a group of ours says of itself.

    Raises
    ------
    ValueError
        If the folder is none, or of a later format.
    """
    try:
        own = json.loads((folder / "zarr.json").read_text("utf-8"))["attributes"]["nbcorr"]
        version = own["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{folder} holds no recording of nbcorr, or its zarr.json is damaged; expected a "
            "folder that nc.record(store=...) or nc.save_recording made"
        ) from None
    check_format(folder, version)
    return own


def read_group(folder: Path) -> xr.Dataset:
    """The Dataset of a group, its coordinates in memory and its large arrays lazy.

    Raises
    ------
    ValueError
        If the folder is no group of ours, or a part of it is missing.
    """
    own = read_facts(folder)
    variables = {name: _read(folder, name, own) for name in own["arrays"]}
    return restore(variables, own)


def chunk_folders(array: Path, lead: tuple[int, ...]) -> list[Path]:
    """Where the chunks of each plane of an array lie; `lead` are the dims before the neurons."""
    return [array.joinpath("c", *map(str, at)) for at in np.ndindex(*lead)]


def chunked_plane(
    folder: Path, shape: tuple[int, int], chunks: tuple[int, int], dtype: np.dtype
) -> Plane:
    """The plane whose chunks lie in a folder of `chunk_folders`."""
    height, width = chunks
    segments = (
        Segment(f"{folder}/", f"/{at}", at * width, min((at + 1) * width, shape[1]), height, width)
        for at in range(-(-shape[1] // width))
    )
    return Plane(tuple(segments), shape[0], dtype)


def write_chunk(path: Path, block: np.ndarray, shape: tuple[int, ...]) -> None:
    """One chunk's file; a block at the array's edge is filled up with zeros."""
    if block.shape != shape:
        whole = np.zeros(shape, block.dtype)
        whole[tuple(map(slice, block.shape))] = block
        block = whole
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(np.ascontiguousarray(block).data)


def _chunks(variable: xr.Variable) -> tuple[int, ...]:
    """About 4 MB a chunk: whole neurons, else stretches of the first dimension."""
    shape = tuple(max(1, length) for length in variable.shape)
    if variable.dims[-2:] == ("neuron", "sample"):
        width = min(CHUNK_VALUES, shape[-1])
        return (1,) * (len(shape) - 2) + (neurons_per_chunk(shape[-2], width), width)
    if not shape:
        return ()
    return (max(1, min(shape[0], CHUNK_VALUES // prod(shape[1:]))), *shape[1:])


def _declare(
    folder: Path, variable: xr.Variable, chunks: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    """Only the array's metadata."""
    import zarr

    zarr.create_array(
        str(folder),
        shape=variable.shape,
        chunks=chunks,
        dtype=variable.dtype,
        compressors=None,
        filters=None,
        fill_value=False if variable.dtype.kind == "b" else 0,
        dimension_names=list(map(str, variable.dims)),
        attributes=attributes,
        zarr_format=3,
    )


def _write(folder: Path, variable: xr.Variable, chunks: tuple[int, ...]) -> None:
    """All chunks; what lies along the last dimension is read at once and then cut."""
    spans = [
        [slice(at, at + step) for at in range(0, length, step)]
        for length, step in zip(variable.shape, chunks, strict=True)
    ]
    if not spans:
        return write_chunk(folder / "c", variable.values, ())
    *before, last = spans
    for index in np.ndindex(*map(len, before)):
        stretch = variable[tuple(s[at] for s, at in zip(before, index, strict=True))].values
        for at, span in enumerate(last):
            path = folder.joinpath("c", *map(str, (*index, at)))
            write_chunk(path, stretch[..., span], chunks)


def _read(folder: Path, name: str, own: dict[str, Any]) -> xr.Variable:
    import dask.array
    import zarr

    try:
        array: Any = zarr.open_array(str(folder / name), mode="r", zarr_format=3)
        dims = array.metadata.dimension_names or ()
        _check_chunks(folder / name, array.shape, array.chunks, array.dtype)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder} is truncated: of array {name!r}, {error}; expected the whole folder, as "
            "it was written"
        ) from None
    if dims[-2:] == ("neuron", "sample"):
        lead = array.shape[:-2]
        planes = [
            chunked_plane(part, array.shape[-2:], array.chunks[-2:], array.dtype)
            for part in chunk_folders(folder / name, lead)
        ]
        return xr.Variable(dims, stacked(planes, lead, array.chunks[-2]))
    text = array.attrs.get("text")
    if is_large(dims, array.size) and not text:
        return xr.Variable(dims, dask.array.from_array(array, name=False))
    variable = xr.Variable(dims, np.asarray(array[...]))
    return _as_text(variable, text) if text else variable


def _check_chunks(
    folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype
) -> None:
    expected = prod(chunks) * dtype.itemsize
    for place in _chunk_places(shape, chunks):
        path = folder.joinpath("c", *map(str, place))
        found = path.stat().st_size if path.exists() else "no"
        if found != expected:
            raise ValueError(f"chunk {path.relative_to(folder)} has {found} of {expected} bytes")


def _chunk_places(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    counts = (-(-length // step) for length, step in zip(shape, chunks, strict=True))
    return itertools.product(*map(range, counts))


def _as_numbers(name: str, variable: xr.Variable) -> xr.Variable:
    """Text as a further dimension of its characters' numbers: Zarr has no settled dtype for it."""
    kind = variable.dtype.kind
    if kind not in "US":
        return variable
    # Not ascontiguousarray, which makes a vector of a single value.
    values = np.array(variable.values, order="C")
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    width = max(1, values.dtype.itemsize // (4 if kind == "U" else 1))
    values = values.astype(f"{kind}{width}")
    numbers = np.frombuffer(values.tobytes(), np.uint32 if kind == "U" else np.uint8)
    return xr.Variable((*variable.dims, f"{name}_character"), numbers.reshape(*values.shape, width))


def _as_text(variable: xr.Variable, kind: str) -> xr.Variable:
    numbers = np.ascontiguousarray(variable.values)
    *shape, width = numbers.shape
    text = np.frombuffer(numbers.tobytes(), f"{kind}{width}").reshape(shape)
    return xr.Variable(variable.dims[:-1], text)
