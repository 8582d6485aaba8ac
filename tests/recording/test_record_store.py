"""``nc.record(store=...)``: what is recognised, what goes on where it stopped, what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset

import nbcorr as nc
from nbcorr.recording.record import RecordingInterrupted


@pytest.fixture
def passes(model):
    """The size of every batch the model has been run on."""
    sizes = []
    forward = model.forward

    def counted(x):
        sizes.append(len(x))
        return forward(x)

    model.forward = counted
    return sizes


def test_a_store_holds_what_memory_would(model, images, labels, tmp_path):
    how = {"layers": "all", "pool": ["mean", "max"], "twins": 2, "batch_size": 9, "progress": False}
    expected = nc.record(model, (images, labels), baseline=lambda x: x.sum((1, 2, 3)) > 30, **how)
    stored = nc.record(
        model,
        (images, labels),
        baseline=lambda x: x.sum((1, 2, 3)) > 30,
        store=tmp_path / "a.zarr",
        **how,
    )
    assert stored["activation"].chunks is not None
    xr.testing.assert_identical(stored.load(), expected)
    xr.testing.assert_identical(nc.open_recording(tmp_path / "a.zarr").load(), expected)
    assert nc.correlate(stored.sel(pool="max"), strata=None).identical(
        nc.correlate(expected.sel(pool="max"), strata=None)
    )


@pytest.mark.parametrize("kind", ["arrays", "loader", "dataset", "images", "generator"])
def test_the_same_call_again_runs_no_model(model, images, labels, tmp_path, passes, kind):
    tensors = TensorDataset(torch.tensor(images), torch.tensor(labels))
    data = {
        "arrays": lambda: (images, labels),
        "loader": lambda: DataLoader(tensors, batch_size=6),
        "dataset": lambda: tensors,
        "images": lambda: xr.Dataset({"image": (("sample", "channel", "y", "x"), images)}),
        "generator": lambda: (images[at : at + 6] for at in range(0, 40, 6)),
    }[kind]
    path = tmp_path / "a.zarr"
    first = nc.record(model, data(), store=path, progress=False)
    ran = len(passes)
    again = nc.record(model, data(), store=path, progress=False)
    assert len(passes) == ran
    xr.testing.assert_identical(first.load(), again.load())


CHANGES = {
    "weights": lambda model, how: model.conv1.weight.data.add_(0.1),
    "layers": lambda model, how: how.update(layers="relu"),
    "pool": lambda model, how: how.update(pool="max"),
    "twins": lambda model, how: how.update(twins=1),
    "dtype": lambda model, how: how.update(dtype="float16"),
    "setting": lambda model, how: setattr(model.norm, "eps", 0.1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_recording_is_never_taken_for_this_one(model, images, tmp_path, change):
    how = {"store": tmp_path / "a.zarr", "progress": False}
    nc.record(model, images, **how)
    before = nc.open_recording(tmp_path / "a.zarr").load()
    CHANGES[change](model, how)
    word = "weights" if change == "setting" else change
    with pytest.raises(ValueError, match=rf"holds another recording \(.*{word}"):
        nc.record(model, images, **how)
    xr.testing.assert_identical(nc.open_recording(tmp_path / "a.zarr").load(), before)


def test_a_pooling_of_ones_own_is_known_by_what_it_does(model, images, tmp_path):
    def spread(share):
        def own(places):
            return places.quantile(share, 2) - places.amin(2)

        return own

    path = tmp_path / "a.zarr"
    first = nc.record(model, images, pool=spread(0.5), store=path, progress=False)
    again = nc.record(model, images, pool=spread(0.5), store=path, progress=False)
    xr.testing.assert_identical(first.load(), again.load())

    def own(places):
        return places.amax(2)

    for other in (own, spread(0.6)):
        with pytest.raises(ValueError, match=r"holds another recording \(pool"):
            nc.record(model, images, pool=other, store=path, progress=False)


def test_a_model_whose_code_was_changed_is_another(images, tmp_path):
    def defined(factor):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = torch.nn.Conv2d(1, 2, 3)

            def forward(self, x):
                return self.conv(x * 2) if factor == 2 else self.conv(x * 3)

        class Other(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = torch.nn.Conv2d(1, 2, 3)

            def forward(self, x):
                return self.conv(x + 3)

        Other.__qualname__ = Net.__qualname__
        torch.manual_seed(0)
        return (Net if factor else Other)()

    nc.record(defined(2), images, "conv", store=tmp_path / "a.zarr", progress=False)
    nc.record(defined(2), images, "conv", store=tmp_path / "a.zarr", progress=False)
    for other in (defined(3), defined(0)):
        with pytest.raises(ValueError, match=r"holds another recording \(forward"):
            nc.record(other, images, "conv", store=tmp_path / "a.zarr", progress=False)


def test_a_baseline_whose_code_was_changed_is_another(model, images, tmp_path):
    class Rule(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3]

    how = {"store": tmp_path / "a.zarr", "progress": False}
    nc.record(model, images, baseline=Rule(), **how)
    other = Rule()
    other.forward = lambda x: x.flatten(1)[:, 3:6]
    with pytest.raises(ValueError, match=r"holds another recording \(baseline"):
        nc.record(model, images, baseline=other, **how)


@pytest.mark.parametrize("where", [0, 17, 39])
def test_other_data_are_never_taken_for_these(model, images, tmp_path, where):
    path = tmp_path / "a.zarr"
    nc.record(model, images, store=path, batch_size=4, progress=False)
    other = images.copy()
    other[where, 0, 0, 0] += 1e-3
    for data in (other, images[:39], images[::-1], np.concatenate([images, images[:1]])):
        for kind in (data, torch.utils.data.TensorDataset(torch.tensor(data.copy()))):
            with pytest.raises(ValueError, match="what is in the store"):
                nc.record(model, kind, store=path, batch_size=4, progress=False)


def test_labels_and_ids_belong_to_the_data(model, images, labels, tmp_path):
    path = tmp_path / "a.zarr"
    nc.record(model, (images, labels), store=path, progress=False)
    with pytest.raises(ValueError, match="what is in the store"):
        nc.record(model, (images, 2 - labels), store=path, progress=False)


def test_a_baseline_that_cannot_be_recognised_is_asked_again(
    model, images, labels, tmp_path, passes
):
    path = tmp_path / "a.zarr"
    for threshold in (30, 33):
        recording = nc.record(
            model,
            (images, labels),
            baseline=lambda x, t=threshold: x.sum((1, 2, 3)) > t,
            store=path,
            progress=False,
        )
        np.testing.assert_array_equal(recording["baseline"], images.sum((1, 2, 3)) > threshold)
        right = recording["prediction"] == labels
        expected = right & (recording["baseline"] != labels)
        np.testing.assert_array_equal(recording["relative_performance"], expected)
    assert len(passes) == 1
    answers = nc.record(model, (images, labels), baseline=labels, store=path, progress=False)
    np.testing.assert_array_equal(answers["baseline"], labels)


def stopping(images, after, error):
    for at in range(0, 40, 4):
        if at == after:
            raise error
        yield images[at : at + 4]


def test_an_interrupted_run_goes_on_where_it_stopped(model, images, tmp_path, passes):
    path = tmp_path / "a.zarr"
    with pytest.raises(RecordingInterrupted) as caught:
        nc.record(model, stopping(images, 24, KeyboardInterrupt()), store=path, progress=False)
    partial = caught.value.recording
    assert partial.sizes["sample"] == 24
    assert partial.attrs["interrupted"] == 1
    xr.testing.assert_identical(partial.load(), nc.open_recording(path).load())
    assert len(passes) == 6
    whole = nc.record(model, stopping(images, None, None), store=path, progress=False)
    assert len(passes) == 10
    expected = nc.record(model, stopping(images, None, None), progress=False)
    xr.testing.assert_identical(whole.load(), expected)


def test_inputs_of_another_shape_before_a_stop(images, tmp_path):
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU())

    def stream(stop):
        yield images[:8]
        yield images[8:16, :, :6]
        if stop:
            raise KeyboardInterrupt
        yield images[16:24, :, :6]

    with pytest.raises(RecordingInterrupted):
        nc.record(net, stream(True), store=tmp_path / "a.zarr", progress=False)
    stored = nc.record(net, stream(False), store=tmp_path / "a.zarr", progress=False)
    expected = nc.record(net, stream(False), progress=False)
    assert "input" not in stored
    assert stored.attrs["input"].startswith("not kept: inputs of ")
    xr.testing.assert_equal(stored.load(), expected)


def test_a_baseline_that_comes_after_a_stop(model, images, labels, tmp_path):
    stream = ((images[at : at + 8], labels[at : at + 8]) for at in (0, 8))

    def stopped():
        yield from stream
        raise KeyboardInterrupt

    def ink(x):
        return x.sum((1, 2, 3)) > 30

    path = tmp_path / "a.zarr"
    with pytest.raises(RecordingInterrupted):
        nc.record(model, stopped(), batch_size=8, store=path, progress=False)
    how = {"batch_size": 8, "baseline": ink, "progress": False}
    stored = nc.record(model, (images, labels), store=path, **how)
    xr.testing.assert_identical(stored.load(), nc.record(model, (images, labels), **how))


def test_after_an_error_the_same_call_goes_on(model, images, tmp_path, passes):
    path = tmp_path / "a.zarr"
    broken = images.copy()
    broken[13] = np.inf
    with pytest.raises(ValueError, match="sample 13") as caught:
        nc.record(model, broken, batch_size=4, store=path, progress=False)
    assert caught.value.recording.sizes["sample"] == 12
    nc.record(model, images, batch_size=4, store=path, progress=False)
    assert len(passes) == 10


def test_a_loader_that_shuffles_cannot_go_on(model, images, tmp_path):
    loader = DataLoader(TensorDataset(torch.tensor(images)), batch_size=4, shuffle=True)
    nc.record(model, loader, store=tmp_path / "a.zarr", progress=False)
    with pytest.raises(ValueError, match=r"batch 0 of the data is not .*no shuffling"):
        nc.record(model, loader, store=tmp_path / "a.zarr", progress=False)


def test_a_model_with_hooks_is_not_recognised(model, images, tmp_path):
    path = tmp_path / "a.zarr"
    nc.record(model, images, store=path, progress=False)
    with nc.ablate(model, ["relu:0"]):
        with pytest.raises(ValueError, match="has hooks, which may change what the model gives"):
            nc.record(model, images, store=path, progress=False)
        switched = nc.record(model, images, store=tmp_path / "b.zarr", progress=False)
    assert not switched["activation"].sel(layer="relu", unit=0).any()
    # Nor is what was recorded with them taken for what the model gives without.
    with pytest.raises(
        ValueError, match=r"holds another recording \(hooks: \[.*'relu'\], not \[\]"
    ):
        nc.record(model, images, store=tmp_path / "b.zarr", progress=False)


def test_a_run_with_hooks_that_was_stopped_is_not_gone_on_with(model, images, tmp_path):
    path = tmp_path / "a.zarr"
    with nc.ablate(model, ["relu:0"]), pytest.raises(RecordingInterrupted):
        nc.record(model, stopping(images, 8, KeyboardInterrupt()), store=path, progress=False)
    with nc.ablate(model, ["relu:1"]), pytest.raises(ValueError, match="has hooks, which may"):
        nc.record(model, stopping(images, None, None), store=path, progress=False)
    with pytest.raises(ValueError, match=r"holds another recording \(hooks"):
        nc.record(model, stopping(images, None, None), store=path, progress=False)


def test_hooks_on_all_modules_are_seen(model, images, tmp_path):
    handle = torch.nn.modules.module.register_module_forward_hook(lambda m, a, out: None)
    try:
        nc.record(model, images, store=tmp_path / "a.zarr", progress=False)
        with pytest.raises(ValueError, match="every module has hooks"):
            nc.record(model, images, store=tmp_path / "a.zarr", progress=False)
    finally:
        handle.remove()


class Large(TorchDataset):
    def __len__(self):
        return 10**13

    def __getitem__(self, at):
        return torch.full((1, 8, 8), 0.5)


def test_a_disk_that_is_too_small_is_said_after_one_batch(model, tmp_path):
    with pytest.raises(OSError, match=r"samples, .* TB on disk and .* are free where"):
        nc.record(model, Large(), store=tmp_path / "a.zarr", progress=False)
    assert not (tmp_path / "a.zarr").exists()


SCRIPT = """
    import sys, time
    import torch, nbcorr as nc
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    x = torch.rand(600, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    class Slow(torch.utils.data.Dataset):
        def __len__(self):
            return 600

        def __getitem__(self, at):
            time.sleep(float(sys.argv[2]))
            return x[at]

    recording = nc.record(net, Slow(), "all", store=sys.argv[1], batch_size=8, progress=False)
    print(float(recording["activation"].sum()), recording.sizes["sample"])
"""


def test_a_killed_run_goes_on_and_ends_as_one_that_was_not(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    path = tmp_path / "a.zarr"
    counts = []
    for _ in range(3):
        run = subprocess.Popen([sys.executable, str(script), str(path), "0.002"])
        before = counts[-1] if counts else 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.05)
            if (path.parent / "a.zarr.partial").exists() and _count(path) > before + 16:
                break
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        counts.append(_count(path))
    assert 0 < counts[0] < counts[1] < counts[2] < 600
    ended = _output([sys.executable, str(script), str(path), "0"])
    whole = _output([sys.executable, str(script), str(tmp_path / "b.zarr"), "0"])
    assert ended == whole
    a, b = (nc.open_recording(tmp_path / name).load() for name in ("a.zarr", "b.zarr"))
    xr.testing.assert_identical(a, b)


def _count(path) -> int:
    try:
        return nc.open_recording(path).sizes["sample"]
    except (OSError, ValueError):
        return 0


def _output(command) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def test_two_writers_on_one_store(model, images, tmp_path):
    path = tmp_path / "a.zarr"

    def second():
        for at in range(0, 40, 4):
            if at == 8:
                with pytest.raises(RuntimeError, match="another"):
                    nc.record(model, images, store=path, batch_size=4, progress=False)
            yield images[at : at + 4]

    recording = nc.record(model, second(), store=path, progress=False)
    assert recording.sizes["sample"] == 40


def test_nested_and_concurrent_recordings(model, images):
    inner = []

    def data():
        for at in range(0, 40, 8):
            inner.append(nc.record(model, images[:5], "relu", progress=False))
            yield images[at : at + 8]

    outer = nc.record(model, data(), "all", progress=False)
    expected = nc.record(model, images, "all", batch_size=8, progress=False)
    np.testing.assert_array_equal(outer["activation"], expected["activation"])
    assert all(r.identical(inner[0]) for r in inner)
    assert not any(m._forward_hooks for m in model.modules())


def test_arrays_on_disk_are_recorded_and_recognised(model, images, labels, tmp_path):
    import zarr

    pictures = zarr.create_array(tmp_path / "x.zarr", data=images)
    how = {"store": tmp_path / "a.zarr", "batch_size": 8, "progress": False}
    stored = nc.record(model, (pictures, labels), **how).load()
    again = nc.record(model, (pictures, labels), **how).load()
    xr.testing.assert_identical(stored, again)
    expected = nc.record(model, (images, labels), batch_size=8, progress=False)
    xr.testing.assert_identical(stored, expected)
    pictures[0, 0, 0, 0] += 1
    with pytest.raises(ValueError, match="what is in the store"):
        nc.record(model, (pictures, labels), **how)
