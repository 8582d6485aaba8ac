"""Error rates and power, by simulation: what is reported must be as rare as it says.

As `nc.correlate` does by default: stratified by label, Benjamini-Hochberg over all neurons,
family-wise by max-T. Where every discovery is false, the false discovery rate and the family-wise
error rate are both the share of runs with a discovery.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats

from nbcorr.stats import (
    PartialDesign,
    associate,
    fdr,
    max_t,
    partial_spearman,
    stratified_halves,
)

LEVEL = 0.05


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


def independent(rng, n_neurons, n):
    return rng.normal(size=(n_neurons, n)), rng.random(n) < 0.15, rng.integers(0, 4, n)


def sparse(rng, n_neurons, n):
    """ReLU neurons that are zero at half to 99 of 100 samples, and few positives."""
    base, y, label = independent(rng, n_neurons, n)
    cut = scipy.stats.norm.ppf(np.linspace(0.5, 0.99, n_neurons))[:, None]
    return np.maximum(base - cut, 0).astype(np.float16), y & (rng.random(n) < 0.4), label


def correlated(rng, n_neurons, n):
    """Neurons that are mixtures of three sources, some for and some against."""
    x, y, label = independent(rng, n_neurons, n)
    x = np.maximum(rng.normal(size=(n_neurons, 3)) @ rng.normal(size=(3, n)) + 0.5 * x, 0)
    return x, y, label


@pytest.mark.parametrize("draw", [independent, sparse, correlated, class_confounded])
def test_false_discoveries_and_family_wise_errors_are_as_rare_as_they_say(draw):
    rng = np.random.default_rng(14)
    repeats, discovered, erred = 200, 0, 0
    for turn in range(repeats):
        x, y, label = draw(rng, 40, 300)
        discovered += (fdr(associate(x, y, label).p) <= LEVEL).any()
        found = max_t(x, y, label, n_permutations=99, seed=turn)
        erred += np.nanmin(found.p_familywise) <= LEVEL
    low, high = scipy.stats.binom.ppf([0.0005, 0.9995], repeats, LEVEL)
    # BH may err less often: where neurons depend on each other, or most values are tied.
    assert discovered <= high
    assert low <= erred <= high


def test_false_discoveries_among_true_ones_are_as_rare_as_they_say():
    rng = np.random.default_rng(15)
    false, power = [], []
    planted = np.arange(100) < 20
    for _ in range(60):
        x, y, label = class_confounded(rng, 100, 1000)
        x += 0.9 * (planted[:, None] & y) * (x > 0)
        chosen = fdr(associate(x, y, label).p) <= LEVEL
        false.append(np.sum(chosen & ~planted) / max(1, chosen.sum()))
        power.append(chosen[planted].mean())
    error = np.std(false) / np.sqrt(len(false))
    assert np.mean(false) <= LEVEL * 0.8 + 3.3 * error
    assert np.mean(power) > 0.5


@pytest.mark.parametrize(("auc", "n_tests"), [(0.574, 1), (0.630, 1e3), (0.643, 1e4), (0.656, 1e5)])
def test_power_at_120_of_10000_positives(auc, n_tests):
    # The smallest AUC that 8 of 10 tests detect, with Bonferroni's correction: null error .0265.
    rng = np.random.default_rng(16)
    y = np.arange(10_000) < 120
    assert np.sqrt(10_001 / (12 * 120 * 9880)) == pytest.approx(0.0265, abs=5e-5)
    repeats = 250
    x = rng.normal(size=(repeats, 10_000)).astype(np.float32)
    x[:, :120] += np.float32(np.sqrt(2) * scipy.stats.norm.ppf(auc))
    share = np.mean(associate(x, y).p < LEVEL / n_tests)
    error = np.sqrt(0.8 * 0.2 / repeats)
    assert share == pytest.approx(0.8, abs=3.3 * error + 0.03)


def test_power_within_strata_is_van_elterens():
    rng = np.random.default_rng(17)
    label = np.repeat(np.arange(10), 60)
    rate = np.linspace(0.03, 0.4, 10)[label]
    auc, expected, found = 0.6, [], []
    for _ in range(60):
        y = rng.random(600) < rate
        x = 5 * rng.normal(size=10)[label] + rng.normal(size=(10, 600))
        x += np.sqrt(2) * scipy.stats.norm.ppf(auc) * y
        n1 = np.bincount(label[y], minlength=10)
        # Without ties z is (AUC - 1/2) sqrt(12 sum n1 n0 / (n + 1)).
        z = (auc - 0.5) * np.sqrt(12 * np.sum(n1 * (60 - n1) / 61))
        expected.append(scipy.stats.norm.cdf(z - 1.96))
        found.append(np.mean(associate(x, y, label).p < LEVEL))
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.07)


def films(rng, n_neurons=40, n_groups=60, per_group=8):
    """Frames of films: neuron, label and most of the signal belong to the film."""
    groups = np.repeat(np.arange(n_groups), per_group)
    label = (np.arange(n_groups) % 3)[groups]
    x = rng.normal(size=(n_neurons, n_groups))[:, groups]
    x += 0.3 * rng.normal(size=x.shape) + label
    y = (rng.random(n_groups)[groups] < 0.3) & (rng.random(len(groups)) < 0.9)
    return x, y, label, groups


def test_frames_taken_for_samples_mislead_and_groups_hold():
    rng = np.random.default_rng(18)
    repeats, naive, loose, held, shares = 160, 0, 0, 0, []
    for turn in range(repeats):
        x, y, label, groups = films(rng, 20)
        naive += (fdr(associate(x, y, label).p) <= LEVEL).any()
        single = max_t(x, y, label, n_permutations=99, seed=turn)
        loose += single.p_familywise.min() <= LEVEL
        block = max_t(x, y, label, groups, n_permutations=99, seed=turn)
        held += block.p_familywise.min() <= LEVEL
        nothing = np.empty((0, len(y)))
        shares.append(np.mean(PartialDesign(y, nothing, label, groups).correlate(x).p < LEVEL))
    assert naive > 0.9 * repeats
    assert loose > 0.9 * repeats
    low, high = scipy.stats.binom.ppf([0.0005, 0.9995], repeats, LEVEL)
    assert low <= held <= high
    assert np.mean(shares) == pytest.approx(LEVEL, abs=0.025)


@pytest.mark.parametrize(("n", "load"), [(400, 1.0), (2000, 0.5), (2000, 2.0)])
def test_a_confounder_misleads_and_held_fixed_it_does_not(n, load):
    rng = np.random.default_rng(19)
    repeats, naive, held = 60, [], 0
    for _ in range(repeats):
        difficulty, label = rng.normal(size=n), rng.integers(0, 5, n)
        drive = load * rng.normal(size=(40, 1)) * difficulty
        x = np.maximum(drive + rng.normal(size=(40, n)) + label, 0)
        y = difficulty + rng.normal(size=n) > 1.5
        naive.append(np.sum(fdr(associate(x, y, label).p) <= LEVEL))
        held += (fdr(partial_spearman(x, y, difficulty, label).p) <= LEVEL).any()
    assert np.median(naive) > 20
    assert held <= scipy.stats.binom.ppf(0.9995, repeats, LEVEL)


def relu(drive):
    return np.maximum(drive, 0)


def one_confounder(rng, n=2000):
    """Both residuals vary where the confounder is high, and only there."""
    c = rng.normal(size=n)
    y = rng.random(n) < scipy.special.expit(3 * (c - 1))
    return relu(c - 1 + 0.5 * rng.normal(size=(120, n))), y, c


def two_together(rng, n=2000):
    """Signal and neuron are steps of the sum of two confounders."""
    c = rng.normal(size=(2, n))
    drive = c.sum(axis=0) - 1
    y = rng.random(n) < scipy.special.expit(3 * drive)
    return relu(drive + 0.5 * rng.normal(size=(120, n))), y, c


def few_on_sparse(rng, n=2000):
    """Ten positives and neurons that are zero at 97 of 100 samples."""
    x = np.where(rng.random((120, n)) < 0.97, 0, rng.exponential(size=(120, n)))
    return x, rng.permutation(n) < 10, rng.normal(size=n)


@pytest.mark.parametrize("draw", [one_confounder, two_together, few_on_sparse])
def test_partial_correlation_holds_its_level_where_variances_differ(draw):
    rng = np.random.default_rng(22)
    repeats, discovered, p_values = 40, 0, []
    for _ in range(repeats):
        p = partial_spearman(*draw(rng)).p
        discovered += (fdr(p) <= LEVEL).any()
        p_values.append(p)
    assert discovered <= scipy.stats.binom.ppf(0.9995, repeats, LEVEL)
    p_values = np.concatenate(p_values)
    # Neurons of one run share a signal: the intervals are those of twice the standard error.
    for level in (0.05, 0.01, 0.001):
        error = np.sqrt(level * (1 - level) / len(p_values))
        assert np.mean(p_values <= level) <= level + 2 * 3.3 * error


def test_covariates_leave_what_the_neuron_knows_beyond_them():
    rng = np.random.default_rng(20)
    difficulty = rng.normal(size=1500)
    beyond = rng.normal(size=1500)
    y = difficulty + beyond + rng.normal(size=1500) > 1.5
    x = rng.normal(size=(40, 1500)) + difficulty
    x[:10] += 0.5 * beyond
    chosen = fdr(partial_spearman(x, y, difficulty).p) <= LEVEL
    assert chosen[:10].all()
    assert chosen[10:].sum() <= 2


@pytest.mark.parametrize("grouped", [False, True])
def test_the_best_neuron_of_one_half_is_like_any_other_in_the_other(grouped):
    rng = np.random.default_rng(21)
    selected, heldout = [], []
    for turn in range(150):
        x, y, label, groups = films(rng, per_group=4)
        if not grouped:
            x = x[:, rng.permutation(len(y))]
        half = stratified_halves(y, label, seed=turn, groups=groups if grouped else None)
        first = associate(x[:, half], y[half], label[half]).auc
        best = first.argmax()
        selected.append(first[best])
        heldout.append(associate(x[best, ~half][None], y[~half], label[~half]).auc[0])
    assert np.mean(selected) > 0.6
    error = np.std(heldout) / np.sqrt(len(heldout))
    assert abs(np.mean(heldout) - 0.5) < 3.3 * error
