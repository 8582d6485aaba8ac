"""PWCCA against its definition, scikit-learn, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cross_decomposition import CCA

from nbcorr.stats.cca import pwcca_distance


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 300))
    y = rng.normal(size=(4, 6)) @ x + 2 * rng.normal(size=(4, 300))
    return x, y


def literal(x, y):
    """From the eigenvectors of Sxx^-1 Sxy Syy^-1 Syx, as CCA is defined (Hotelling 1936)."""
    x, y = (a - a.mean(axis=1, keepdims=True) for a in (x, y))
    sxx, syy, sxy = x @ x.T, y @ y.T, x @ y.T
    squares, vectors = np.linalg.eig(np.linalg.solve(sxx, sxy) @ np.linalg.solve(syy, sxy.T))
    order = np.argsort(-squares.real)[: min(len(x), len(y))]
    total = weight = 0.0
    for i in order:
        variate = vectors[:, i].real @ x
        variate = variate / np.linalg.norm(variate)
        own = sum(abs(variate @ row) for row in x)
        total += own * np.sqrt(squares[i].real)
        weight += own
    return 1 - total / weight


def test_it_equals_its_definition(pair):
    assert pwcca_distance(*pair) == pytest.approx(literal(*pair), abs=1e-10)


def test_with_weights_left_out_the_correlations_are_scikit_learns(pair):
    """Of one neuron the weighted mean is its own canonical correlation."""
    x, y = pair
    model = CCA(1, max_iter=5000, tol=1e-12).fit(x.T, y[:1].T)
    a, b = model.transform(x.T, y[:1].T)
    expected = np.corrcoef(a[:, 0], b[:, 0])[0, 1]
    assert 1 - pwcca_distance(y[:1], x) == pytest.approx(expected, abs=1e-6)


def test_a_change_of_basis_is_no_distance_and_chance_is_nearly_one():
    rng = np.random.default_rng(1)
    x = np.maximum(rng.normal(size=(8, 4000)), 0)
    assert pwcca_distance(x, rng.normal(size=(8, 8)) @ x + 3) == pytest.approx(0, abs=1e-9)
    assert pwcca_distance(x, rng.normal(size=(8, 4000))) > 0.93


def test_dead_neurons_and_copies_change_nothing(pair):
    x, y = pair
    more = np.concatenate([y, y[:2], np.ones((1, 300))])
    assert pwcca_distance(x, more) == pytest.approx(pwcca_distance(x, y), abs=1e-9)


def test_nan_and_what_is_refused(pair):
    x, y = pair
    assert np.isnan(pwcca_distance(x, np.ones((3, 300))))
    assert np.isnan(pwcca_distance(x, np.full((3, 300), np.nan)))
    with pytest.raises(ValueError, match="of the same samples"):
        pwcca_distance(x, y[:, 1:])
    with pytest.raises(ValueError, match="7 samples span 6 dimensions"):
        pwcca_distance(x[:, :7], y[:, :7])
