"""Ranks kept for new signals give what `associate` gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from nbcorr.stats import RankedNeurons, associate, fdr, sorting

ENGINES = [False, True] if sorting.numba_available() else [False]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("rate", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equals_associate(stratified, rate, dtype, engine, monkeypatch):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
    rng = np.random.default_rng(0)
    n = 1200
    x = np.maximum(rng.normal(size=(70, n)), 0).astype(dtype)
    x[3], x[4, 7] = 2, np.nan
    strata = rng.integers(0, 30, n) if stratified else None
    signals = rng.random((3, n)) < rate
    kept = RankedNeurons(x, strata)
    several = kept.associate(signals)
    for signal, row in zip(signals, range(3), strict=True):
        expected = associate(x, signal, strata)
        found = kept.associate(signal.astype(int))
        for name in ("auc", "z", "p"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-12
            )
            assert np.array_equal(getattr(several, name)[row], getattr(found, name), equal_nan=True)
        assert found.n_positive_informative == expected.n_positive_informative


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_blocks_give_the_same_ranks(engine, dtype, monkeypatch):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
    rng = np.random.default_rng(1)
    x = np.maximum(rng.normal(size=(150, 200)), 0).astype(dtype)
    x[7, 3], x[8] = np.nan, 0
    strata = rng.integers(0, 7, 200)
    whole = RankedNeurons(x, strata)
    blocks = (x[cut] for cut in (slice(0, 1), slice(1, 1), slice(1, 100), slice(100, 150)))
    parts = RankedNeurons.from_blocks(blocks, 150, 200, strata)
    for name in ("ranks", "squares", "dead"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))
    assert np.flatnonzero(whole.dead).tolist() == [7, 8]


def test_memory_is_told_before():
    rng = np.random.default_rng(2)
    for n, n_strata in ((100, 1), (100, 5), (33_000, 1)):
        kept = RankedNeurons(rng.normal(size=(3, n)), np.arange(n) % n_strata)
        arrays = (kept.ranks, kept.squares, kept.cubes, kept.off)
        arrays += (kept.total, kept.above, kept.tied, kept.dead)
        held = sum(array.nbytes for array in arrays)
        assert held == RankedNeurons.bytes_needed(3, n, n_strata)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 40), n_strata=st.integers(1, 6))
def test_any_ties_and_infinities_equal_associate(seed, n, n_strata):
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=(5, n)) * rng.choice([0.2, 1, 100]), 1)
    x[0] = np.where(rng.random(n) < 0.9, rng.choice([0.0, -0.0], n), rng.normal(size=n))
    x[1, 0], x[1, 1] = np.inf, -np.inf
    x[2] = 1 + np.where(np.arange(n) == n - 1, 2.0**-52, 0)
    y, strata = rng.random(n) < rng.choice([0.1, 0.5, 0.9]), rng.integers(0, n_strata, n)
    kept = RankedNeurons(x, strata)
    try:
        expected = associate(x, y, strata)
    except ValueError:
        with pytest.raises(ValueError, match="cannot be decided"):
            kept.associate(y)
        return
    found = kept.associate(y)
    np.testing.assert_allclose(found.auc, expected.auc, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.z, expected.z, rtol=1e-12, atol=1e-12)


def test_long_strata_do_not_overflow():
    n = 70_000
    x = np.arange(n, dtype=np.float32)[None]
    found = RankedNeurons(x).associate(np.arange(n) >= n // 2)
    assert found.auc[0] == 1


def test_what_does_not_fit_is_named():
    kept = RankedNeurons(np.ones((2, 4)), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="cannot be decided, n = 4, 2 positive"):
        kept.associate(np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match=r"the signal has shape \(3,\)"):
        kept.associate(np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="not binary"):
        kept.associate(np.array([0, 0.5, 1, 1]))
    with pytest.raises(ValueError, match="expected \\(n_neurons, n_samples\\)"):
        RankedNeurons(np.ones(4))


def test_blocks_that_are_not_as_announced_are_named():
    x = np.ones((3, 4))
    with pytest.raises(ValueError, match=r"a block has shape \(3, 4\); expected \(neurons, 5\)"):
        RankedNeurons.from_blocks([x], 3, 5)
    with pytest.raises(ValueError, match="no more than 5 neurons in all"):
        RankedNeurons.from_blocks([x, x], 5, 4)
    with pytest.raises(ValueError, match="the blocks have 3 neurons in all; expected 5"):
        RankedNeurons.from_blocks([x], 5, 4)
    with pytest.raises(ValueError, match="n_samples is 0"):
        RankedNeurons.from_blocks([], 5, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [7, 30, 500])
@pytest.mark.parametrize("n_strata", [1, 5])
def test_skewed_tails_have_the_p_of_associate(n, n_strata, engine, monkeypatch):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
    rng = np.random.default_rng(3)
    share = np.repeat([0.01, 0.03, 0.1, 0.4, 1], 100)[:, None]
    x = np.where(rng.random((500, n)) < share, rng.normal(size=(500, n)), 0)
    x[::2] = 7 - np.abs(x[::2])
    strata = np.arange(n) % n_strata
    kept = RankedNeurons(x.astype(np.float32), strata)
    looked_at = 0
    for rate in (0.01, 0.05, 0.5, 0.97):
        y = rng.random(n) < rate
        y[0], y[n_strata] = True, False
        expected, found = associate(x.astype(np.float32), y, strata), kept.associate(y)
        np.testing.assert_allclose(found.p, expected.p, rtol=1e-9, atol=0)
        normal = 2 * ndtr(-np.abs(found.z))
        looked_at += int(np.count_nonzero(found.p > normal * (1 + 1e-9)))
    assert looked_at > 50


def test_sparse_neurons_that_know_nothing_are_no_discoveries():
    rng = np.random.default_rng(4)
    x = np.where(rng.random((400, 2000)) < 0.03, rng.random((400, 2000)), 0)
    kept = RankedNeurons(x)
    found = 0
    for _ in range(40):
        y = np.zeros(2000, dtype=bool)
        y[rng.choice(2000, 3, replace=False)] = True
        found += int((fdr(kept.associate(y).p) <= 0.05).any())
    assert found <= 6  # of 40 at .05: more has a chance of .003
