"""Selections of samples, answered from ranks that are kept, or from histograms until they are."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import nbcorr as nc
from nbcorr.correlation.live import LiveCorrelates


def test_a_selection_is_answered_as_correlate_would(recording):
    live = LiveCorrelates(recording)
    assert live.exact
    rng = np.random.default_rng(0)
    for share in (0.01, 0.2, 0.7):
        selected = rng.random(600) < share
        answer = live.select(selected)
        expected = nc.correlate(recording, selected, controls=())
        np.testing.assert_allclose(answer["auc"], expected["auc"], atol=1e-12)
        np.testing.assert_allclose(answer["rank_biserial"], 2 * answer["auc"] - 1)
        assert answer.attrs["approximate"] == 0
        assert answer.attrs["n_positive"] == int(selected.sum())
        np.testing.assert_allclose(answer["p"], expected["p"], rtol=1e-9)
    assert "of the same label" in answer.attrs["sentence"]
    assert "auc_error" not in answer


def test_ids_or_bools(recording):
    named = recording.assign_coords(sample=[f"s{i}" for i in range(600)])
    live = LiveCorrelates(named)
    selected = np.zeros(600, bool)
    selected[[3, 50, 51, 99, 400]] = True
    by_id = live.select(["s3", "s50", "s51", "s99", "s400"])
    xr.testing.assert_identical(by_id, live.select(selected))
    with pytest.raises(ValueError, match="no sample 's6000'; did you mean 's60"):
        live.select(["s6000"])
    with pytest.raises(ValueError, match="cannot be decided"):
        live.select(np.zeros(600, bool))


def test_without_patience_the_first_answer_is_approximate_and_says_so(recording):
    live = LiveCorrelates(recording, patience=0)
    selected = np.arange(600) % 7 == 0
    exact = nc.correlate(recording, selected, controls=())
    before = LiveCorrelates(recording, patience=0, memory=0).select(selected)
    assert before.attrs["approximate"] == 1
    error = float(before["auc_error"].max())
    told = f"Approximate (AUC ± {error:.1g}, the largest standard error), from histograms."
    assert before.attrs["sentence"].startswith(told)
    off = np.abs(before["auc"] - exact["auc"])
    assert float((off <= 4 * before["auc_error"] + 1e-12).mean()) == 1
    live.wait()
    assert live.exact
    after = live.select(selected)
    assert after.attrs["approximate"] == 0
    np.testing.assert_allclose(after["auc"], exact["auc"], atol=1e-12)


def test_ranks_that_do_not_fit_stay_histograms(recording):
    live = LiveCorrelates(recording, memory=1000)
    live.wait()
    assert not live.exact


def test_dead_neurons(recording):
    recording["activation"][:, 4] = 1.0
    for live in (LiveCorrelates(recording), LiveCorrelates(recording, memory=0)):
        answer = live.select(np.arange(600) < 50)
        assert bool(answer["dead"][4])
        assert np.isnan(answer["q"][4])
        assert answer.attrs["n_dead"] == 1


def test_bools_are_aligned_by_their_sample_ids(recording):
    named = recording.assign_coords(sample=[f"s{i}" for i in range(600)])
    live = LiveCorrelates(named)
    selected = xr.DataArray(np.arange(600) < 60, dims="sample", coords={"sample": named["sample"]})
    turned = selected.isel(sample=slice(None, None, -1))
    xr.testing.assert_identical(live.select(turned), live.select(selected.values))
    with pytest.raises(ValueError, match="'selection' has no value for 500 of 600 samples"):
        live.select(selected[:100])
    with pytest.raises(ValueError, match=r"'selection' has shape \(100,\)"):
        live.select(selected.values[:100])


def test_numbers_that_may_be_bools_or_ids_are_refused(recording):
    live = LiveCorrelates(recording.assign_coords(sample=np.arange(600)))
    with pytest.raises(ValueError, match="may be False and True .* or the ids 0 and 1"):
        live.select((np.arange(600) < 60).astype(int))
    selected = np.isin(np.arange(600), (0, 1, 51))
    xr.testing.assert_identical(live.select([0, 1, 51]), live.select(selected))
    with pytest.raises(ValueError, match="no sample '3', which is of type str; expected .* int64"):
        live.select(["3"])
    with pytest.raises(ValueError, match=r"the selection has shape \(2, 3\)"):
        live.select(np.arange(6).reshape(2, 3))


def test_one_id_is_one_sample(recording):
    named = recording.assign_coords(sample=[f"s{i}" for i in range(600)])
    live = LiveCorrelates(named)
    xr.testing.assert_identical(live.select("s3"), live.select(["s3"]))
    with pytest.raises(ValueError, match="no sample 's6000'; did you mean 's60"):
        live.select("s6000")


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_sparse_neurons_that_know_nothing_are_not_announced(memory):
    rng = np.random.default_rng(7)
    x = np.where(rng.random((2000, 400)) < 0.03, rng.random((2000, 400)), 0)
    sparse = xr.Dataset(
        {"activation": (("sample", "neuron"), x)},
        coords={"sample": np.arange(2000), "neuron": np.arange(400)},
    )
    live = LiveCorrelates(sparse, memory=memory)
    runs = [live.select(rng.choice(2000, 3, replace=False)) for _ in range(20)]
    announced = sum(bool((run["q"] <= 0.05).any()) for run in runs)
    assert announced <= 4  # of 20 at .05: more has a chance of .003
