"""Groups of similar neurons: planted ones, a literal twin of average linkage, scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from nbcorr.stats import similar_groups, sorting


def literal_correlations(x, strata):
    """Correlation of ranks within strata, centred, over n + 1: Pearson's of the residuals."""
    table = np.zeros(x.shape)
    for code in np.unique(strata):
        inside = strata == code
        ranks = np.array([scipy.stats.rankdata(row) for row in x[:, inside]])
        table[:, inside] = (ranks - ranks.mean(axis=1, keepdims=True)) / (inside.sum() + 1)
    return np.abs(np.corrcoef(table))


def literal_groups(correlations, threshold):
    """Join the two groups with the largest average |rho| as long as it reaches the threshold."""
    groups = [[i] for i in range(len(correlations))]
    while len(groups) > 1:
        best, a, b = max(
            (correlations[np.ix_(groups[a], groups[b])].mean(), a, b)
            for a in range(len(groups))
            for b in range(a)
        )
        if best < threshold:
            break
        groups[b] += groups.pop(a)
    numbers = np.empty(len(correlations), dtype=int)
    for number, members in enumerate(sorted(groups, key=min)):
        numbers[members] = number + 1
    return numbers


@pytest.fixture
def planted():
    """Six groups of neurons in random order, half of each negated, with ReLU zeros."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, 40)
    source = rng.normal(size=(6, 900))
    x = source[truth] * rng.choice([-1, 1], (40, 1)) + 0.5 * rng.normal(size=(40, 900))
    return np.maximum(x, -0.3).astype(np.float32), truth, rng


def test_planted_groups_are_found_and_numbered_as_they_appear(planted):
    x, truth, _ = planted
    found = similar_groups(x)
    assert adjusted_rand_score(truth, found) == 1
    first = [found.tolist().index(number) for number in range(1, 7)]
    assert first == sorted(first)
    assert found[0] == 1


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("compile_above", [0, 10**12])
def test_equals_the_literal_twin_and_scikit_learn(planted, threshold, compile_above, monkeypatch):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", compile_above)
    x, _, rng = planted
    strata = rng.integers(0, 3, 900)
    correlations = literal_correlations(x, strata)
    found = similar_groups(x, strata, threshold)
    assert np.array_equal(found, literal_groups(correlations, threshold))
    peer = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=1 - threshold
    ).fit(1 - correlations)
    assert adjusted_rand_score(peer.labels_, found) == 1


def test_one_stratum_is_spearman():
    x = np.random.default_rng(1).normal(size=(2, 60)) + np.linspace(0, 2, 60)
    rho = abs(scipy.stats.spearmanr(*x).statistic)
    assert similar_groups(x, threshold=rho - 1e-4).tolist() == [1, 1]
    assert similar_groups(x, threshold=rho + 1e-4).tolist() == [1, 2]


def test_the_class_makes_no_two_neurons_similar(planted):
    _, _, rng = planted
    label = np.repeat(np.arange(9), 100)
    x = rng.normal(size=(12, 900)) + 4 * label
    assert similar_groups(x).max() == 1
    assert similar_groups(x, label).tolist() == list(range(1, 13))


def test_dead_neurons_have_no_group():
    x = np.random.default_rng(2).normal(size=(6, 30))
    x[0], x[2, 1], x[3] = 5, np.nan, np.arange(30) // 15
    assert similar_groups(x).tolist() == [0, 1, 0, 2, 3, 4]
    # Alive, but constant within every stratum: like no other.
    assert similar_groups(x, np.arange(30) // 15).tolist() == [0, 1, 0, 2, 3, 4]
    assert similar_groups(x[:2]).tolist() == [0, 1]
    assert similar_groups(x[:1]).tolist() == [0]
    assert similar_groups(x[:0]).shape == (0,)
    assert similar_groups(np.ones((2, 1))).tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(3, 25), dtype=st.sampled_from(["f2", "f4", "f8"]))
def test_copies_and_opposites_are_always_together(data, n, dtype):
    values = st.sampled_from([0.0, 0.0, -0.0, 1.0, 2.0, -3.0, np.inf, -np.inf])
    x = np.array([data.draw(st.lists(values, min_size=n, max_size=n)) for _ in range(3)], dtype)
    found = similar_groups(np.vstack([x, -x, x]), threshold=0.99)
    dead = (x == x[:, :1]).all(axis=1)
    assert np.array_equal(found[:3] == 0, dead)
    assert np.array_equal(found[:3], found[3:6])
    assert np.array_equal(found[:3], found[6:])


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="x has shape"):
        similar_groups(np.ones(3))
    with pytest.raises(ValueError, match="the strata have 2 values"):
        similar_groups(np.ones((2, 3)), [1, 2])
    with pytest.raises(ValueError, match="threshold is 1.5"):
        similar_groups(np.ones((2, 3)), threshold=1.5)
