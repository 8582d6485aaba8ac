"""Pearson's correlation against its definition in exact fractions and against scipy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import pearson


def literal_pearson(a, b):
    """The definition, with no rounding before the last root."""
    a, b = [Fraction(float(v)) for v in a], [Fraction(float(v)) for v in b]
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    product = sum((u - mean_a) * (v - mean_b) for u, v in zip(a, b, strict=True))
    square = sum((u - mean_a) ** 2 for u in a) * sum((v - mean_b) ** 2 for v in b)
    return np.sign(product) * np.sqrt(float(product**2 / square))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.99])
def test_equals_scipy(dtype, zeros):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 400))
    x = (9 * np.maximum(x - np.quantile(x, zeros, axis=1, keepdims=True), 0)).astype(dtype)
    real, binary = rng.normal(size=400), rng.random(400) < 0.1
    for i, neuron in enumerate(x.astype(np.float64)):
        assert abs(pearson(x, real)[i] - scipy.stats.pearsonr(neuron, real).statistic) <= 1e-12
        expected = scipy.stats.pointbiserialr(binary, neuron).statistic
        assert abs(pearson(x, binary)[i] - expected) <= 1e-12


@pytest.mark.parametrize(
    ("centre", "spread"), [(0, 1), (1e8, 1), (1e12, 1), (0, 1e300), (1e308, 1e307), (0, 1e-310)]
)
def test_large_means_and_any_scale_cost_no_digits(centre, spread):
    rng = np.random.default_rng(1)
    neuron = np.clip(rng.normal(size=50), -5, 5) * spread + centre
    y = rng.random(50) < 0.3
    assert abs(pearson(neuron[None], y)[0] - literal_pearson(neuron, y)) <= 1e-12
    assert abs(pearson(y[None], neuron)[0] - literal_pearson(neuron, y)) <= 1e-12


def test_float16_does_not_overflow():
    x = np.full((1, 4000), 60_000, np.float16)
    x[0, ::2] = 50_000
    y = np.arange(4000) % 2
    assert pearson(x, y)[0] == pytest.approx(1, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(2, 30), dtype=st.sampled_from(["f2", "f4", "f8"]))
def test_any_values_agree_with_the_definition(data, n, dtype):
    values = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 1.0009765625]), st.floats(-9, 9, width=16))
    neuron = np.array(data.draw(st.lists(values, min_size=n, max_size=n)), dtype)
    y = np.array(data.draw(st.lists(values, min_size=n, max_size=n)))
    if (y == y[0]).all():
        return
    found = pearson(neuron[None], y)[0]
    if (neuron == neuron[0]).all():
        assert np.isnan(found)
    else:
        assert abs(found - literal_pearson(neuron, y)) <= 1e-12


def test_dead_neurons_are_nan():
    x = np.random.default_rng(2).normal(size=(6, 20))
    x[0], x[1, 3], x[2, 4], x[3, 5] = 7, np.nan, np.inf, -np.inf
    x[4] = np.where(np.arange(20) % 2, 0.0, -0.0)
    assert np.isnan(pearson(x, np.arange(20))).tolist() == [True] * 5 + [False]
    assert pearson(x[:0], np.arange(20)).shape == (0,)
    assert pearson(np.array([[1, 2]]), np.array([2, 1])).tolist() == pytest.approx([-1])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1, 2], "the signal has 2 values; expected one for each of 3"),
        ([1, 1, 1], "the signal is 1 for all 3 samples"),
        ([1, np.inf, 2], "the signal is infinite for 1 of 3 samples"),
        ([1, np.nan, 2], "the signal is NaN for 1 of 3"),
    ],
)
def test_what_does_not_fit_is_named(y, message):
    with pytest.raises(ValueError, match=message):
        pearson(np.zeros((2, 3)), np.array(y))
