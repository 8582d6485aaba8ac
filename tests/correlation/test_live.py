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
    normal = nc.correlate(recording, selected, controls=())["p"]
    np.testing.assert_allclose(answer["p"], normal, rtol=1e-6)
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
    assert before.attrs["sentence"].startswith("Approximate (AUC ± ")
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
