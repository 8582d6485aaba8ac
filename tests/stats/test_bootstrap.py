"""The block bootstrap against real resamples, Obuchowski's closed form, and its own coverage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import associate, block_bootstrap, sorting
from nbcorr.stats.bootstrap import Resamples
from nbcorr.stats.design import make_design


def literal_effects(x, y, strata, groups, counts):
    """Every group's samples, as often as it was drawn, one after the other, and `associate`."""
    effects = []
    for drawn in counts.T.astype(int):
        chosen = np.concatenate(
            [np.flatnonzero(groups == g) for g, times in enumerate(drawn) for _ in range(times)]
        )
        try:
            found = associate(x[:, chosen], y[chosen], None if strata is None else strata[chosen])
        except ValueError:
            effects.append(np.full(len(x), np.nan))
        else:
            effects.append(found.auc)
    return np.array(effects).T


def drawn(rng, n_groups, n_resamples):
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), n_resamples).T.astype(float)


@pytest.mark.parametrize("compile_above", [0, 10**12])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("kind", ["few", "half", "ordinal", "real"])
def test_effects_are_those_of_the_resampled_samples(
    kind, stratified, dtype, compile_above, monkeypatch
):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", compile_above)
    rng = np.random.default_rng(0)
    n = 300
    y = {
        "few": rng.random(n) < 0.06,
        "half": rng.random(n) < 0.5,
        "ordinal": rng.integers(0, 3, n),
        "real": rng.normal(size=n),
    }[kind]
    x = rng.normal(size=(6, n)) + 0.5 * y
    x = np.maximum(x - np.quantile(x, np.linspace(0, 0.95, 6), axis=1)[:, 0][:, None], 0)
    x = x.astype(dtype)
    x[0, :6] = [np.inf, np.inf, -np.inf, -0.0, 0.0, 1]
    strata = rng.integers(0, 5, n) if stratified else None
    groups = rng.integers(0, 40, n)
    counts = drawn(rng, 40, 12)
    found = Resamples(make_design(y, strata), groups, counts).effects(x)
    # A row that was alive may be constant in a resample: associate calls it dead, we say 1/2.
    expected = np.where(found == 0.5, found, literal_effects(x, y, strata, groups, counts))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), n=st.integers(4, 25), levels=st.sampled_from([1, 4]))
def test_any_ties_agree_with_real_resamples(data, n, levels):
    def draw(values):
        return np.array(data.draw(st.lists(values, min_size=n, max_size=n)))

    neuron = draw(st.sampled_from([0.0, 0.0, -0.0, 1.0, 2.0, np.inf, -np.inf]))
    y, strata = draw(st.integers(0, levels)), draw(st.integers(0, 2))
    groups = np.unique(draw(st.integers(0, 4)), return_inverse=True)[1]
    try:
        design = make_design(y, strata)
    except ValueError:
        return
    counts = drawn(np.random.default_rng(n), groups.max() + 1, 6)
    found = Resamples(design, groups, counts).effects(neuron[None])
    if (neuron == neuron[0]).all():
        assert np.isnan(found).all()
    else:
        # With a row that is alive: associate cannot take a real signal where all neurons are dead.
        rows = np.vstack([neuron, np.arange(n)])
        expected = literal_effects(rows, y, strata, groups, counts)[:1]
        expected[np.isnan(expected) & (found == 0.5)] = 0.5
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def literal_obuchowski(neuron, positive, groups):
    """Obuchowski, Biometrics 53 (1997): variance of the AUC of clustered samples."""
    a, b = neuron[positive][:, None], neuron[~positive][None, :]
    wins = (a > b) + 0.5 * (a == b)
    auc, n1, n0 = wins.mean(), positive.sum(), (~positive).sum()
    names = np.unique(groups)
    sums = {True: np.zeros(len(names)), False: np.zeros(len(names))}
    for kind, components in ((True, wins.mean(axis=1)), (False, wins.mean(axis=0))):
        own = groups[positive == kind]
        for i, name in enumerate(names):
            sums[kind][i] = np.sum(components[own == name] - auc)
    held = {kind: len(np.unique(groups[positive == kind])) for kind in (True, False)}
    m = len(names)
    return (
        held[True] / (held[True] - 1) * np.sum(sums[True] ** 2) / n1**2
        + held[False] / (held[False] - 1) * np.sum(sums[False] ** 2) / n0**2
        + 2 * m / (m - 1) * np.sum(sums[True] * sums[False]) / (n1 * n0)
    )


def test_the_error_is_obuchowskis():
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 120, 900)
    level = rng.normal(size=120)[groups]
    y = rng.normal(size=900) + level > 1
    x = rng.normal(size=(8, 900)) + level + 0.5 * y
    resamples = Resamples(make_design(y), groups, drawn(rng, 120, 4000))
    error = resamples.effects(x).std(axis=1, ddof=1)
    expected = [np.sqrt(literal_obuchowski(neuron, y, groups)) for neuron in x]
    np.testing.assert_allclose(error, expected, rtol=0.06)


def test_single_samples_as_groups_give_delongs_interval():
    rng = np.random.default_rng(2)
    y = rng.random(800) < 0.3
    x = rng.normal(size=(5, 800)) + 0.6 * y
    low, high = block_bootstrap(x, y, None, np.arange(800), n_resamples=3000)
    found = associate(x, y)
    np.testing.assert_allclose(low, found.auc_low, atol=0.004)
    np.testing.assert_allclose(high, found.auc_high, atol=0.004)


def strongly_dependent(rng, n_groups, per_group, effect):
    """Ten neurons that are nearly the same within a group, as frames of a film are."""
    groups = np.repeat(np.arange(n_groups), per_group)
    y = rng.random(n_groups)[groups] < 0.3
    strata = rng.integers(0, 3, n_groups)[groups]
    x = rng.normal(size=(10, n_groups))[:, groups] + 0.3 * rng.normal(size=(10, len(groups)))
    return x + effect * np.sqrt(1.09) * y + 2 * strata, y, strata, groups


@pytest.mark.parametrize("n_groups", [25, 80])
@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_it_covers_where_samples_are_dependent_and_delongs_does_not(n_groups, effect):
    rng = np.random.default_rng(3)
    truth = scipy.stats.norm.cdf(effect / np.sqrt(2))
    held, plain = [], []
    for turn in range(60):
        x, y, strata, groups = strongly_dependent(rng, n_groups, 8, effect)
        try:
            found = associate(x, y, strata)
        except ValueError:
            continue
        low, high = block_bootstrap(x, y, strata, groups, seed=turn)
        held.append((low <= truth) & (truth <= high))
        plain.append((found.auc_low <= truth) & (truth <= found.auc_high))
    assert np.mean(plain) < 0.7
    assert 0.91 <= np.mean(held) <= 0.99


def test_it_covers_a_signal_of_any_values():
    rng = np.random.default_rng(4)
    truth = (6 / np.pi * np.arcsin(0.5 / 2) / 2 + 1) / 2  # Spearman's rho of two normals, r = 1/4
    covered = []
    for turn in range(40):
        groups = np.repeat(np.arange(60), 5)
        y = rng.normal(size=60)[groups]
        noise = rng.normal(size=(10, 60))[:, groups]
        x = 0.25 * y + np.sqrt(1 - 0.25**2) * noise
        low, high = block_bootstrap(x, y, None, groups, seed=turn)
        covered.append((low <= truth) & (truth <= high))
    assert 0.91 <= np.mean(covered) <= 0.985


def test_too_few_groups_of_one_kind_give_a_wide_interval():
    groups = np.repeat(np.arange(10), 4)
    x = np.random.default_rng(5).normal(size=(3, 40))
    low, high = block_bootstrap(x, groups == 2, None, groups)
    auc = associate(x, groups == 2).auc
    np.testing.assert_allclose(low, auc * 0.025)
    np.testing.assert_allclose(high, 1 - (1 - auc) * 0.025)


def test_perfect_separation_has_the_bound_for_as_many_groups():
    groups = np.repeat(np.arange(10), 4)
    y = groups >= 6
    low, high = block_bootstrap(1.0 * y[None], y, None, groups)
    assert (low[0], high[0]) == (pytest.approx(0.025 ** (1 / 4)), 1)


def test_dead_neurons_are_nan_and_the_seed_decides():
    rng = np.random.default_rng(6)
    groups, y = np.repeat(np.arange(30), 4), rng.random(120) < 0.4
    x = rng.normal(size=(4, 120))
    x[1], x[2, 5] = 3, np.nan
    low, high = block_bootstrap(x, y, None, groups, seed=1)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, True, False]
    assert np.array_equal(low, block_bootstrap(x, y, None, groups, seed=1)[0], equal_nan=True)
    assert not np.array_equal(low, block_bootstrap(x, y, None, groups, seed=2)[0], equal_nan=True)
    # Blocks of neurons see the same resamples.
    np.testing.assert_allclose(block_bootstrap(x[3:], y, None, groups, seed=1)[0], low[3:])
    assert block_bootstrap(x[:0], y, None, groups)[0].shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": [1, 1, 1, 1]}, "all samples are of one group"),
        ({"groups": [1, 2]}, "the groups have 2 values; expected one for each of 4"),
        ({"n_resamples": 1}, "n_resamples is 1; expected 2 or more"),
        ({"level": 95}, "level is 95"),
        ({"y": np.array([0, 1])}, "the signal has 2 values"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    call = {"y": np.array([0, 1, 0, 1]), "strata": None, "groups": [1, 1, 2, 2]} | change
    with pytest.raises(ValueError, match=message):
        block_bootstrap(np.ones((1, 4)), **call)
