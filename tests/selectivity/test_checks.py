"""The checks of a whole sweep are those of its networks, one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from nbcorr.recording.record import record
from nbcorr.selectivity.basis import cca_distance, selective_basis
from nbcorr.selectivity.checks import sweep_checks
from nbcorr.selectivity.index import selectivity
from nbcorr.selectivity.sweep import selectivity_sweep, swept_model
from nbcorr.selectivity.usage import ablate_selective
from nbcorr.zoo import digits

FEW = {"shares": (0.25, 0.5), "draws": 4, "steps": 5, "progress": False}


def build():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 10)
    )


@pytest.fixture(scope="module")
def data():
    return digits("train").isel(sample=slice(300)), digits("test").isel(sample=slice(100))


def swept(data, folder, alphas):
    return selectivity_sweep(
        build,
        data,
        alphas,
        2,
        epochs=3,
        batch_size=16,
        learning_rate=0.03,
        corruptions=(),
        eps=(),
        store=folder,
        progress=False,
    )


@pytest.fixture(scope="module")
def sweep(data, tmp_path_factory):
    return swept(data, tmp_path_factory.mktemp("sweep"), [0, -0.5])


def test_each_network_has_what_its_own_verbs_say(sweep, data):
    found = sweep_checks(sweep, build, data[1], **FEW)
    assert "controls_missing" not in found.attrs
    model, other = (swept_model(sweep, build, *run) for run in ((-0.5, 1), (0, 0)))
    recordings = [record(own, data[1], "ReLU", progress=False) for own in (model, other)]
    own = found.sel(alpha=-0.5, seed=1)
    basis = selective_basis(recordings[0], steps=5, draws=4)
    for name in ("selectivity", "selectivity_rotated"):
        np.testing.assert_allclose(own[name], basis[name])
    np.testing.assert_allclose(own["selectivity_random"], basis["selectivity_random"].mean("draw"))
    np.testing.assert_allclose(own["distance_neutral"], cca_distance(*recordings)["distance"])
    index = selectivity(recordings[0], n_resamples=0)
    used = ablate_selective(model, data[1], index, (0.25, 0.5), draws=4, progress=False)
    for name in ("accuracy_ablated", "percentile"):
        np.testing.assert_array_equal(own[name], used[name])
    np.testing.assert_allclose(own["accuracy_random"], used["accuracy_random"].mean("draw"))


def test_without_neutral_networks_that_is_said(data, tmp_path):
    found = sweep_checks(swept(data, tmp_path, [-1]), build, data[1], **FEW)
    assert found.attrs["controls_missing"] == "no two networks of alpha 0"
    assert np.isnan(found["distance_neutral"]).all()


def test_dead_and_diverged_layers_are_nan(data, tmp_path):
    sweep = swept(data, tmp_path, [0])
    for seed, harm in ((0, dead), (1, diverged)):
        path = next(tmp_path.rglob(f"alpha=0,seed={seed}/training.pt"))
        state = torch.load(path, weights_only=True)
        harm(state["model"])
        torch.save(state, path)
    with pytest.warns(UserWarning, match="NaN or infinite"):
        found = sweep_checks(sweep, build, data[1], **FEW)
    at_layer = np.isnan(found["percentile"].values[0]).all(axis=(2, 3))
    assert at_layer.tolist() == [[False, True], [True, True]]
    assert np.isnan(found["selectivity"].values[0]).tolist() == [[False, True], [True, True]]


def dead(weights):
    weights["3.bias"] -= 1e4


def diverged(weights):
    weights["1.weight"] *= np.nan


def test_refuses(sweep, data):
    with pytest.raises(ValueError, match="12 samples and layer '2' has 12 units"):
        sweep_checks(sweep, build, data[1].isel(sample=slice(12)), **FEW)
    with pytest.raises(ValueError, match="made without store="):
        sweep_checks(xr.Dataset(coords=sweep.coords), build, data[1], **FEW)
