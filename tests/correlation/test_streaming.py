"""Recordings that are not in memory: Dask, Zarr, a cluster, half precision."""

from __future__ import annotations

import tracemalloc

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.distributed import Client, LocalCluster

import nbcorr as nc
from tests.conftest import planted_recording


def lazily(recording: xr.Dataset, chunks: tuple[int, int]) -> xr.Dataset:
    """The same recording with its activations as Dask arrays."""
    sizes = dict(zip(("sample", "neuron"), chunks, strict=True))
    return recording.assign(
        {name: recording[name].variable.chunk(sizes) for name in ("activation", "activation_twin")}
    )


@pytest.mark.parametrize("chunks", [(600, 7), (100, 60), (33, 11)])
def test_the_same_numbers_from_dask(recording, chunks):
    whole = nc.correlate(recording, permutations=50)
    xr.testing.assert_identical(nc.correlate(lazily(recording, chunks), permutations=50), whole)


def test_several_blocks_of_a_dask_array(recording, monkeypatch):
    whole = nc.correlate(recording, permutations=50)
    monkeypatch.setattr("nbcorr.recording.blocks._VALUES_PER_TASK", 600 * 8)
    read = []
    values = recording["activation"].values
    lazy = recording.assign(
        activation=(
            ("sample", "neuron"),
            dask.array.from_array(Counting(values, read), chunks=(600, 4), asarray=False),
        )
    )
    result = nc.correlate(lazy, permutations=50)
    xr.testing.assert_identical(result, whole)
    # Every stored chunk once for the statistics; those of the correlates again, for the groups.
    assert len(read) < 2 * 15


class Counting:
    """An array that tells each reading."""

    def __init__(self, values: np.ndarray, read: list) -> None:
        self.values, self.read = values, read
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, key):
        self.read.append(key)
        return self.values[key]


def test_on_a_cluster_of_processes(recording):
    whole = nc.correlate(recording, permutations=50)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        result = nc.correlate(lazily(recording, (600, 20)), permutations=50)
    xr.testing.assert_identical(result, whole)


def test_a_zarr_store_is_streamed_with_bounded_memory(tmp_path, monkeypatch):
    """40 MB on disk, blocks of 2 MB: what is held at a time is a few blocks."""
    n_samples, n_neurons = 1000, 10_000
    rng = np.random.default_rng(0)
    stored = zarr.create_array(
        tmp_path / "a.zarr", shape=(n_samples, n_neurons), chunks=(n_samples, 250), dtype="float32"
    )
    for at in range(0, n_neurons, 1000):
        stored[:, at : at + 1000] = rng.normal(size=(n_samples, 1000)).astype(np.float32)
    signal = rng.random(n_samples) < 0.2
    recording = nc.from_arrays(stored, layer="a", s=signal)
    assert isinstance(recording["activation"].data, dask.array.Array)
    monkeypatch.setattr("nbcorr.recording.blocks._VALUES_PER_BLOCK", 500 * n_samples)
    with dask.config.set(scheduler="synchronous"):
        nc.correlate(recording.isel(neuron=slice(500)), "s")
        tracemalloc.start()
        result = nc.correlate(recording, "s")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert result.sizes["neuron"] == n_neurons
    assert peak < 20e6


def test_half_precision_is_exact_in_its_own_ties():
    """Float16 ties what float32 does not: the numbers are those of the rounded values."""
    recording = planted_recording(n=3000, neurons=30, planted=3)
    rounded = recording["activation"].variable.astype(np.float16)
    half = nc.correlate(recording.assign(activation=rounded), controls=())
    wide = nc.correlate(recording.assign(activation=rounded.astype(np.float64)), controls=())
    assert rounded.dtype == np.float16
    xr.testing.assert_identical(half, wide)
    assert not half["auc"].equals(nc.correlate(recording, controls=())["auc"])
