"""Tails of the rank statistic that are far from normal."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import scipy.stats

from nbcorr.stats.association import associate
from nbcorr.stats.design import make_design
from nbcorr.stats.tails import hits_p, pearson3_tail, statistic_skewness


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
    assert (pearson3_tail(z, np.full(20, -skewness)) == 0).all()


def test_one_value_off_zero_has_two_possible_statistics():
    """5 of 1,000 are positive, the neuron is active at one of them: exactly 2 * 5 / 1,000."""
    positive = np.arange(1000) < 5
    row = np.zeros((1, 1000))
    row[0, 2] = 1
    assert associate(row, positive).p[0] == pytest.approx(0.01)


@pytest.mark.parametrize("hits", [1, 2, 3, 4])
def test_hits_are_hypergeometric(hits):
    positive = np.arange(200) < 20
    row = np.zeros(200)
    row[:hits] = 1
    row[100 : 100 + 4 - hits] = 1
    chance = sum(comb(20, k) * comb(180, 4 - k) for k in range(hits, 5)) / comb(200, 4)
    assert hits_p(row, 1.0, make_design(positive)) == pytest.approx(min(1, 2 * chance))


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
