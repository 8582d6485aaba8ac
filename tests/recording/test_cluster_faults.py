"""A cluster whose workers, driver, data or user fail: nothing lost, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import xarray as xr
from distributed import Client
from torch import nn

import nbcorr as nc
from nbcorr.recording.opening import open_recording
from nbcorr.recording.partial import Partial
from nbcorr.recording.record import RecordingInterrupted
from nbcorr.recording.worker import Part, run_part
from tests.recording import clusters
from tests.recording.clusters import (
    Dying,
    Interrupting,
    Pictures,
    assert_same,
    numbers,
    small_net,
    tasks,
    two_workers,
)


@pytest.fixture(scope="module")
def client():
    with two_workers() as client:
        yield client


# Processes that are killed


def test_a_driver_that_was_killed_goes_on_where_it_stopped(client, tmp_path):
    program = f"""
        import importlib.util, sys
        import cloudpickle, nbcorr

        if __name__ == "__main__":
            spec = importlib.util.spec_from_file_location("helpers", {clusters.__file__!r})
            sys.modules["helpers"] = helpers = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(helpers)
            cloudpickle.register_pickle_by_value(helpers)
            helpers.torch.set_num_threads(1)
            nbcorr.record(
                helpers.small_net(), helpers.Pictures(640, wait=0.004), batch_size=8,
                store=sys.argv[2], client=helpers.Client(sys.argv[1]), progress=False,
            )
    """
    path = tmp_path / "run.zarr"
    command = [sys.executable, "-c", textwrap.dedent(program), client.scheduler.address, str(path)]
    with subprocess.Popen(command) as driver:
        while driver.poll() is None and not Partial(tmp_path / "run.zarr.partial").count:
            time.sleep(0.02)
        driver.kill()
    assert driver.returncode == -signal.SIGKILL
    begun = open_recording(path)
    assert begun.attrs["interrupted"] == 1
    assert 0 < begun.sizes["sample"] < 640
    assert begun.sizes["sample"] % 80 == 0
    first = next(tmp_path.glob("run.zarr.partial/store/activation/c/0/0"))
    written = first.stat().st_mtime_ns
    # What a worker leaves that is killed while it writes.
    (tmp_path / "run.zarr.partial/store/.task-old").mkdir()
    how = {"batch_size": 8, "progress": False}
    finished = nc.record(small_net(), Pictures(640), **how, store=path, client=client)
    assert_same(finished, nc.record(small_net(), Pictures(640), **how))
    assert (path / "activation/c/0/0").stat().st_mtime_ns == written
    assert not [name for name in os.listdir(path) if name.startswith(".")]
    assert os.listdir(tmp_path) == ["run.zarr"]


def test_a_worker_that_is_killed_is_survived(client, tmp_path):
    dying = Dying(tmp_path / "died")
    how = {"layers": "all", "twins": 1, "batch_size": 8, "progress": False}
    path = tmp_path / "a.zarr"
    before = set(client.run(os.getpid).values())
    found = nc.record(small_net(), Pictures(200, dying, 101), **how, store=path, client=client)
    assert dying.remembered.exists()
    assert_same(found, nc.record(small_net(), Pictures(200), **how))
    client.wait_for_workers(2)
    assert set(client.run(os.getpid).values()) != before


def test_all_workers_can_die_at_once(client, tmp_path):
    """The networks are sent again to those that come in their place."""
    client.wait_for_workers(2)
    workers = client.run(os.getpid).values()

    def data():
        for at, batch in enumerate(np.split(numbers(160), 20)):
            if at == 12:
                for worker in workers:
                    os.kill(worker, signal.SIGKILL)
            yield batch

    found = nc.record(small_net(), data(), client=client, progress=False)
    expected = nc.record(small_net(), numbers(160), batch_size=8, progress=False)
    assert_same(found, expected)
    client.wait_for_workers(2)


def test_samples_that_kill_every_worker(client):
    def allow(failures: int, dask_scheduler) -> int:
        before, dask_scheduler.allowed_failures = dask_scheduler.allowed_failures, failures
        return before

    data = Pictures(64, Dying(None), 45)
    before = client.run_on_scheduler(allow, 0)
    try:
        with pytest.raises(RuntimeError, match="1 workers died over samples 40 to 47") as died:
            nc.record(small_net(), data, batch_size=8, client=client, progress=False)
    finally:
        client.run_on_scheduler(allow, before)
        client.wait_for_workers(2)
    assert died.value.recording.sizes["sample"] == 40


# Errors and interrupts


def failing(what: str):
    """A call's data and arguments, and where it fails."""
    data = numbers(80)
    if what == "an input that is not finite":
        data[43, 0, 2, 2] = np.nan
        return data, {}
    if what == "a baseline of another length":
        return data, {"baseline": lambda x: [1] * (len(x) - int((x[0] == data[40]).all()))}
    if what == "a layer that did not run":
        return data, {"layers": ["unused"]}
    shapes = [data[:8, :, : 8 if at != 5 else 5] for at in range(10)]
    return shapes, {}


@pytest.mark.parametrize(
    "what",
    [
        "an input that is not finite",
        "a baseline of another length",
        "a layer that did not run",
        "a batch of another shape",
    ],
)
def test_errors_are_those_of_this_process(client, model, what):
    data, how = failing(what)
    errors = []
    for where in ({}, {"client": client}):
        with pytest.raises((ValueError, RuntimeError)) as caught:
            nc.record(model, data, batch_size=8, progress=False, **how, **where)
        errors.append(caught.value)
    here, there = errors
    assert (type(there), str(there), there.__notes__ if hasattr(there, "__notes__") else []) == (
        type(here),
        str(here),
        here.__notes__ if hasattr(here, "__notes__") else [],
    )
    assert hasattr(here, "recording") == hasattr(there, "recording")
    if hasattr(here, "recording"):
        assert here.recording.sizes["sample"] == 40
        xr.testing.assert_equal(there.recording, here.recording)


def test_an_error_leaves_the_slabs_before_it_in_the_store(client, tmp_path):
    data, _ = failing("an input that is not finite")
    data = np.concatenate([numbers(80), data])
    path = tmp_path / "a.zarr"
    with pytest.raises(ValueError, match="sample 123 has NaN") as caught:
        nc.record(small_net(), data, batch_size=4, store=path, client=client, progress=False)
    expected = nc.record(small_net(), data[:120], batch_size=4, progress=False)
    kept = caught.value.recording
    assert kept.sizes["sample"] == 120
    xr.testing.assert_equal(kept.load(), expected)


def test_empty_data(client, tmp_path):
    for store in (None, tmp_path / "a.zarr"):
        with pytest.raises(ValueError, match="the data is empty"):
            nc.record(small_net(), numbers(0), store=store, client=client, progress=False)
    assert os.listdir(tmp_path) == []


def test_an_interrupt_cancels_what_waits_and_keeps_what_is_there(client, tmp_path):
    """Ctrl-C while this process waits for its workers."""
    data = Pictures(400, Interrupting(os.getpid()), 205, wait=0.002)
    path = tmp_path / "a.zarr"
    with pytest.raises(RecordingInterrupted, match="of 400 samples") as caught:
        nc.record(small_net(), data, batch_size=5, store=path, client=client, progress=False)
    kept = caught.value.recording
    assert kept.attrs["interrupted"] == 1
    assert 0 < kept.sizes["sample"] <= 205
    expected = nc.record(small_net(), Pictures(400), batch_size=5, progress=False)
    part = expected.isel(sample=slice(kept.sizes["sample"]))
    np.testing.assert_array_equal(kept["activation"], part["activation"])
    while tasks(client):
        time.sleep(0.01)
    finished = nc.record(
        small_net(), Pictures(400), batch_size=5, store=path, client=client, progress=False
    )
    assert_same(finished, expected)


def test_clients_that_are_none(client, monkeypatch):
    with pytest.raises(TypeError, match="client is LocalCluster; expected a dask.distributed.Cli"):
        nc.record(small_net(), numbers(8), client=client.cluster)
    closed = Client(client.scheduler.address)
    closed.close()
    with pytest.raises(ValueError, match="client is closed; expected one that runs"):
        nc.record(small_net(), numbers(8), client=closed)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'nbcorr\[distributed\]'"):
        nc.record(small_net(), numbers(8), client=client)
    # Nobody else needs it.
    assert nc.record(small_net(), numbers(8), progress=False).sizes["sample"] == 8


def test_a_module_that_the_workers_lack(client, monkeypatch, tmp_path):
    file = tmp_path / "my_nets.py"
    file.write_text("from torch import nn\n\nclass Net(nn.ReLU):\n    pass\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    net = nn.Sequential(__import__("my_nets").Net())
    with pytest.raises(ModuleNotFoundError, match="my_nets") as caught:
        nc.record(net, numbers(8), client=client, progress=False)
    assert "client.upload_file('my_nets.py')" in caught.value.__notes__[0]
    client.upload_file(str(file))
    found = nc.record(net, numbers(8), client=client, progress=False)
    assert_same(found, nc.record(net, numbers(8), progress=False))


def test_what_cannot_be_sent(client):
    unsendable, net = Pictures(20), small_net()
    unsendable.lock = net.lock = threading.Lock()
    with pytest.raises(TypeError, match="the dataset cannot be sent to the workers"):
        nc.record(small_net(), unsendable, client=client, progress=False)
    with pytest.raises(TypeError, match="Sequential or the baseline cannot be sent to the work"):
        nc.record(net, numbers(8), client=client, progress=False)


def test_a_store_that_a_worker_does_not_see(tmp_path):
    part = Part(0, [range(8)], True, True, tmp_path / "elsewhere" / "a.zarr")
    with pytest.raises(FileNotFoundError, match="a worker does not see the store .*elsewhere"):
        run_part(None, part, None)
