"""A recording that grows on disk: nothing lost, nothing mixed up."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.recording.opening import open_recording
from nbcorr.recording.rows import Layout
from nbcorr.recording.store import StoreWriter, write_samples
from tests.recording.stores import (
    KEY,
    LAYOUT,
    RUN,
    check,
    files,
    fill,
    numbers,
    rows,
    start_python,
)

layouts = st.builds(
    Layout,
    units=st.dictionaries(
        st.text("ab./é", min_size=1, max_size=4), st.integers(1, 9), min_size=1, max_size=3
    ),
    pools=st.sampled_from([("mean",), ("mean", "max")]),
    twins=st.integers(0, 2),
    dtype=st.sampled_from(["float32", "float16"]),
    features=st.sampled_from([(), ("0",), ("é", "b", "c")]),
)


@settings(max_examples=25, deadline=None)
@given(
    layout=layouts,
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    slab=st.integers(1, 50),
    expected=st.none() | st.integers(1, 400),
    stops=st.sets(st.integers(0, 8)),
)
def test_what_was_appended_is_what_is_read(layout, sizes, slab, expected, stops):
    """Any batches, chunks, pools, twins and dtypes, stopped and gone on with anywhere.

    Where the number of samples is expected it may be too small or too large.
    """
    run = numbers(layout, sum(sizes))
    edges = [0, *sorted(stop for stop in stops if stop < len(sizes)), len(sizes)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        for first, last in itertools.pairwise(edges):
            with StoreWriter(path, KEY, slab, expected) as writer:
                assert (writer.count, len(writer.digests)) == (sum(sizes[:first]), first)
                fill(writer, layout, run, sizes[first:last])
                if writer.count:
                    check(writer.partial({}), layout, run, writer.count)
        with StoreWriter(path, KEY) as writer:
            np.testing.assert_array_equal(writer.columns()["sample"], run["sample"].astype(str))
            check(writer.finish({}, {"model": "net"}), layout, run, sum(sizes))
        assert os.listdir(folder) == ["run.zarr"]
        recording = open_recording(path)
        check(recording, layout, run, sum(sizes))
        assert recording.attrs == {"model": "net"}


def test_a_finished_store_is_known_again_and_adds_nothing(tmp_path):
    run = numbers(LAYOUT, 20)
    with StoreWriter(tmp_path / "run.zarr", KEY) as writer:
        assert not writer.finished
        fill(writer, LAYOUT, run, [12, 8])
        made = writer.finish({"age": np.arange(20.0)}, {"layers": ["a"]}).load()
    before = files(tmp_path)
    with StoreWriter(tmp_path / "run.zarr", KEY) as writer:
        assert (writer.finished, writer.count, writer.layout) == (True, 20, LAYOUT)
        assert writer.digests == ["d0", "d12"]
        assert set(writer.columns()) == {"sample", "label", "confidence", "age"}
        xr.testing.assert_identical(writer.finish({}, {}).load(), made)
    assert files(tmp_path) == before
    # As left by a process that was killed between the last two steps.
    (tmp_path / "run.zarr.partial").mkdir()
    (tmp_path / "run.zarr.partial" / "journal").write_bytes(b"old")
    with StoreWriter(tmp_path / "run.zarr", KEY) as writer:
        assert writer.finished
    assert files(tmp_path) == before
    assert os.listdir(tmp_path) == ["run.zarr"]


def test_the_store_is_a_zarr_group_that_others_read(tmp_path):
    run = numbers(LAYOUT, 30)
    with StoreWriter(tmp_path / "run.zarr", KEY, slab=8) as writer:
        fill(writer, LAYOUT, run, [30])
        writer.finish({}, {"model": "net"})
    plain = xr.open_zarr(tmp_path / "run.zarr", consolidated=False)
    np.testing.assert_array_equal(plain["activation"].values, run["activation"][0].T)
    np.testing.assert_array_equal(plain["input"].values, run["features"])
    assert plain["activation"].dims == ("neuron", "sample")
    assert plain.attrs["model"] == "net"


def test_columns_of_the_end_replace_those_of_the_batches(tmp_path):
    run = numbers(LAYOUT, 6)
    with StoreWriter(tmp_path / "run.zarr", KEY) as writer:
        fill(writer, LAYOUT, run, [6])
        right = {"label": np.ones(6, int), "prediction": np.ones(6, int), "baseline": np.arange(6)}
        with pytest.raises(ValueError, match=r"age has shape \(5,\).*each of 6 samples"):
            writer.finish({"age": np.arange(5)}, {})
        recording = writer.finish(right, {})
    assert recording["label"].values.tolist() == [1] * 6
    assert recording["relative_performance"].values.tolist() == [1, 0, 1, 1, 1, 1]


def test_inputs_that_change_their_shape_are_dropped_with_all_before(tmp_path):
    run = numbers(LAYOUT, 20)
    bare = Layout(LAYOUT.units, LAYOUT.pools)
    with StoreWriter(tmp_path / "run.zarr", KEY, slab=8) as writer:
        fill(writer, LAYOUT, run, [9])
        fill(writer, bare, run, [11])
        assert writer.layout == bare
        recording = writer.finish({}, {})
    check(recording, bare, run, 20)
    assert "input" not in recording
    assert not (tmp_path / "run.zarr" / "input").exists()


@pytest.mark.parametrize("n_samples", [5, 8, 40, 43])
def test_workers_put_their_samples_in_place_and_the_writer_adopts_them(tmp_path, n_samples):
    """Real processes, in the wrong order, one of them twice."""
    layout = Layout({"a": 7}, ("mean", "max"), twins=1, features=("x",))
    run = numbers(layout, n_samples)
    np.savez(tmp_path / "run.npz", activation=run["activation"], features=run["features"])
    starts = list(range(0, n_samples, 16))
    program = """
        import sys, numpy as np
        from nbcorr.recording.rows import Layout
        from nbcorr.recording.store import write_samples
        layout = Layout({"a": 7}, ("mean", "max"), twins=1, features=("x",))
        run = np.load(sys.argv[1] + "/run.npz")
        for start in map(int, sys.argv[2:]):
            part = slice(start, start + 16)
            write_samples(sys.argv[1] + "/run.zarr", layout, start, run["activation"][:, part],
                          run["features"][part], slab=8)
    """
    with StoreWriter(tmp_path / "run.zarr", KEY, slab=8) as writer:
        order = [str(start) for start in [*reversed(starts), starts[0]]]
        parts = [order[::2], order[1::2] or order]
        workers = [start_python(program, tmp_path, *part) for part in parts]
        assert [worker.wait() for worker in workers] == [0, 0]
        for start in starts:
            stop = min(start + 16, n_samples)
            writer.adopt(layout, rows(layout, run, start, stop), stop - start, [f"d{start}"])
            check(writer.partial({}), layout, run, stop)
        recording = writer.finish({}, {})
    check(recording, layout, run, n_samples)
    # And the very files of a run in one process.
    with StoreWriter(tmp_path / "alone.zarr", KEY, slab=8) as writer:
        for start in starts:
            fill(writer, layout, run, [min(16, n_samples - start)])
        writer.finish({}, {})
    assert files(tmp_path / "alone.zarr") == files(tmp_path / "run.zarr")


def test_samples_that_start_within_a_slab_are_refused(tmp_path):
    run = numbers(LAYOUT, 20)
    with pytest.raises(ValueError, match="start at 5; expected a multiple of 8"):
        write_samples(tmp_path / "a.zarr", LAYOUT, 5, run["activation"], slab=8)
    with StoreWriter(tmp_path / "a.zarr", KEY, slab=8) as writer:
        fill(writer, LAYOUT, run, [5])
        with pytest.raises(ValueError, match="start at 5; expected a multiple of 8"):
            writer.adopt(LAYOUT, rows(LAYOUT, run, 5, 13), 8)
    with StoreWriter(tmp_path / "b.zarr", KEY, slab=8, expected=20) as writer:
        fill(writer, LAYOUT, run, [8])
        with pytest.raises(ValueError, match="one process, with chunks of 20 samples; expected"):
            writer.adopt(LAYOUT, rows(LAYOUT, run, 8, 16), 8)


def test_memory_is_flat_from_1000_to_50000_samples(tmp_path):
    program = (
        RUN
        + """
    import resource
    import numpy as np
    layout = helpers.Layout({"a": 1500}, ("mean",))
    batch = np.ones((1, 250, 1500), np.float32)
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with helpers.StoreWriter(sys.argv[1], helpers.KEY, slab=500) as writer:
        for at in range(0, 50_000, 250):
            label = np.arange(at, at + 250)
            writer.append(layout, helpers.Rows(batch, {"label": label}))
            if writer.count == 1000:
                early = peak()
        late = peak()
        writer.finish({}, {})
    print(early, late, peak())
    """
    )
    with start_python(program, tmp_path / "a.zarr", stdout=subprocess.PIPE, text=True) as process:
        early, late, finished = map(float, process.stdout.read().split())
    # All of it would be 286 MB.
    assert late - early < 5
    assert finished - early < 60
