"""The preview is exact for rounded activations, and right about what rounding costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import associate, sorting
from nbcorr.stats.preview import Histograms

ENGINES = [False, True] if sorting.numba_available() else [False]


def force(monkeypatch, engine):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
@pytest.mark.parametrize("n_strata", [1, 6])
@pytest.mark.parametrize("rate", [0.005, 0.03, 0.9])
def test_equals_associate_on_the_levels(engine, dtype, n_strata, rate, monkeypatch):
    force(monkeypatch, engine)
    rng = np.random.default_rng(0)
    n = 900
    x = np.maximum(rng.normal(size=(80, n)) * 10, -3).astype(dtype)
    x[50:] *= rng.random((30, n)) < np.repeat([0.003, 0.01, 0.1], 10)[:, None]
    x[3] = 2
    if x.dtype.kind == "f":
        x[4, 7] = np.nan
    strata = rng.integers(0, n_strata, n)
    y = rng.random(n) < rate
    preview = Histograms(x, strata)
    levels = preview.bins.T.astype(np.float32)
    expected = associate(levels, y, strata)
    found = preview.associate(y)
    dead = associate(x, y, strata).dead
    assert np.array_equal(np.isnan(found.auc), dead)
    np.testing.assert_allclose(found.auc[~dead], expected.auc[~dead], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.z[~dead], expected.z[~dead], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.p[~dead], expected.p[~dead], rtol=1e-9, atol=0)
    assert found.n_positive_informative == expected.n_positive_informative
    assert np.isnan(found.error[dead]).all()


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=80, deadline=None)
@given(data=st.data(), n=st.integers(1, 30), n_bins=st.sampled_from([4, 16, 256]))
def test_levels_keep_the_order_and_zero_has_its_own(engine, data, n, n_bins):
    values = st.one_of(
        st.floats(allow_nan=False), st.sampled_from([0.0, -0.0, 1.0, np.inf, -np.inf, 5e-324])
    )
    row = np.array(data.draw(st.lists(values, min_size=n, max_size=n)))
    above = sorting.COMPILE_ABOVE
    try:
        sorting.COMPILE_ABOVE = 0 if engine else 10**12
        preview = Histograms(row[None], n_bins=n_bins)
    finally:
        sorting.COMPILE_ABOVE = above
    levels = preview.bins[:, 0].astype(int)
    order = np.argsort(row)
    assert (np.diff(levels[order]) >= 0).all()
    assert levels.max() < preview.n_bins
    zero = levels[row == 0]
    assert not set(zero) & set(levels[row != 0])
    assert len(set(zero)) <= 1
    assert preview.dead[0] == (row == row[0]).all()


@pytest.mark.parametrize("n_strata", [1, 10, 200])
@pytest.mark.parametrize("shape", ["normal", "half zeros", "skewed"])
def test_the_error_told_is_the_error_made(shape, n_strata):
    rng = np.random.default_rng(1)
    n = 5000
    x = rng.normal(size=(150, n))
    x = {"normal": x, "half zeros": np.maximum(x, 0), "skewed": np.exp(x)}[shape]
    strata = rng.integers(0, n_strata, n)
    preview = Histograms(x, strata)
    for shift in (0, 1):
        y = rng.random(n) < 0.03
        own = Histograms(x + shift * y, strata) if shift and shape == "normal" else preview
        exact = associate(x + shift * y if own is not preview else x, y, strata)
        found = own.associate(y)
        apart = found.auc - exact.auc
        assert 0.8 < np.sqrt(np.mean((apart / found.error) ** 2)) < 1.2
        assert np.abs(apart / found.error).max() < 5
        if n_strata == 1:
            assert np.abs(apart).max() < 0.008
            assert np.abs(apart).mean() < 9e-4


def test_values_without_order_inside_levels_have_no_error():
    rng = np.random.default_rng(2)
    x = np.where(rng.random((5, 400)) < 0.7, 0.0, np.arange(400) + 1.0)
    few = np.where(x > 0, np.round(x / 40) + 1, 0)
    preview = Histograms(np.where(x > 0, 1.0, 0.0))
    y = rng.random(400) < 0.1
    exact = associate(np.where(x > 0, 1.0, 0.0), y)
    np.testing.assert_allclose(preview.associate(y).auc, exact.auc, atol=1e-12)
    np.testing.assert_allclose(
        Histograms(few).associate(y).auc, associate(few, y).auc, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_blocks_give_the_same_histograms(engine, monkeypatch):
    force(monkeypatch, engine)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(150, 300)).astype(np.float16)
    strata = rng.integers(0, 3, 300)
    whole = Histograms(x, strata)
    blocks = (x[cut] for cut in (slice(0, 1), slice(1, 100), slice(100, 150)))
    parts = Histograms.from_blocks(blocks, 150, 300, strata)
    for name in ("bins", "ranks", "squares", "lost", "dead"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))


@pytest.mark.parametrize("engine", ENGINES)
def test_levels_follow_from_their_definition(engine, monkeypatch):
    force(monkeypatch, engine)
    rng = np.random.default_rng(4)
    x = np.maximum(rng.normal(size=(70, 400)), 0) * np.logspace(-40, 30, 70)[:, None]
    preview = Histograms(x)
    for row, levels in zip(x, preview.bins.T, strict=True):
        low, high = np.sort(row)[[400 // 256, -1 - 400 // 256]]
        step = (high - low) / 254
        cells = np.floor((np.clip(row, low, high) - low) / step * (1 - 2.0**-40))
        assert np.mean(levels != cells + (row >= 0) + (row > 0)) < 0.01  # steps round
        assert levels.max() == 255


def test_what_does_not_fit_is_named():
    preview = Histograms(np.arange(8.0).reshape(2, 4), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="cannot be decided, n = 4, 2 positive"):
        preview.associate(np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match=r"the signal has shape \(3,\)"):
        preview.associate(np.array([0, 0, 1]))
    with pytest.raises(ValueError, match=r"the signal has shape \(1, 4\)"):
        preview.associate(np.array([[0, 0, 1, 0]]))
    with pytest.raises(ValueError, match="not binary"):
        preview.associate(np.array([0, 0.5, 1, 1]))
    with pytest.raises(ValueError, match="expected \\(n_neurons, n_samples\\)"):
        Histograms(np.ones(4))
    with pytest.raises(ValueError, match="n_bins is 300"):
        Histograms(np.ones((2, 4)), n_bins=300)
    with pytest.raises(ValueError, match="n_samples is 0"):
        Histograms.from_blocks([], 2, 0)


@pytest.mark.parametrize("n_strata", [1, 10])
@pytest.mark.parametrize("shape", ["lognormal", "cauchy", "shifted", "half zeros"])
def test_heavy_tails_have_levels_by_quantiles(shape, n_strata):
    rng = np.random.default_rng(5)
    n = 4000
    normal, wild = rng.normal(size=(60, n)), rng.standard_cauchy((60, n))
    x = {
        "lognormal": np.exp(2 * normal),
        "cauchy": wild,
        "shifted": 1000 + wild,
        "half zeros": np.where(normal > 0, np.exp(2 * wild.clip(-20, 20)), 0),
    }[shape]
    strata = rng.integers(0, n_strata, n)
    preview = Histograms(x, strata)
    y = rng.random(n) < 0.03
    # One signal knows nothing, the others the order of one neuron, from its top and its middle.
    order = np.argsort(np.argsort(x[0]))
    for signal in (y, order > 0.9 * n, np.abs(order - 0.6 * n) < 0.03 * n):
        apart = preview.associate(signal).auc - associate(x, signal, strata).auc
        assert np.abs(apart).max() < 0.005
    found = preview.associate(y)
    apart = found.auc - associate(x, y, strata).auc
    assert 0.8 < np.sqrt(np.mean((apart / found.error) ** 2)) < 1.2


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n_bins=st.sampled_from([4, 16, 256]))
def test_heavy_levels_keep_the_order_and_zero_has_its_own(seed, n_bins):
    rng = np.random.default_rng(seed)
    row = np.where(rng.random(600) < 0.2, rng.choice([0.0, -0.0]), rng.standard_cauchy(600) ** 3)
    row[0] = np.inf
    levels = Histograms(row[None], n_bins=n_bins).bins[:, 0].astype(int)
    assert (np.diff(levels[np.argsort(row)]) >= 0).all()
    assert levels.max() < n_bins
    assert not set(levels[row == 0]) & set(levels[row != 0])


def test_many_equal_values_stay_levels_of_their_own():
    rng = np.random.default_rng(6)
    x = np.where(rng.random((5, 3000)) < 0.4, 1.0, rng.integers(0, 20, (5, 3000)))
    y = rng.random(3000) < 0.1
    np.testing.assert_allclose(Histograms(x).associate(y).auc, associate(x, y).auc, atol=1e-12)
