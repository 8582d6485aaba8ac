"""The raw inputs beside the activations, and activations that stay on disk."""

from __future__ import annotations

import os
import subprocess
import sys

import dask.array
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nbcorr as nc
from nbcorr.recording.inputs import averaged, plan_for
from nbcorr.recording.record import RecordingInterrupted


def literal_average(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Adaptive average pooling of one map from its definition, place by place."""
    height, width = image.shape
    out = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            top, bottom = i * height // rows, int(np.ceil((i + 1) * height / rows))
            left, right = j * width // columns, int(np.ceil((j + 1) * width / columns))
            out[i, j] = image[top:bottom, left:right].mean()
    return out


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(1, 8),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    dtype=st.sampled_from([torch.float16, torch.float32, torch.float64, torch.uint8]),
)
def test_pictures_are_averaged_as_defined_and_as_torch_does(channels, height, width, dtype):
    images = (torch.rand(3, channels, height, width) * 9).to(dtype)
    plan, how = plan_for(images)
    got = averaged(images, plan)
    rows, columns = plan.kept
    assert got.dtype == np.float32
    assert got.shape == (3, channels * rows * columns)
    assert len(plan.features) == got.shape[1] <= 1024
    assert how.startswith(f"{rows} x {columns} of {height} x {width} pixels, {channels} channel")
    twin = nn.functional.adaptive_avg_pool2d(images.float(), plan.kept).flatten(1)
    np.testing.assert_allclose(got, twin.numpy(), atol=1e-5)
    at = plan.features.index(f"{channels - 1}:{rows - 1},0")
    last = images[1, -1].double().numpy()
    assert got[1, at] == pytest.approx(literal_average(last, rows, columns)[-1, 0], abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 4000))
def test_vectors_are_kept_and_long_ones_averaged(length):
    vectors = torch.rand(2, length, dtype=torch.float64)
    plan, how = plan_for(vectors)
    got = averaged(vectors, plan)
    assert len(plan.features) == got.shape[1] == min(length, 1024)
    assert ("neighbours averaged" in how) == (length > 1024)
    for feature, value in zip(plan.features, got[0], strict=True):
        first, _, last = feature.partition("-")
        part = vectors[0, int(first) : int(last or first) + 1]
        assert value == pytest.approx(float(part.mean()), abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "kept", "first", "last"),
    [
        ((3, 224, 224), (16, 16), "0:0,0", "2:15,15"),
        ((6, 32, 32), (13, 13), "0:0,0", "5:12,12"),
        ((1, 8, 5), (8, 5), "0:0,0", "0:7,4"),
        ((2, 5, 30, 30), (10, 10), "0,0:0,0", "1,4:9,9"),
        ((900, 4, 4), (1, 1), "0:0,0", "899:0,0"),
        ((50, 300), (16, 16), "0,0", "15,15"),
    ],
)
def test_features_are_named_by_place(shape, kept, first, last):
    plan, _ = plan_for(torch.rand(1, *shape))
    assert plan.kept == kept
    assert (plan.features[0], plan.features[-1]) == (first, last)
    assert len(set(plan.features)) == len(plan.features)


def test_inputs_come_with_a_recording(untouched, images, labels):
    recording = nc.record(untouched, (images, labels), twins=1, batch_size=7, progress=False)
    assert recording["input"].dims == ("sample", "feature")
    assert recording["input"].dtype == np.float32
    assert recording.attrs["input"] == "8 x 8 of 8 x 8 pixels, 1 channel"
    np.testing.assert_array_equal(recording["input"], images.reshape(40, -1))
    np.testing.assert_array_equal(recording["input"].sel(feature="0:3,5"), images[:, 0, 3, 5])
    loader = DataLoader(TensorDataset(torch.tensor(images)), batch_size=9)
    for data in (loader, (batch for batch in loader)):
        again = nc.record(untouched, data, progress=False)
        np.testing.assert_array_equal(again["input"], recording["input"])


def test_inputs_are_those_before_a_model_that_works_in_place():
    x = torch.randn(6, 3)
    given = x.clone()
    recording = nc.record(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)), x, progress=False)
    np.testing.assert_array_equal(recording["input"], given)


def test_an_interrupt_keeps_the_inputs_of_what_was_recorded(untouched, images):
    calls = []

    def stop(module, args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = untouched.conv2.register_forward_pre_hook(stop)
    try:
        with pytest.raises(RecordingInterrupted) as caught:
            nc.record(untouched, images, batch_size=10, progress=False)
    finally:
        handle.remove()
    partial = caught.value.recording
    assert partial.sizes["sample"] == 20
    np.testing.assert_array_equal(partial["input"], images[:20].reshape(20, -1))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.linear = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, tokens):
        return self.linear(self.embedding(tokens)).mean(1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (torch.randint(0, 9, (5, 6)), "token ids"),
        ([{"tokens": torch.randint(0, 9, (5, 6))}], "the inputs are a dict"),
    ],
)
def test_inputs_that_are_no_features_are_said_to_be_missing(data, why):
    recording = nc.record(Tokens(), data, "linear", progress=False)
    assert "input" not in recording
    assert "feature" not in recording.dims
    assert recording.attrs["input"].startswith("not kept: ")
    assert why in recording.attrs["input"]


def test_more_maps_than_features_and_empty_inputs_are_not_kept():
    for shape in ((2, 2000, 3, 3), (2, 0), (2, 3, 0, 4)):
        plan, how = plan_for(torch.zeros(shape))
        assert plan is None
        assert "have no plain features" in how


def test_inputs_whose_shape_changes_are_not_kept():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    data = [torch.rand(2, 1, side, side) for side in (8, 9, 8)]
    recording = nc.record(net, data, progress=False)
    assert "input" not in recording
    assert recording.attrs["input"] == "not kept: inputs of shapes (1, 8, 8) and (1, 9, 9)"


@pytest.mark.parametrize(
    "kind", [np.asarray, torch.tensor, dask.array.from_array, np.ndarray.tolist]
)
def test_from_arrays_keeps_the_same_inputs(images, kind, monkeypatch):
    monkeypatch.setattr("nbcorr.recording.inputs._ROWS", 11)
    big = np.repeat(np.repeat(images, 5, axis=2), 5, axis=3)
    made = nc.from_arrays(np.zeros((40, 2)), layer="a", inputs=kind(big))
    recorded = nc.record(nn.Sequential(nn.Conv2d(1, 2, 3)), big, "all", progress=False)
    np.testing.assert_allclose(made["input"], recorded["input"], rtol=1e-6)
    assert made.feature.values.tolist() == recorded.feature.values.tolist()
    assert made.attrs["input"] == recorded.attrs["input"] == "16 x 16 of 40 x 40 pixels, 1 channel"


def test_whole_numbers_given_as_inputs_are_features():
    made = nc.from_arrays(np.zeros((3, 1)), layer="a", inputs=np.arange(6).reshape(3, 2))
    assert made["input"].values.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert "input" not in nc.from_arrays(np.zeros((3, 1)), layer="a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": np.zeros((4, 2))}, r"inputs have shape \(4, 2\); expected a row for each of 3"),
        ({"inputs": 1.0}, r"inputs have shape \(\); expected a row for each of 3"),
        ({"inputs": np.array([[1.0], [2.0], [np.nan]])}, "sample c has NaN or infinite inputs"),
        ({"input": np.zeros(3)}, "a column is called 'input', a name of the recording's own"),
        ({"feature": np.zeros(3)}, "a column is called 'feature'"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        nc.from_arrays(np.zeros((3, 1)), layer="a", sample=list("abc"), **arguments)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_dask_and_zarr_activations_stay_lazy(dtype, tmp_path):
    values = np.random.default_rng(0).normal(size=(60, 20)) * 5
    values = values.astype(dtype)
    stored = zarr.create_array(
        store=str(tmp_path / "a.zarr"), shape=values.shape, chunks=(60, 8), dtype=dtype
    )
    stored[:] = values
    label = np.arange(60) % 3
    signal = values[:, 3] > np.median(values[:, 3])
    whole = nc.from_arrays(values, layer="a", label=label, high=signal)
    for lazy in (dask.array.from_array(values, chunks=(30, 7)), stored):
        recording = nc.from_arrays(lazy, layer="a", label=label, high=signal)
        assert recording.activation.chunks is not None
        assert recording.activation.dtype == whole.activation.dtype
        np.testing.assert_array_equal(recording.activation.values, whole.activation.values)
        found = nc.correlate(recording, "high", controls=())
        np.testing.assert_array_equal(found["auc"], nc.correlate(whole, "high", controls=())["auc"])


def test_nothing_is_computed_when_a_recording_is_made():
    def fail():
        raise AssertionError("computed")

    lazy = dask.array.from_delayed(dask.delayed(fail)(), shape=(5, 3), dtype=np.float64)
    recording = nc.from_arrays(lazy, layer="a")
    assert recording.sizes == {"sample": 5, "neuron": 3}
    with pytest.raises(AssertionError, match="computed"):
        recording.activation.values.sum()


def test_recordings_of_plain_arrays_need_neither_dask_nor_torch():
    program = (
        "import sys; sys.modules['dask'] = sys.modules['torch'] = None\n"
        "import numpy, nbcorr; print(nbcorr.from_arrays(numpy.eye(3), layer='a').sizes['neuron'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ}
    )
    assert shown.stdout.strip() == "3", shown.stderr
