"""Reverse look-up: which neurons respond most to one picture, against literal twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import percentileofscore
from torch import nn

import nbcorr as nc
from nbcorr.visualization.responses import left_out_z, responses

from .nets import assert_untouched, reused, state


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((60, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return reused()


@pytest.fixture(scope="module")
def recording(net, images) -> xr.Dataset:
    return nc.record(net, images[1:], progress=False)


def test_without_a_recording_they_are_ordered_by_activation_and_the_control_is_missing(net, images):
    before = state(net)
    found = responses(net, images[0])
    assert_untouched(net, before)
    recorded = nc.record(net, images[:1], progress=False)["activation"].isel(sample=0)
    assert sorted(found["activation"].values) == sorted(recorded.values)
    assert (np.diff(found["activation"].values) <= 0).all()
    for neuron in found.indexes["neuron"]:
        one = found["activation"].sel(neuron=neuron)
        assert float(one) == float(recorded.sel(neuron=neuron))
    assert found.attrs["control"].startswith("missing")
    assert "z" not in found


def test_with_a_recording_every_number_is_that_of_its_definition(net, images, recording):
    found = responses(net, images[0], recording=recording)
    assert found.attrs["control"] == "59 recorded samples"
    assert (np.diff(found["z"].values) <= 0).all()
    assert found.sizes == {"neuron": recording.sizes["neuron"]}
    largest = [np.nanmax(of) for of in literal_z(net, images, found)[1:]]
    for neuron in found.indexes["neuron"]:
        here, there = found.sel(neuron=neuron), recording["activation"].sel(neuron=neuron).values
        a = float(here["activation"])
        np.testing.assert_allclose(here["z"], (a - there.mean()) / there.std(ddof=1), rtol=2e-3)
        expected = percentileofscore(there, a, kind="mean")
        np.testing.assert_allclose(here["percentile"], expected, rtol=1e-5)
        p = (1 + sum(other >= float(here["z"]) - 1e-6 for other in largest)) / 60
        np.testing.assert_allclose(here["p_familywise"], p, rtol=1e-5)


def literal_z(net, images, found) -> list[list[float]]:
    """Of every sample and neuron, against all the other samples one by one."""
    every = nc.record(net, images, progress=False)["activation"]
    every = every.sel(neuron=found.indexes["neuron"]).values.astype(np.float64)
    rows = []
    for i in range(len(every)):
        others = np.delete(every, i, axis=0)
        rows.append((every[i] - others.mean(0)) / others.std(0, ddof=1))
    return rows


def test_what_a_neuron_was_planted_to_see_stands_first():
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[:, :, None, None])
    rng = np.random.default_rng(1)
    # Red is bright throughout, green always dark: the picture is only a little green.
    data = rng.random((50, 3, 4, 4)).astype(np.float32) * [[[[9.0]], [[0.1]], [[1.0]]]]
    data = data.astype(np.float32)
    recording = nc.record(net, data, "1", progress=False)
    picture = np.float32([4.5, 0.5, 0.5])[:, None, None] * np.ones((3, 4, 4), np.float32)
    assert responses(net, picture, "1").indexes["neuron"][0] == ("1", 0)
    found = responses(net, picture, recording=recording)
    assert found.indexes["neuron"][0] == ("1", 1)
    assert float(found["percentile"][0]) == 100
    assert float(found["p_familywise"][0]) == pytest.approx(1 / 51)


def test_a_constant_neuron_is_nan_last_and_counted(images):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with torch.no_grad():
        net[0].weight[2] = 0
        net[0].bias[2] = -1
    recording = nc.record(net, images[1:], progress=False)
    found = responses(net, images[0], recording=recording)
    assert found.indexes["neuron"][-1] == ("1", 2)
    assert np.isnan(found["z"].values).tolist() == [False, False, False, True]
    assert np.isnan(found["p_familywise"].values[-1])
    assert found.attrs["constant"] == 1


def test_a_samples_largest_z_is_familywise_uniform(net, images):
    """Every sample in turn as the picture: its smallest p is a rank among all, each rank once."""
    smallest = []
    for i in range(12):
        recording = nc.record(net, np.delete(images[:12], i, axis=0), progress=False)
        found = responses(net, images[i], recording=recording)
        smallest.append(round(float(found["p_familywise"].min()) * 12))
    assert sorted(smallest) == list(range(1, 13))


def test_the_pooling_is_the_recordings(net, images):
    recording = nc.record(net, images[1:], "act", pool=["mean", "max"], progress=False)
    with pytest.raises(ValueError, match=r"poolings \['mean', 'max'\]; expected one"):
        responses(net, images[0], recording=recording)
    found = responses(net, images[0], recording=recording.sel(pool="max"))
    largest = nc.record(net, images[:1], "act", pool="max", progress=False)["activation"].isel(
        sample=0
    )
    for neuron in found.indexes["neuron"]:
        assert float(found["activation"].sel(neuron=neuron)) == float(largest.sel(neuron=neuron))
    assert set(found["layer"].values) == {"act", "act#2"}


def test_a_recording_from_a_store_and_many_neurons_go_in_pieces(
    net, images, recording, tmp_path, monkeypatch
):
    stored = nc.record(net, images[1:], store=tmp_path / "kept.zarr", progress=False)
    monkeypatch.setattr("nbcorr.visualization.responses.NEURONS", 5)
    found = responses(net, images[0], recording=stored)
    monkeypatch.undo()
    xr.testing.assert_allclose(found, responses(net, images[0], recording=recording))


def test_vectors_have_responses_too():
    net = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    data = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    recording = nc.record(net, data[1:], progress=False)
    found = responses(net, data[0], recording=recording)
    assert found.sizes["neuron"] == recording.sizes["neuron"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"picture": np.zeros((2, 3, 8, 8), np.float32)}, r"shape \(2, 3, 8, 8\); expected one"),
        ({"layers": "nowhere"}, "nowhere"),
        ({"recording": "few"}, "has 2 samples; expected at least 3"),
        ({"recording": "other"}, "of another model, Reused"),
        ({"layers": "conv1"}, "has none of the layers"),
    ],
)
def test_what_does_not_fit_is_told(net, images, recording, change, message):
    others = {
        "few": recording.isel(sample=slice(2)),
        "other": recording.assign_attrs(fingerprint="0" * 8),
    }
    arguments = {"picture": images[0], "layers": "auto", "recording": recording, **change}
    arguments["recording"] = others.get(str(change.get("recording")), recording)
    with pytest.raises(ValueError, match=message):
        responses(net, arguments.pop("picture"), arguments.pop("layers"), **arguments)


@given(st.integers(3, 12), st.integers(0, 2**32 - 1))
def test_leaving_one_out_is_exact(rows, seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, (rows, 3)) * rng.choice([1e-3, 1, 1e3])
    found = left_out_z(values.astype(np.float64))
    for i in range(rows):
        others = np.delete(values, i, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = (values[i] - others.mean(0)) / others.std(0, ddof=1)
        alike = (others == others[0]).all(0)
        np.testing.assert_allclose(found[i], np.where(alike, np.nan, expected), atol=1e-6)
