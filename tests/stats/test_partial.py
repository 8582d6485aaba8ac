"""Partial rank correlation against its recursion formula and against plain least squares."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import statsmodels.api as sm

from nbcorr.stats import partial_spearman


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=300)
    x = np.maximum(rng.normal(size=(6, 300)) + difficulty, 0)
    return x, difficulty + rng.normal(size=300) > 1, difficulty, rng


def test_one_covariate_follows_the_recursion(case):
    x, y, z, _ = case
    found = partial_spearman(x, y, z)
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
    found = partial_spearman(x, y, covariates, strata)
    dummies = (strata[:, None] == np.arange(4)).astype(float)
    held = np.column_stack([dummies, *(scipy.stats.rankdata(c) for c in covariates)])
    for i, neuron in enumerate(x):
        columns = np.column_stack([scipy.stats.rankdata(neuron), held])
        fit = sm.OLS(scipy.stats.rankdata(y), columns).fit()
        assert found.t[i] == pytest.approx(fit.tvalues[0], rel=1e-8)
        assert found.p[i] == pytest.approx(fit.pvalues[0], rel=1e-7)


def test_the_error_rate_is_nominal_where_the_covariate_explains_all():
    rng = np.random.default_rng(1)
    difficulty = rng.normal(size=250)
    x = rng.normal(size=(800, 250)) + difficulty
    y = difficulty + rng.normal(size=250) > 0.5
    assert np.mean(scipy.stats.norm.sf(partial_spearman(x, y, np.ones(250)).t) < 0.025) > 0.5
    share = np.mean(partial_spearman(x, y, difficulty).p < 0.05)
    assert 0.02 < share < 0.09


def test_dead_neurons_are_nan_and_what_does_not_fit_is_named(case):
    x, y, z, _ = case
    x[0], x[1, 3], x[2] = 1, np.nan, z
    assert np.isnan(partial_spearman(x, y, z).rho).tolist() == [True] * 3 + [False] * 3
    with pytest.raises(ValueError, match="determine the signal"):
        partial_spearman(x, y, y.astype(float))
    with pytest.raises(ValueError, match="the covariates have shape"):
        partial_spearman(x, y, z[:-1])
    with pytest.raises(ValueError, match="1 of 1 covariates hold a NaN"):
        partial_spearman(x, y, np.where(z > 1, np.nan, z))
    with pytest.raises(ValueError, match="degrees of freedom"):
        partial_spearman(x[:, :3], np.array([0, 1, 1]), np.array([1.0, 2, 1]), [1, 1, 2])
