"""Where the numbers of a growing recording lie: samples gather until they fill a slab of chunks.

A slab is so many samples as are turned to neuron-major order at a time. The batches of the last
one lie in one file, each as a neuron-major block (``raw/0/<slab>``); once it is full they move into
the chunk files of the Zarr arrays, a few neurons at a time. To write a slab again gives the same
files: nothing here needs a lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from io import FileIO
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from nbcorr.recording.group import chunk_folders, chunked_plane, neurons_per_chunk
from nbcorr.recording.journal import write_all
from nbcorr.recording.planes import Plane, Segment
from nbcorr.recording.rows import Layout

# Neurons of a batch that are turned to neuron-major order at a time.
_TILE = 4096


@dataclasses.dataclass(frozen=True)
class Slabs:
    """The files of a growing recording.

    Attributes
    ----------
    folder : Path
        Of the partial recording.
    layout : Layout
    length : int
        Samples per slab.
    width : int
        Samples per chunk of activations, where there are slabs that are full. As many as a slab
        has, so that every slab has files of its own, or all there will be: then whole neurons
        lie in one piece, and are read twice as fast.
    """

    folder: Path
    layout: Layout
    length: int
    width: int

    @property
    def store(self) -> Path:
        """The Zarr group to be."""
        return self.folder / "store"

    @property
    def leads(self) -> dict[str, tuple[int, ...]]:
        """The activation arrays, with their dimensions before the neurons."""
        pools = (len(self.layout.pools),) if len(self.layout.pools) > 1 else ()
        twins = {"activation_twin": (self.layout.twins, *pools)} if self.layout.twins else {}
        return {"activation": pools, **twins}

    def chunk(self, n_samples: int) -> tuple[int, int]:
        """Neurons and samples per chunk, where there are so many samples in all."""
        width = n_samples if n_samples < self.length else self.width
        return neurons_per_chunk(self.layout.n_neurons, width), width

    def put(self, start: int, activation: np.ndarray) -> None:
        """A batch, shape (planes, batch, neurons), behind the others of its slab."""
        itemsize = self.layout.n_planes * self.layout.n_neurons * activation.itemsize
        for low, high in _cut(start, start + activation.shape[1], self.length):
            path = self._raw(low // self.length)
            part = activation[:, low - start : high - start]
            with _opened(path, low % self.length * itemsize) as file:
                for plane in part:
                    for at in range(0, plane.shape[1], _TILE):
                        write_all(file, np.ascontiguousarray(plane[:, at : at + _TILE].T))

    def put_features(self, start: int, features: np.ndarray) -> None:
        """Rows of input features, shape (batch, features), into the chunk they belong to."""
        for low, high in _cut(start, start + len(features), self.length):
            path = self._features(low // self.length)
            row = features.shape[1] * features.itemsize
            with _opened(path, low % self.length * row) as file:
                write_all(file, np.ascontiguousarray(features[low - start : high - start]))

    def move(self, slab: int, sizes: Sequence[int]) -> None:
        """Cut the batches of a slab into chunks; the last slab may have fewer samples.

        Parameters
        ----------
        slab : int
        sizes : sequence of int
            Samples of every batch so far.
        """
        start, stop = slab * self.length, min((slab + 1) * self.length, sum(sizes))
        chunk = self.chunk(stop)
        segments = self._raw_segments(start, stop, sizes)
        for folder, raw in zip(self._chunk_folders(), segments, strict=True):
            plane = Plane(raw, self.layout.n_neurons, np.dtype(self.layout.dtype))
            for low, high in self._tiles(chunk):
                _write_tile(folder, low, start, plane.read((low, high), (start, stop)), chunk)

    def drop(self, slab: int) -> None:
        """Forget the batches of a slab that was moved."""
        self._raw(slab).unlink(missing_ok=True)

    def write(self, start: int, activation: np.ndarray, features: np.ndarray | None) -> None:
        """Samples of whole slabs straight into chunks; only the recording's last may be shorter."""
        if start % self.length:
            raise ValueError(f"the samples start at {start}; expected a multiple of {self.length}")
        stop = start + activation.shape[1]
        chunk = self.chunk(stop)
        for folder, plane in zip(self._chunk_folders(), activation, strict=True):
            for low, high in _cut(start, stop, self.length):
                part = plane[low - start : high - start]
                for first, last in self._tiles(chunk):
                    block = np.ascontiguousarray(part[:, first:last].T)
                    _write_tile(folder, first, low, block, chunk)
        if features is not None:
            self.put_features(start, features)

    def close_features(self, n_samples: int) -> None:
        """Bring the last chunk of the features to its full length."""
        if self.layout.features and n_samples:
            width = min(self.length, n_samples)
            with open(self._features((n_samples - 1) // self.length), "r+b") as file:
                file.truncate(width * len(self.layout.features) * 4)

    def planes(self, sizes: Sequence[int], chunked: int) -> list[Plane]:
        """Every plane of all batches, of which so many samples are in chunks."""
        n_neurons, dtype = self.layout.n_neurons, np.dtype(self.layout.dtype)
        raw = self._raw_segments(chunked, sum(sizes), sizes)
        return [
            Plane((*self._chunked(folder, chunked), *rest), n_neurons, dtype)
            for folder, rest in zip(self._chunk_folders(), raw, strict=True)
        ]

    def feature_plane(self, n_samples: int) -> Plane:
        """The features of all samples, (samples, features): a plane read row by row."""
        n_features = len(self.layout.features)
        segment = Segment(f"{self.store}/input/c/", "/0", 0, n_features, self.length, n_features)
        return Plane((segment,), n_samples, np.dtype(np.float32))

    def _chunked(self, folder: Path, n_samples: int) -> tuple[Segment, ...]:
        if not n_samples:
            return ()
        shape, dtype = (self.layout.n_neurons, n_samples), np.dtype(self.layout.dtype)
        return chunked_plane(folder, shape, self.chunk(n_samples), dtype).segments

    def _raw_segments(
        self, start: int, stop: int, sizes: Sequence[int]
    ) -> Iterator[tuple[Segment, ...]]:
        """Where the batches between two samples lie, for every plane."""
        edges = pairwise(accumulate(sizes, initial=0))
        pieces = [p for low, high in edges if high > start for p in _cut(low, high, self.length)]
        n_neurons, planes = self.layout.n_neurons, self.layout.n_planes
        itemsize = n_neurons * np.dtype(self.layout.dtype).itemsize
        for plane in range(planes):
            yield tuple(
                Segment(
                    f"{self.folder / 'raw'}/",
                    f"/{low // self.length}",
                    *(low, high, n_neurons, high - low),
                    itemsize * (low % self.length * planes + plane * (high - low)),
                )
                for low, high in pieces
                if start <= low < stop
            )

    def _tiles(self, chunk: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """The neurons that are moved at a time: those of whole files, 4 MB with their samples."""
        files = max(1, neurons_per_chunk(self.layout.n_neurons, self.length) // chunk[0])
        return _steps(self.layout.n_neurons, files * chunk[0])

    def _chunk_folders(self) -> list[Path]:
        arrays = self.leads.items()
        return [f for name, lead in arrays for f in chunk_folders(self.store / name, lead)]

    def _raw(self, slab: int) -> Path:
        return self.folder / f"raw/0/{slab}"

    def _features(self, slab: int) -> Path:
        return self.store / f"input/c/{slab}/0"


def _write_tile(
    folder: Path, neuron: int, sample: int, block: np.ndarray, chunk: tuple[int, int]
) -> None:
    """A block (neurons, samples) from the first neuron of a file on, into the files it meets."""
    height, width = chunk
    line = width * block.itemsize
    for low, high in _cut(sample, sample + block.shape[1], width):
        for top, bottom in _steps(len(block), height):
            part = block[top:bottom, low - sample : high - sample]
            path = folder / f"{(neuron + top) // height}/{low // width}"
            with _opened(path, low % width * block.itemsize) as file:
                if high - low == width:
                    write_all(file, np.ascontiguousarray(part))
                else:
                    for row, values in enumerate(part):
                        file.seek(row * line + low % width * block.itemsize)
                        write_all(file, np.ascontiguousarray(values))
                # Where it is longer than what is known, it holds zeros.
                file.truncate(height * line)


def _cut(start: int, stop: int, length: int) -> Iterator[tuple[int, int]]:
    """The stretches between multiples of `length`."""
    edges = [start, *range((start // length + 1) * length, stop, length), stop]
    return pairwise(edges)


def _steps(total: int, step: int) -> Iterator[tuple[int, int]]:
    return ((at, min(at + step, total)) for at in range(0, total, step))


@contextlib.contextmanager
def _opened(path: Path, at: int) -> Iterator[FileIO]:
    """The file, made if it is not there, to be written from a place on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with open(path, "r+b", buffering=0) as file:
        file.seek(at)
        yield file
