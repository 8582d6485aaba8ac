"""Sign flips of unequal groups: against a literal twin and statsmodels, and their error rates."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import MaxT, SignFlips, associate, max_t, max_t_plan, sorting

ENGINES = [False, True] if sorting.numba_available() else [False]


def frames(rng, m, largest=30):
    """The group of each sample: 1 to `largest` samples each, in no order."""
    return rng.permutation(np.repeat(np.arange(m), rng.integers(1, largest + 1, m)))


def centred(x, y, strata):
    """Ranks and weighted targets less their means within strata, and the strata's dummies."""
    n = len(y)
    strata = np.zeros(n) if strata is None else strata
    rank, target, weight = np.zeros((3, n))
    binary = len(np.unique(y)) == 2
    for h in np.unique(strata):
        own, size = strata == h, np.sum(strata == h)
        rank[own] = scipy.stats.rankdata(x[own])
        target[own] = y[own] == y.max() if binary else scipy.stats.rankdata(y[own])
        weight[own] = 1 / (size + 1) if binary else 1 / (size * (size + 1))
    dummies = (strata[:, None] == np.unique(strata)).astype(float)
    left = np.eye(n) - dummies @ np.linalg.pinv(dummies)
    return left @ rank, left @ (weight * target), dummies


def literal_parts(x, y, strata, groups):
    """For one neuron: S and S' by group (by a matrix root, as Bell & McCaffrey), and sum T^2."""
    rank, score, dummies = centred(x, y, strata)
    left = np.eye(len(y)) - dummies @ np.linalg.pinv(dummies)
    cells = [[(groups == g) & (column == 1) for column in dummies.T] for g in np.unique(groups)]
    square, weight = np.zeros((2, len(dummies.T)))
    for row in cells:
        square += [score[own].sum() ** 2 for own in row]
        weight += [own.sum() ** 2 for own in row]
    usual = np.sqrt(square / weight)
    agreeing = possible = 0.0
    for row in cells:
        for (h, one), (k, other) in itertools.permutations(enumerate(row), 2):
            agreeing += score[one].sum() * score[other].sum()
            possible += usual[h] * one.sum() * usual[k] * other.sum()
    r = min(max(agreeing / possible, 0), 1) if possible else 0
    plain, corrected, typical = [], [], 0.0
    for g, row in zip(np.unique(groups), cells, strict=True):
        own = np.flatnonzero(groups == g)
        values, vectors = scipy.linalg.eigh(left[np.ix_(own, own)])
        root = np.where(values > 1e-9, np.where(values > 1e-9, values, 1) ** -0.5, 1)
        plain.append(score[own] @ rank[own])
        corrected.append(score[own] @ (vectors * root) @ vectors.T @ rank[own])
        within, between = 0.0, []
        for h, cell in enumerate(row):
            if cell.any():
                within += np.sum((score[cell] - score[cell].mean()) * rank[cell])
                rest = 1 - cell.sum() / dummies[:, h].sum()
                between.append(usual[h] * rank[cell].sum() * (rest**-0.5 if rest else 1))
        typical += within**2 + r * sum(between) ** 2 + (1 - r) * sum(b**2 for b in between)
    return np.array(plain), np.array(corrected), typical


def literal_z(x, y, strata, groups):
    """The observed z, and what is flipped."""
    plain, corrected, typical = literal_parts(x, y, strata, groups)
    own = np.sum(corrected**2)
    if own < 1e-14 * np.sum(np.prod(centred(x, y, strata)[:2], axis=0) ** 2):
        return 0.0, np.zeros(len(plain))
    return plain.sum() / np.sqrt(max(own, typical)), corrected / np.sqrt(own)


def literal_step_down(z, null):
    """Westfall & Young's Algorithm 2.8, with 1e-5 for sums in float32."""
    order = np.argsort(-np.abs(z))
    reach = np.abs(z) - 1e-5 * (1 + np.abs(z))
    p = np.empty(len(z))
    for place, j in enumerate(order):
        largest = np.abs(null[:, order[place:]]).max(axis=1)
        p[j] = (1 + np.sum(largest >= reach[j])) / (len(null) + 1)
    p[order] = np.maximum.accumulate(p[order])
    return p, (1 + np.sum(np.abs(null) >= reach, axis=0)) / (len(null) + 1)


def example(seed=1, kind="binary", strata="inside", m=20):
    rng = np.random.default_rng(seed)
    groups = frames(rng, m, 12)
    n = len(groups)
    common = rng.normal(size=(30, m))[:, groups]
    x = np.maximum(common + rng.normal(size=(30, n)), 0)
    y = {
        "binary": rng.random(n) < 0.3,
        "constant in groups": (np.arange(m) % 3 == 0)[groups],
        "real": rng.normal(size=n),
        "ordinal": rng.integers(0, 4, n),
    }[kind]
    x[0] += y
    codes = {"none": None, "inside": rng.integers(0, 4, n), "across": (np.arange(m) // 5)[groups]}
    return x, y, codes[strata], groups


@pytest.mark.parametrize("kind", ["binary", "constant in groups", "real", "ordinal"])
@pytest.mark.parametrize("strata", ["none", "inside", "across"])
def test_equals_the_literal_twin(kind, strata, monkeypatch):
    x, y, codes, groups = example(kind=kind, strata=strata)
    parts = [literal_z(row, y, codes, groups) for row in x]
    z, scores = np.array([z for z, _ in parts]), np.array([scores for _, scores in parts])
    plan = SignFlips(y, codes, groups, n_permutations=99)
    stepped, alone = literal_step_down(z, plan.signs @ scores.T)
    for engine in ENGINES:
        monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
        found = plan.finish([plan.block(x)])
        np.testing.assert_allclose(found.z, z, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(found.p, alone)
        np.testing.assert_allclose(found.p_familywise, stepped)


@pytest.mark.parametrize("kind", ["binary", "constant in groups", "real"])
@pytest.mark.parametrize("strata", ["none", "inside"])
def test_before_the_correction_it_is_the_robust_score_test_of_statsmodels(kind, strata):
    x, y, codes, groups = example(kind=kind, strata=strata)
    for row in x[:3]:
        plain, *_ = literal_parts(row, y, codes, groups)
        rank, target, dummies = centred(row, y, codes)
        order = np.argsort(groups, kind="stable")  # GEE leaves out samples of scattered groups
        target, dummies, rank = 1000 * target[order], dummies[order], rank[order]
        without = sm.GEE(rank, dummies, groups=groups[order]).fit()
        full = sm.GEE(rank, np.column_stack([dummies, target]), groups=groups[order]).fit()
        expected = full.model.compare_score_test(without)["statistic"]
        assert plain.sum() ** 2 / np.sum(plain**2) == pytest.approx(expected, rel=1e-9)


def test_among_groups_of_one_size_the_correction_is_one_factor():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(26), 6)
    x, y = rng.normal(size=(4, 156)), (np.arange(26) < 13)[groups]
    plan = SignFlips(y, None, groups, n_permutations=9)
    for row, z in zip(x, plan.block(x).z, strict=True):
        plain, *_ = literal_parts(row, y, None, groups)
        assert z == pytest.approx(plain.sum() / np.sqrt(np.sum(plain**2)) * np.sqrt(25 / 26))


def test_p_approaches_that_of_all_flips():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), [1, 2, 3, 4, 5, 6, 7, 8])
    x, y = rng.normal(size=36), rng.random(36) < 0.4
    z, scores = literal_z(x, y, None, groups)
    flips = np.array(list(itertools.product([-1, 1], repeat=8)))
    exact = np.mean(np.abs(flips @ scores) >= abs(z))
    plan = SignFlips(y, None, groups, n_permutations=20_000)
    found = plan.finish([plan.block(x[None])]).p[0]
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, bool])
def test_blocks_give_what_all_neurons_give(engine, dtype, monkeypatch):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
    x, y, strata, groups = example()
    x = np.round(np.tile(x, (5, 1)) + np.arange(150)[:, None] % 7).astype(dtype)
    x[1] = 1
    whole = max_t(x, y, strata, groups, n_permutations=199, seed=3, threads=2)
    assert np.isnan(whole.p[1])
    made = max_t_plan(y, strata, groups, n_permutations=199, seed=3)
    assert made.signs.shape == (199, 20)
    travelled = pickle.dumps(made)
    many = max_t_plan(y, strata, groups, n_permutations=10**6)
    assert len(pickle.dumps(many)) < len(travelled) + 10
    plan = pickle.loads(travelled)
    blocks = [plan.block(x[cut]) for cut in (slice(70), slice(70, 70), slice(70, 150))]
    for way in (blocks, [pickle.loads(pickle.dumps(blocks[0])).join(blocks[1]), blocks[2]]):
        for found, expected in zip(plan.finish(way), whole, strict=True):
            assert np.array_equal(found, expected, equal_nan=True)


values = st.sampled_from([0.0, 0.0, 0.0, 0.0, -0.0, 1.0, 2.0, np.inf, -np.inf, 5e-324, 0.1 + 0.2])


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(0, 10**6), st.sampled_from([np.float16, np.float32, np.float64]))
def test_any_neuron_gets_the_twins_z_or_none(data, seed, dtype):
    rng = np.random.default_rng(seed)
    groups = frames(rng, 9, 4)
    n = len(groups)
    y, strata = np.arange(n) % 3 == 0, rng.integers(0, 2, n)
    x = np.array([data.draw(st.lists(values, min_size=n, max_size=n))]).astype(dtype)
    plan = SignFlips(y, strata, groups, n_permutations=49)
    z, p = plan.finish([plan.block(x)])[:2]
    assert np.isnan(z[0]) == np.isnan(p[0]) == np.isnan(associate(x, y, strata).z[0])
    if not np.isnan(z[0]):
        assert z[0] == pytest.approx(literal_z(x[0], y, strata, groups)[0], rel=1e-10, abs=1e-10)
        assert 0.02 <= p[0] <= 1
        assert plan.block(-x).z[0] == pytest.approx(-z[0], rel=1e-12)


def test_dead_neurons_and_those_that_tell_nothing():
    groups = np.repeat(np.arange(10), 3)
    y = (np.arange(10) < 4)[groups]
    x = np.stack(
        [np.ones(30), np.where(np.arange(30) == 4, np.nan, groups), np.tile([1.0, 2, 3], 10)]
    )
    plan = SignFlips(y, None, groups, n_permutations=19)
    found = plan.finish([plan.block(x)])
    assert np.isnan(np.array(found[:3])[:, :2]).all()
    # The same ranks in every group: what is left of their sums is rounding, not evidence.
    assert found.z[2] == 0
    assert found.p[2] == found.p_familywise[2] == 1
    assert plan.finish([]).p.shape == (0,)
    strata = groups % 2
    plan = SignFlips(y, strata, groups, n_permutations=19)
    found = plan.finish([plan.block(strata[None])])
    assert (found.z[0], found.p[0]) == (0, 1)


def test_permuted_where_groups_are_alike_flipped_where_they_are_not():
    rng = np.random.default_rng(1)
    equal, unequal = np.repeat(np.arange(12), 5), frames(rng, 12)
    few = np.repeat(np.arange(12), [4] * 11 + [40])
    for groups, method in (
        (None, "permutation of samples"),
        (equal, "permutation of groups"),
        (unequal, "sign flips of groups"),
        (few, "sign flips of groups"),
    ):
        y = np.arange(60 if groups is None else len(groups)) % 3 == 0
        plan = max_t_plan(y, None, groups, n_permutations=9)
        assert plan.method == method
        assert isinstance(plan, SignFlips if "flips" in method else MaxT)
    # The signal sits in the films, one of each length; single images change places in vain.
    films = np.concatenate([np.repeat(np.arange(10), np.arange(5, 15)), np.arange(10, 1500)])
    assert max_t_plan(films < 10, None, films, n_permutations=9).method == "sign flips of groups"
    # Size tells positives from negatives: permutations among the alike change nothing.
    sizes = np.repeat([10, 5], 20)
    groups = np.repeat(np.arange(40), sizes)
    plan = max_t_plan(groups < 20, None, groups, n_permutations=9)
    assert plan.method == "sign flips of groups"


def test_too_few_groups_are_refused():
    groups = np.repeat(np.arange(5), [1, 2, 3, 4, 5])
    y = np.arange(15) % 2 == 0
    with pytest.raises(ValueError, match="cannot be decided, n groups = 5: .* at least 6"):
        max_t_plan(y, None, groups)
    # Nine groups, but six of them in a stratum where the signal does not vary.
    groups = np.repeat(np.arange(9), np.arange(1, 10))
    with pytest.raises(ValueError, match="n groups = 3"):
        max_t_plan(groups % 2 * (groups > 5), groups > 5, groups)
    with pytest.raises(ValueError, match="n_permutations is 0"):
        SignFlips(y, None, groups[:15], n_permutations=0)
    with pytest.raises(ValueError, match="the groups have 2 values"):
        max_t_plan(y, None, groups[:2])
    plan = SignFlips(np.arange(45) % 2, None, groups, n_permutations=9)
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\); expected \(n_neurons, 45\)"):
        plan.block(np.ones((1, 3)))


def null_case(rng, m, strata, constant, prevalence):
    """A signal and samples' neurons that know nothing of it, both alike within groups."""
    groups = frames(rng, m)
    n = len(groups)
    bearers = rng.permutation(m) < max(2, round(prevalence * m))
    share = np.clip(prevalence + 0.3 * rng.normal(size=m), 0.02, 0.9)
    y = bearers[groups] if constant else rng.random(n) < share[groups]
    codes = {"none": None, "across": rng.integers(0, 3, m)[groups], "inside": np.arange(n) % 4}
    x = 3 * rng.normal(size=(100, m))[:, groups] + rng.normal(size=(100, n))
    return np.maximum(x, 1), y, codes[strata], groups


@pytest.mark.parametrize("m", [12, 30, 100])
@pytest.mark.parametrize("strata", ["none", "across", "inside"])
@pytest.mark.parametrize("constant", [True, False])
def test_a_true_null_is_rejected_no_more_often_than_said(m, strata, constant):
    rng = np.random.default_rng(m)
    rates = []
    for turn in range(10):
        x, y, codes, groups = null_case(rng, m, strata, constant, (0.4, 0.1)[turn % 2])
        try:
            plan = SignFlips(y, codes, groups, n_permutations=199, seed=turn)
        except ValueError:  # fewer than 6 groups in strata where the signal varies
            continue
        rates.append(rejected(plan, x))
    # 100 neurons share a signal and its flips: the spread between signals is the sampling error.
    assert len(rates) > 5
    assert np.mean(rates) <= 0.05 + 3 * max(np.std(rates), 0.01) / np.sqrt(len(rates))
    if m == 100:
        assert np.mean(rates) > 0.03


def rejected(plan, x):
    return np.mean(plan.finish([plan.block(x)]).p <= 0.05)


def test_the_means_of_strata_are_estimated_and_that_is_corrected():
    rng = np.random.default_rng(4)
    plain, corrected = [], []
    for turn in range(20):
        groups = frames(rng, 24)
        y, pairs = (np.arange(24) % 2 == 0)[groups], (np.arange(24) // 2)[groups]
        x = rng.normal(size=(100, 24))[:, groups]
        plan = SignFlips(y, pairs, groups, n_permutations=199, seed=turn)
        corrected.append(rejected(plan, x))
        sums = plan.sums.toarray()
        sums[groups, np.arange(len(groups))] = sums[-1]
        sums[24:-1] = 0
        plan.sums = sums
        plain.append(rejected(plan, x))
    assert np.mean(corrected) <= 0.05
    assert np.mean(plain) > 0.1


@pytest.mark.parametrize("strata", ["none", "across", "inside"])
def test_a_rare_signal_and_a_sparse_neuron_that_do_not_meet_are_no_finding(strata):
    rng = np.random.default_rng(6)
    plain, corrected = [], []
    for turn in range(6):
        x, y, codes, groups = null_case(rng, 100, strata, True, 0.1)
        x = np.maximum(x, 4)
        plan = SignFlips(y, codes, groups, n_permutations=199, seed=turn)
        corrected.append(rejected(plan, x))
        sums = plan.sums.toarray()
        sums[100:-1] = 0
        plan.sums = sums
        plain.append(rejected(plan, x))
    assert np.mean(corrected) <= 0.05
    assert np.mean(plain) > 0.1


def test_family_wise_error_is_nominal_whatever_joins_the_neurons():
    rng = np.random.default_rng(3)
    errors, repeats = 0, 150
    for turn in range(repeats):
        groups = frames(rng, 30, 8)
        x = rng.normal(size=(20, 3)) @ rng.normal(size=(3, 30)) + 0.3 * rng.normal(size=(20, 30))
        y = (rng.random(30) < 0.4)[groups]
        found = max_t(np.maximum(x[:, groups], 0), y, None, groups, n_permutations=99, seed=turn)
        errors += np.nanmin(found.p_familywise) <= 0.05
    assert errors <= scipy.stats.binom.ppf(0.999, repeats, 0.05)


@pytest.mark.parametrize("constant", [True, False])
def test_power_comes_near_that_of_permutations(constant):
    rng = np.random.default_rng(5)
    flipped, permuted, unequal = [], [], []
    for turn in range(10):
        for groups in (np.repeat(np.arange(40), 10), frames(rng, 40, 19)):
            n = len(groups)
            y = (np.arange(40) < 16)[groups] if constant else rng.random(n) < 0.4
            x = rng.normal(size=(200, 40))[:, groups] + rng.normal(size=(200, n))
            x += (1.0 if constant else 0.45) * y
            plans = [SignFlips(y, None, groups, n_permutations=199, seed=turn)]
            if n == 400 and (np.bincount(groups) == 10).all():
                plans.append(MaxT(y, None, groups, n_permutations=199, seed=turn))
            found = [rejected(plan, x) for plan in plans]
            if len(found) == 2:
                flipped.append(found[0])
                permuted.append(found[1])
            else:
                unequal += found
    assert 0.5 < np.mean(permuted) < 0.98
    assert np.mean(flipped) > 0.9 * np.mean(permuted)
    assert np.mean(unequal) > 0.75 * np.mean(permuted)
