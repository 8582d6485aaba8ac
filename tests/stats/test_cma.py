"""CMA for real signals: between AUC and Spearman, its test and its interval."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import associate, associate_many, sorting
from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.cma import make_target, monotone_association
from nbcorr.stats.design import make_design
from nbcorr.stats.sorting import count
from nbcorr.stats.vanelteren import pool_strata, stratum_of
from nbcorr.stats.within import rank_table

NUMBA = sorting.numba_available()


def literal_cma(neuron, signal):
    """Covariance of the mid distribution functions over the variance of the signal's."""

    def grade(values):
        return np.array([np.mean(values < v) + np.mean(values == v) / 2 for v in values])

    f, g = grade(neuron), grade(signal)
    return (np.mean((f - 0.5) * (g - 0.5)) / np.mean((g - 0.5) ** 2) + 1) / 2


def literal_statistics(neuron, design):
    """CMA, z and variance from pairs of samples."""
    product = spread = null = 0
    parts = []
    for samples in design.strata:
        x, y, n = neuron[samples], design.signal[samples], len(samples)
        above_x = (x > x[:, None]) + (x == x[:, None]) / 2
        above_y = (y > y[:, None]) + (y == y[:, None]) / 2
        own, target = scipy.stats.rankdata(x) - (n + 1) / 2, scipy.stats.rankdata(y) - (n + 1) / 2
        weight = 1 / (n * (n + 1))
        product += weight * (own @ target)
        spread += weight * (target @ target)
        null += weight**2 * (own @ own) * (target @ target) / (n - 1)
        # A sample counts itself, and is counted in the ranks of every other.
        each = own * target + above_x @ target + above_y @ own
        itself = target * target + 2 * (above_y @ target)
        parts.append((weight, each, itself, own @ target, target @ target))
    agc = product / spread
    variance = 0
    for weight, each, itself, c, d in parts:
        n = len(each)
        influence = weight * (each - agc * itself - 2 * (c - agc * d) / n)
        variance += n / (n - 1) * (influence @ influence)
    return (agc + 1) / 2, product / np.sqrt(null) if null else 0, variance / (2 * spread) ** 2


def monotone_of(rows, design, compile_it=False):
    """`monotone_association` of rows without NaN."""
    ranks = doubled_ranks(np.asarray(rows), False)[0]
    return monotone_association(ranks, make_target(design), compile_it)


def assert_same(one, other):
    """Every number of the two, bit by bit."""
    one, other = (own._asdict() if isinstance(own, tuple) else vars(own) for own in (one, other))
    for name, column in one.items():
        np.testing.assert_array_equal(column, other[name], err_msg=name)


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
    general = monotone_of(x, design)
    binary = pool_strata(
        [
            stratum_of(count(x[:, s], np.flatnonzero(design.signal[s]), False), *sizes(design, s))
            for s in design.strata
        ]
    )
    np.testing.assert_allclose(general.cma, binary.auc, atol=1e-12)
    np.testing.assert_allclose(general.z, binary.z, atol=1e-10)
    assert make_target(design).pairs == binary.pairs
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


values = st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 0.0, 0.0, 1e-40, 1.0, 3.0, np.inf])


@given(data=st.data(), n=st.integers(3, 30), dtype=st.sampled_from(["f2", "f4", "f8"]))
@settings(max_examples=150, deadline=None)
def test_equals_its_pairs_whatever_ties(data, n, dtype):
    row = st.lists(values, min_size=n, max_size=n)
    x = np.array(data.draw(st.lists(row, min_size=1, max_size=3)), dtype=dtype)
    whole = st.lists(st.integers(0, 4), min_size=n, max_size=n)
    y, strata = np.array(data.draw(whole)), np.array(data.draw(whole)) // 2
    # One stratum in which the signal varies, and two values more than a binary signal has.
    y[:3], strata[:3] = (0, 2, 5), 0
    design = make_design(y, strata)
    found = monotone_of(x, design, NUMBA)
    assert_same(found, monotone_of(x, design, False))
    for i, neuron in enumerate(x):
        cma, z, variance = literal_statistics(neuron, design)
        assert found.cma[i] == pytest.approx(cma, abs=1e-12)
        assert found.z[i] == pytest.approx(z, abs=1e-12)
        assert found.variance[i] == pytest.approx(variance, rel=1e-9, abs=1e-14)
        constant = (neuron == neuron[0]).all()
        assert (found.squares[i] == 0) == constant
        if not constant:
            own, target = scipy.stats.rankdata(neuron), scipy.stats.rankdata(y)
            rho = np.corrcoef(own, target)[0, 1]
            assert found.rho[i] == pytest.approx(rho, abs=1e-12)
            assert found.z_unstratified[i] == pytest.approx(rho * np.sqrt(n - 1), abs=1e-12)
            paired = [np.corrcoef(np.sort(own), np.sort(target)[::step])[0, 1] for step in (1, -1)]
            assert found.rho_max[i] == pytest.approx(np.abs(paired).max(), abs=1e-12)


@pytest.fixture(scope="module", params=["continuous", "ordinal"])
def large(request):
    """Long rows, dense and sparse, with a dead one and a NaN, and a signal with strata.

    The signal is constant in one of these.
    """
    rng = np.random.default_rng(7)
    x = rng.normal(size=(12, 3000)).astype(np.float32)
    y = x[0] + x[5] + rng.normal(size=3000)
    x[3:6], x[6:9] = np.maximum(x[3:6], 0), np.maximum(x[6:9] - 2, 0)
    x[9], x[10, 17] = 2, np.nan
    strata = rng.integers(0, 40, 3000)
    y = np.round(y) if request.param == "ordinal" else y
    return x, np.where(strata == 4, 1, y), strata


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_numba_changes_no_number(monkeypatch, large, stratified, dtype):
    x, y, strata = large
    x, strata = x.astype(dtype), strata if stratified else None
    found = {}
    for compile_above in (0, 10**9):
        monkeypatch.setattr(sorting, "COMPILE_ABOVE", compile_above)
        monkeypatch.setattr(sorting, "LOADED", 1)
        found[compile_above] = associate(x, y, strata)
    assert_same(found[0], found[10**9])
    assert found[0].dead.tolist() == [False] * 9 + [True, True, False]
    design = make_design(y, strata)
    for i in np.flatnonzero(~found[0].dead):
        expected = literal_statistics(x[i], design)
        found_here = found[0].auc[i], found[0].z[i]
        assert found_here == pytest.approx(expected[:2], abs=1e-12)


@pytest.mark.parametrize("compile_it", sorted({False, NUMBA}))
def test_rows_do_not_depend_on_their_block(large, compile_it):
    x, y, strata = large
    rows, design = x[:9], make_design(y, strata)
    alone = [monotone_of(row[None], design, compile_it) for row in rows]
    together = monotone_of(rows, design, compile_it)
    assert_same(together, type(together)(*map(np.concatenate, zip(*alone, strict=True))))


@pytest.mark.parametrize("compile_it", sorted({False, NUMBA}))
def test_perfect_order_in_every_stratum_varies_not(compile_it):
    rng = np.random.default_rng(8)
    strata = rng.integers(0, 37, 400)
    y = np.round(rng.normal(size=400), 1)
    x = np.array([y**3 - 50 * strata, 50 * strata - y])
    found = monotone_of(x, make_design(y, strata), compile_it)
    assert found.cma.tolist() == [1, 0]
    assert found.variance.tolist() == [0, 0]


@pytest.mark.parametrize("threads", [1, 2])
def test_signals_of_all_kinds_at_once(large, threads):
    x, y, strata = large
    signals = np.array([y, y > 1, np.sin(y), y < 0])
    together = associate_many(x, signals, strata, threads=threads)
    for found, signal in zip(together, signals, strict=True):
        assert_same(found, associate(x, signal, strata))


def test_enough_samples_that_sums_need_all_their_bits():
    """Sums of cubes of half a million lie beyond the whole numbers that a float64 tells apart."""
    n = 500_000
    rng = np.random.default_rng(9)
    y = rng.normal(size=n)
    x = np.maximum(y + rng.normal(size=n), 0).astype(np.float32)[None]
    design = make_design(y)
    compiled, plain = (monotone_of(x, design, kind) for kind in (NUMBA, False))
    for name, a, b in zip(compiled._fields, compiled, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=name)
    expected = scipy.stats.spearmanr(x[0], y).statistic
    assert compiled.rho[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("n", [1, 2, 17, 300, 1023, 1024, 5000, 40_000])
def test_compiled_ranks_of_short_and_long_rows(vectorised, dtype, n, monkeypatch):
    """By registers and by digits, few and many to a cell: the same ranks, squares and cubes."""
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(30, n)) * 10.0 ** rng.integers(-6, 5, (30, 1))
    rows[::3] = np.maximum(rows[::3], 0)
    rows[1::4] = np.round(rows[1::4])
    rows[5, : n // 2], rows[7, : n // 3] = -0.0, np.inf
    rows[7, n // 2 :] = -np.inf
    rows[9] = np.where(rng.random(n) < 0.5, 0.7, rows[9])
    rows[11], rows[13] = 3.0, 1e-42 * np.round(10 * rng.normal(size=n))
    rows[15, 0], rows[17, -1] = 60_000, -60_000
    rows[19] = np.round(rng.normal(size=n), 2)
    rows[21] = rng.normal(size=n) * np.where(rng.random(n) < 0.5, 1e-4, 1)
    for own in [rows.astype(dtype)] * NUMBA:
        from nbcorr.stats import vectors

        possible = vectorised and vectors.vectorised()
        monkeypatch.setattr(vectors, "vectorised", lambda possible=possible: possible)
        ranks, ties = doubled_ranks(own, True)
        expected, expected_ties = doubled_ranks(own, False)
        np.testing.assert_array_equal(ranks, expected)
        np.testing.assert_array_equal(ties, expected_ties)
        table = np.zeros((n, 30), dtype=np.int32)
        squares, cubes = rank_table(own, table)
        np.testing.assert_array_equal(table, expected.T)
        whole = expected.astype(np.float64)
        np.testing.assert_allclose(squares, np.sum(whole**2, axis=1), rtol=1e-12)
        spread = np.sum(np.abs(whole) ** 3, axis=1)
        assert (np.abs(cubes - np.sum(whole**3, axis=1)) <= 1e-12 * spread).all()
