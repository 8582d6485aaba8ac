"""Sorted blocks of neurons, and the whole numbers that every statistic of a binary signal needs.

Rows are sorted in blocks that fit the cache. A float16 is sorted by its own 16 bits. With numba
the counting is compiled, and the sort is NumPy's, a radix sort or one by vector registers,
whichever this machine runs fastest; without it the same whole numbers come from NumPy, slower.
"""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nbcorr.stats.ranks import row_blocks, tie_bounds

COMPILE_ABOVE = 2_000_000  # values: with fewer, NumPy is done before numba has loaded
LOADED = 20  # times fewer values pay once it has loaded
COUNTED_BLOCK = 1 << 17  # values sorted at a time: they stay in the second-level cache
VECTOR_BLOCK = 1 << 19  # the same where each row is sorted by itself: only float16 is copied
RADIX_FROM = 1024  # values in a row: with fewer, emptying the buckets costs more than sorting
COUNTABLE = 2_000_000  # samples: n^3 fits into int64
LEANABLE = 90_000  # samples: so does n^4 / 8

Item = TypeVar("Item")
Result = TypeVar("Result")


class Counts(NamedTuple):
    """Whole numbers of each row (int64), from its sorted values and those at the positives.

    Attributes
    ----------
    wins : twice the number of (positive, negative) pairs the positive wins, ties half.
    square1 : sum over positives of (twice the negatives below it - wins // n1) squared.
    square0 : sum over negatives of (twice the positives above it - wins // n0) squared.
    ties : sum of t^3 - t over groups of equal values.
    zeros : values that are exactly zero.
    best, worst : twice the sum of the n1 largest, and of the n1 smallest, mid-ranks.
    dead : 1 where the row is constant or holds a NaN (then only `zeros` has a meaning).
    lean : the sum in `ties` with each term times twice the group's centred mid-rank; it wraps
        around where there are more than `LEANABLE` samples.
    """

    wins: np.ndarray
    square1: np.ndarray
    square0: np.ndarray
    ties: np.ndarray
    zeros: np.ndarray
    best: np.ndarray
    worst: np.ndarray
    dead: np.ndarray
    lean: np.ndarray


class Keys(NamedTuple):
    """Values in a form that sorts fast, with what zero and the infinities are in that form."""

    values: np.ndarray
    zero: Any
    lowest: Any
    highest: Any
    width: int  # bits of a float16 or float32 to be sorted by radix; 0 for anything else


@functools.cache
def numba_available() -> bool:
    """Whether numba is installed, fits this NumPy, and has a place to keep what it compiles."""
    try:
        importlib.import_module("nbcorr.stats.accelerated")
    except (ImportError, RuntimeError):
        return False
    return True


def compiled(n_values: int) -> bool:
    """Whether to count with numba: it is there, and the work repays loading it."""
    loaded = "nbcorr.stats.accelerated" in sys.modules
    enough = COMPILE_ABOVE // LOADED if loaded else COMPILE_ABOVE
    return n_values >= enough and numba_available()


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """`work` on every item, in order, `threads` of them at a time."""
    if threads < 1:
        raise ValueError(f"threads is {threads}; expected 1 or more")
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


class Parts(NamedTuple):
    """The samples of strata, and the positives of signals in whole rows and in each stratum.

    Attributes
    ----------
    samples, bounds : arrays of int
        The samples of all strata, and where each stratum starts among them.
    positives : array of int
        Ascending positions of the positives of each signal in whole rows, then of each signal
        within the first stratum, and so on.
    starts : array of int, shape (1 + n_strata, n_signals + 1)
        Where each of these lists starts, and where the last of a stratum ends.
    """

    samples: np.ndarray
    bounds: np.ndarray
    positives: np.ndarray
    starts: np.ndarray


def make_parts(signals: np.ndarray, strata: Sequence[np.ndarray] = ()) -> Parts:
    """The parts of binary signals, bool, shape (n_signals, n_samples)."""
    lists, starts, at = [], np.zeros((len(strata) + 1, len(signals) + 1), dtype=np.int64), 0
    for h, own in enumerate([np.arange(signals.shape[1]), *strata]):
        signal, position = np.nonzero(signals[:, own])
        lists.append(position)
        starts[h] = at + np.searchsorted(signal, np.arange(len(signals) + 1))
        at += len(position)
    samples = np.concatenate([np.empty(0, dtype=np.int64), *strata])
    bounds = np.cumsum([0, *map(len, strata)])
    return Parts(samples, bounds, np.concatenate(lists), starts)


def count(rows: np.ndarray, positive: np.ndarray, compile_it: bool) -> Counts:
    """Sort each row and count it against the values at `positive` (indices of its columns)."""
    marked = np.zeros((1, rows.shape[1]), dtype=bool)
    marked[0, positive] = True
    return counts_of(count_parts(rows, make_parts(marked), compile_it)[0, 0])


def counts_of(numbers: np.ndarray) -> Counts:
    """Whole numbers along the last axis by their names."""
    return Counts(*np.moveaxis(numbers, -1, 0))


def count_parts(rows: np.ndarray, parts: Parts, compile_it: bool) -> np.ndarray:
    """Sort each row, and each stratum of it, and count it against the positives of each signal.

    Returns
    -------
    array of int64, shape (1 + n_strata, n_signals, n_rows, 9)
        The `Counts` of whole rows, and then of each stratum. Where a signal has no positive or
        no negative, only what does not depend on it has a meaning.
    """
    n_parts, n_signals = parts.starts.shape
    out = np.zeros((n_parts, n_signals - 1, len(rows), len(Counts._fields)), dtype=np.int64)
    vectors = compile_it and rows.dtype in (np.float16, np.float32) and fastest_sort() == "vector"
    together = VECTOR_BLOCK if vectors else COUNTED_BLOCK
    for block in row_blocks(len(rows), rows.shape[1], together):
        if vectors:
            _count_by_vectors(rows[block], parts, out[:, :, block])
        else:
            _count_one_by_one(rows[block], parts, out[:, :, block], compile_it)
    return out


def _count_one_by_one(rows: np.ndarray, parts: Parts, out: np.ndarray, compile_it: bool) -> None:
    for h, numbers in enumerate(out):
        samples = parts.samples[parts.bounds[h - 1] : parts.bounds[h]]
        chosen = np.take(rows, samples, axis=1) if h else rows
        for signal, (start, end) in enumerate(pairwise(parts.starts[h])):
            if 0 < end - start < chosen.shape[1]:
                numbers[signal] = _count(chosen, parts.positives[start:end], compile_it)


def _count_by_vectors(rows: np.ndarray, parts: Parts, out: np.ndarray) -> None:
    from nbcorr.stats import vectorsort

    bits = np.ascontiguousarray(rows).view(f"u{rows.itemsize}").astype(np.uint32, copy=False)
    vectorsort.count_parts(bits, 8 * rows.itemsize, *parts, out)


def _count(rows: np.ndarray, positive: np.ndarray, compile_it: bool) -> np.ndarray:
    """`Counts` of every row, shape (n_rows, 9)."""
    keys = _keys(rows, compile_it)
    if not compile_it and rows.shape[1] < RADIX_FROM:
        return np.stack(_count_all_rows(keys, positive), axis=1)
    own = np.take(keys.values, positive, axis=1)
    if keys.width:
        own, ordered = _radix_sorted(own, keys.width), _radix_sorted(keys.values, keys.width)
    else:
        own, ordered = np.sort(own, axis=1), np.sort(keys.values, axis=1)
    out = np.empty((len(rows), len(Counts._fields)), dtype=np.int64)
    if compile_it:
        from nbcorr.stats import accelerated

        accelerated.count_rows(ordered, own, keys.zero, keys.lowest, keys.highest, out)
    else:
        count_rows(ordered, own, keys.zero, keys.lowest, keys.highest, out)
    return out


def count_rows(
    ordered: np.ndarray,
    positives: np.ndarray,
    zero: Any,
    lowest: Any,
    highest: Any,
    out: np.ndarray,
) -> None:
    """Fill `out` (n_rows, 9) with the `Counts` of sorted rows and their sorted positives."""
    n, n1 = ordered.shape[1], positives.shape[1]
    n0 = n - n1
    for row, (values, own) in enumerate(zip(ordered, positives, strict=True)):
        zeros = np.searchsorted(values, zero, "right") - np.searchsorted(values, zero, "left")
        spoilt = not (values[0] >= lowest and values[-1] <= highest)
        out[row] = 0, 0, 0, 0, zeros, 0, 0, spoilt or values[0] == values[-1], 0
        if spoilt:
            continue
        starts = np.concatenate([[0], np.flatnonzero(own[1:] != own[:-1]) + 1])
        size = np.diff(starts, append=n1)
        first = np.searchsorted(values, own[starts], "left")
        lower = first - starts
        tied = np.searchsorted(values, own[starts], "right") - first - size
        below = 2 * lower + tied
        wins = int(size @ below)
        above = 2 * (n1 - starts)
        between = np.diff(lower + tied, prepend=0) - tied
        left = n0 - lower[-1] - tied[-1]
        bounds = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [n]])
        runs = np.diff(bounds)
        out[row, :4] = (
            wins,
            size @ (below - wins // n1) ** 2,
            between @ (above - wins // n0) ** 2
            + tied @ (above - size - wins // n0) ** 2
            + left * (wins // n0) ** 2,
            np.sum(runs**3 - runs),
        )
        out[row, 8] = np.sum((bounds[1:] + bounds[:-1] - n) * (runs**3 - runs))
        first, end = (int(np.searchsorted(values, values[n0], side)) for side in ("left", "right"))
        out[row, 5] = (n - end) * (n + end + 1) + (end - n0) * (first + end + 1)
        first, end = (
            int(np.searchsorted(values, values[n1 - 1], side)) for side in ("left", "right")
        )
        out[row, 6] = first * (first + 1) + (n1 - first) * (first + end + 1)


def _count_all_rows(keys: Keys, positive: np.ndarray) -> Counts:
    """`count` of many short rows at once, without a loop over them."""
    n_rows, n = keys.values.shape
    n1 = len(positive)
    order = np.argsort(keys.values, axis=1)
    ordered = np.take_along_axis(keys.values, order, axis=1)
    first, last = tie_bounds(ordered)
    kind = np.zeros(n, dtype=np.int64)
    kind[positive] = 1
    own = kind[order]
    running = np.zeros((n_rows, n + 1), dtype=np.int64)
    np.cumsum(own, axis=1, out=running[:, 1:])
    before = np.take_along_axis(running, first, axis=1)
    through = np.take_along_axis(running, last, axis=1)
    size = last - first
    below = 2 * (first - before) + size - (through - before)
    above = 2 * (n1 - through) + through - before
    wins = np.sum(own * below, axis=1)
    centre1, centre0 = (wins // n1)[:, None], (wins // (n - n1))[:, None]
    twice = first + last + 1
    return Counts(
        wins,
        np.sum(own * (below - centre1) ** 2, axis=1),
        np.sum((1 - own) * (above - centre0) ** 2, axis=1),
        np.sum(size * size - 1, axis=1),
        np.count_nonzero(keys.values == keys.zero, axis=1),
        np.sum(twice[:, n - n1 :], axis=1),
        np.sum(twice[:, :n1], axis=1),
        _spoilt(ordered, keys) | (ordered[:, 0] == ordered[:, -1]),
        np.sum((size * size - 1) * (first + last - n), axis=1),
    )


def _spoilt(ordered: np.ndarray, keys: Keys) -> np.ndarray:
    return ~((ordered[:, 0] >= keys.lowest) & (ordered[:, -1] <= keys.highest))


def _keys(rows: np.ndarray, compile_it: bool) -> Keys:
    long = compile_it and rows.shape[1] >= RADIX_FROM
    if rows.dtype == np.float16:
        if long:
            return _bit_keys(rows.view(np.uint16), 16, 0x7C00)
        return _half_keys(rows)
    if rows.dtype == np.float32 and long and fastest_sort() == "radix":
        return _bit_keys(rows.view(np.uint32), 32, 0x7F800000)
    kind = rows.dtype.type
    if rows.dtype.kind == "f":
        return Keys(rows, kind(0), kind(-np.inf), kind(np.inf), 0)
    limits = np.iinfo(rows.dtype)
    return Keys(rows, kind(0), kind(limits.min), kind(limits.max), 0)


def _bit_keys(bits: np.ndarray, width: int, infinity: int) -> Keys:
    sign, mask = 1 << (width - 1), (1 << width) - 1
    limits = np.uint32(sign), np.uint32(~(sign | infinity) & mask), np.uint32(sign | infinity)
    return Keys(bits, *limits, width)


def _half_keys(rows: np.ndarray) -> Keys:
    """Float16 as int16 that sort alike; -0.0 becomes 0."""
    bits = rows.view(np.int16)
    keys = np.where(bits < 0, bits ^ np.int16(0x7FFF), bits)
    keys[keys == -1] = 0
    return Keys(keys, np.int16(0), np.int16(-0x7C01), np.int16(0x7C00), 0)


def _radix_sorted(bits: np.ndarray, width: int) -> np.ndarray:
    """Rows of floating-point bits as sorted unsigned keys that order like the numbers."""
    from nbcorr.stats import accelerated

    n_rows, n = bits.shape
    if n < RADIX_FROM:
        values = bits.astype(np.uint32)
        sign, mask = np.uint32(1 << (width - 1)), np.uint32((1 << width) - 1)
        values[values == sign] = 0  # -0.0 equals 0.0
        return np.sort(np.where(values & sign, values ^ mask, values ^ sign), axis=1)
    ordered = np.empty((n_rows, n), dtype=np.uint32)
    accelerated.sort_keys(bits, width, ordered, np.empty((2, n + 1), dtype=np.uint32))
    return ordered


@functools.cache
def fastest_sort() -> str:
    """The sort of long float32 rows that this processor runs fastest, by measuring.

    "numpy", "radix", or, where the processor can compress registers, "vector".
    """
    rows = np.random.default_rng(0).normal(size=(2, 8192)).astype(np.float32)
    sorts = {"numpy": lambda: np.sort(rows, axis=1)} | _compiled_sorts(rows.view(np.uint32))
    seconds = dict.fromkeys(sorts, np.inf)
    for _ in range(4):
        for name, sort in sorts.items():
            started = time.perf_counter()
            sort()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return min(seconds, key=lambda name: seconds[name])


def _compiled_sorts(bits: np.ndarray) -> dict[str, Callable[[], Any]]:
    from nbcorr.stats import accelerated, vectors

    if vectors.vectorised():
        # Its counting is part of it, so that nothing is compiled for the measurement alone.
        parts = make_parts(np.arange(bits.shape[1])[None] < 100)
        out = np.empty((1, 1, len(bits), len(Counts._fields)), dtype=np.int64)
        return {"vector": lambda: _count_by_vectors(bits.view(np.float32), parts, out)}
    ordered, scratch = np.empty_like(bits), np.empty((2, bits.shape[1] + 1), np.uint32)
    return {"radix": lambda: accelerated.sort_keys(bits, 32, ordered, scratch)}
