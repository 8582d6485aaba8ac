"""The inner loops compiled by numba; `sorting` gives the same integers without it.

Every loop runs over rows of one block without the interpreter's lock, so that blocks run side by
side in threads.
"""

from __future__ import annotations

import numba
import numpy as np

CHUNK = 32


@numba.njit(nogil=True, cache=True)
def sort_keys(bits, width, out, scratch):  # type: ignore[no-untyped-def]
    """Sort rows of floating-point bits as unsigned keys that order like the numbers.

    A radix sort by `width` bits (16 or 32), least significant digit first, of the values that are
    not zero; the zeros, of either sign, are counted and put between.
    """
    n_rows, n = bits.shape
    sign = np.uint32(1) << np.uint32(width - 1)
    mask = np.uint32((np.int64(1) << width) - 1)
    n_passes = 3 if width == 32 else 2
    digit = 11 if width == 32 else 8
    buckets = 1 << digit
    low = np.uint32(buckets - 1)
    counts = np.zeros((n_passes, buckets), dtype=np.int32)
    for row in range(n_rows):
        counts[:] = 0
        kept = 0
        negative = 0
        for i in range(n):
            value = np.uint32(bits[row, i])
            flip = mask if value & sign else sign
            key = value ^ flip
            scratch[0, kept] = key
            moves = np.int64((value & ~sign & mask) != 0)
            kept += moves
            negative += moves * np.int64((value & sign) != 0)
        for i in range(kept):
            key = scratch[0, i]
            for turn in range(n_passes):
                counts[turn, (key >> np.uint32(turn * digit)) & low] += 1
        source = 0
        for turn in range(n_passes):
            shift = np.uint32(turn * digit)
            at = 0
            for bucket in range(buckets):
                size = counts[turn, bucket]
                counts[turn, bucket] = at
                at += size
            for i in range(kept):
                key = scratch[source, i]
                bucket = np.int64((key >> shift) & low)
                scratch[1 - source, counts[turn, bucket]] = key
                counts[turn, bucket] += 1
            source = 1 - source
        zeros = n - kept
        out[row, :negative] = scratch[source, :negative]
        out[row, negative : negative + zeros] = sign
        out[row, negative + zeros :] = scratch[source, negative:kept]


@numba.njit(nogil=True, cache=True)
def first_not_below(ordered, start, value):  # type: ignore[no-untyped-def]
    """First position from `start` on whose element is not below `value`."""
    n = len(ordered)
    step = CHUNK
    low = start
    while low + step < n and ordered[low + step] < value:
        low += step
        step *= 2
    high = min(low + step, n)
    while high - low > CHUNK:
        middle = (low + high) >> 1
        if ordered[middle] < value:
            low = middle
        else:
            high = middle
    below = 0
    for i in range(low, high):
        below += ordered[i] < value
    return low + below


@numba.njit(nogil=True, cache=True)
def end_of_run(ordered, start):  # type: ignore[no-untyped-def]
    """Position after the last element equal to the one at `start`."""
    n = len(ordered)
    value = ordered[start]
    step = 1
    low = start
    while low + step < n and ordered[low + step] == value:
        low += step
        step *= 2
    high = min(low + step, n)
    while high - low > 1:
        middle = (low + high) >> 1
        if ordered[middle] == value:
            low = middle
        else:
            high = middle
    return low + 1


@numba.njit(nogil=True, cache=True)
def sum_of_ties(ordered):  # type: ignore[no-untyped-def]
    """Sum of t^3 - t over the runs of equal elements; chunks without ties cost one comparison."""
    n = len(ordered)
    total = 0
    i = 0
    while i + 1 < n:
        if i + CHUNK < n:
            equal = 0
            for j in range(i, i + CHUNK):
                equal += ordered[j] == ordered[j + 1]
            if equal == 0:
                i += CHUNK
                continue
        stop = min(i + CHUNK, n - 1)
        while i < stop:
            if ordered[i] == ordered[i + 1]:
                end = end_of_run(ordered, i)
                size = end - i
                total += size * size * size - size
                i = end
            else:
                i += 1
    return total


@numba.njit(nogil=True, cache=True)
def count_rows(ordered, positives, zero, lowest, highest, out):  # type: ignore[no-untyped-def]
    """`sorting.count_rows`, compiled."""
    n_rows, n = ordered.shape
    n1 = positives.shape[1]
    n0 = n - n1
    lower = np.empty(n1, dtype=np.int64)
    size = np.empty(n1, dtype=np.int64)
    tied = np.empty(n1, dtype=np.int64)
    for row in range(n_rows):
        values = ordered[row]
        own = positives[row]
        out[row, :] = 0
        if not (values[0] >= lowest and values[n - 1] <= highest) or values[0] == values[n - 1]:
            out[row, 7] = 1
        at = first_not_below(values, 0, zero)
        if at < n and values[at] == zero:
            out[row, 4] = end_of_run(values, at) - at
        if out[row, 7] and not (values[0] >= lowest and values[n - 1] <= highest):
            continue

        groups, position, i, wins = 0, 0, 0, 0
        while i < n1:
            value = own[i]
            j = i + 1
            while j < n1 and own[j] == value:
                j += 1
            position = first_not_below(values, position, value)
            end = position + 1
            if end < n and values[end] == value:
                end = end_of_run(values, position)
            lower[groups] = position - i
            size[groups] = j - i
            tied[groups] = end - position - (j - i)
            wins += (j - i) * (2 * lower[groups] + tied[groups])
            groups += 1
            position = end
            i = j
        centre1 = wins // n1
        centre0 = wins // n0
        square1, square0, passed, before = 0, 0, 0, 0
        for g in range(groups):
            apart = 2 * lower[g] + tied[g] - centre1
            square1 += size[g] * apart * apart
            above = 2 * (n1 - before)
            square0 += (lower[g] - passed) * (above - centre0) ** 2
            square0 += tied[g] * (above - size[g] - centre0) ** 2
            passed = lower[g] + tied[g]
            before += size[g]
        square0 += (n0 - passed) * centre0 * centre0
        out[row, 0] = wins
        out[row, 1] = square1
        out[row, 2] = square0
        out[row, 3] = sum_of_ties(values)

        first = first_not_below(values, 0, values[n - n1])
        end = end_of_run(values, first)
        out[row, 5] = (n - end) * (n + end + 1) + (end - n + n1) * (first + end + 1)
        first = first_not_below(values, 0, values[n1 - 1])
        end = end_of_run(values, first)
        out[row, 6] = first * (first + 1) + (n1 - first) * (first + end + 1)
