"""Max-T against a literal twin, its error rate under dependence, and whole-block exchanges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from nbcorr.stats import associate, max_t, sorting
from nbcorr.stats.centred import Scores, doubled_ranks
from nbcorr.stats.design import make_design
from nbcorr.stats.permutation import permuted_signals

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


@pytest.mark.parametrize("kind", ["few", "many", "real"])
@pytest.mark.parametrize("stratified", [False, True])
def test_equals_the_literal_twin(kind, stratified, monkeypatch):
    rng = np.random.default_rng(1)
    n = 400
    x = np.maximum(rng.normal(size=(90, n)), 0)
    x[5] = 1
    y = {"few": rng.random(n) < 0.025, "many": rng.random(n) < 0.4, "real": rng.normal(size=n)}[
        kind
    ]
    x[0] += y
    strata = rng.integers(0, 5, n) if stratified else None
    scores = Scores(make_design(y, strata))
    few = scores.target.astype(bool).sum() * 25 < len(scores.target)
    assert few == (kind == "few")
    moved = permuted_signals(scores, None, 99, np.random.default_rng(0), sparse=few)
    if few:
        moved = np.array([np.isin(np.arange(len(scores.target)), row) for row in moved], float)
    alive = np.delete(np.arange(90), 5)
    null = np.array(
        [
            associate_z(x[alive], y, strata, scores.samples, signal, scores.target)
            for signal in moved
        ]
    )
    for engine in ENGINES:
        monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
        found = max_t(x, y, strata, n_permutations=99, threads=1 + engine)
        np.testing.assert_allclose(found.z, associate(x, y, strata).z)
        assert np.isnan(found.p_familywise).tolist() == (np.arange(90) == 5).tolist()
        np.testing.assert_allclose(
            found.p_familywise[alive], literal_step_down(found.z[alive], null)
        )
        counts = (np.abs(null) >= reach(found.z[alive])).sum(axis=0)
        np.testing.assert_allclose(found.p[alive], (counts + 1) / 100)
        single = max_t(x, y, strata, n_permutations=99, step_down=False).p_familywise
        largest = np.abs(null).max(axis=1)
        expected = [np.mean([*(largest >= reach(z)), 1]) for z in found.z[alive]]
        np.testing.assert_allclose(single[alive], expected)


def associate_z(x, y, strata, samples, signal, target):
    """The z of a permuted signal; real ones are re-made from the ranks they carry."""
    moved = np.zeros(len(y)) if len(np.unique(y)) == 2 else np.array(y, dtype=float)
    if len(np.unique(y)) == 2:
        moved[:] = y
        moved[samples] = signal
    else:
        moved[samples] = signal
    return associate(x, moved, strata).z


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
    moved = permuted_signals(scores, codes, 200, np.random.default_rng(0), sparse=sparse)
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
        max_t(x, y, groups=np.array([1, 2, 2, 2]))
    with pytest.raises(ValueError, match="the groups have 2 values"):
        max_t(x, y, groups=np.array([1, 2]))
    with pytest.raises(ValueError, match="n_permutations is 0"):
        max_t(x, y, n_permutations=0)


def test_the_seed_decides():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(5, 60)), np.arange(60) < 20
    assert np.array_equal(max_t(x, y, seed=1).p, max_t(x, y, seed=1).p)
    assert not np.array_equal(max_t(x, y, seed=1).p, max_t(x, y, seed=2).p)
