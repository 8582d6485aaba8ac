"""CMA for real signals: between AUC and Spearman, its test and its interval."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from nbcorr.stats import associate
from nbcorr.stats.cma import cma_statistics
from nbcorr.stats.design import make_design
from nbcorr.stats.sorting import count
from nbcorr.stats.vanelteren import pool_strata, stratum_of


def literal_cma(neuron, signal):
    """Covariance of the mid distribution functions over the variance of the signal's."""

    def grade(values):
        return np.array([np.mean(values < v) + np.mean(values == v) / 2 for v in values])

    f, g = grade(neuron), grade(signal)
    return (np.mean((f - 0.5) * (g - 0.5)) / np.mean((g - 0.5) ** 2) + 1) / 2


def sizes(design, samples):
    n1 = int(design.signal[samples].sum())
    return n1, len(samples) - n1


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(4)
    x = np.maximum(rng.normal(size=(8, 150)), -1)
    y = 0.5 * x[0] + rng.normal(size=150)
    return x, y, rng.integers(0, 4, 150)


@pytest.mark.parametrize("levels", [None, 3, 10])
def test_equals_the_definition(case, levels):
    x, y, _ = case
    signal = y if levels is None else np.digitize(y, np.linspace(-1, 1, levels - 1))
    found = associate(x, signal)
    for i, neuron in enumerate(x):
        assert found.auc[i] == pytest.approx(literal_cma(neuron, signal), abs=1e-12)
        assert found.rho[i] == pytest.approx(
            scipy.stats.spearmanr(neuron, signal).statistic, abs=1e-12
        )
        best = scipy.stats.spearmanr(np.sort(neuron), np.sort(signal)).statistic
        assert found.rho_max[i] >= best - 1e-12
    assert found.n_positive is None
    assert found.n_positive_informative is None


def test_is_spearman_where_nothing_ties(case):
    _, y, _ = case
    x = np.random.default_rng(5).normal(size=(3, 150))
    found = associate(x, y)
    np.testing.assert_allclose(found.auc, (found.rho + 1) / 2, atol=1e-12)


@pytest.mark.parametrize("stratified", [False, True])
def test_is_van_elteren_where_the_signal_is_binary(case, stratified):
    x, y, strata = case
    design = make_design(y > 0.4, strata if stratified else None)
    general = cma_statistics(x, design)
    binary = pool_strata(
        [
            stratum_of(count(x[:, s], np.flatnonzero(design.signal[s]), False), *sizes(design, s))
            for s in design.strata
        ]
    )
    np.testing.assert_allclose(general.auc, binary.auc, atol=1e-12)
    np.testing.assert_allclose(general.z, binary.z, atol=1e-10)
    assert general.pairs == binary.pairs
    # DeLong divides by n1 - 1 and n0 - 1, and counts the spread of the AUC between strata with
    # the positives and again with the negatives.
    assert (general.variance <= binary.variance * 1.03).all()
    if not stratified:
        np.testing.assert_allclose(general.variance, binary.variance, rtol=0.05)


def test_null_variance_is_that_of_all_permutations(case):
    x, _, _ = case
    neuron, signal = x[0, :6].round(), np.array([0.0, 1, 1, 2, 5, 7])
    ranks = scipy.stats.rankdata(signal) - 3.5
    own = scipy.stats.rankdata(neuron) - 3.5
    all_sums = [own[list(order)] @ ranks for order in itertools.permutations(range(6))]
    found = associate(neuron[None], signal)
    assert found.z[0] == pytest.approx(own @ ranks / np.std(all_sums), rel=1e-12)


@pytest.mark.parametrize("stratified", [False, True])
def test_the_interval_covers(stratified):
    rng = np.random.default_rng(6)
    n, repeats = 200, 400
    strata = np.arange(n) % 4 if stratified else None
    covered = 0
    truth = (6 / np.pi * np.arcsin(0.5 / 2) + 1) / 2
    for _ in range(repeats):
        y = rng.normal(size=n)
        x = 0.5 * y + np.sqrt(0.75) * rng.normal(size=n)
        if strata is not None:
            x, y = x + 3 * strata, y - 2 * strata
        found = associate(x[None], y, strata)
        covered += found.auc_low[0] <= truth <= found.auc_high[0]
    low, high = scipy.stats.binomtest(covered, repeats).proportion_ci(0.999)
    assert low <= 0.95 <= high


def test_perfect_order_has_a_bound():
    found = associate(np.arange(9.0)[None], np.arange(9.0) ** 3)
    assert (found.auc[0], found.auc_high[0]) == (1, 1)
    assert found.auc_low[0] == pytest.approx(0.025 ** (1 / 4))


def test_a_block_without_a_live_neuron():
    """A stream of blocks meets one sooner or later."""
    result = associate(np.ones((3, 10)), np.arange(10.0))
    assert result.dead.all()
    assert np.isnan(result.auc).all()
    assert associate(np.ones((0, 10)), np.arange(10.0)).auc.shape == (0,)
