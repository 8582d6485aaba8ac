"""What neurons tell of classes, each against a twin from its definition or a trusted library."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap
from sklearn.metrics import mutual_info_score, roc_auc_score

from nbcorr.stats import selectivity_index
from nbcorr.stats.class_means import class_sums
from nbcorr.stats.selectivity import EPSILON, drawn_within, selectivity_interval
from nbcorr.stats.sorting import compiled
from nbcorr.stats.tuning import class_auroc, mutual_information, precision_at, sparseness


@st.composite
def tied_neurons(draw):
    """Few values, so that there are ties and constants; every class has one sample at least."""
    n_classes = draw(st.integers(2, 4))
    n = draw(st.integers(n_classes, 14))
    rest = draw(st.lists(st.integers(0, n_classes - 1), min_size=n - n_classes, max_size=n))
    codes = np.array([*range(n_classes), *rest][:n])
    levels = st.sampled_from([0.0, -0.0, 0.5, 1.0, 3.0, 1e-30, 1e30])
    values = draw(arrays(np.float32, (3, n), elements=levels))
    return values, codes


def relu(n_neurons, n, seed=0):
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(n_neurons, n)), 0).astype(np.float32)


# The index


@given(arrays(np.float64, (4, 5), elements=st.floats(0, 1e6, allow_subnormal=False)))
def test_index_is_bounded_whatever_the_means_and_does_not_hang_on_their_order(means):
    found = selectivity_index(means)
    alive = ~np.isnan(found.selectivity)
    assert np.array_equal(alive, (means > 0).any(axis=1))
    assert ((found.selectivity[alive] >= -1e-12) & (found.selectivity[alive] <= 1)).all()
    backward = selectivity_index(means[:, ::-1])
    np.testing.assert_allclose(backward.selectivity, found.selectivity, atol=1e-9)
    best = means[np.arange(4), np.maximum(found.preferred_class, 0)]
    assert np.array_equal(best[alive], means.max(axis=1)[alive])


# Class sums


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16, np.int64, bool])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", [1, 40, 1200])
def test_class_sums_are_sums_over_classes(dtype, order, n):
    rng = np.random.default_rng(n)
    x = np.asarray(rng.normal(0, 3, (n, 90)), dtype=dtype, order=order)
    codes = rng.integers(0, 5, n)
    for rectify in (False, True):
        found = class_sums(x, codes, 7, rectify=rectify)
        for code in range(7):
            rows = x[codes == code].astype(np.float64)
            expected = (np.maximum(rows, 0) if rectify else rows).sum(axis=0)
            np.testing.assert_allclose(found.sums[code], expected, rtol=1e-6, atol=2e-4)
        assert np.array_equal(found.lowest, x.min(axis=0))


def test_class_sums_compiled_and_plain_say_the_same_and_can_be_added(monkeypatch):
    x = relu(3000, 1200).T.copy()
    codes = np.random.default_rng(1).integers(0, 10, len(x))
    assert compiled(x.size)
    whole = class_sums(x, codes, 10)
    monkeypatch.setattr("nbcorr.stats.class_means.compiled", lambda _: False)
    parts = [class_sums(x[at : at + 7], codes[at : at + 7], 10) for at in range(0, len(x), 7)]
    together = parts[0]
    for part in parts[1:]:
        together = together.plus(part)
    np.testing.assert_allclose(whole.sums, together.sums, rtol=1e-5)
    assert np.array_equal(whole.lowest, together.lowest)


def test_class_sums_keep_what_is_not_finite_in_sight():
    x = relu(600, 2000).T.copy()
    x[3, 5], x[900, 7], x[4, 8] = np.nan, np.inf, -1
    found = class_sums(x, np.arange(2000) % 3, 3)
    assert np.flatnonzero(~np.isfinite(found.sums).all(axis=0)).tolist() == [5, 7]
    assert found.lowest[8] == -1


# The interval


def literal_interval(row, codes, draws, level):
    def means(weights):
        return [
            sum(w * v for w, v, c in zip(weights, row, codes, strict=True) if c == code)
            / sum(c == code for c in codes)
            for code in range(max(codes) + 1)
        ]

    in_sample = means([1] * len(row))
    best = in_sample.index(max(in_sample))
    found = []
    for weights in draws.T.tolist():
        of_classes = means(weights)
        others = [m for c, m in enumerate(of_classes) if c != best]
        rest = sum(others) / len(others)
        found.append((of_classes[best] - rest) / (of_classes[best] + rest + EPSILON))
    return np.quantile(found, [(1 - level) / 2, (1 + level) / 2])


def test_interval_equals_its_definition():
    x = relu(6, 30).astype(np.float64)
    codes = np.random.default_rng(2).permutation(np.arange(30) % 3)
    draws = drawn_within(codes, 25, seed=1)
    low, high = selectivity_interval(x, codes, draws, level=0.9)
    for i, row in enumerate(x.tolist()):
        expected = literal_interval(row, codes.tolist(), draws, 0.9)
        np.testing.assert_allclose([low[i], high[i]], expected, rtol=1e-6)


def test_interval_is_that_of_scipy_for_two_classes():
    """With the preferred class held the index of two classes is a statistic of two samples."""
    rng = np.random.default_rng(3)
    a, b = rng.gamma(2.0, 1.5, 80), rng.gamma(2.0, 1.0, 70)
    x, codes = np.concatenate([a, b])[None], np.repeat([0, 1], [80, 70])
    low, high = selectivity_interval(x, codes, drawn_within(codes, 4000, 0))

    def index(one, other, axis):
        one, other = one.mean(axis=axis), other.mean(axis=axis)
        return (one - other) / (one + other + EPSILON)

    reference = bootstrap((a, b), index, n_resamples=4000, method="percentile", rng=1)
    width = high[0] - low[0]
    assert abs(low[0] - reference.confidence_interval.low) < 0.1 * width
    assert abs(high[0] - reference.confidence_interval.high) < 0.1 * width


def test_draws_keep_the_size_of_every_class_and_are_seeded():
    codes = np.array([0, 1, 1, 2, 2, 2, 0])
    draws = drawn_within(codes, 50, seed=4)
    for code in range(3):
        assert (draws[codes == code].sum(axis=0) == (codes == code).sum()).all()
    assert np.array_equal(draws, drawn_within(codes, 50, seed=4))
    assert not np.array_equal(draws, drawn_within(codes, 50, seed=5))


def test_intervals_cover_the_truth_as_often_as_the_docstring_says():
    rng = np.random.default_rng(5)
    codes = np.repeat(np.arange(5), 60)
    means = np.array([3.0, 1.0, 1.0, 2.0, 0.5])
    true = selectivity_index(means[None]).selectivity[0]
    x = rng.gamma(2.0, means[codes] / 2, (400, 300))
    low, high = selectivity_interval(x, codes, drawn_within(codes, 400, 0))
    missed = np.mean((low > true) | (high < true))
    assert 0.02 < missed < 0.09


# AUROC of each class


@given(tied_neurons())
@settings(max_examples=60, deadline=None)
def test_class_auroc_equals_sklearn(sample):
    x, codes = sample
    found = class_auroc(x, codes)
    for row, values in zip(found, x, strict=True):
        for code, auroc in enumerate(row):
            expected = roc_auc_score(codes == code, values)
            assert auroc == pytest.approx(expected, abs=1e-12)


def test_class_auroc_of_many_samples_of_constants_and_of_nan():
    x = relu(40, 3000)
    x[1], x[2, 7] = 2.0, np.nan
    codes = np.random.default_rng(0).integers(0, 3, 3000)
    found = class_auroc(x, codes)
    assert found[0, 2] == pytest.approx(roc_auc_score(codes == 2, x[0]), abs=1e-12)
    assert (found[1] == 0.5).all()
    assert np.isnan(found[2]).all()


# Mutual information


def literal_bins(row, n_bins):
    """How many of the inner quantiles lie below each value."""
    ordered = sorted(row)
    edges = [ordered[math.ceil(Fraction(i * len(row), n_bins)) - 1] for i in range(1, n_bins)]
    return [sum(edge < value for edge in edges) for value in row]


def literal_information(row, codes, n_bins):
    bins = literal_bins(row, n_bins)
    n = len(row)
    joint = Counter(zip(bins, codes, strict=True))
    own, other = Counter(bins), Counter(codes)
    bits = sum(c / n * math.log2(c * n / (own[b] * other[k])) for (b, k), c in joint.items())
    return bits, (len(joint) - len(own) - len(other) + 1) / (2 * n * math.log(2))


@given(tied_neurons(), st.integers(2, 6))
@settings(max_examples=60, deadline=None)
def test_information_equals_its_definition_and_sklearn(sample, n_bins):
    x, codes = sample
    found = mutual_information(x, codes, n_bins)
    for i, row in enumerate(x.tolist()):
        bits, bias = literal_information(row, codes.tolist(), n_bins)
        assert found.bits[i] == pytest.approx(bits, abs=1e-12)
        assert found.bias[i] == pytest.approx(bias, abs=1e-12)
        nats = mutual_info_score(codes, literal_bins(row, n_bins))
        assert found.bits[i] == pytest.approx(nats / math.log(2), abs=1e-12)


def test_information_at_its_ends():
    codes = np.arange(400) % 4
    x = np.stack([codes, np.ones(400), np.where(codes == 0, np.nan, 1)]).astype(np.float64)
    found = mutual_information(x, codes, 8)
    assert found.bits[:2].tolist() == [2, 0]
    assert found.bias[1] == 0
    assert np.isnan(found.bits[2])
    noise = mutual_information(np.random.default_rng(0).normal(size=(300, 400)), codes)
    assert abs((noise.bits - noise.bias).mean()) < 0.1 * noise.bias.mean()
    with pytest.raises(ValueError, match="n_bins is 1; expected 2 or more"):
        mutual_information(x, codes, 1)


# Sparseness


def literal_sparseness(r):
    n = len(r)
    a = (sum(r) / n) ** 2 / (sum(v * v for v in r) / n)
    return (1 - a) / (1 - 1 / n)


def test_sparseness_equals_its_definition():
    x = relu(50, 9)
    x[0] = 0
    found = sparseness(x)
    assert np.isnan(found[0])
    for i, row in enumerate(x.tolist()[1:], 1):
        assert found[i] == pytest.approx(literal_sparseness(row), rel=1e-9)


@given(st.integers(2, 9), st.sampled_from([1e-300, 1.0, 1e200]))
def test_sparseness_at_its_ends_whatever_the_scale(n, scale):
    alone = np.zeros(n)
    alone[0] = scale
    found = sparseness(np.stack([alone, np.full(n, scale), np.full(n, np.nan)]))
    assert found[:2] == pytest.approx([1, 0], abs=1e-12)
    assert np.isnan(found[2])


# Precision


def literal_precision(row, codes, k):
    """The share of each class in the first k, averaged over every order that ties may have."""
    shares = []
    for order in permutations(range(len(row))):
        if all(row[a] >= row[b] for a, b in pairwise(order)):
            top = [codes[i] for i in order[:k]]
            shares.append([top.count(c) / k for c in range(max(codes) + 1)])
    return np.mean(shares, axis=0)


@given(st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_precision_equals_its_definition(k, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice([0.0, 0.5, 2.0], size=(2, 6))
    codes = rng.permutation([0, 0, 1, 2, 1, 0])
    found = precision_at(x, codes, k)
    for i, row in enumerate(x.tolist()):
        expected = literal_precision(row, codes.tolist(), k)
        np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_precision_of_nan_and_out_of_range():
    x = np.array([[1.0, np.nan, 3], [1, 2, 3]])
    codes = np.array([0, 1, 1])
    found = precision_at(x, codes, 1)
    assert np.isnan(found[0]).all()
    assert found[1].tolist() == [0, 1]
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k is {k}; expected 1 to 3"):
            precision_at(x, codes, k)
