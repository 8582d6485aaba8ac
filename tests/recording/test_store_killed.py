"""Stores whose writers are killed, or are two."""

from __future__ import annotations

import os
import random
import signal
import subprocess

import numpy as np
import pytest

from nbcorr.recording.opening import open_recording
from nbcorr.recording.store import StoreWriter
from tests.recording.stores import (
    KEY,
    LAYOUT,
    RUN,
    SPAWNER,
    check,
    files,
    fill,
    killed_run,
    numbers,
    start_python,
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
