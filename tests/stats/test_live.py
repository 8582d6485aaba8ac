"""Ranks kept for new signals give what `associate` gives."""

from __future__ import annotations

import numpy as np
import pytest

from nbcorr.stats import RankedNeurons, associate, sorting

ENGINES = [False, True] if sorting.numba_available() else [False]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("rate", [0.02, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equals_associate(stratified, rate, dtype, engine, monkeypatch):
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0 if engine else 10**12)
    rng = np.random.default_rng(0)
    n = 1200
    x = np.maximum(rng.normal(size=(70, n)), 0).astype(dtype)
    x[3], x[4, 7] = 2, np.nan
    strata = rng.integers(0, 30, n) if stratified else None
    signals = rng.random((3, n)) < rate
    kept = RankedNeurons(x, strata)
    several = kept.associate(signals)
    for signal, row in zip(signals, range(3), strict=True):
        expected = associate(x, signal, strata)
        found = kept.associate(signal.astype(int))
        for name in ("auc", "z", "p"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-12
            )
            assert np.array_equal(getattr(several, name)[row], getattr(found, name), equal_nan=True)
        assert found.n_positive_informative == expected.n_positive_informative


def test_long_strata_do_not_overflow():
    n = 70_000
    x = np.arange(n, dtype=np.float32)[None]
    found = RankedNeurons(x).associate(np.arange(n) >= n // 2)
    assert found.auc[0] == 1


def test_what_does_not_fit_is_named():
    kept = RankedNeurons(np.ones((2, 4)), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="cannot be decided, n = 4, 2 positive"):
        kept.associate(np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match=r"the signal has shape \(3,\)"):
        kept.associate(np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="not binary"):
        kept.associate(np.array([0, 0.5, 1, 1]))
    with pytest.raises(ValueError, match="expected \\(n_neurons, n_samples\\)"):
        RankedNeurons(np.ones(4))
