"""Max-T against a literal twin, its error rate under dependence, and whole-block exchanges."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import associate, max_t, sorting, stepdown
from nbcorr.stats.centred import Scores, doubled_ranks
from nbcorr.stats.design import make_design
from nbcorr.stats.draws import interchangeable_groups, permuted_signals
from nbcorr.stats.permutation import MaxT
from nbcorr.stats.within import ranks_within

ENGINES = [False, True] if sorting.numba_available() else [False]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("n", [50, 1300])
def test_doubled_ranks_equal_scipy(engine, dtype, n):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(9, n)), np.linspace(-3, 2, 9)[:, None]).astype(dtype)
    x[0] = np.where(rng.random(n) < 0.5, 0.0, -0.0)
    x[0, :3] = [np.inf, -np.inf, -1]
    x[1] -= x[1].max()
    x[2] -= x[2].min()
    ranks, ties = doubled_ranks(x, engine)
    expected = np.apply_along_axis(scipy.stats.rankdata, 1, x)
    assert np.array_equal(ranks, 2 * expected - (n + 1))
    assert np.array_equal(
        ties, [sum(t**3 - t for t in np.unique(r, return_counts=True)[1]) for r in x]
    )


def reach(z):
    """What counts as reaching z: float32 sums may fall short of it by rounding."""
    return np.abs(z) - 1e-5 * (1 + np.abs(z))


def literal_step_down(z, null):
    """Algorithm 2.8: successive maxima from the least significant neuron up."""
    order = np.argsort(-np.abs(z))
    p = np.empty(len(z))
    for place, j in enumerate(order):
        rest = order[place:]
        reached = np.abs(null[:, rest]).max(axis=1) >= reach(z[j])
        p[j] = (1 + reached.sum()) / (len(null) + 1)
    p[order] = np.maximum.accumulate(p[order])
    return p


SIGNALS = {
    "few": lambda rng, n: rng.random(n) < 0.025,
    "many": lambda rng, n: rng.random(n) < 0.4,
    "most": lambda rng, n: rng.random(n) < 0.98,
    "real": lambda rng, n: rng.normal(size=n),
    "ordinal": lambda rng, n: rng.integers(0, 4, n),
}


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("stratified", [False, True])
def test_equals_the_literal_twin(kind, stratified, monkeypatch):
    rng = np.random.default_rng(1)
    n = 400
    x = np.maximum(rng.normal(size=(90, n)), 0)
    x[5], x[6, 7], x[8] = 1, np.nan, x[9]
    y = SIGNALS[kind](rng, n)
    x[0] += y
    strata = rng.integers(0, 5, n) if stratified else None
    plan = MaxT(y, strata, n_permutations=99)
    assert (plan.rows is not None) == (kind in ("few", "most"))
    observed = associate(x, y, strata).z
    alive = np.flatnonzero(~np.isnan(observed))
    assert len(alive) == 88
    null = np.array([permuted_z(x[alive], y, strata, plan.kept, row) for row in plan.signals])
    z = observed[alive]
    expected = literal_step_down(z, null)
    largest = np.abs(null).max(axis=1)
    for engine in ENGINES:
        monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
        found = max_t(x, y, strata, n_permutations=99, threads=1 + engine)
        np.testing.assert_allclose(found.z, observed, rtol=1e-12, atol=1e-12)
        assert np.isnan(found.p_familywise).tolist() == np.isnan(observed).tolist()
        np.testing.assert_allclose(found.p_familywise[alive], expected)
        counts = (np.abs(null) >= reach(z)).sum(axis=0)
        np.testing.assert_allclose(found.p[alive], (counts + 1) / 100)
        single = max_t(x, y, strata, n_permutations=99, step_down=False).p_familywise
        literal = [np.mean([*(largest >= reach(one)), 1]) for one in z]
        np.testing.assert_allclose(single[alive], literal)


def permuted_z(x, y, strata, kept, signal):
    """The z of a permuted signal by `associate`, the samples left out as they were."""
    moved = np.array(y, dtype=float)
    moved[kept] = signal
    return associate(x, moved, strata).z


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, bool])
def test_blocks_give_what_all_neurons_give(engine, dtype, monkeypatch):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
    rng = np.random.default_rng(5)
    x = np.round(3 * rng.normal(size=(150, 300))).astype(dtype)
    y, strata = rng.random(300) < 0.03, rng.integers(0, 40, 300)
    x[1] = 1
    whole = max_t(x, y, strata, n_permutations=199, seed=3)
    plan = pickle.loads(pickle.dumps(MaxT(y, strata, n_permutations=199, seed=3)))
    cuts = [slice(0, 1), slice(1, 2), slice(2, 80), slice(80, 80), slice(80, 150)]
    nulls = [pickle.loads(pickle.dumps(plan.block(x[cut]))) for cut in reversed(cuts)][::-1]
    first, second, *rest = nulls
    ways = [
        nulls,
        (null for null in nulls),
        [first.join(second).join(rest[0]), *rest[1:]],
        [first, second.join(rest[0]).join(rest[1]), *rest[2:]],
    ]
    for way in ways:
        for found, expected in zip(plan.finish(way), whole, strict=True):
            assert np.array_equal(found, expected, equal_nan=True)
    parts = [plan.block(x[cut]) for cut in (slice(100, 150), slice(0, 100))]
    other = plan.finish(parts).p_familywise
    assert np.array_equal(np.roll(other, 100), whole.p_familywise, equal_nan=True)


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_plan_travels_as_it_is(kind):
    y = SIGNALS[kind](np.random.default_rng(7), 1000)
    plan = MaxT(y, n_permutations=50)
    travelled = pickle.dumps(plan)
    assert np.array_equal(pickle.loads(travelled).signals, plan.signals)
    if plan.binary:
        assert len(travelled) < 50_000 + 4 * 8 * 1000
    x = np.random.default_rng(8).normal(size=(3, 1000))
    found = plan.finish([pickle.loads(travelled).block(x)])
    for one, other in zip(found, max_t(x, y, n_permutations=50), strict=True):
        assert np.array_equal(one, other)


def test_what_is_kept_of_a_block_is_small():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(2000, 100))
    plan = MaxT(np.arange(100) < 30, n_permutations=500)
    small, large = (len(pickle.dumps(plan.block(x[:n]))) for n in (200, 2000))
    assert large < small + 1800 * 16 + 500 * 12 * 4
    assert large < 0.1 * 4 * 500 * 2000


def test_no_neurons_and_dead_ones():
    y = np.arange(20) < 6
    plan = MaxT(y, n_permutations=19)
    assert plan.finish([]).p.shape == max_t(np.empty((0, 20)), y, n_permutations=19).z.shape == (0,)
    found = max_t(np.ones((3, 20)), y, n_permutations=19)
    assert np.isnan(np.array(found[:3])).all()
    strata = np.arange(20) % 2
    # Constant within every stratum but not over all: no permutation can tell, p = 1.
    found = max_t(strata[None], y, strata, n_permutations=19)
    assert found.z[0] == 0
    assert found.p[0] == found.p_familywise[0] == 1


heights = st.one_of(st.integers(0, 6).map(lambda i: i / 2), st.floats(0, 5, width=32))


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(0, 12), st.integers(1, 5), st.booleans())
def test_intervals_count_what_successive_maxima_reach(data, n, permutations, cap):
    z = np.array(data.draw(st.lists(heights, min_size=n, max_size=n)))
    null = np.array(
        data.draw(st.lists(heights, min_size=n * permutations, max_size=n * permutations)),
        dtype=np.float32,
    ).reshape(n, permutations)
    cut = data.draw(st.integers(0, n))
    expected = np.array(
        [(null[z <= height].max(axis=0) >= stepdown.threshold(height)).sum() for height in z]
    )
    kept = stepdown.KEPT
    try:
        stepdown.KEPT = 2 if cap else kept
        both = [stepdown.reached_by(z[part], null[part]) for part in (slice(cut), slice(cut, n))]
        united = stepdown.unite(*both)
        times = stepdown.times_reached(z, united)
    finally:
        stepdown.KEPT = kept
    if cap:
        assert len(united.starts) <= 2
        assert (times >= expected).all()
    else:
        assert np.array_equal(times, expected)
        assert np.array_equal(stepdown.times_reached(z, stepdown.reached_by(z, null)), expected)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), n_strata=st.integers(1, 9))
def test_ranks_within_strata_equal_scipy(engine, seed, n, n_strata):
    rng = np.random.default_rng(seed)
    codes = np.unique(rng.integers(0, n_strata, n), return_inverse=True)[1]
    sizes = np.bincount(codes)
    x = np.round(rng.normal(size=(4, n)) * rng.choice([0.3, 1, 100]), 1)
    x[0] = np.where(rng.random(n) < 0.8, rng.choice([0.0, -0.0], n), x[0])
    x[1, 0] = np.inf
    found = ranks_within(x.astype(np.float32), codes, sizes, engine)
    for code, size in enumerate(sizes):
        own = np.apply_along_axis(scipy.stats.rankdata, 1, x[:, codes == code].astype(np.float32))
        expected = 2 * own - (size + 1)
        assert np.array_equal(found.ranks[:, codes == code], expected)
        assert np.array_equal(found.squares[code], np.sum(expected**2, axis=1))


def test_p_approaches_the_exact_one():
    x = np.array([[0.0, 1, 1, 3, 4, 9, 9]])
    y = np.array([0, 0, 0, 1, 0, 1, 1])
    ranks = scipy.stats.rankdata(x[0]) - 4
    observed = abs(ranks[y == 1].sum())
    exact = np.mean(
        [abs(sum(ranks[list(c)])) >= observed - 1e-9 for c in itertools.combinations(range(7), 3)]
    )
    found = max_t(x, y, n_permutations=20_000).p[0]
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


def test_family_wise_error_is_nominal_whatever_joins_the_neurons():
    rng = np.random.default_rng(2)
    repeats, errors = 200, 0
    strata = np.arange(150) % 3
    for turn in range(repeats):
        common = rng.normal(size=(3, 150))
        x = np.maximum(rng.normal(size=(40, 3)) @ common + 0.5 * rng.normal(size=(40, 150)), 0)
        x += 2 * strata
        y = rng.random(150) < np.array([0.1, 0.2, 0.4])[strata]
        found = max_t(x, y, strata, n_permutations=99, seed=turn)
        errors += np.nanmin(found.p_familywise) <= 0.05
    low, high = scipy.stats.binom.ppf([0.0005, 0.9995], repeats, 0.05)
    assert low <= errors <= high


def test_groups_keep_the_error_where_single_samples_do_not():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 5)
    loose = held = 0
    repeats = 100
    for turn in range(repeats):
        x = rng.normal(size=(1, 40)).repeat(5, axis=1) + 0.1 * rng.normal(size=(1, 200))
        y = (rng.random(40) < 0.4).repeat(5)
        loose += max_t(x, y, n_permutations=99, seed=turn).p[0] <= 0.05
        held += max_t(x, y, groups=groups, n_permutations=99, seed=turn).p[0] <= 0.05
    assert loose > 25
    assert held <= scipy.stats.binom.ppf(0.9995, repeats, 0.05)


@pytest.mark.parametrize("sparse", [False, True])
def test_groups_move_as_a_whole_and_only_to_their_like(sparse):
    strata = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0])
    groups = np.array(list("aabbccddeef"))
    y = np.array([1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1])
    scores = Scores(make_design(y, strata))
    codes = np.unique(groups, return_inverse=True)[1]
    sets = interchangeable_groups(scores, codes)
    rng = np.random.default_rng(0)
    moved = permuted_signals(scores.target, sets, 200, rng, sparse=sparse)
    if sparse:
        moved = np.array([np.isin(np.arange(len(y)), row) for row in moved])
    back = np.empty((200, len(y)), dtype=int)
    back[:, scores.samples] = moved
    assert {tuple(row[[0, 1]]) for row in back} == {(1, 0), (0, 0), (1, 1)}
    assert {tuple(row[[2, 3]]) for row in back} == {(0, 1), (0, 0)}
    assert (back[:, 10] == 1).all()
    assert (back.sum(axis=1) == y.sum()).all()


def test_what_cannot_be_permuted_is_said():
    x, y = np.arange(4.0)[None], np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="of 2 groups no two"):
        MaxT(y, groups=np.array([1, 2, 2, 2]))
    with pytest.raises(ValueError, match="n groups = 2: "):
        max_t(x, y, groups=np.array([1, 2, 2, 2]))
    with pytest.raises(ValueError, match="the groups have 2 values"):
        max_t(x, y, groups=np.array([1, 2]))
    with pytest.raises(ValueError, match="n_permutations is 0"):
        max_t(x, y, n_permutations=0)
    with pytest.raises(ValueError, match=r"x has shape \(4,\); expected \(n_neurons, 4\)"):
        max_t(x[0], y)
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\); expected \(n_neurons, 4\)"):
        MaxT(y).block(x[:, :3])


def test_the_seed_decides():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(5, 60)), np.arange(60) < 20
    assert np.array_equal(max_t(x, y, seed=1).p, max_t(x, y, seed=1).p)
    assert not np.array_equal(max_t(x, y, seed=1).p, max_t(x, y, seed=2).p)
