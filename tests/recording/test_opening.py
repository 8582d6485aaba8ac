"""Recordings saved and opened again: the same in every number, label and attribute, and lazy."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nbcorr as nc
from nbcorr.recording import planes
from nbcorr.recording.blocks import map_blocks
from nbcorr.recording.opening import open_recording, save_recording
from nbcorr.recording.rows import Layout, Rows
from nbcorr.recording.slabs import Slabs
from nbcorr.recording.store import StoreWriter

SUFFIXES = [".zarr", ".nc"]
ATTRS = {"layers": ["a", "b"], "pool": "mean", "seed": 0, "ß": None, "rate": 0.5, "of": {"x": [1]}}


def recording(n_samples: int = 20, dtype: str = "float32") -> xr.Dataset:
    """With every kind of label there is."""
    rng = np.random.default_rng(0)
    return nc.from_arrays(
        rng.standard_normal((n_samples, 9)).astype(dtype),
        layer=["b"] * 4 + ["features.3/é"] * 5,
        sample=[f"patient {at} ß" for at in range(n_samples)],
        inputs=rng.random((n_samples, 4)),
        label=np.arange(n_samples) % 2,
        prediction=np.arange(n_samples) % 3 % 2,
        baseline=np.arange(n_samples) % 5 % 2,
        age=rng.random(n_samples),
        site=np.array(["Bonn", "Ulm"] * (n_samples // 2), dtype=object),
        seen=np.arange(n_samples) % 3 == 0,
        born=np.datetime64("1970-01-01", "ns") + np.arange(n_samples) * np.timedelta64(1, "h"),
    ).assign_attrs(ATTRS)


def again(dataset: xr.Dataset, suffix: str, use) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        save_recording(dataset, path)
        assert os.listdir(folder) == [path.name]
        opened = open_recording(str(path))
        use(opened)
        opened.close()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_recording_comes_back_identical(suffix, dtype):
    saved = recording(dtype=dtype)

    def check(opened):
        for name in ("activation", "input"):
            assert opened[name].chunks is not None
            assert opened[name].dims == saved[name].dims
        assert opened["born"].dtype.kind == "M"
        assert opened["seen"].dtype == bool
        loaded = opened.compute()
        assert loaded["activation"].dtype == np.dtype(dtype)
        xr.testing.assert_identical(loaded, saved)
        assert loaded.indexes["neuron"].equals(saved.indexes["neuron"])
        assert loaded.sel(layer="features.3/é", unit=3).identical(
            saved.sel(layer="features.3/é", unit=3)
        )

    again(saved, suffix, check)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_results_over_neurons_are_saved_too(suffix):
    correlates = nc.correlate(recording(200), "relative_performance", controls=())
    again(correlates, suffix, lambda opened: xr.testing.assert_identical(opened.load(), correlates))


kinds = ["int8", "uint16", "int64", "float16", "float32", "float64", "bool", "M8[ns]"]
words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5)
columns = st.one_of(hnp.arrays(st.sampled_from(kinds), 7), hnp.arrays("U5", 7, elements=words))
names = st.text(st.characters(categories=["L", "N"], include_characters="/% ."), min_size=1).filter(
    lambda name: name.strip(" .") == name
)


@settings(max_examples=30, deadline=None)
@given(
    columns=st.dictionaries(names, columns, max_size=3),
    suffix=st.sampled_from(SUFFIXES),
    layers=st.lists(st.text("ab/.", min_size=1), min_size=1, max_size=5),
    lazy=st.booleans(),
)
def test_any_columns_and_layers(columns, suffix, layers, lazy):
    own = {"layer", "unit", "neuron", "sample", "activation", "layer_values", "unit_values"}
    columns = {name: values for name, values in columns.items() if name not in own}
    values = np.arange(7 * len(layers), dtype=np.float32).reshape(7, -1)
    saved = nc.from_arrays(values, layer=layers, unit=range(len(layers)))
    for name, column in columns.items():
        saved = saved.assign_coords({name: ("sample", column)})

    def check(opened):
        loaded = opened.load()
        xr.testing.assert_identical(loaded, saved)
        assert all(loaded[name].dtype == saved[name].dtype for name in columns)

    again(saved.chunk({"sample": 3, "neuron": 2}) if lazy else saved, suffix, check)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_scalar_an_empty_array_and_attributes_of_variables(suffix):
    saved = recording().assign(one=3.5, none=("nobody", np.empty(0, np.float32)))
    saved["age"].attrs = {"unit": "years"}
    saved["unit"].attrs = {"counted": "from 0"}
    again(saved, suffix, lambda opened: xr.testing.assert_identical(opened.load(), saved))


# Read in part


keys = st.one_of(st.slices(30), st.integers(-1, 0))


@settings(max_examples=200, deadline=None)
@given(
    shape=st.integers(1, 30),
    slab=st.integers(1, 30),
    width=st.integers(1, 80),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    key=st.tuples(keys, keys),
)
def test_any_part_of_a_plane_is_what_numpy_gives(shape, slab, width, sizes, key):
    """Of samples in chunks, and of those in batches behind them."""
    n_samples = sum(sizes)
    values = np.random.default_rng(0).random((1, n_samples, shape), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        slabs = Slabs(Path(folder), Layout({"a": shape}, ("mean",)), slab, max(slab, width))
        for start, size in zip(itertools.accumulate(sizes, initial=0), sizes, strict=False):
            slabs.put(start, values[:, start : start + size])
        chunked = n_samples // slab // 2
        for full in range(chunked):
            slabs.move(full, sizes)
            slabs.drop(full)
        (plane,) = slabs.planes(sizes, chunked * slab)
        assert plane.shape == (shape, n_samples)
        np.testing.assert_array_equal(plane[key], values[0].T[key])


def test_chunks_are_whole_neurons_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(planes, "_VALUES_PER_TASK", 100)
    layout = Layout({"a": 12}, ("mean",))
    batch = np.arange(12 * 40, dtype=np.float32).reshape(1, 40, 12)
    with StoreWriter(tmp_path / "a.zarr", {}) as writer:
        writer.append(layout, Rows(batch, {"label": np.arange(40)}))
        recording = writer.finish({}, {})
    assert recording["activation"].chunks == ((40,), (2,) * 6)
    blocks = map_blocks(np.array, recording["activation"])
    np.testing.assert_array_equal(np.concatenate(blocks), batch[0].T)


def test_opening_and_reading_a_block_takes_little_more_memory_than_it(tmp_path, monkeypatch):
    monkeypatch.setattr(planes, "_VALUES_PER_TASK", 1 << 18)
    layout = Layout({"a": 2000}, ("mean",))
    batch = np.ones((1, 500, 2000), np.float32)
    with StoreWriter(tmp_path / "a.zarr", {}, slab=512) as writer:
        for _ in range(6):
            writer.append(layout, Rows(batch, {"label": np.arange(500)}))
        writer.finish({}, {})
    _ = open_recording(tmp_path / "a.zarr")["activation"][:, :1].values
    tracemalloc.start()
    opened = open_recording(tmp_path / "a.zarr")
    assert opened["activation"][:, 1000:1100].values.shape == (3000, 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Dask's chunks are of 1 MB and the block of 1.2 MB; all of it takes 24 MB.
    assert peak < 5e6


def test_a_saved_recording_streams_from_a_lazy_one(tmp_path):
    with StoreWriter(tmp_path / "a.zarr", {}) as writer:
        batch = np.ones((1, 500, 8000), np.float32)
        writer.append(Layout({"a": 8000}, ("mean",)), Rows(batch, {"label": np.arange(500)}))
        made = writer.finish({}, {})
    for suffix in SUFFIXES:
        save_recording(made, tmp_path / f"b{suffix}")
        xr.testing.assert_identical(open_recording(tmp_path / f"b{suffix}").load(), made.compute())


def test_the_index_of_many_neurons_is_rebuilt_from_codes(tmp_path):
    units = {f"layer {at}": 1000 for at in range(100)}
    with StoreWriter(tmp_path / "a.zarr", {}) as writer:
        batch = np.zeros((1, 1, 100_000), np.float32)
        writer.append(Layout(units, ("mean",)), Rows(batch, {"label": np.zeros(1)}))
        writer.finish({}, {})
    index = open_recording(tmp_path / "a.zarr").indexes["neuron"]
    expected = pd.MultiIndex.from_product([list(units), range(1000)], names=["layer", "unit"])
    assert index.equals(expected)


# Refused


@pytest.fixture(params=SUFFIXES)
def saved(request, tmp_path):
    path = tmp_path / f"run{request.param}"
    save_recording(recording(), path)
    return path


def test_nothing_is_written_over(saved):
    before = saved.stat().st_mtime_ns
    with pytest.raises(FileExistsError, match=r"something at .*run\.\w+ already; expected a new"):
        save_recording(recording(), saved)
    assert saved.stat().st_mtime_ns == before
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_stored_leaves_nothing_behind(suffix, tmp_path):
    wrong = recording().assign_attrs(net=object())
    with pytest.raises(ValueError, match=r"attrs\['net'\] is a object"):
        save_recording(wrong, tmp_path / f"a{suffix}")
    assert os.listdir(tmp_path) == []


def test_a_write_that_fails_half_way_leaves_nothing_behind(tmp_path):
    """A real limit on the size of files, in a process of its own."""
    save_recording(recording(2000), tmp_path / "whole.zarr")
    program = """
import resource, signal, sys
import h5py, zarr
import nbcorr.recording.opening as opening
whole = opening.open_recording(sys.argv[1] + "/whole.zarr").load()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for name in ("a.zarr", "a.nc"):
    try:
        opening.save_recording(whole, sys.argv[1] + "/" + name)
    except Exception as error:
        print(type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.stdout.count("\n") == 2, done.stderr
    assert os.listdir(tmp_path) == ["whole.zarr"]


def remove_a_chunk(path: Path) -> None:
    (path / "activation" / "c" / "0" / "0").unlink()


def cut_a_chunk(path: Path) -> None:
    chunk = path / "input" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])


def remove_an_array(path: Path) -> None:
    for file in (path / "layer").rglob("*"):
        if file.is_file():
            file.unlink()


def cut_the_description(path: Path) -> None:
    said = path / "zarr.json"
    said.write_bytes(said.read_bytes()[:-30])


def another_group(path: Path) -> None:
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"by": "somebody"}}
    (path / "zarr.json").write_text(json.dumps(group), "utf-8")


DAMAGES = {
    remove_a_chunk: r"truncated: of array 'activation', chunk c/0/0 has no of \d+ bytes",
    cut_a_chunk: r"truncated: of array 'input', chunk c/0/0 has 319 of 320 bytes",
    remove_an_array: "truncated: of array 'layer'",
    cut_the_description: r"holds no recording of nbcorr, or its zarr\.json is damaged",
    another_group: "holds no recording of nbcorr",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store(tmp_path, damage):
    save_recording(recording(), tmp_path / "run.zarr")
    damage(tmp_path / "run.zarr")
    with pytest.raises(ValueError, match=DAMAGES[damage]):
        open_recording(tmp_path / "run.zarr")


def test_a_chunk_cut_after_opening(tmp_path):
    save_recording(recording(), tmp_path / "run.zarr")
    opened = open_recording(tmp_path / "run.zarr")
    chunk = tmp_path / "run.zarr" / "activation" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is truncated: it ends at byte 719; expected 720"):
        opened.load()


@pytest.mark.parametrize("content", [b"", b"not one", "half", "foreign"])
def test_a_damaged_or_foreign_netcdf_file(tmp_path, content):
    path = tmp_path / "run.nc"
    if content == "half":
        save_recording(recording(), path)
        path.write_bytes(path.read_bytes()[:3000])
    elif content == "foreign":
        xr.Dataset({"a": ("b", [1.0])}).to_netcdf(path, engine="h5netcdf")
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.nc is no recording of nbcorr, or it is truncated"):
        open_recording(path)


def test_nothing_there_names_what_is_near(tmp_path):
    save_recording(recording(), tmp_path / "first_run.zarr")
    with pytest.raises(FileNotFoundError, match=r"no recording at .*; did you mean 'first_run"):
        open_recording(tmp_path / "frist_run.zarr")


@pytest.mark.parametrize("path", ["s3://bucket/run.zarr", "https://example.org/run.zarr"])
def test_a_url_is_refused(path):
    for use in (open_recording, lambda path: save_recording(recording(), path)):
        with pytest.raises(ValueError, match="is a URL; expected a path on this machine"):
            use(path)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.csv; expected one ending in \.zarr or \.nc"):
        save_recording(recording(), tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_coordinate_of_a_single_text(suffix):
    one = recording().assign_coords(site="Köln", day=np.datetime64("2026-01-02", "ns"), run=3)
    again(one, suffix, lambda opened: xr.testing.assert_identical(opened.load(), one))
