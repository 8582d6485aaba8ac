"""Counts of sorted rows against their definition, and compiled against NumPy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import associate, sorting

ENGINES = [False, True] if sorting.numba_available() else [False]
SHAPES = ["gauss", "relu50", "relu99", "levels", "signed zeros", "infinite", "modal", "nan", "one"]


def rows_of(shape, n, rng):
    x = rng.normal(size=(3, n))
    match shape:
        case "relu50":
            return np.maximum(x, 0)
        case "relu99":
            return np.maximum(x - 2.33, 0)
        case "levels":
            return np.round(x)
        case "signed zeros":
            return np.where(rng.random((3, n)) < 0.5, 0.0, -0.0) + (x > 1) - (x < -1)
        case "infinite":
            return np.where(np.abs(x) > 1, np.sign(x) * np.inf, x)
        case "modal":
            return np.maximum(x, 0.7)
        case "nan":
            x[0, n // 2] = np.nan
            x[1, 0] = -np.float64("nan")
            return x
        case "one":
            return np.full((3, n), -2.0)
    return x


def literal(row, positive):
    """The whole numbers of one row, pair by pair."""
    n = len(row)
    kind = np.zeros(n, dtype=bool)
    kind[positive] = True
    a, b = row[kind][:, None], row[~kind][None, :]
    wins = 2 * (a > b) + (a == b)
    total = int(wins.sum())
    ranks = 2 * np.sort(scipy.stats.rankdata(row))
    n1 = len(positive)
    return (
        total,
        int(np.sum((wins.sum(axis=1) - total // n1) ** 2)),
        int(np.sum((wins.sum(axis=0) - total // (n - n1)) ** 2)),
        sum(t**3 - t for t in Counter(row.tolist()).values()),
        int(np.sum(row == 0)),
        int(ranks[n - n1 :].sum()),
        int(ranks[:n1].sum()),
        int(len(np.unique(row)) == 1),
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("n", "n1"), [(40, 1), (333, 200), (1500, 20), (2100, 700)])
def test_counts_equal_their_definition(shape, dtype, engine, n, n1):
    rng = np.random.default_rng(7)
    x = rows_of(shape, n, rng)
    if dtype == np.int16:
        x = np.where(np.isfinite(x), x, 9)
    rows = x.astype(dtype)
    positive = np.sort(rng.choice(n, n1, replace=False))
    found = np.array(sorting.count(rows, positive, engine)).T
    for row, numbers in zip(rows, found.tolist(), strict=True):
        if np.isnan(row.astype(float)).any():
            assert numbers[-1] == 1
            assert numbers[4] == np.sum(row == 0)
        else:
            assert tuple(numbers) == literal(row.astype(np.float64), positive)


patterns = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, 6e-8, -6e-8])


@settings(max_examples=80, deadline=None)
@given(st.lists(patterns, min_size=2, max_size=25), st.data())
def test_any_ties(values, data):
    n1 = data.draw(st.integers(1, len(values) - 1))
    row = np.array(values, dtype=np.float16)[None]
    positive = np.arange(n1)
    expected = literal(row[0].astype(np.float64), positive)
    for engine in ENGINES:
        for dtype in (np.float16, np.float32):
            found = sorting.count(row.astype(dtype), positive, engine)
            assert tuple(int(number[0]) for number in found) == expected


def test_a_huge_group_of_ties():
    row = np.zeros((1, 300_000), dtype=np.float32)
    row[0, :30_000] = np.arange(1, 30_001)
    for engine in ENGINES:
        found = sorting.count(row, np.arange(120), engine)
        assert found.ties[0] == 270_000**3 - 270_000
        assert found.zeros[0] == 270_000


def test_engines_and_threads_do_not_show(monkeypatch):
    rng = np.random.default_rng(8)
    x = np.maximum(rng.normal(size=(300, 2000)), 0).astype(np.float32)
    y, strata = rng.random(2000) < 0.1, rng.integers(0, 9, 2000)
    expected = associate(x, y, strata)
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0)
    for threads in (1, 2):
        found = associate(x, y, strata, threads=threads)
        for name in ("auc", "auc_low", "auc_high", "rho", "rho_max", "z", "p", "zeros", "dead"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    with pytest.raises(ValueError, match="threads is 0"):
        associate(x, y, threads=0)


def test_the_sort_is_chosen_by_measuring():
    for _ in ENGINES[1:]:
        assert sorting.radix_is_faster() in (True, False)


def test_a_numba_that_does_not_load_is_done_without(monkeypatch):
    def refuse(name):
        raise ImportError("Numba needs another NumPy")

    sorting.numba_available.cache_clear()
    monkeypatch.setattr(sorting.importlib, "import_module", refuse)
    assert not sorting.compiled(10**9)
    sorting.numba_available.cache_clear()
