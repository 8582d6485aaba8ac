"""Recordings made by a real cluster of processes are those made by this one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from distributed import Client
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nbcorr as nc
from nbcorr.network.batches import Batch, batches
from nbcorr.recording.distributed import Cluster
from nbcorr.recording.opening import open_recording
from nbcorr.recording.worker import own_device, sendable
from tests.recording.clusters import (
    Pictures,
    assert_same,
    brightness,
    numbers,
    small_net,
    tasks,
    two_workers,
)


@pytest.fixture(scope="module")
def client():
    with two_workers() as client:
        yield client


# The same as here


@pytest.mark.parametrize(
    "how",
    [
        {"layers": "all", "twins": 2},
        {"pool": ["mean", "max"], "twins": 1, "dtype": "float16"},
        {"pool": lambda maps: maps.std(-1), "baseline": brightness},
        {"pool": "none", "layers": ["conv2"], "baseline": small_net(), "seed": 3},
    ],
    ids=["twins", "pools", "callables", "positions"],
)
def test_the_recording_is_that_of_this_process(client, untouched, labels, how, tmp_path):
    """In memory and on disk, bit for bit."""
    data = numbers(200), np.tile(labels, 5), np.array([f"ß{i}" for i in range(200)])
    how = {"layers": "all", "batch_size": 8, "progress": False, **how}
    expected = nc.record(untouched, data, **how)
    assert_same(nc.record(untouched, data, client=client, **how), expected)
    stored = nc.record(untouched, data, client=client, store=tmp_path / "run.zarr", **how)
    assert_same(stored, expected)
    assert_same(open_recording(tmp_path / "run.zarr"), expected)
    # Whole slabs of 24 samples, which workers wrote, and a rest.
    chunks = tmp_path / "run.zarr" / "activation" / "c"
    assert {path.name for path in chunks.rglob("*") if path.is_file()} == set(map(str, range(9)))
    assert os.listdir(tmp_path) == ["run.zarr"]


def shuffled(n: int) -> DataLoader:
    return DataLoader(Pictures(n), 7, shuffle=True, generator=torch.Generator().manual_seed(0))


class OwnLoader(DataLoader):
    """What a loader gives is decided by its own code."""

    def __iter__(self):
        for x, y, _ in super().__iter__():
            yield x + 1, y


KINDS = {
    "array": lambda: numbers(50),
    "tensor": lambda: torch.tensor(numbers(50)),
    "images": lambda: xr.Dataset(
        {
            "image": (("sample", "channel", "y", "x"), numbers(50)),
            "label": ("sample", np.arange(50) % 3),
        },
        coords={"sample": np.arange(50) * 2, "site": ("sample", np.arange(50) // 9)},
    ),
    "dataset": lambda: Pictures(50),
    "loader": lambda: DataLoader(TensorDataset(torch.tensor(numbers(50))), 7),
    "incomplete": lambda: DataLoader(Pictures(50), 7, drop_last=True),
    "collated": lambda: DataLoader(
        Pictures(50), 7, collate_fn=lambda rows: torch.stack([x for x, _, _ in rows]) * 2
    ),
    "shuffled": lambda: shuffled(50),
    "subclass": lambda: OwnLoader(Pictures(50), 7),
    "batches": lambda: DataLoader(Pictures(50), batch_sampler=[[3, 4], [9], [5, 1, 0]]),
    "generator": lambda: ((x, np.arange(len(x)) % 3) for x in np.split(numbers(50), [9, 10, 30])),
    "dicts": lambda: [
        {"input": torch.tensor(numbers(6)), "label": [1] * 6, "age": np.arange(6) + at}
        for at in range(8)
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_data(client, kind, tmp_path):
    how = {"layers": "all", "batch_size": 7, "columns": "age" if kind == "dicts" else None}
    expected = nc.record(small_net(), KINDS[kind](), **how, progress=False)
    found = nc.record(small_net(), KINDS[kind](), **how, client=client, progress=False)
    assert_same(found, expected)
    how |= {"client": client, "store": tmp_path / "a.zarr"}
    assert_same(nc.record(small_net(), KINDS[kind](), **how, progress=False), expected)


def test_only_datasets_and_loaders_in_order_are_read_by_the_workers(client):
    by_workers = {
        kind
        for kind, data in KINDS.items()
        if Cluster(client, None, data(), 7, None, ())._loader is not None
    }
    assert by_workers == {"dataset", "loader", "incomplete", "collated"}


def test_inputs_that_change_their_shape_on_the_way(client, tmp_path):
    """They are no features then, wherever a worker saw it."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    data = [numbers(4)[..., : 7 if at == 5 else 8] for at in range(12)]
    expected = nc.record(net, data, progress=False)
    assert expected.attrs["input"].startswith("not kept: inputs of shapes")
    assert_same(nc.record(net, data, client=client, progress=False), expected)
    path = tmp_path / "a.zarr"
    assert_same(nc.record(net, data, client=client, store=path, progress=False), expected)


class Broken(nn.Module):
    def forward(self, x):
        return torch.where(x > 0.9, torch.nan, x)


def test_values_that_are_not_finite_are_counted(client, tmp_path):
    net, data = nn.Sequential(nn.Flatten(), Broken()), numbers(100)
    how = {"layers": "all", "batch_size": 8, "progress": False}
    with pytest.warns(UserWarning, match="gave NaN or infinite"):
        expected = nc.record(net, data, **how)
    for store in (None, tmp_path / "a.zarr"):
        with pytest.warns(UserWarning, match="gave NaN or infinite"):
            found = nc.record(net, data, **how, store=store, client=client)
        assert_same(found, expected)
    broken = (data.reshape(100, 64) > 0.9).sum(0)
    np.testing.assert_array_equal(expected["nonfinite"].sel(layer="1"), broken)


def test_columns_and_baselines_by_id(client):
    data, ids = Pictures(40), [f"picture-{at}" for at in range(40)]
    table = pd.DataFrame({"age": np.arange(40.0)}, index=ids[::-1])
    baseline = pd.Series(np.arange(40) % 3, index=ids[::-1])
    how = {"columns": table, "baseline": baseline, "batch_size": 8, "progress": False}
    found = nc.record(small_net(), data, **how, client=client)
    assert_same(found, nc.record(small_net(), data, **how))
    assert found["age"].values.tolist() == list(range(39, -1, -1))


def test_other_numbers_of_threads_agree_within_the_tolerance(client, untouched):
    found = nc.record(untouched, numbers(200), "all", "mean", client=client, progress=False)
    torch.set_num_threads(2)
    expected = nc.record(untouched, numbers(200), "all", "mean", progress=False)
    largest = np.abs(expected["activation"]).max("sample")
    assert (np.abs(found["activation"] - expected["activation"]) <= 1e-5 * largest).all()


def test_workers_with_several_threads_run_one_batch_at_a_time(client, untouched, images):
    """Their hooks would see each other's batches."""
    data = np.tile(images, (5, 1, 1, 1))
    expected = nc.record(untouched, data, "all", batch_size=4, progress=False)
    how = {"n_workers": 1, "threads_per_worker": 4, "processes": False, "set_as_default": False}
    with Client(**how, dashboard_address=":0") as threads:
        found = nc.record(untouched, data, "all", batch_size=4, client=threads, progress=False)
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("name", "visible", "device"),
    [(0, None, "cuda:0"), (5, None, "cuda:1"), (3, "3,0,1,2", "cuda:0"), ("a", None, "cuda:0")],
)
def test_every_worker_takes_a_gpu_of_its_own(monkeypatch, name, visible, device):
    """Four GPUs and the workers of a machine that has none of them here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(name=name))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert own_device() == torch.device(device)


def test_without_a_gpu_a_worker_computes_on_its_processor(client):
    assert set(client.run(own_device).values()) == {torch.device("cpu")}


# Stores that go on


def stop() -> None:
    raise OSError("the disk is gone")


@pytest.mark.parametrize("stops", [[28], [28, 109], [109, 115]], ids=str)
@pytest.mark.parametrize("first", ["here", "cluster"])
def test_begun_here_and_gone_on_with_there(client, first, stops, tmp_path):
    """A store is the same whoever made which part of it, stopped within a slab or after one."""
    who = [{}, {"client": client}] * 2
    who = who[1:] if first == "cluster" else who
    how = {"batch_size": 8, "twins": 1, "baseline": brightness, "progress": False}
    path = tmp_path / "a.zarr"
    counts = []
    for at, where in zip(stops, who, strict=False):
        with pytest.raises(OSError, match="the disk is gone") as stopped:
            nc.record(small_net(), Pictures(163, stop, at), **how, **where, store=path)
        counts.append(stopped.value.recording.sizes["sample"])
    # A cluster keeps slabs of 16 samples of its own store, this process batches.
    wanted = [at // 8 * 8 for at in stops]
    if first == "cluster":
        wanted[0] = stops[0] // 16 * 16
    assert counts == wanted
    finished = nc.record(small_net(), Pictures(163), **how, **who[len(stops)], store=path)
    assert_same(finished, nc.record(small_net(), Pictures(163), **how))


def test_the_same_call_gives_a_finished_recording_back_at_once(client, tmp_path):
    how = {"batch_size": 8, "store": tmp_path / "a.zarr", "progress": False}
    made = nc.record(small_net(), Pictures(100), **how, client=client)
    for again in ({}, {"client": client}):
        assert_same(nc.record(small_net(), Pictures(100), **how, **again), made)
        with pytest.raises(ValueError, match="the data are not what is in the store"):
            nc.record(small_net(), Pictures(90), **how, **again)


def test_other_data_is_refused_by_the_cluster_too(client, tmp_path):
    data = [*np.split(numbers(160), 20)]
    how = {"store": tmp_path / "a.zarr", "client": client, "progress": False}
    nc.record(small_net(), iter(data), **how)
    data[7] = data[7] + 1
    with pytest.raises(ValueError, match="batch 7 of the data is not what is in the store"):
        nc.record(small_net(), iter(data), **how)


# What is sent, and how much at a time


class Unpacked(nn.Identity):
    """Notes in a file which process unpacked it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def __setstate__(self, state) -> None:
        super().__setstate__(state)
        with open(self.file, "a") as notes:
            notes.write(f"{os.getpid()}\n")


def test_networks_are_unpacked_once_in_every_worker(client, tmp_path):
    client.wait_for_workers(2)
    net = nn.Sequential(small_net(), Unpacked(tmp_path / "notes"))
    nc.record(net, Pictures(200, wait=0.002), batch_size=5, client=client, progress=False)
    unpacked = (tmp_path / "notes").read_text().split()
    assert sorted(unpacked) == sorted(map(str, client.run(os.getpid).values()))


def test_of_a_tensor_only_the_batch_is_sent():
    data = torch.zeros(1000, 100)
    batch = next(batches(data, 10))
    assert len(pickle.dumps(sendable(batch))) < 8000
    both = Batch({"a": data[:10], "b": "text"})
    assert len(pickle.dumps(sendable(both))) < 8000
    assert sendable(both).inputs["b"] == "text"


def test_few_batches_are_on_their_way_at_a_time(client):
    seen = []

    def data():
        for batch in np.split(numbers(240), 60):
            seen.append(tasks(client))
            yield batch

    nc.record(small_net(), data(), client=client, progress=False)
    # Two for each worker and the networks; some that were dropped a moment ago.
    assert max(seen) < 20


def test_correlates_of_what_a_cluster_recorded(client, tmp_path):
    how = {"layers": "all", "batch_size": 16, "progress": False}
    baseline = pd.Series(np.arange(300) // 3 % 3, index=[f"picture-{at}" for at in range(300)])
    stored = nc.record(
        small_net(),
        Pictures(300),
        **how,
        baseline=baseline,
        store=tmp_path / "a.zarr",
        client=client,
    )
    here = nc.record(small_net(), Pictures(300), **how, baseline=baseline)
    assert stored["activation"].chunks is not None
    with client.as_current():
        there = nc.correlate(stored, permutations=99)
    xr.testing.assert_identical(there, nc.correlate(here, permutations=99))


def test_a_store_that_a_local_run_began_is_gone_on_with_by_a_cluster(client, tmp_path):
    data, path = numbers(90), tmp_path / "a.zarr"
    expected = nc.record(small_net(), data, batch_size=8, progress=False)
    broken = data.copy()
    broken[50] = np.nan
    with pytest.raises(ValueError, match="sample 50 has NaN"):
        nc.record(small_net(), broken, batch_size=8, store=path, progress=False)
    went_on = nc.record(small_net(), data, batch_size=8, store=path, client=client, progress=False)
    assert_same(went_on, expected)
