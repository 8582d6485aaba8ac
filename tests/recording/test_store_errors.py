"""What a store refuses, and that what was recorded stays readable."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import tempfile

import numpy as np
import pytest

from nbcorr.recording.opening import open_recording
from nbcorr.recording.rows import Layout, Rows
from nbcorr.recording.store import StoreWriter
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
