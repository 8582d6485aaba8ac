"""Counts of sorted rows against their definition, and compiled against NumPy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import associate, sorting

ENGINES = ["plain"]
if sorting.numba_available():
    from nbcorr.stats import vectors, vectorsort

    ENGINES += ["numpy", "radix", *(["vector"] if vectors.vectorised() else [])]
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


def count(rows, positive, engine):
    """Counted without numba ("plain"), or with it and the sort of that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "fastest_sort", lambda: engine)
        return sorting.count(rows, positive, engine != "plain")


def literal(row, positive):
    """The whole numbers of one row, pair by pair."""
    n = len(row)
    kind = np.zeros(n, dtype=bool)
    kind[positive] = True
    a, b = row[kind][:, None], row[~kind][None, :]
    wins = 2 * (a > b) + (a == b)
    total = int(wins.sum())
    ranks = 2 * np.sort(scipy.stats.rankdata(row))
    n1, groups = len(positive), Counter(row.tolist()).items()
    return (
        total,
        int(np.sum((wins.sum(axis=1) - total // n1) ** 2)),
        int(np.sum((wins.sum(axis=0) - total // (n - n1)) ** 2)),
        sum(t**3 - t for _, t in groups),
        int(np.sum(row == 0)),
        int(ranks[n - n1 :].sum()),
        int(ranks[:n1].sum()),
        int(len(np.unique(row)) == 1),
        int(
            sum(
                (2 * np.sum(row < v) + t - n) * (t**3 - t) for v, t in Counter(row.tolist()).items()
            )
        ),
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
    found = np.array(count(rows, positive, engine)).T
    for row, numbers in zip(rows, found.tolist(), strict=True):
        if np.isnan(row.astype(float)).any():
            assert numbers[7] == 1
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
            found = count(row.astype(dtype), positive, engine)
            assert tuple(int(number[0]) for number in found) == expected


def test_a_huge_group_of_ties():
    row = np.zeros((1, 300_000), dtype=np.float32)
    row[0, :30_000] = np.arange(1, 30_001)
    for engine in ENGINES:
        found = count(row, np.arange(120), engine)
        assert found.ties[0] == 270_000**3 - 270_000
        assert found.zeros[0] == 270_000


NAMES = (
    "auc",
    "auc_low",
    "auc_high",
    "rho",
    "rho_max",
    "z",
    "p",
    "p_unstratified",
    "zeros",
    "dead",
)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_engines_and_threads_do_not_show(monkeypatch, dtype):
    rng = np.random.default_rng(8)
    x = np.maximum(rng.normal(size=(300, 2003)), 0).astype(dtype)
    x[3, 5] = np.nan
    y, strata = rng.random(2003) < 0.1, rng.integers(0, 9, 2003)
    expected = associate(x, y, strata)
    monkeypatch.setattr(sorting, "COMPILE_ABOVE", 0)
    for engine in ENGINES[1:]:
        monkeypatch.setattr(sorting, "fastest_sort", lambda engine=engine: engine)
        for threads in (1, 2):
            found = associate(x, y, strata, threads=threads)
            for name in NAMES:
                same = np.array_equal(getattr(found, name), getattr(expected, name), equal_nan=True)
                assert same, (engine, name)
            assert np.array_equal(found.dead, expected.dead)
    with pytest.raises(ValueError, match="threads is 0"):
        associate(x, y, threads=0)


def test_strided_rows_are_counted_as_they_are():
    x = np.random.default_rng(9).normal(size=(1200, 8)).astype(np.float32)
    positive = np.arange(0, 600, 7)
    for engine in ENGINES:
        found = count(x.T[:, ::2], positive, engine)
        expected = count(np.ascontiguousarray(x.T[:, ::2]), positive, engine)
        assert np.array_equal(found, expected)


def test_the_sort_is_chosen_by_measuring(monkeypatch):
    if len(ENGINES) == 1:
        return
    sorting.fastest_sort.cache_clear()
    assert sorting.fastest_sort() in ("numpy", "radix", "vector")
    sorting.fastest_sort.cache_clear()
    monkeypatch.setattr(vectors, "vectorised", lambda: False)
    assert sorting.fastest_sort() in ("numpy", "radix")
    sorting.fastest_sort.cache_clear()


def sorted_by_registers(keys):
    buffer = np.full(len(keys) + vectorsort.SLACK, 7, dtype=np.uint32)
    buffer[: len(keys)] = keys
    spare, waiting = np.empty_like(buffer), np.empty((vectorsort.DEPTH, 2), dtype=np.int64)
    vectorsort.sort_keys(buffer, len(keys), spare, waiting)
    assert (buffer[len(keys) :] == 7).all()
    return buffer[: len(keys)]


def test_registers_sort_any_keys():
    rng = np.random.default_rng(10)
    for _ in ENGINES[3:]:
        for n in [*range(300), 1000, 4097, 30_000]:
            for most in (1, 2, 3, 40, 2**32 - 1):
                keys = rng.integers(0, most, n, dtype=np.uint32)
                assert np.array_equal(sorted_by_registers(keys), np.sort(keys)), (n, most)
        for keys in (np.arange(5000), np.arange(5000)[::-1], np.abs(np.arange(-2500, 2500))):
            assert np.array_equal(sorted_by_registers(keys), np.sort(keys))


def test_batcher_sorts_every_row_of_zeros_and_ones():
    for _ in ENGINES[1:]:
        for n in (1, 2, 4, 8, 16):
            rows = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
            for i, j in vectors.batcher(n):
                ends = rows[:, [i, j]]
                rows[:, i], rows[:, j] = ends.min(axis=1), ends.max(axis=1)
            assert (np.diff(rows, axis=1) >= 0).all()


def test_a_numba_that_does_not_load_is_done_without(monkeypatch):
    def refuse(name):
        raise ImportError("Numba needs another NumPy")

    sorting.numba_available.cache_clear()
    monkeypatch.setattr(sorting.importlib, "import_module", refuse)
    assert not sorting.compiled(10**9)
    sorting.numba_available.cache_clear()
