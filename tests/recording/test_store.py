"""A recording that grows on disk: nothing lost, nothing mixed up, whatever happens to it."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.recording.opening import open_recording
from nbcorr.recording.rows import Layout, Rows
from nbcorr.recording.store import StoreWriter, write_samples

LAYOUT = Layout({"conv": 5, "features.3/act": 8}, ("mean",), features=("0", "1", "2"))
KEY = {"weights": "a1", "layers": ["conv", "features.3/act"], "pool": ["mean"]}


def numbers(layout: Layout, n_samples: int) -> dict[str, np.ndarray]:
    """All that a run gives, made without the store."""
    rng = np.random.default_rng(n_samples)
    shape = (layout.n_planes, n_samples, layout.n_neurons)
    activation = rng.standard_normal(shape).astype(layout.dtype)
    activation[:, ::7, 0] = np.nan
    return {
        "activation": activation,
        "features": rng.random((n_samples, len(layout.features)), dtype=np.float32),
        "sample": np.array([f"ß{at}" for at in range(n_samples)], dtype=object),
        "label": np.arange(n_samples) % 3,
        "confidence": rng.random(n_samples),
    }


def rows(layout: Layout, run: dict[str, np.ndarray], start: int, stop: int) -> Rows:
    activation = run["activation"][:, start:stop]
    nonfinite = ~np.isfinite(activation[: len(layout.pools)])
    return Rows(
        activation,
        {name: run[name][start:stop] for name in ("sample", "label", "confidence")},
        run["features"][start:stop] if layout.features else None,
        nonfinite.sum(axis=1) if nonfinite.any() else None,
    )


def expected(layout: Layout, run: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The arrays of the recording of the first samples, by the definition of a plane."""
    pools = len(layout.pools)
    shape = (1 + layout.twins, pools, count, layout.n_neurons)
    networks = run["activation"][:, :count].reshape(shape)
    wanted = {"activation": networks[0], "activation_twin": networks[1:]}
    wanted["nonfinite"] = (~np.isfinite(networks[0])).sum(axis=1)
    if pools == 1:
        wanted = {
            name: values.squeeze(-3 if values.ndim > 2 else 0) for name, values in wanted.items()
        }
    if not layout.twins:
        del wanted["activation_twin"]
    wanted |= {name: run[name][:count] for name in ("sample", "label", "confidence")}
    return wanted | ({"input": run["features"][:count]} if layout.features else {})


def check(recording: xr.Dataset, layout: Layout, run: dict[str, np.ndarray], count: int) -> None:
    wanted = expected(layout, run, count)
    assert set(recording.data_vars) <= set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(recording[name].values, values, err_msg=name)
    assert recording["activation"].dtype == np.dtype(layout.dtype)
    assert recording["activation"].dims[-2:] == ("sample", "neuron")
    assert recording["nonfinite"].dtype == np.int64
    pairs = [(layer, unit) for layer, n in layout.units.items() for unit in range(n)]
    assert recording.indexes["neuron"].tolist() == pairs
    if len(layout.pools) > 1:
        assert recording["pool"].values.tolist() == list(layout.pools)


def fill(writer: StoreWriter, layout: Layout, run: dict[str, np.ndarray], sizes) -> None:
    for size in sizes:
        start = writer.count
        writer.append(layout, rows(layout, run, start, start + size), f"d{start}")


def files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


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
            writer.adopt(layout, rows(layout, run, start, stop), stop - start, f"d{start}")
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


# Killed


def start_python(program: str, *arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, **options)


RUN = f"""
    import importlib.util, sys
    spec = importlib.util.spec_from_file_location("helpers", {__file__!r})
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
"""

# One process that has loaded all, and forks the ones that are killed: real ones, without the wait.
SPAWNER = (
    RUN
    + """
    import os, signal, time
    import dask.array, filelock, zarr

    def spawn(work, *arguments):
        child = os.fork()
        if child == 0:
            work(*arguments)
            os._exit(0)
        return child
"""
)

RECORDER = (
    SPAWNER
    + """
    layout, run, sizes = helpers.killed_run()

    def record(path):
        with helpers.StoreWriter(path, helpers.KEY, 64, sum(sizes)) as writer:
            for size in sizes[len(writer.digests):]:
                helpers.fill(writer, layout, run, [size])
                os.write(1, b"%d " % writer.count)
            writer.finish({}, {"model": "net"})

    for line in sys.stdin:
        child = spawn(record, sys.argv[1])
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
)


def killed_run() -> tuple[Layout, dict[str, np.ndarray], list[int]]:
    """Big enough that moving a slab takes a while; batches that do not divide it."""
    layout = Layout({"a": 6000, "b": 14000}, ("mean", "max"), twins=1, features=("x", "y"))
    sizes = [13, 1, 30] * 6
    rng = np.random.default_rng(0)
    total = sum(sizes)
    run = numbers(dataclass_small(layout), total)
    block = rng.standard_normal((4, 1, layout.n_neurons), dtype=np.float32)
    run["activation"] = block * np.arange(1, total + 1, dtype=np.float32)[:, None]
    run["activation"][:, ::9, 5] = np.inf
    return layout, run, sizes


def dataclass_small(layout: Layout) -> Layout:
    return Layout({"a": 1}, layout.pools, layout.twins, layout.dtype, layout.features)


def test_killed_at_any_moment_loses_at_most_the_batch_in_flight(tmp_path):
    """kill -9 again and again, until the run is through: then bit for bit as if never killed."""
    layout, run, sizes = killed_run()
    with StoreWriter(tmp_path / "whole.zarr", KEY, 64, sum(sizes)) as writer:
        fill(writer, layout, run, sizes)
        writer.finish({}, {"model": "net"})
    path = tmp_path / "run.zarr"
    wait, told, kills = random.Random(1), 0, 0
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with start_python(RECORDER, path, **pipes) as recorder:
        while not path.exists():
            # Longer each time, so that it gets through in the end on a slow machine too.
            print(wait.uniform(0.0, 0.02 + 0.02 * kills), file=recorder.stdin, flush=True)
            *counts, status = map(int, recorder.stdout.readline().split())
            told = max([told, *counts])
            kills += status == -signal.SIGKILL
            if told and not path.exists():
                recording = open_recording(path)
                count = recording.sizes["sample"]
                assert count >= told
                assert count in np.cumsum(sizes)
                assert recording.attrs["interrupted"] == 1
                check(recording, layout, run, count)
                told = count
        recorder.stdin.close()
    assert kills > 3
    with StoreWriter(path, KEY) as writer:
        assert writer.finished
    assert files(path) == files(tmp_path / "whole.zarr")
    assert sorted(os.listdir(tmp_path)) == ["run.zarr", "whole.zarr"]


STEPS = ["os.rename", "os.remove", "shutil.rmtree", "open", "os.mkdir", "os.truncate"]


def test_killed_at_every_step_that_touches_the_disk(tmp_path):
    """The process kills itself at its 1st, 2nd, 3rd … access to the disk, moves included."""
    program = (
        SPAWNER
        + """
    run = helpers.numbers(helpers.LAYOUT, 20)
    def record(path, left):
        def watch(event, arguments):
            nonlocal left
            if event in helpers.STEPS and path in str(arguments[0]):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        with helpers.StoreWriter(path, helpers.KEY, slab=8) as writer:
            for size in [6, 6, 8]:
                helpers.fill(writer, helpers.LAYOUT, run, [size])
            writer.finish({}, {})
    step, status = 0, -1
    while status:
        # Every one while batches come; then, among the many small files, every fourth.
        step += 1 if step < 56 else 4
        child = spawn(record, f"{sys.argv[1]}/{step}.zarr", step)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL)
    print(step)
    """
    )
    with start_python(program, tmp_path, stdout=subprocess.PIPE, text=True) as process:
        steps = int(process.stdout.read())
    assert steps > 60
    run = numbers(LAYOUT, 20)
    for path in sorted(tmp_path.iterdir()):
        path = path.with_suffix("").with_suffix(".zarr")
        with StoreWriter(path, KEY, slab=8) as writer:
            if not writer.finished:
                fill(writer, LAYOUT, run, [6, 6, 8][len(writer.digests) :])
            check(writer.finish({}, {}), LAYOUT, run, 20)
        assert files(path) == files(tmp_path / f"{steps}.zarr")
    assert {path.suffix for path in tmp_path.iterdir()} == {".zarr"}


def test_two_processes_on_one_store(tmp_path):
    """The second is told so; once the first is killed it goes on from there."""
    path = tmp_path / "run.zarr"
    program = RUN + (
        """
    import time
    with helpers.StoreWriter(sys.argv[1], helpers.KEY) as writer:
        helpers.fill(writer, helpers.LAYOUT, helpers.numbers(helpers.LAYOUT, 20), [12])
        print("ready", flush=True)
        time.sleep(600)
    """
    )
    with start_python(program, path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(RuntimeError, match=r"another process records into .*run\.zarr"):
            StoreWriter(path, KEY).__enter__()
        run = numbers(LAYOUT, 20)
        check(open_recording(path), LAYOUT, run, 12)
        process.kill()
    with StoreWriter(path, KEY) as writer:
        assert writer.count == 12
        fill(writer, LAYOUT, run, [8])
        check(writer.finish({}, {}), LAYOUT, run, 20)


# Refused


@pytest.fixture
def begun(tmp_path):
    """A store with 12 of 20 samples, and what it must still give after any error."""
    run = numbers(LAYOUT, 20)
    path = tmp_path / "run.zarr"
    with StoreWriter(path, KEY, slab=8) as writer:
        fill(writer, LAYOUT, run, [12])
    yield path
    check(open_recording(path), LAYOUT, run, 12)


OTHER_BATCHES = {
    "another layer": (Layout({"conv": 13}, ("mean",), features=("0", "1", "2")), {}, "the units"),
    "another dtype": (LAYOUT, {"activation": np.zeros((1, 4, 13))}, "float64.*expected float32"),
    "another shape": (LAYOUT, {"activation": np.zeros((1, 4, 9), "f4")}, r"\(1, 4, 9\); expected"),
    "no inputs": (LAYOUT, {"features": None}, r"features have shape None; expected \(4, 3\)"),
    "a column less": (LAYOUT, {"columns": {"sample": np.arange(4)}}, "has the columns sample; exp"),
    "a short column": (LAYOUT, {"columns": {"label": np.arange(3)}}, r"'label' has shape \(3,\)"),
}


@pytest.mark.parametrize("what", OTHER_BATCHES)
def test_a_batch_that_does_not_fit_is_refused_whole(begun, what):
    layout, changed, message = OTHER_BATCHES[what]
    run = numbers(LAYOUT, 20)
    batch = {**vars(rows(LAYOUT, run, 12, 16)), **changed}
    with StoreWriter(begun, KEY) as writer:
        with pytest.raises(ValueError, match=message):
            writer.append(layout, Rows(**batch))
        assert writer.count == 12


def test_another_key_names_the_parts_that_differ(begun, tmp_path):
    other = {**KEY, "weights": "b2", "transform": "none"}
    message = r"\(weights: 'a1', not 'b2'; transform: None, not 'none'\).*another path.*delete"
    with pytest.raises(ValueError, match=message):
        StoreWriter(begun, other).__enter__()
    with StoreWriter(tmp_path / "done.zarr", KEY) as writer:
        fill(writer, LAYOUT, numbers(LAYOUT, 3), [3])
        writer.finish({}, {})
    with pytest.raises(ValueError, match=message):
        StoreWriter(tmp_path / "done.zarr", other).__enter__()


@pytest.mark.parametrize("name", ["run.zarr", "run.zarr.partial"])
def test_what_is_not_ours_is_never_written_over(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match=r"thesis\.tex|holds no recording of nbcorr"):
        StoreWriter(tmp_path / "run.zarr", KEY).__enter__()
    assert files(tmp_path) == {f"{name}/thesis.tex": b"all of it"}


def test_a_file_in_the_place_of_a_store(tmp_path):
    (tmp_path / "run.zarr").write_text("a file")
    with pytest.raises(ValueError, match="holds no recording of nbcorr"):
        StoreWriter(tmp_path / "run.zarr", KEY).__enter__()
    assert files(tmp_path) == {"run.zarr": b"a file"}


def test_a_damaged_journal_is_not_begun_anew(tmp_path):
    with StoreWriter(tmp_path / "run.zarr", KEY) as writer:
        fill(writer, LAYOUT, numbers(LAYOUT, 6), [6])
    journal = tmp_path / "run.zarr.partial" / "journal"
    journal.write_bytes(b"\0" * journal.stat().st_size)
    before = files(tmp_path)
    with pytest.raises(ValueError, match="journal .* is damaged.*another path"):
        StoreWriter(tmp_path / "run.zarr", KEY).__enter__()
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://bucket/run.zarr", "is a URL; expected a path on this machine"),
        ("run.nc", r"run\.nc; expected a path ending in \.zarr"),
    ],
)
def test_paths_that_are_no_store(path, message):
    with pytest.raises(ValueError, match=message):
        StoreWriter(path, KEY)


def test_a_key_or_attrs_that_json_cannot_hold(tmp_path):
    with StoreWriter(tmp_path / "run.zarr", KEY) as writer:
        fill(writer, LAYOUT, numbers(LAYOUT, 6), [6])
        with pytest.raises(ValueError, match=r"attrs\['f'\] is a object, which cannot be stored"):
            writer.finish({}, {"f": object()})
        check(writer.finish({}, {"f": np.float32(1)}), LAYOUT, numbers(LAYOUT, 6), 6)


def test_nothing_is_left_of_a_run_without_a_batch(tmp_path):
    with StoreWriter(tmp_path / "run.zarr", KEY) as writer:
        with pytest.raises(ValueError, match="holds no samples yet"):
            writer.finish({}, {})
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_written_to():
    """As a user without rights, which root has to become first."""
    program = (
        RUN
        + """
    import os, filelock
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        helpers.StoreWriter(sys.argv[1] + "/run.zarr", helpers.KEY).__enter__()
    except PermissionError as error:
        print(error)
    """
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        with start_python(program, folder, stdout=subprocess.PIPE, text=True) as process:
            shown = process.stdout.read()
        assert "run.zarr cannot be written: Permission denied; it is empty. Expected" in shown


def test_a_full_disk_leaves_what_was_recorded(tmp_path):
    """A limit on the size of files stands for the disk: the same refusal in mid-write."""
    path = tmp_path / "run.zarr"
    run = numbers(LAYOUT, 2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with StoreWriter(path, KEY, slab=512) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(OSError, match=r"its \d+ samples so far are safe.*goes on") as full:
                fill(writer, LAYOUT, run, [20] * 100)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert full.value.errno == errno.EFBIG
        count = writer.count
        assert count > 0
    check(open_recording(path), LAYOUT, run, count)
    with StoreWriter(path, KEY) as writer:
        assert writer.count == count
        fill(writer, LAYOUT, run, [20] * ((2000 - count) // 20))
        check(writer.finish({}, {}), LAYOUT, run, 2000)


def test_a_store_of_a_later_format(begun, tmp_path):
    with StoreWriter(tmp_path / "done.zarr", KEY) as writer:
        fill(writer, LAYOUT, numbers(LAYOUT, 3), [3])
        writer.finish({}, {})
    said = tmp_path / "done.zarr" / "zarr.json"
    group = json.loads(said.read_text("utf-8"))
    group["attributes"]["nbcorr"]["format"] = 99
    said.write_text(json.dumps(group), "utf-8")
    for use in (open_recording, lambda path: StoreWriter(path, KEY).__enter__()):
        with pytest.raises(ValueError, match="format 99; this nbcorr reads up to 1"):
            use(tmp_path / "done.zarr")


# Memory


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
