"""Error rates under null hypotheses, by simulation: what is reported must be as rare as it says."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from nbcorr.stats import associate, fdr


def class_confounded(rng, n_neurons=80, n=600, n_classes=10):
    """Neurons know the class, the signal depends on the class, and nothing else joins them."""
    label = rng.integers(0, n_classes, n)
    preference = 2 * rng.normal(size=(n_neurons, n_classes))
    x = np.maximum(preference[:, label] + rng.normal(size=(n_neurons, n)), 0)
    rate = np.array([0.6, 0.4, 0.2] + [0.03] * (n_classes - 3))
    return x, rng.random(n) < rate[label], label


def test_naive_finds_many_under_class_confounding_and_strata_none_too_many():
    rng = np.random.default_rng(11)
    naive, stratified, p_values = [], 0, []
    repeats = 120
    for _ in range(repeats):
        x, y, label = class_confounded(rng)
        naive.append(np.sum(fdr(associate(x, y).p) < 0.05))
        p = associate(x, y, label).p
        stratified += (fdr(p) < 0.05).any()
        p_values.append(p)
    assert np.median(naive) > 20
    # Every discovery is false: the false discovery rate is the share of runs with one.
    assert stratified <= scipy.stats.binom.ppf(0.999, repeats, 0.05)
    share = np.mean(np.concatenate(p_values) < 0.05)
    assert share == pytest.approx(0.05, abs=0.008)


@pytest.mark.parametrize(
    ("n_strata", "per_stratum", "rate"), [(1, 400, 0.06), (10, 60, 0.08), (60, 12, 0.1)]
)
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_the_interval_covers(n_strata, per_stratum, rate, shift):
    rng = np.random.default_rng(12)
    strata = np.repeat(np.arange(n_strata), per_stratum)
    truth = scipy.stats.norm.cdf(shift / np.sqrt(2))
    covered = drawn = 0
    for _ in range(60):
        y = rng.random(len(strata)) < rate
        x = rng.normal(size=(20, len(strata))) + shift * y + 4 * rng.normal(size=n_strata)[strata]
        found = associate(x, y, strata)
        covered += np.sum((found.auc_low <= truth) & (truth <= found.auc_high))
        drawn += len(x)
    # The 20 neurons share y; single positives per stratum make the interval wider than nominal.
    assert 0.92 <= covered / drawn <= 0.992


def test_a_planted_effect_is_found_as_often_as_theory_says():
    rng = np.random.default_rng(13)
    n1, n0, repeats = 40, 560, 400
    y = np.arange(n1 + n0) < n1
    x = rng.normal(size=(repeats, n1 + n0)) + 0.5 * y
    auc = scipy.stats.norm.cdf(0.5 / np.sqrt(2))
    null_error = np.sqrt((n1 + n0 + 1) / (12 * n1 * n0))
    # Noether (1987): power of the rank-sum test from its null variance.
    power = scipy.stats.norm.cdf((auc - 0.5) / null_error - 1.96)
    found = np.sum(associate(x, y).p < 0.05)
    low, high = scipy.stats.binomtest(int(found), repeats).proportion_ci(0.999)
    assert low - 0.02 <= power <= high + 0.02
