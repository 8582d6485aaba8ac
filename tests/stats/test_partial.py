"""Partial rank correlation against its recursion formula and against plain least squares."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from nbcorr.stats import PartialDesign, associate, partial_spearman
from nbcorr.stats.curves import logistic_score, orthonormal, score_curves


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=300)
    x = np.maximum(rng.normal(size=(6, 300)) + difficulty, 0)
    return x, difficulty + rng.normal(size=300) > 1, difficulty, rng


def test_one_covariate_follows_the_recursion(case):
    x, y, z, _ = case
    found = partial_spearman(x, y, z, degree=1)
    for i, neuron in enumerate(x):
        a, b, c = (
            scipy.stats.spearmanr(*pair).statistic for pair in ((neuron, y), (neuron, z), (y, z))
        )
        expected = (a - b * c) / np.sqrt((1 - b**2) * (1 - c**2))
        assert found.rho[i] == pytest.approx(expected, abs=1e-12)
    assert found.degrees == 297


def test_strata_and_covariates_equal_a_regression_on_ranks(case):
    x, y, z, rng = case
    strata = rng.integers(0, 4, 300)
    covariates = np.array([z, rng.normal(size=300)])
    found = partial_spearman(x, y, covariates, strata, degree=1)
    dummies = (strata[:, None] == np.arange(4)).astype(float)
    held = np.column_stack([dummies, *(scipy.stats.rankdata(c) for c in covariates)])
    for i, neuron in enumerate(x):
        columns = np.column_stack([scipy.stats.rankdata(neuron), held])
        plain = sm.OLS(scipy.stats.rankdata(y), columns).fit().tvalues[0]
        robust, p_skewed = literal_robust(neuron, y, held)
        assert found.t[i] == pytest.approx(min(plain, robust, key=abs), rel=1e-8)
        p = 2 * scipy.stats.t.sf(abs(found.t[i]), found.degrees)
        assert found.p[i] == pytest.approx(max(p, p_skewed(found.t[i])), rel=1e-7)


def literal_robust(neuron, y, held):
    """t by the fitted variance of the signal's residual, and p by its fitted third moment."""
    hat = held @ np.linalg.pinv(held)
    e, f = (scipy.stats.rankdata(v) - hat @ scipy.stats.rankdata(v) for v in (neuron, y))
    variance = np.maximum(hat @ (f**2 / (1 - np.diag(hat))), 0)
    third = hat @ (f**3 / (1 - np.diag(hat)))
    spread = np.sum(e**2 * variance)
    skewness = np.sum(e**3 * third) / spread**1.5

    def p_skewed(t):
        if abs(t) < 1.645 or skewness * t <= 0:
            return 0
        return min(1, 2 * scipy.stats.pearson3.sf(abs(t), abs(skewness)))

    return e @ f / np.sqrt(spread), p_skewed


def test_the_error_rate_is_nominal_where_the_covariate_explains_all():
    rng = np.random.default_rng(1)
    difficulty = rng.normal(size=250)
    x = rng.normal(size=(800, 250)) + difficulty
    y = difficulty + rng.normal(size=250) > 0.5
    assert np.mean(associate(x, y).p < 0.05) > 0.5
    share = np.mean(partial_spearman(x, y, difficulty).p < 0.05)
    assert 0.02 < share < 0.09


def test_curves_are_held_fixed_where_lines_are_not_enough():
    rng = np.random.default_rng(5)
    difficulty = rng.normal(size=2000)
    x = np.maximum(rng.normal(size=(300, 2000)) + 2 * difficulty, 0)
    y = difficulty + rng.normal(size=2000) > 1.5
    assert np.mean(partial_spearman(x, y, difficulty, degree=1).p < 0.05) > 0.3
    assert np.mean(partial_spearman(x, y, difficulty).p < 0.05) < 0.09


def test_dead_neurons_are_nan(case):
    x, y, z, _ = case
    x[0], x[1, 3], x[2] = 1, np.nan, z
    found = partial_spearman(x, y, z)
    for column in found[:3]:
        assert np.isnan(column).tolist() == [True] * 3 + [False] * 3
    strata = np.arange(300) % 3
    x[3] = strata
    assert np.isnan(partial_spearman(x, y, z, strata).rho).tolist() == [True] * 4 + [False] * 2
    assert partial_spearman(x[:0], y, z).rho.shape == (0,)


def columns_of(covariates, strata, degree):
    """A column for each stratum, powers of each covariate's ranks, and products of two powers."""
    dummies = (strata[:, None] == np.unique(strata)).astype(float)
    ranks = [2 * scipy.stats.rankdata(c) / len(c) - 1 for c in covariates]
    columns = [r**power for r in ranks for power in range(1, degree + 1)]
    if degree > 1:
        for one, other in itertools.combinations(ranks, 2):
            pairs = itertools.product(range(1, degree + 1), repeat=2)
            columns += [one**a * other**b for a, b in pairs if a + b <= 4]
    return np.column_stack([dummies, *columns])


def with_score(columns, y, strata, degree):
    """The columns, what they say of the signal, and powers of its ranks."""
    said = columns[:, len(np.unique(strata)) :].T
    codes = np.unique(strata, return_inverse=True)[1]
    score = score_curves(scipy.stats.rankdata(y), said, codes, degree)[0]
    ranks = 2 * scipy.stats.rankdata(score) / len(y) - 1
    return np.column_stack([columns, score, *(ranks**power for power in range(1, degree + 1))])


def literal_held(y, covariates, strata, degree):
    """All columns that are held fixed."""
    held = columns_of(covariates, strata, degree)
    return with_score(held, y, strata, degree) if degree > 1 else held


def literal_partial(neuron, y, held):
    """Correlation of the residuals of two regressions."""
    left = [
        ranks - held @ np.linalg.lstsq(held, ranks, rcond=None)[0]
        for ranks in (scipy.stats.rankdata(neuron), scipy.stats.rankdata(y))
    ]
    return left[0] @ left[1] / np.sqrt((left[0] @ left[0]) * (left[1] @ left[1]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("degree", [1, 5])
def test_equals_the_literal_twin_whatever_the_ties(dtype, zeros, degree):
    rng = np.random.default_rng(2)
    n = 1500
    strata = rng.integers(0, 7, n)
    covariates = np.array([np.round(rng.normal(size=n), 1), rng.normal(size=n) + strata])
    x = rng.normal(size=(5, n)) + covariates[1]
    x = np.maximum(x - np.quantile(x, zeros, axis=1, keepdims=True), 0).astype(dtype)
    x[0, :4] = [np.inf, np.inf, -np.inf, -0.0]
    for y in (rng.random(n) < 0.1, covariates[0] + rng.normal(size=n)):
        found = partial_spearman(x, y, covariates, strata, degree=degree)
        held = literal_held(y, covariates, strata, degree)
        for i, neuron in enumerate(x):
            expected = literal_partial(neuron, y, held)
            # The score is fitted in steps, from other columns of the same span.
            assert abs(found.rho[i] - expected) <= (1e-12 if degree == 1 else 1e-8)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(8, 30))
def test_any_ties_agree_with_the_literal_twin(data, n):
    def draw(values):
        return np.array(data.draw(st.lists(values, min_size=n, max_size=n)))

    neuron, held = (
        draw(st.sampled_from([0.0, -0.0, 1.0, 2.5, np.inf, -np.inf])),
        draw(st.integers(0, 5)),
    )
    y, strata = draw(st.booleans()), draw(st.integers(0, 2))
    try:
        design = PartialDesign(y, held, strata, degree=1)
    except ValueError:
        return
    rho = design.correlate(neuron[None]).rho[0]
    if np.isnan(rho):
        columns = columns_of([held], strata, 1)
        both = np.column_stack([columns, scipy.stats.rankdata(neuron)])
        assert np.linalg.matrix_rank(both) == np.linalg.matrix_rank(columns)
    else:
        assert abs(rho - literal_partial(neuron, y, columns_of([held], strata, 1))) <= 1e-12


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("per_group", [1, 5, 30])
@pytest.mark.parametrize("degree", [1, 4])
def test_groups_equal_the_cluster_robust_regression(case, stratified, per_group, degree):
    x, y, z, rng = case
    strata = rng.integers(0, 4, 300) if stratified else np.zeros(300, int)
    groups = rng.integers(0, 300 // per_group, 300)
    found = partial_spearman(x, y, z, strata, groups, degree=degree)
    single = partial_spearman(x, y, z, strata, degree=degree)
    held = orthonormal(literal_held(y, [z], strata, degree).T).T
    for i, neuron in enumerate(x):
        columns = np.column_stack([scipy.stats.rankdata(neuron), held])
        fit = sm.OLS(scipy.stats.rankdata(y), columns).fit(
            cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
        )
        # What the groups add can only take away from t.
        expected = min(fit.tvalues[0], single.t[i], key=abs)
        assert found.t[i] == pytest.approx(expected, rel=1e-8)
        assert found.p[i] >= 2 * scipy.stats.t.sf(abs(expected), found.degrees) * (1 - 1e-7)
    assert found.degrees == len(np.unique(groups)) - 1
    assert np.array_equal(found.rho, single.rho)


def test_the_score_of_a_binary_signal_is_ridge_logistic_regression(case):
    _, y, z, rng = case
    columns = np.column_stack([z, z**2, rng.normal(size=300)])
    basis = np.linalg.qr(columns - columns.mean(0))[0].T
    score = logistic_score(y, basis, np.zeros(300, int))
    odds = np.full(300, np.log((y.sum() + 0.5) / (301 - y.sum() - 0.5)))
    held = np.column_stack([odds, np.ones(300), np.sqrt(300) * basis.T])
    peer = LogisticRegression(fit_intercept=False, tol=1e-10, max_iter=10_000).fit(held, y)
    np.testing.assert_allclose(score, peer.predict_proba(held)[:, 1], atol=1e-6)


def test_a_design_is_fitted_once_for_many_blocks_and_travels(case):
    x, y, z, rng = case
    strata, groups = rng.integers(0, 9, 300), np.repeat(np.arange(60), 5)
    design = pickle.loads(pickle.dumps(PartialDesign(y, z, strata, groups)))
    whole = partial_spearman(x, y, z, strata, groups)
    for at in range(0, 6, 2):
        part = design.correlate(x[at : at + 2])
        np.testing.assert_allclose(part.t, whole.t[at : at + 2], rtol=1e-13)
        assert part.degrees == whole.degrees


def test_a_thousand_strata_are_centred_not_fitted_as_columns():
    rng = np.random.default_rng(3)
    strata = rng.integers(0, 1000, 50_000)
    z = rng.normal(size=50_000)
    design = PartialDesign(z + rng.normal(size=50_000) > 1, z, strata)
    assert len(design.basis) <= 11
    assert design.degrees == 50_000 - 1001 - len(design.basis)
    assert len(pickle.dumps(design)) < 6.5e6


def test_covariates_that_say_the_same_count_once(case):
    x, y, z, _ = case
    once, twice = partial_spearman(x, y, z), partial_spearman(x, y, np.array([z, 3 * z]))
    np.testing.assert_allclose(once.rho, twice.rho, atol=1e-12)
    assert once.degrees == twice.degrees
    # What the strata determine holds nothing more.
    strata = np.arange(300) % 4
    more = partial_spearman(x, y, [z, 1.0 * strata], strata, degree=1)
    assert more.degrees == partial_spearman(x, y, z, strata, degree=1).degrees
    assert partial_spearman(x, y, np.empty((0, 300))).rho == pytest.approx(
        [scipy.stats.spearmanr(neuron, y).statistic for neuron in x], abs=1e-12
    )


@pytest.mark.parametrize("rule", ["abs", "sum", "curve"])
def test_what_nearly_determines_the_signal_cannot_be_decided(rule):
    rng = np.random.default_rng(6)
    c = rng.normal(size=(2, 1500))
    signal = {
        "abs": np.abs(c[0]) > 1,
        "sum": c.sum(axis=0) > 1,
        "curve": c[0] ** 2 + 0.01 * rng.normal(size=1500),
    }[rule]
    with pytest.raises(ValueError, match="cannot be decided, n = 1500: .* nearly determines? the"):
        PartialDesign(signal, c)


def test_what_determines_the_signal_is_named(case):
    _, y, z, rng = case
    confidence = rng.normal(size=300)
    names = ["difficulty", "confidence"]
    for signal in (confidence > 0.3, confidence < -1, np.exp(confidence), np.round(confidence)):
        with pytest.raises(ValueError, match="^covariate 'confidence' determines the signal; noth"):
            PartialDesign(signal, [z, confidence], names=names)
    strata = np.arange(300) % 5
    with pytest.raises(ValueError, match="covariate 'confidence' determines .* within the strata"):
        PartialDesign(confidence - strata > 0, [z, confidence], strata, names=names)
    # Rising in one stratum and falling in another determines nothing.
    mixed = np.where(strata == 2, confidence < 0, confidence > 0)
    assert PartialDesign(mixed, [z, confidence], strata, names=names).target.any()
    with pytest.raises(ValueError, match="^the strata determine the signal"):
        PartialDesign(y, z, y)
    levels = np.arange(300) % 3
    with pytest.raises(ValueError, match="covariate 1 and covariate 2 determine the signal"):
        PartialDesign(levels, [levels == 1, levels == 2])


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        (np.arange(9.0), "covariate 'x' has shape .9,.; expected one number for each of 10"),
        (np.where(np.arange(10) == 2, np.nan, 1), "covariate 'x' is NaN for 1 of 10 samples"),
        (np.full(10, 3), "covariate 'x' is constant .3.: it holds nothing fixed"),
        (np.array(list("abcdefghij")), "covariate 'x' holds <U1, not numbers; give categories as"),
        (np.array(list("abcdefghij"), object), "covariate 'x' holds object, not numbers"),
        ([list("abcdefghij")], "covariate 'x' holds <U1, not numbers"),
        (np.zeros((2, 10)), "1 names for 2 covariates"),
    ],
)
def test_covariates_that_do_not_fit_are_named(covariates, message):
    with pytest.raises(ValueError, match=message):
        PartialDesign(np.arange(10) % 3 == 1, covariates, names=["x"])


def test_what_cannot_be_decided_is_said(case):
    x, y, z, _ = case
    with pytest.raises(ValueError, match="degree is 0; expected 1"):
        partial_spearman(x, y, z, degree=0)
    with pytest.raises(ValueError, match="degrees of freedom"):
        partial_spearman(x[:, :4], [0, 1, 1, 0], [1.0, 2, 1, 3], [1, 1, 2, 2])
    with pytest.raises(ValueError, match="all samples are of one group"):
        partial_spearman(x, y, z, groups=np.zeros(300))
    with pytest.raises(ValueError, match="the groups have 2 values"):
        partial_spearman(x, y, z, groups=np.zeros(2))
    with pytest.raises(ValueError, match="the signal has 299 values"):
        partial_spearman(x, y[1:], z)
    with pytest.raises(ValueError, match=r"x has shape .6, 299.; expected .n_neurons, 300."):
        PartialDesign(y, z).correlate(x[:, 1:])
