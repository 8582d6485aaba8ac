"""Recordings on disk: what writing them costs, and reading them against a memory map.

One thread, processor time, candidates in turn within one process, medians of the ratios of each
round. 63 batches of 160 samples, of so many neurons. Every file is dropped from the page cache and
read back before the first round, and opened in every round: how a file came into the cache (pages
of 16 kB or 2 MB), and a map that stays open, change the numbers twofold.

    python bench/storage.py [--json PATH] [--neurons N] [--rounds R]
"""

# ruff: noqa: E402 -- the libraries below read these variables when they load
from __future__ import annotations

import os

for _library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "NUMBA_NUM"):
    os.environ.setdefault(f"{_library}_THREADS", "1")

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import zarr
from _figures import Figures, command

from nbcorr.recording.blocks import map_blocks
from nbcorr.recording.group import chunked_plane
from nbcorr.recording.opening import open_recording
from nbcorr.recording.rows import Layout, Rows
from nbcorr.recording.store import StoreWriter

BATCH, N_BATCHES, BLOCK = 160, 63, 512
N_SAMPLES = BATCH * N_BATCHES


def processor_time(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def drop_from_cache(folder: Path) -> None:
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round, after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + 1):
        for name, call in calls.items():
            spent = processor_time(call)
            if round_:
                seconds[name].append(spent)
    return seconds


def written(figures: Figures, path: Path, n_neurons: int) -> np.ndarray:
    """A store, and what it took; the activations (neurons, samples) in memory."""
    rng = np.random.default_rng(0)
    values = np.maximum(rng.standard_normal((N_SAMPLES, n_neurons), dtype=np.float32), 0)
    layout = Layout({"a": n_neurons}, ("mean",))
    appending = []
    with StoreWriter(path, {}, expected=N_SAMPLES) as writer:
        for at in range(0, N_SAMPLES, BATCH):
            rows = Rows(values[None, at : at + BATCH], {"label": np.arange(BATCH)})
            appending.append(processor_time(lambda rows=rows: writer.append(layout, rows)))
        finishing = processor_time(lambda: writer.finish({}, {}))
    ns = (sum(appending) + finishing) / values.size * 1e9
    # 400 ns: what the forward pass of an EfficientNet takes per sample and neuron on a CPU.
    figures.add("write, ns per value", ns, 20, "5 % of a forward pass of 400 ns", less=True)
    return np.ascontiguousarray(values.T)


def read(figures: Figures, path: Path, values: np.ndarray, rounds: int) -> None:
    """All of it, by blocks of 512 neurons."""
    whole = path.with_suffix(".raw")
    values.tofile(whole)
    drop_from_cache(path.parent)
    opened = functools.partial(np.memmap, whole, np.float32, "r", shape=values.shape)
    kept = opened()
    array = zarr.open_array(path / "activation", mode="r")
    plane = chunked_plane(path / "activation" / "c", array.shape, array.chunks, array.dtype)
    activation = open_recording(path)["activation"]
    blocks = [slice(at, at + BLOCK) for at in range(0, len(values), BLOCK)]

    def each(source: Any) -> None:
        for block in blocks:
            np.array(source[block, :], copy=True if isinstance(source, np.memmap) else None)

    calls = {
        "memory map": lambda: each(opened()),
        "map kept open": lambda: each(kept),
        "files": lambda: each(plane),
        "dask": lambda: map_blocks(len, activation),
        "zarr-python": lambda: each(array),
    }
    with dask.config.set(scheduler="synchronous"):
        seconds = in_turn(calls, rounds)
    np.testing.assert_array_equal(plane[blocks[-1], :], kept[blocks[-1]])
    ns = {name: statistics.median(spent) / values.size * 1e9 for name, spent in seconds.items()}
    figures.add("memory map, ns per value", ns["memory map"], None, "blocks of 512 neurons")
    for name, how, goal in (
        ("map kept open", "its pages stay mapped from round to round", None),
        ("files", "the chunk files, as open_recording reads them", 1.3),
        ("dask", "open_recording and map_blocks, 32 MB a task", 1.3),
        ("zarr-python", "the same chunks", None),
    ):
        pairs = zip(seconds[name], seconds["memory map"], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        figures.add(f"read: {name} / memory map", ratio, goal, how, less=True)


def index(figures: Figures, folder: Path) -> None:
    """The labels of 500,000 neurons: the index alone, and opening the store."""
    units = {f"layer {at}": 1000 for at in range(500)}
    path = folder / "wide.zarr"
    with StoreWriter(path, {}) as writer:
        rows = Rows(np.zeros((1, 1, 500_000), np.float32), {"label": np.zeros(1)})
        writer.append(Layout(units, ("mean",)), rows)
        writer.finish({}, {})
    made = open_recording(path).indexes["neuron"]
    codes, levels = [np.array(c) for c in made.codes], list(made.levels)
    calls = {
        "index": lambda: pd.MultiIndex(levels=levels, codes=codes, names=made.names),
        "open": lambda: open_recording(path),
    }
    ms = {name: 1e3 * statistics.median(spent) for name, spent in in_turn(calls, 9).items()}
    figures.add("index of 500,000 neurons, ms", ms["index"], None, "from codes")
    figures.add("opening 500,000 neurons, ms", ms["open"], None, "all labels, checks of all chunks")


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        values = written(figures, path, asked.neurons)
        read(figures, path, values, asked.rounds)
        index(figures, Path(folder))


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"neurons": 8192, "rounds": 7})


if __name__ == "__main__":
    main()
