"""Recordings that are not in memory: what Dask adds to the plain loop, and what is held at a time.

One thread, processor time, candidates in turn within one process, medians of the ratios of each
round. 10,000 samples, chunks of 512 neurons; the Zarr store has 2,000 samples, uncompressed.

    python bench/streaming.py [--json PATH] [--neurons N] [--rounds R]
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
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import dask
import dask.array
import numpy as np
import xarray as xr
import zarr
from _figures import Figures, command

import nbcorr as nc
from nbcorr.recording.blocks import map_blocks
from nbcorr.stats import associate

N_SAMPLES, CHUNK = 10_000, 512


def processor_time(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def stored(folder: Path, n_neurons: int) -> xr.Dataset:
    """A recording of ReLU-like activations in a Zarr store, opened lazily."""
    rng = np.random.default_rng(0)
    n_samples = N_SAMPLES // 5
    array = zarr.create_array(
        folder / f"{n_neurons}.zarr",
        shape=(n_samples, n_neurons),
        chunks=(n_samples, CHUNK),
        dtype="float32",
        compressors=None,
    )
    for at in range(0, n_neurons, CHUNK):
        width = min(CHUNK, n_neurons - at)
        block = np.maximum(rng.standard_normal((n_samples, width), dtype=np.float32), 0)
        array[:, at : at + width] = block
    signal = rng.random(n_samples) < 0.1
    return nc.from_arrays(array, layer="a", s=signal)


def dask_overhead(figures: Figures, n_neurons: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((n_neurons, N_SAMPLES), dtype=np.float32), 0)
    y = rng.random(N_SAMPLES) < 0.012
    work = functools.partial(associate, y=y)
    chunks = dask.array.from_array(x, chunks=(CHUNK, N_SAMPLES))
    lazy = xr.DataArray(chunks, dims=("neuron", "sample"))
    calls = {
        "loop": lambda: [work(x[at : at + CHUNK]) for at in range(0, n_neurons, CHUNK)],
        "dask": lambda: map_blocks(work, lazy),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with dask.config.set(scheduler="synchronous"):
        for call in calls.values():
            call()
        for _ in range(rounds):
            for name, call in calls.items():
                seconds[name].append(processor_time(call))
    ratio = statistics.median(
        lazy / plain for lazy, plain in zip(seconds["dask"], seconds["loop"], strict=True)
    )
    figures.add("Dask / plain loop, 512 neurons", ratio, 1.25, "associate(), one thread", less=True)


def memory_of_a_store(figures: Figures, folder: Path, n_neurons: int) -> None:
    """Peak of nc.correlate above the start, for a store and for one of four times its neurons."""
    peaks = []
    with dask.config.set(scheduler="synchronous"):
        for size in (4 * n_neurons, 16 * n_neurons):
            recording = stored(folder, size)
            nc.correlate(recording.isel(neuron=slice(CHUNK)), "s", controls=())
            tracemalloc.start()
            nc.correlate(recording, "s", controls=())
            peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
            tracemalloc.stop()
    chunk = CHUNK * (N_SAMPLES // 5) * 4 / 1e6
    result = 12 * n_neurons * 20 * 8 / 1e6
    figures.add("peak of nc.correlate on Zarr, MB", peaks[0], None, f"chunks of {chunk:.0f} MB")
    figures.add(
        "more for 4 times the neurons, MB",
        peaks[1] - peaks[0],
        10 + result,
        "10 and what the result takes",
        less=True,
    )


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    dask_overhead(figures, asked.neurons, asked.rounds)
    with tempfile.TemporaryDirectory() as folder:
        memory_of_a_store(figures, Path(folder), asked.neurons)


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"neurons": 2048, "rounds": 7})


if __name__ == "__main__":
    main()
