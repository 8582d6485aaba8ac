"""Neuron-major numbers in raw files, read straight into the rows they belong to.

The chunk files of an uncompressed Zarr array are raw bytes. Reading them here takes a third of the
time that zarr-python takes, which copies every chunk twice through fresh memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from io import FileIO
from typing import Any

import numpy as np

# A Dask task reads at most so many values (32 MB of float32), whole neurons.
_VALUES_PER_TASK = 1 << 23


@dataclasses.dataclass(frozen=True)
class Segment:
    """The samples ``start`` to ``stop`` of one plane, in files of ``height`` neurons each.

    Attributes
    ----------
    before, after : str
        The file of the neurons ``i * height`` and up is called ``f"{before}{i}{after}"``.
    stride : int
        Values from one neuron to the next in a file; more than the samples where it is padded.
    offset : int
        Bytes before the first neuron in every file.
    """

    before: str
    after: str
    start: int
    stop: int
    height: int
    stride: int
    offset: int = 0

    def path(self, block: int) -> str:
        """The file of a block of neurons."""
        return f"{self.before}{block}{self.after}"


@dataclasses.dataclass(frozen=True)
class Plane:
    """An array (neurons, samples) whose numbers lie in raw files; indexed, it reads them.

    Attributes
    ----------
    segments : tuple of Segment
        In the order of the samples, without gaps.
    n_neurons : int
    dtype : numpy.dtype
    """

    segments: tuple[Segment, ...]
    n_neurons: int
    dtype: np.dtype

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Neurons, samples."""
        return self.n_neurons, self.segments[-1].stop if self.segments else 0

    def __getitem__(self, key: tuple[Any, Any]) -> np.ndarray:
        """The rows and columns of two slices or whole numbers."""
        spans, inner = zip(*map(_span, key, self.shape), strict=True)
        return self.read(*spans)[inner]

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """The neurons and samples from the first to before the last of each pair."""
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), self.dtype)
        # Read over and over: its pages stay in the cache, which fresh ones would not be in.
        buffer = np.empty(0, self.dtype)
        for segment in self.segments:
            start, stop = max(segment.start, columns[0]), min(segment.stop, columns[1])
            if start < stop and rows[0] < rows[1]:
                part = out[:, start - columns[0] : stop - columns[0]]
                inside = (start - segment.start, stop - segment.start)
                buffer = _read(segment, rows, inside, part, buffer)
        return out


def lazy(plane: Plane, height: int) -> Any:
    """The plane as a Dask array in chunks of whole neurons, about 32 MB each.

    Parameters
    ----------
    plane : Plane
    height : int
        Neurons per file: a chunk has several times as many, or a part that divides them.
    """
    import dask.array

    most = max(1, _VALUES_PER_TASK // max(1, plane.shape[1]))
    whole = most // height * height
    rows = whole or next(n for n in range(min(height, most), 0, -1) if height % n == 0)
    return dask.array.from_array(
        plane,
        chunks=(rows, -1),
        name=False,
        fancy=False,
        meta=np.empty((0, 0), plane.dtype),
    )


def stacked(planes: Sequence[Plane], lead: tuple[int, ...], height: int) -> Any:
    """Planes as one Dask array, shape (*lead, neurons, samples)."""
    import dask.array

    arrays = [lazy(plane, height) for plane in planes]
    if not lead:
        return arrays[0]
    inner = lead[-1]
    parts = [dask.array.stack(arrays[at : at + inner]) for at in range(0, len(arrays), inner)]
    return parts[0] if len(lead) == 1 else dask.array.stack(parts)


def _read(
    segment: Segment,
    rows: tuple[int, int],
    columns: tuple[int, int],
    out: np.ndarray,
    buffer: np.ndarray,
) -> np.ndarray:
    """The part of a segment, into `out`; returns the buffer, which may have grown."""
    first, last = rows[0] // segment.height, (rows[1] - 1) // segment.height
    for block in range(first, last + 1):
        top = block * segment.height
        low, high = max(rows[0], top), min(rows[1], top + segment.height)
        start = segment.offset + (low - top) * segment.stride * out.itemsize
        part = out[low - rows[0] : high - rows[0]]
        with open(segment.path(block), "rb", buffering=0) as file:
            if 8 * (columns[1] - columns[0]) < segment.stride:
                _read_thin(file, start + columns[0] * out.itemsize, segment.stride, part)
            elif part.shape[1] == segment.stride and part.flags.c_contiguous:
                _fill(file, start, part)
            else:
                buffer = _read_wide(file, start, segment.stride, columns, part, buffer)
    return buffer


def _read_wide(
    file: FileIO,
    start: int,
    stride: int,
    columns: tuple[int, int],
    out: np.ndarray,
    buffer: np.ndarray,
) -> np.ndarray:
    """All samples of the neurons at once, of which `columns` are kept."""
    values = len(out) * stride
    if buffer.size < values:
        buffer = np.empty(values, out.dtype)
    _fill(file, start, buffer[:values])
    out[:] = buffer[:values].reshape(-1, stride)[:, columns[0] : columns[1]]
    return buffer


def _read_thin(file: FileIO, start: int, stride: int, out: np.ndarray) -> None:
    """Few of the samples, neuron by neuron: less than reading past all the others."""
    line = np.empty(out.shape[1], out.dtype)
    for row in range(len(out)):
        _fill(file, start + row * stride * out.itemsize, line)
        out[row] = line


def _fill(file: FileIO, start: int, values: np.ndarray) -> None:
    file.seek(start)
    view = values.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise ValueError(
                f"{file.name} is truncated: it ends at byte {start + done}; expected "
                f"{start + len(view)} bytes or more"
            )
        done += count


def _span(key: slice | int, length: int) -> tuple[tuple[int, int], slice | int]:
    """The stretch that a slice or number lies in, and where in it that is."""
    if not isinstance(key, slice):
        at = int(key) + (length if key < 0 else 0)
        return (at, at + 1), 0
    steps = range(*key.indices(length))
    if not steps:
        return (0, 0), slice(None)
    low, high = min(steps[0], steps[-1]), max(steps[0], steps[-1])
    return (low, high + 1), slice(None, None, steps.step)
