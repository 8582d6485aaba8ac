"""Association against literal twins written from the definitions, and against the libraries."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from nbcorr.stats import associate, sorting, tie_term
from nbcorr.stats.association import associate_many
from nbcorr.stats.design import make_design
from nbcorr.stats.tails import statistic_skewness, tail_p

TOLERANCE = 1e-12


def literal_auc(neuron, positive):
    """Share of (positive, negative) pairs in which the positive is larger; ties count half."""
    ups = [float(a > b) + 0.5 * float(a == b) for a in neuron[positive] for b in neuron[~positive]]
    return sum(ups) / len(ups)


def literal_van_elteren(neuron, positive, strata):
    """Weighted AUC and z, stratum by stratum, the null variance from all mid-ranks."""
    weights, aucs, statistic, variance = [], [], 0.0, 0.0
    for stratum in set(strata.tolist()):
        inside = strata == stratum
        kind = positive[inside]
        n1, n0, n = kind.sum(), (~kind).sum(), len(kind)
        if n1 == 0 or n0 == 0:
            continue
        ranks = scipy.stats.rankdata(neuron[inside])
        weights.append(n1 * n0 / (n + 1))
        aucs.append(literal_auc(neuron[inside], kind))
        statistic += (ranks[kind].sum() - n1 * (n + 1) / 2) / (n + 1)
        # Drawing n1 of n ranks without replacement.
        variance += n1 * n0 / n * ranks.var(ddof=1) / (n + 1) ** 2
    return np.average(aucs, weights=weights), statistic / np.sqrt(variance) if variance else 0.0


def literal_delong(neuron, positive, strata):
    """DeLong's variance from the whole matrix of comparisons, components around one AUC."""
    aucs, weights, above, below, sizes = [], [], [], [], []
    for stratum in set(strata.tolist()):
        kind, values = positive[strata == stratum], neuron[strata == stratum]
        if kind.all() or not kind.any():
            continue
        a, b = values[kind][:, None], values[~kind][None, :]
        wins = (a > b) + 0.5 * (a == b)
        above.append(wins.mean(axis=1))
        below.append(wins.mean(axis=0))
        aucs.append(wins.mean())
        sizes.append(wins.shape)
        weights.append(wins.size / (sum(wins.shape) + 1))
    auc = np.average(aucs, weights=weights)
    s1 = np.sum((np.concatenate(above) - auc) ** 2) / (len(np.concatenate(above)) - 1)
    s0 = np.sum((np.concatenate(below) - auc) ** 2) / (len(np.concatenate(below)) - 1)
    share = np.array(weights) / sum(weights)
    return sum(w**2 * (s1 / n1 + s0 / n0) for w, (n1, n0) in zip(share, sizes, strict=True))


def literal_floor(neuron, positive, strata):
    """4 A (1 - A) times the null variance of the AUC, where the components are too few to tell."""
    weights, variances, pairs, tied, whole = [], [], 0, 0, 0
    for stratum in set(strata.tolist()):
        kind, values = positive[strata == stratum], neuron[strata == stratum]
        if kind.all() or not kind.any():
            continue
        n, n1 = len(kind), kind.sum()
        ranks = scipy.stats.rankdata(values)
        variances.append(n1 * (n - n1) / (n - 1) * ranks.var() / (n + 1) ** 2)
        weights.append(n1 * (n - n1) / (n + 1))
        pairs += min(n1, n - n1)
        tied += sum(t**3 - t for t in np.unique(values, return_counts=True)[1].tolist())
        whole += n**3 - n
    if pairs >= 20 and tied / whole <= 0.5:
        return 0.0
    auc = associate(neuron[None], positive, strata).auc[0]
    return 4 * auc * (1 - auc) * sum(variances) / sum(weights) ** 2


def logit_interval(auc, variance, level=0.95):
    reach = scipy.stats.norm.ppf((1 + level) / 2) * np.sqrt(variance) / (auc * (1 - auc))
    centre = np.log(auc / (1 - auc))
    return 1 / (1 + np.exp(-centre + reach)), 1 / (1 + np.exp(-centre - reach))


def neurons_like_a_network(rng, n, count=12):
    """Gaussian, ReLU with half, 90 % and 99 % zeros, few levels, signed zeros, infinities."""
    base = rng.normal(size=(count, n))
    x = (
        np.maximum(base, np.linspace(-3, 2.4, count)[:, None])
        - np.linspace(-3, 2.4, count)[:, None]
    )
    x[1] = np.round(base[1])
    x[2] = np.where(base[2] > 0, 0.0, -0.0) + (rng.random(n) < 0.1)
    x[3, : n // 10] = np.inf
    x[3, n // 10 : n // 5] = -np.inf
    x[4] = 5.0
    x[4, 0] = 5.5
    return x


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(1)
    n = 420
    x = neurons_like_a_network(rng, n)
    x = x[[len(np.unique(row)) > 1 for row in x]]
    strata = rng.integers(0, 12, n)
    y = rng.random(n) < 0.02 + 0.015 * strata
    y[strata == 3] = False
    y[strata == 4] = True
    return x, y, strata


def test_unstratified_equals_the_libraries(case):
    x, y, _ = case
    found = associate(x, y)
    for i, neuron in enumerate(x):
        # scikit-learn refuses infinities; their ranks are the same.
        ranks = scipy.stats.rankdata(neuron)
        assert abs(found.auc[i] - roc_auc_score(y, ranks)) <= TOLERANCE
        assert abs(found.auc[i] - literal_auc(neuron, y)) <= TOLERANCE
        assert abs(found.rho[i] - scipy.stats.spearmanr(neuron, y).statistic) <= TOLERANCE
        expected = scipy.stats.mannwhitneyu(
            neuron[y], neuron[~y], method="asymptotic", use_continuity=False
        )
        assert found.p[i] == pytest.approx(expected.pvalue, rel=1e-9)
        assert found.rank_biserial[i] == pytest.approx(
            2 * expected.statistic / (y.sum() * (~y).sum()) - 1, abs=TOLERANCE
        )
    assert (found.n, found.n_positive, found.n_strata) == (len(y), y.sum(), 1)


def test_stratified_equals_the_literal_twin(case):
    x, y, strata = case
    found = associate(x, y, strata)
    for i, neuron in enumerate(x):
        auc, z = literal_van_elteren(neuron, y, strata)
        assert abs(found.auc[i] - auc) <= TOLERANCE
        assert found.z[i] == pytest.approx(z, abs=1e-10)
        assert found.p[i] == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-8)
        assert found.rho[i] == pytest.approx(scipy.stats.spearmanr(neuron, y).statistic, abs=1e-12)
    mixed = [0 < y[strata == code].mean() < 1 for code in range(12)]
    assert mixed[3:5] == [False, False]
    informative = np.array(mixed)[strata]
    assert found.n_informative == informative.sum()
    assert found.n_positive_informative == (y & informative).sum()
    assert found.n_positive == y.sum()
    assert found.n_strata == sum(mixed)


@pytest.mark.parametrize("stratified", [False, True])
def test_interval_equals_literal_delong(case, stratified):
    x, y, strata = case
    strata = strata if stratified else np.zeros(len(y))
    found = associate(x, y, strata)
    for i, neuron in enumerate(x):
        variance = max(literal_delong(neuron, y, strata), literal_floor(neuron, y, strata))
        low, high = logit_interval(found.auc[i], variance)
        assert found.auc_low[i] == pytest.approx(low, abs=1e-10)
        assert found.auc_high[i] == pytest.approx(high, abs=1e-10)


def test_rho_max_is_reached_by_the_best_pairing(case):
    x, y, _ = case
    found = associate(x, y)
    for i, neuron in enumerate(x):
        largest = max(
            scipy.stats.spearmanr(np.sort(neuron), np.sort(y)).statistic,
            -scipy.stats.spearmanr(np.sort(neuron), np.sort(y)[::-1]).statistic,
        )
        assert found.rho_max[i] == pytest.approx(largest, abs=TOLERANCE)
    assert (np.abs(found.rho) <= found.rho_max + TOLERANCE).all()


@pytest.mark.parametrize("kind", ["binary", "ordinal", "continuous"])
def test_the_unstratified_p_comes_along(case, kind):
    x, y, strata = case
    rng = np.random.default_rng(3)
    x = np.vstack([x, np.full(len(y), 2.0), (rng.random((8, len(y))) < 0.01) * y])
    signal = {"binary": y, "ordinal": y + rng.integers(0, 3, len(y)), "continuous": y + x[0]}[kind]
    plain = associate(x, signal)
    for found in (plain, associate(x, signal, strata)):
        assert np.array_equal(found.p_unstratified, plain.p, equal_nan=True)
    assert np.isnan(plain.p).any()
    assert (associate(x, signal, strata).p != plain.p).any()


def test_strata_may_be_any_hashables(case):
    x, y, strata = case
    expected = associate(x, y, strata).auc
    names = np.array([f"class {code}" for code in strata])
    np.testing.assert_allclose(associate(x, y, names).auc, expected, atol=TOLERANCE)
    mixed = [None if code == 0 else ("pair", code) for code in strata.tolist()]
    np.testing.assert_allclose(associate(x, y, mixed).auc, expected, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_dtype_has_its_own_ties(dtype):
    rng = np.random.default_rng(2)
    x = np.maximum(rng.normal(size=(6, 300)), 0).astype(dtype)
    y = rng.random(300) < 0.2
    found = associate(x, y)
    for i, neuron in enumerate(x):
        assert abs(found.auc[i] - literal_auc(neuron, y)) <= TOLERANCE
        expected = scipy.stats.spearmanr(neuron.astype(np.float64), y).statistic
        assert abs(found.rho[i] - expected) <= TOLERANCE
    assert np.array_equal(found.zeros, (x == 0).mean(axis=1))


def test_dead_neurons_are_nan_and_said_so():
    x = np.zeros((4, 10))
    x[0] = np.arange(10)
    x[2] = np.arange(10)
    x[2, 3] = np.nan
    x[3] = np.where(np.arange(10) % 2, 0.0, -0.0)
    found = associate(x, np.arange(10) > 6)
    assert found.dead.tolist() == [False, True, True, True]
    for name in ("auc", "auc_low", "auc_high", "rank_biserial", "rho", "rho_max", "z", "p"):
        assert np.isnan(getattr(found, name)).tolist() == [False, True, True, True], name
    assert found.zeros.tolist() == [0.1, 1, 0.1, 1]


def test_a_neuron_constant_within_strata_is_undecided():
    strata = np.repeat([0, 1], 10)
    found = associate(strata[None].astype(float), np.tile([0, 1], 10), strata)
    assert (found.auc[0], found.z[0], found.p[0]) == (0.5, 0, 1)
    assert found.auc_low[0] < 0.5 < found.auc_high[0]


def test_perfect_separation_has_the_binomial_bound():
    x = np.array([np.arange(50.0), -np.arange(50.0)])
    y = np.arange(50) >= 42
    found = associate(x, y)
    assert found.auc.tolist() == [1, 0]
    assert found.auc_low[0] == pytest.approx(0.025 ** (1 / 8))
    exact = scipy.stats.binomtest(8, 8).proportion_ci(0.95, "exact")
    assert (found.auc_low[0], found.auc_high[0]) == pytest.approx((exact.low, exact.high))
    assert (found.auc_low[1], found.auc_high[1]) == pytest.approx((0, 1 - 0.025 ** (1 / 8)))
    single = associate(x, np.arange(50) == 49)
    assert single.auc_low[0] == pytest.approx(0.025)


def test_a_single_positive_has_a_wide_interval():
    found = associate(np.arange(9.0)[None], np.arange(9) == 4)
    assert found.auc[0] == 0.5
    assert found.auc_low[0] == pytest.approx(0.0125)
    assert found.auc_high[0] == pytest.approx(0.9875)


def test_two_samples_are_enough():
    found = associate(np.array([[1.0, 2.0]]), np.array([False, True]))
    assert (found.auc[0], found.rho[0], found.rho_max[0]) == (1, pytest.approx(1), pytest.approx(1))


def test_no_neurons_give_no_rows():
    found = associate(np.zeros((0, 5)), np.arange(5) > 2)
    assert found.auc.shape == found.dead.shape == (0,)


@pytest.mark.parametrize(
    ("x", "y", "strata", "message"),
    [
        (np.ones((2, 5)), np.ones(4), None, "the signal has 4 values; expected one for each of 5"),
        (np.ones((2, 3)), [1, 1, 1], None, "the signal is 1 for all 3 samples"),
        (
            np.ones((2, 3)),
            [0, 1, 1],
            [1, 2],
            "the strata have 2 values; expected one for each of 3",
        ),
        (np.ones((2, 3)), [0, 1, 1], [1, 2, 3], "cannot be decided, n = 3, 2 positive"),
        (np.ones((2, 3)), [0, 1, np.nan], None, "the signal is NaN for 1 of 3 samples"),
        (np.ones((2, 3)), [0, 1, 1], [1, 2, np.nan], "the strata are NaN for 1 of 3 samples"),
        (np.ones((2, 0)), [], None, "the signal is empty"),
        (np.ones((2, 1)), [1], None, "the signal is 1 for all 1 samples"),
        (np.ones(3), [0, 1, 1], None, "x has shape"),
        (np.ones((1, 3)), ["a", "b", "b"], None, "expected bool or real numbers"),
        (np.ones((1, 2)), np.ones((2, 2)), None, "the signal has shape"),
    ],
)
def test_what_does_not_fit_is_named(x, y, strata, message):
    strata = None if strata is None else np.asarray(strata)
    with pytest.raises(ValueError, match=message):
        associate(x, np.asarray(y), strata)


def test_level_is_a_coverage():
    with pytest.raises(ValueError, match="level is 95"):
        associate(np.ones((1, 2)), np.array([0, 1]), level=95)


values = st.one_of(
    st.just(0.0),
    st.just(-0.0),
    st.sampled_from([1.0, 2.0, -1.0, np.inf, -np.inf, 1e-30]),
    st.floats(-3, 3, width=16),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), n=st.integers(2, 40), dtype=st.sampled_from(["f2", "f4", "f8"]))
def test_any_ties_agree_with_the_twins(data, n, dtype):
    neuron = np.array(data.draw(st.lists(values, min_size=n, max_size=n)), dtype=dtype)
    y = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    strata = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    decided = any(0 < y[strata == code].sum() < (strata == code).sum() for code in range(3))
    if not decided:
        return
    found = associate(neuron[None], y, strata)
    assert found.dead[0] == (len(np.unique(neuron)) == 1)
    if found.dead[0]:
        return
    auc, z = literal_van_elteren(neuron, y, strata)
    assert abs(found.auc[0] - auc) <= TOLERANCE
    assert found.z[0] == pytest.approx(z, abs=1e-9)
    assert found.auc_low[0] - 1e-9 <= found.auc[0] <= found.auc_high[0] + 1e-9
    assert 0 <= found.auc_low[0] <= found.auc_high[0] <= 1
    finite = scipy.stats.rankdata(neuron)
    assert abs(found.rho[0] - np.corrcoef(finite, y)[0, 1]) <= TOLERANCE
    mirrored = associate(-neuron[None], y, strata)
    assert mirrored.auc[0] == pytest.approx(1 - found.auc[0], abs=TOLERANCE)
    assert mirrored.auc_low[0] == pytest.approx(1 - found.auc_high[0], abs=1e-9)


COLUMNS = ("auc", "auc_low", "auc_high", "rank_biserial", "rho", "rho_max", "z", "p")


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("compile_above", [0, 10**9])
def test_many_signals_are_each_alone(monkeypatch, case, stratified, dtype, compile_above):
    x, y, strata = case
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", compile_above)
    x = np.tile(np.vstack([x, np.full(len(y), np.nan)]), (3, 4)).astype(dtype)
    y, strata = np.tile(y, 4), np.tile(strata, 4)
    rng = np.random.default_rng(4)
    # Among them one that decides in a single stratum, and one without a stratum in common with it.
    signals = np.array([y, ~y, rng.random(len(y)) < 0.5, (strata == 5) & y, (strata == 6) & y])
    codes = [f"class {code}" for code in strata] if stratified else None
    found = associate_many(x, signals, codes, threads=2)
    for signal, association in zip(signals, found, strict=True):
        alone = associate(x, signal, codes)
        for name in (*COLUMNS, "p_unstratified", "zeros", "dead"):
            same = np.array_equal(getattr(association, name), getattr(alone, name), equal_nan=True)
            assert same, name
        for name in ("n", "n_positive", "n_informative", "n_positive_informative", "n_strata"):
            assert getattr(association, name) == getattr(alone, name), name


def test_many_signals_of_any_kind():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3, 60))
    signals = np.vstack([rng.random(60) < 0.3, rng.integers(0, 3, 60)])
    for signal, association in zip(signals, associate_many(x, signals), strict=True):
        assert np.array_equal(association.auc, associate(x, signal).auc)
    assert associate_many(x, np.zeros((0, 60))) == []
    with pytest.raises(ValueError, match=r"the signals have shape \(60,\)"):
        associate_many(x, signals[0])
    with pytest.raises(ValueError, match="the signal is 1 for all 60 samples"):
        associate_many(x, np.ones((1, 60)))


@pytest.mark.parametrize("stratified", [False, True])
def test_tails_from_counts_are_those_from_rows(stratified):
    rng = np.random.default_rng(6)
    n = 600
    x = np.where(rng.random((300, n)) < np.geomspace(0.003, 1, 300)[:, None], 1, 0.0)
    x *= np.round(rng.normal(size=x.shape), 1)
    y = rng.random(n) < 0.06
    x[:150] += 3 * (rng.random((150, n)) < 0.1) * y
    strata = rng.integers(0, 4, n) if stratified else None
    found, design = associate(x, y, strata), make_design(y, strata)
    skew = statistic_skewness(x, design)
    expected = tail_p(x, found.z, tie_term(x) / (n**3 - n), design)
    np.testing.assert_allclose(found.p, expected, rtol=1e-9)
    assert (found.p > 2 * scipy.stats.norm.sf(np.abs(found.z)) * 1.5)[~found.dead].sum() > 20
    assert np.abs(skew).max() > 1
