"""Sorting by whole registers, and from a block's bits to its counts without the interpreter.

A quicksort: partitions compress a register and write all of it, so that nothing branches on the
data; parts of up to sixteen registers are sorted by a network.

What numba keeps of this module it does not renew when a module imported here changes: then delete
`__pycache__`.
"""

from __future__ import annotations

import numba
import numpy as np

from nbcorr.stats.accelerated import count_row, sum_of_ties
from nbcorr.stats.vectors import (
    LANES,
    below,
    both,
    choose,
    compress,
    differing,
    front,
    load,
    others,
    size,
    sorter,
    spread,
    store,
)

NETWORKS = (1, 4, 8, 16)  # registers
SMALL = NETWORKS[-1] * LANES
SLACK = SMALL  # elements after the end of a buffer that whole registers may touch
DEPTH = 64  # the smaller part goes first, so that no more than log2(n) wait
INFINITY_16, INFINITY_32 = 0x7C00, 0x7F800000
sort_1, sort_4, sort_8, sort_16 = (sorter(rows) for rows in NETWORKS)


@numba.njit(nogil=True, cache=True)
def sort_small(keys, start, n):  # type: ignore[no-untyped-def]
    """Sort n keys from `start` on, up to sixteen registers of them."""
    if n <= LANES:
        sort_1(keys, start, n)
    elif n <= 4 * LANES:
        sort_4(keys, start, n)
    elif n <= 8 * LANES:
        sort_8(keys, start, n)
    else:
        sort_16(keys, start, n)


@numba.njit(nogil=True, cache=True)
def partition(keys, start, end, pivot, spare):  # type: ignore[no-untyped-def]
    """Move the keys below `pivot` to the front; returns where the others start.

    The keys below are written over what has been read, the others to `spare` and then back.
    """
    bound = spread(pivot)
    left, right, i = start, 0, start
    while i + LANES <= end:
        register = load(keys, i)
        lower = below(register, bound)
        n_lower = size(lower)
        store(keys, left, compress(register, lower))
        store(spare, right, compress(register, others(lower)))
        left += n_lower
        right += LANES - n_lower
        i += LANES
    register = load(keys, i)
    lower = below(register, bound) & front(end - i)
    n_lower = size(lower)
    store_some(keys, left, compress(register, lower), n_lower)
    store(spare, right, compress(register, others(lower)))
    left += n_lower
    for j in range(0, end - left, LANES):
        store_some(keys, left + j, load(spare, j), min(LANES, end - left - j))
    return left


@numba.njit(nogil=True, cache=True)
def store_some(keys, at, register, count):  # type: ignore[no-untyped-def]
    """Write the first `count` lanes."""
    store(keys, at, choose(front(count), register, load(keys, at)))


@numba.njit(nogil=True, cache=True)
def sort_keys(keys, n, spare, waiting):  # type: ignore[no-untyped-def]
    """Sort the first n keys in place; pivots are medians of a register from anywhere."""
    depth, start, end = 0, 0, n
    seed = np.uint32(1)
    while True:
        n_part = end - start
        if n_part <= SMALL:
            sort_small(keys, start, n_part)
            if depth == 0:
                return
            depth -= 1
            start, end = waiting[depth]
            continue
        seed = np.uint32(seed * np.uint32(1664525) + np.uint32(1013904223))
        at = start + ((np.int64(seed) * (n_part - LANES)) >> 32)
        store(spare, 0, load(keys, at))
        sort_1(spare, 0, LANES)
        pivot = spare[LANES // 2]
        middle = partition(keys, start, end, pivot, spare)
        if middle == start:
            # Nothing is below the pivot: what equals it is in its place already.
            start = partition(keys, start, end, np.uint32(pivot + np.uint32(1)), spare)
            continue
        larger_first = middle - start > end - middle
        waiting[depth, 0] = start if larger_first else middle
        waiting[depth, 1] = middle if larger_first else end
        depth += 1
        start, end = (middle, end) if larger_first else (start, middle)


@numba.njit(nogil=True, cache=True)
def nonzero_keys(bits, width, keys, last):  # type: ignore[no-untyped-def]
    """Keys that order like the numbers, of those that are not zero.

    `last` is scratch for one register. Returns how many there are, how many of them are negative,
    and how many are NaN.
    """
    sign, ones = np.uint32(1 << (width - 1)), np.uint32((1 << width) - 1)
    none, signs, mask = spread(np.uint32(0)), spread(sign), spread(ones)
    magnitude = spread(np.uint32(ones ^ sign))
    infinity = spread(np.uint32(INFINITY_32 if width == 32 else INFINITY_16))
    n = len(bits)
    rest = n % LANES
    for i in range(LANES):
        last[i] = bits[n - rest + i] if i < rest else np.uint32(0)
    kept, positive, nan = 0, 0, 0
    for i in range(0, n, LANES):
        register = load(bits, i) if i + LANES <= n else load(last, 0)
        absolute = both(register, magnitude)
        chosen, above = below(none, absolute), below(register, signs)
        flip = choose(above, signs, mask)
        store(keys, kept, compress(differing(register, flip), chosen))
        kept += size(chosen)
        positive += size(chosen & above)
        nan += size(below(infinity, absolute))
    return kept, kept - positive, nan


@numba.njit(nogil=True, cache=True)
def insert(keys, at, n, count, key, out):  # type: ignore[no-untyped-def]
    """The first n keys with one more, `count` times, put in at a position."""
    before, among, after = out[:at], out[at : at + count], out[at + count : n + count]
    above = keys[at:n]
    for i in range(len(before)):
        before[i] = keys[i]
    for i in range(len(among)):
        among[i] = key
    for i in range(len(after)):
        after[i] = above[i]


@numba.njit(nogil=True, cache=True)
def sorted_keys(bits, width, buffers, out):  # type: ignore[no-untyped-def]
    """Sort one row into `out`; returns how many are zero, and whether none is a NaN."""
    keys, spare, last, waiting = buffers
    kept, negative, nan = nonzero_keys(bits, width, keys, last)
    zeros = len(bits) - kept
    if nan:
        return zeros, False
    sort_keys(keys, kept, spare, waiting)
    insert(keys, negative, kept, zeros, np.uint32(1 << (width - 1)), out)
    return zeros, True


@numba.njit(nogil=True, cache=True)
def keys_at(bits, width, chosen, out):  # type: ignore[no-untyped-def]
    """The keys of some elements of a row; both zeros have one."""
    sign, ones = np.uint32(1 << (width - 1)), np.uint32((1 << width) - 1)
    for i in range(len(chosen)):
        value = bits[chosen[i]]
        key = np.uint32(value ^ (ones if value & sign else sign))
        out[i] = sign if value == sign else key


@numba.njit(nogil=True, cache=True)
def first_not_below(ordered, n, own, first):  # type: ignore[no-untyped-def]
    """`accelerated.first_not_below` of the first n of `ordered`, which has slack after them."""
    store(ordered, n, spread(np.uint32(0xFFFFFFFF)))
    low = 0
    for i in range(len(own)):
        value = own[i]
        while ordered[low + LANES - 1] < value:
            low += LANES
        first[i] = low + size(below(load(ordered, low), spread(value)))


@numba.njit(nogil=True, cache=True)
def count_parts(bits, width, samples, bounds, positives, starts, out):  # type: ignore[no-untyped-def]
    """Count whole rows into out[0] and their strata into out[1:], for each signal.

    Parameters
    ----------
    bits : (n_rows, n) uint32, numbers of `width` bits.
    samples, bounds, positives, starts : as in `sorting.Parts`.
    out : (1 + n_strata, n_signals, n_rows, 9) int64; without a positive or a negative, what
        depends on them is 0.
    """
    n = bits.shape[1]
    keys, spare = np.empty(n + SLACK, dtype=np.uint32), np.empty(n + SLACK, dtype=np.uint32)
    last, waiting = np.empty(LANES, dtype=np.uint32), np.empty((DEPTH, 2), dtype=np.int64)
    buffers = keys, spare, last, waiting
    ordered, own = np.empty(n + SLACK, dtype=np.uint32), np.empty(n + SLACK, dtype=np.uint32)
    gathered = np.empty(len(samples), dtype=np.uint32)
    groups = np.empty((4, n), dtype=np.int64)
    for row in range(len(bits)):
        for i in range(len(samples)):
            gathered[i] = bits[row, samples[i]]
        for h in range(len(out)):
            part = gathered[bounds[h - 1] : bounds[h]] if h else bits[row]
            values = ordered[: len(part)]
            zeros, whole = sorted_keys(part, width, buffers, values)
            ties, lean = sum_of_ties(values) if whole else (0, 0)
            for signal in range(out.shape[1]):
                numbers = out[h, signal, row]
                numbers[:] = 0
                numbers[3], numbers[4], numbers[7], numbers[8] = ties, zeros, not whole, lean
                chosen = positives[starts[h, signal] : starts[h, signal + 1]]
                n1 = len(chosen)
                if whole and 0 < n1 < len(part):
                    keys_at(part, width, chosen, own)
                    sort_keys(own, n1, spare, waiting)
                    first_not_below(ordered, len(part), own[:n1], groups[3])
                    count_row(values, own[:n1], groups, numbers)
