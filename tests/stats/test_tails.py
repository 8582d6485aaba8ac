"""Tails of the rank statistic that are far from normal."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
import scipy.stats

from nbcorr.stats import sorting, tails
from nbcorr.stats.association import associate
from nbcorr.stats.design import Design, make_design
from nbcorr.stats.multiple import fdr
from nbcorr.stats.ranks import tie_term
from nbcorr.stats.tails import (
    hits_p,
    pearson3_p,
    pearson3_tail,
    rare_of,
    smallest_p,
    sparsity_of,
    statistic_skewness,
)


def statistic(row, positive, strata):
    total = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        ranks = scipy.stats.rankdata(row[here]) - (here.sum() + 1) / 2
        total += ranks[positive[here]].sum() / (here.sum() + 1)
    return total


def shuffled(positive, strata, rng):
    mixed = positive.copy()
    for stratum in np.unique(strata):
        mixed[strata == stratum] = rng.permutation(positive[strata == stratum])
    return mixed


@pytest.mark.parametrize("zeros", [0.0, 0.8, 0.97])
def test_skewness_is_that_of_the_permutations(zeros):
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 3, 200)
    positive = rng.random(200) < 0.08
    row = np.where(rng.random(200) < zeros, 0, rng.random(200))
    drawn = [statistic(row, shuffled(positive, strata, rng), strata) for _ in range(4000)]
    found = statistic_skewness(row[None], make_design(positive, strata))[0]
    assert found == pytest.approx(scipy.stats.skew(drawn), abs=0.15)


@pytest.mark.parametrize("skewness", [0.3, 1.0, 4.0])
def test_pearson_tail_equals_scipy(skewness):
    z = np.linspace(0.1, 8, 20)
    np.testing.assert_allclose(
        pearson3_tail(z, np.full(20, skewness)), scipy.stats.pearson3.sf(z, skewness), rtol=1e-6
    )
    both = scipy.stats.pearson3.sf(z, skewness) + scipy.stats.pearson3.cdf(-z, skewness)
    np.testing.assert_allclose(pearson3_p(z, np.full(20, skewness)), both, rtol=1e-6)
    np.testing.assert_allclose(pearson3_p(-z, np.full(20, -skewness)), both, rtol=1e-6)


def test_one_value_off_zero_has_two_possible_statistics():
    """5 of 1,000 are positive, the neuron is active at one of them: exactly 5 / 1,000."""
    positive = np.arange(1000) < 5
    row = np.zeros((1, 1000))
    row[0, 2] = 1
    assert associate(row, positive).p[0] == pytest.approx(0.005)


@pytest.mark.parametrize("hits", [1, 2, 3, 4])
def test_hits_are_hypergeometric(hits):
    positive = np.arange(200) < 20
    row = np.zeros((1, 200))
    row[0, :hits] = 1
    row[0, 100 : 100 + 4 - hits] = 1
    # Of 4 draws .4 are expected to hit: none is as far off as 1, and so on.
    chance = sum(comb(20, k) * comb(180, 4 - k) for k in range(hits, 5)) / comb(200, 4)
    design, tied = make_design(positive), tie_term(row) / (200**3 - 200)
    z = associate(row, positive).z
    found = hits_p(sparsity_of(row, design), z, tied, rare_of(design), design)[0]
    assert 0.99 * chance <= found <= 1.5 * chance


def rare_values(rng, n):
    return np.where(rng.random(n) < 0.05, rng.exponential(size=n), 0)


def rare_levels(rng, n):
    return rng.integers(0, 4, n) * (rng.random(n) < 0.1)


@pytest.mark.parametrize("draw", [rare_values, rare_levels])
@pytest.mark.parametrize("stratified", [False, True])
def test_skewness_with_any_signal_is_that_of_the_permutations(draw, stratified):
    rng = np.random.default_rng(2)
    strata = rng.integers(0, 3, 200) if stratified else np.zeros(200, int)
    signal, row = draw(rng, 200), np.where(rng.random(200) < 0.9, 0, rng.random(200))
    design, drawn = make_design(signal, strata), np.zeros(20_000)
    for samples in design.strata:
        n = len(samples)
        own, other = (scipy.stats.rankdata(x[samples]) - (n + 1) / 2 for x in (row, signal))
        drawn += rng.permuted(np.tile(other, (len(drawn), 1)), axis=1) @ own / (n * (n + 1))
    found = statistic_skewness(row[None], design)[0]
    assert found == pytest.approx(scipy.stats.skew(drawn), abs=0.1)
    assert found > 0.5


@pytest.mark.parametrize("signal", [[0, 0, 1, 3, 7], [0, 0, 0, 1, 1], [1, 2, 2, 3, 3]])
def test_skewness_is_exact_over_all_permutations(signal):
    row = np.array([0, 0, 0.5, 2, 1])
    own, other = (scipy.stats.rankdata(x) for x in (row, signal))
    everything = [own @ np.array(mixed) for mixed in itertools.permutations(other)]
    found = statistic_skewness(row[None], make_design(np.array(signal)))[0]
    assert found == pytest.approx(scipy.stats.skew(everything), abs=1e-12)


def rare_of_both_signs(rng, n):
    return rng.normal(size=n) * (rng.random(n) < 0.05)


@pytest.mark.parametrize("draw", [rare_values, rare_levels, rare_of_both_signs])
def test_rare_signals_under_the_null(draw):
    """A sparse signal that is not binary makes no more false discoveries than it says."""
    rng = np.random.default_rng(8)
    small, neurons, discovered, runs = np.zeros(3), 0, 0, 60
    for _ in range(runs):
        rows = np.where(rng.random((150, 500)) < 0.03, rng.random((150, 500)), 0)
        p = associate(rows, draw(rng, 500)).p
        small += [np.sum(p <= level) for level in (0.05, 0.01, 0.001)]
        neurons += len(p)
        discovered += (fdr(p) <= 0.05).any()
    assert (small <= scipy.stats.binom.ppf(0.999, neurons, [0.05, 0.01, 0.001])).all()
    assert small[1] >= 0.15 * 0.01 * neurons
    assert discovered <= scipy.stats.binom.ppf(0.999, runs, 0.05)


def test_tails_of_sparse_neurons_are_not_far_too_heavy():
    rng = np.random.default_rng(9)
    p = []
    for _ in range(40):
        rows = np.where(rng.random((300, 600)) < 0.05, rng.random((300, 600)), 0)
        p.append(associate(rows, rng.permutation(600) < 30).p)
    share = [np.mean(np.concatenate(p) <= level) for level in (0.05, 0.01, 0.001)]
    assert 0.02 <= share[0] <= 0.053
    assert 0.003 <= share[1] <= 0.012
    assert 0.0002 <= share[2] <= 0.0017


@pytest.mark.parametrize(
    ("signal", "strata", "least"),
    [
        ([0, 0, 0, 1, 1, 1], None, 2 / 20),
        ([0, 1] * 5, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], 2 / 2**5),
        ([1.5, 2.5, 3.5, 4.5], None, 2 / 24),
        ([1, 2, 2, 3], None, 2 / 12),
        ([0, 1], None, 1),
    ],
)
def test_no_p_below_the_exact_minimum(signal, strata, least):
    found = associate(np.arange(len(signal))[None].astype(float), np.array(signal), strata)
    assert smallest_p(make_design(np.array(signal), strata)) == pytest.approx(least)
    assert found.p[0] >= least - 1e-12
    plain = smallest_p(make_design(np.array(signal)))
    assert found.p_unstratified[0] >= plain - 1e-12
    perfect = associate(np.array([signal], dtype=float), np.array(signal), strata)
    assert perfect.p[0] >= least - 1e-12


@pytest.mark.parametrize("density", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("positives", [5, 20, 60])
def test_sparse_neurons_under_the_null(density, positives):
    """Neither p nor the interval claims more than its level, whatever the sparsity."""
    rng = np.random.default_rng(7)
    small, covered, neurons = 0, 0, 0
    for _ in range(4):
        strata = rng.integers(0, 4, 800)
        positive = np.zeros(800, bool)
        positive[rng.permutation(800)[:positives]] = True
        rows = np.where(rng.random((300, 800)) < density, rng.random((300, 800)), 0)
        found = associate(rows, positive, strata)
        alive = ~found.dead
        small += int((found.p[alive] <= 0.01).sum())
        covered += int(((found.auc_low <= 0.5) & (found.auc_high >= 0.5))[alive].sum())
        neurons += int(alive.sum())
    assert small <= scipy.stats.binom.ppf(0.999, neurons, 0.01)
    assert covered >= 0.93 * neurons


def test_p_is_not_far_above_that_of_permutation():
    """Being careful costs little: p stays within a few times the permutation p."""
    rng = np.random.default_rng(3)
    positive = np.arange(300) < 25
    strata = np.zeros(300)
    row = np.where(rng.random(300) < 0.9, 0, rng.random(300))
    row[:4] = rng.random(4)
    observed = abs(statistic(row, positive, strata))
    null = np.array(
        [abs(statistic(row, shuffled(positive, strata, rng), strata)) for _ in range(20000)]
    )
    permutation = (1 + (null >= observed).sum()) / 20001
    found = associate(row[None], positive).p[0]
    assert permutation / 3 <= found <= max(8 * permutation, 1e-3)


@pytest.mark.parametrize("compiled", [False, True] if sorting.numba_available() else [False])
@pytest.mark.parametrize("dtype", ["f2", "f4", "i4"])
def test_sparsity_is_counted_off_the_commonest_value(compiled, dtype, monkeypatch):
    rng = np.random.default_rng(4)
    rows = np.round(3 * rng.normal(size=(12, 90))) * (rng.random((12, 90)) < 0.4)
    rows[::3] = np.where(rows[::3] == 0, 2, rows[::3])
    rows = rows.astype(dtype)
    modes = np.where(np.arange(12) % 3, 0, 2)
    classes = np.arange(90) % 3
    monkeypatch.setattr(tails, "compiled", lambda size: compiled)
    for strata in ([np.arange(90)], [np.flatnonzero(classes == c) for c in (0, 2)]):
        found = sparsity_of(rows, Design(np.zeros(90), True, tuple(strata), None, None))
        off = rows != modes[:, None]
        assert np.array_equal(found.off.T, [off[:, own].sum(axis=1) for own in strata])
        assert np.array_equal(found.total, off.sum(axis=1))
        assert np.array_equal(found.above, (rows > modes[:, None]).sum(axis=1))
