"""The inner loops compiled by numba; `sorting` gives the same integers without it.

Every loop runs over rows of one block without the interpreter's lock, so that blocks run side by
side in threads.
"""

from __future__ import annotations

import numba
import numpy as np

CHUNK = 64
STEP = 16
LONG = 1024


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
    counts = np.zeros((n_passes, buckets), dtype=np.uint32)
    for row in range(n_rows):
        source, target = scratch[0], scratch[1]
        values, ordered = bits[row], out[row]
        kept = np.uint64(0)
        negative = 0
        for value16 in values:
            value = np.uint32(value16)
            source[kept] = value ^ (mask if value & sign else sign)
            nonzero = (value & ~sign & mask) != 0
            kept += np.uint64(nonzero)
            negative += nonzero and (value & sign) != 0
        counts[:] = 0
        for turn in range(n_passes):
            tally = counts[turn]
            shift = np.uint32(turn * digit)
            for key in source[:kept]:
                tally[(key >> shift) & low] += np.uint32(1)
            at = np.uint32(0)
            for bucket in range(buckets):
                size = tally[bucket]
                tally[bucket] = at
                at += size
            for key in source[:kept]:
                place = (key >> shift) & low
                target[tally[place]] = key
                tally[place] += np.uint32(1)
            source, target = target, source
        zeros = n - np.int64(kept)
        ordered[:negative] = source[:negative]
        ordered[negative : negative + zeros] = sign
        ordered[negative + zeros :] = source[negative:kept]


@numba.njit(nogil=True, cache=True)
def first_not_below(ordered, own, first):  # type: ignore[no-untyped-def]
    """First position in `ordered` that is not below each of `own`; both ascend."""
    n = len(ordered)
    low = 0
    for i in range(len(own)):
        value = own[i]
        while low + STEP <= n and ordered[low + STEP - 1] < value:
            low += STEP
        below = 0
        for element in ordered[low : low + STEP]:
            below += element < value
        first[i] = low + below


@numba.njit(nogil=True, cache=True)
def start_of_run(ordered, end):  # type: ignore[no-untyped-def]
    """Position of the first element equal to the one at `end`."""
    value = ordered[end]
    step = 1
    high = end
    while high - step >= 0 and ordered[high - step] == value:
        high -= step
        step *= 2
    low = max(high - step, -1)
    while high - low > 1:
        middle = (low + high) >> 1
        if ordered[middle] == value:
            high = middle
        else:
            low = middle
    return high


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
    """Sum of t^3 - t over the runs of equal elements, and the same times their centred rank.

    Chunks without ties cost one comparison.
    """
    n = len(ordered)
    total, lean = 0, 0
    i = 0
    while i + 1 < n:
        if i + CHUNK < n:
            # Slices, not i + j: an index that may be negative keeps the compiler from vectors.
            here, after = ordered[i : i + CHUNK], ordered[i + 1 : i + CHUNK + 1]
            equal = 0
            for j in range(CHUNK):
                equal += here[j] == after[j]
            if equal == 0:
                i += CHUNK
                continue
        stop = min(i + CHUNK, n - 1)
        while i < stop:
            if ordered[i] == ordered[i + 1]:
                end = end_of_run(ordered, i)
                size = end - i
                total += size * size * size - size
                lean += (i + end - n) * (size * size * size - size)
                i = end
            else:
                i += 1
    return total, lean


@numba.njit(nogil=True, cache=True)
def count_rows(ordered, positives, zero, lowest, highest, out):  # type: ignore[no-untyped-def]
    """`sorting.count_rows`, compiled."""
    groups = np.empty((4, positives.shape[1]), dtype=np.int64)
    for row in range(len(ordered)):
        values = ordered[row]
        out[row, :] = 0
        at = np.searchsorted(values, zero)
        if at < len(values) and values[at] == zero:
            out[row, 4] = end_of_run(values, at) - at
        if values[0] >= lowest and values[-1] <= highest:
            out[row, 3], out[row, 8] = sum_of_ties(values)
            first_not_below(values, positives[row], groups[3])
            count_row(values, positives[row], groups, out[row])
        else:
            out[row, 7] = 1


@numba.njit(nogil=True, cache=True)
def count_row(values, own, groups, out):  # type: ignore[no-untyped-def]
    """What depends on the positives among one row's whole numbers.

    groups[3] holds where each of `own` is first found in `values`; the rest of it is scratch.
    """
    n, n1 = len(values), len(own)
    n0 = n - n1
    lower, size, tied, first = groups[0], groups[1], groups[2], groups[3]
    n_groups, i, wins = 0, 0, 0
    while i < n1:
        value = own[i]
        j = i + 1
        while j < n1 and own[j] == value:
            j += 1
        position = first[i]
        end = position + 1
        if end < n and values[end] == value:
            end = end_of_run(values, position)
        lower[n_groups] = position - i
        size[n_groups] = j - i
        tied[n_groups] = end - position - (j - i)
        wins += (j - i) * (2 * lower[n_groups] + tied[n_groups])
        n_groups += 1
        i = j
    centre1 = wins // n1
    centre0 = wins // n0
    square1, square0, passed, before = 0, 0, 0, 0
    for g in range(n_groups):
        apart = 2 * lower[g] + tied[g] - centre1
        square1 += size[g] * apart * apart
        above = 2 * (n1 - before)
        square0 += (lower[g] - passed) * (above - centre0) ** 2
        square0 += tied[g] * (above - size[g] - centre0) ** 2
        passed = lower[g] + tied[g]
        before += size[g]
    out[0] = wins
    out[1] = square1
    out[2] = square0 + (n0 - passed) * centre0 * centre0
    start = start_of_run(values, n0)
    end = end_of_run(values, start)
    out[5] = (n - end) * (n + end + 1) + (end - n0) * (start + end + 1)
    start = start_of_run(values, n1 - 1)
    end = end_of_run(values, start)
    out[6] = start * (start + 1) + (n1 - start) * (start + end + 1)
    out[7] = values[0] == values[n - 1]


@numba.njit(nogil=True, cache=True)
def key_of(value, width):  # type: ignore[no-untyped-def]
    """Unsigned key that orders like the floating-point number with these bits."""
    sign, mask = np.uint32(1 << (width - 1)), np.uint32((np.int64(1) << width) - 1)
    return np.uint32(value ^ (mask if value & sign else sign))


@numba.njit(nogil=True, cache=True)
def rank_keys(bits, width, ranks, ties):  # type: ignore[no-untyped-def]
    """Twice the centred mid-ranks of rows of floating-point bits, and their ties.

    A radix sort of (key, position) pairs without the zeros, which all share one rank. Rows with a
    NaN must be dealt with by the caller.

    Parameters
    ----------
    bits : (n_rows, n), numbers of `width` bits.
    ranks : (n_rows, n), any type that holds -n to n.
    ties : (n_rows, 2) float64, the sum of t^3 - t over groups of ties, and the same with each
        term times the group's rank: sums of squares and of cubes of the ranks follow from these.
    """
    n_rows, n = bits.shape
    sign = np.uint32(1) << np.uint32(width - 1)
    mask = np.uint32((np.int64(1) << width) - 1)
    # Short rows have small digits: emptying 2,048 buckets would cost more than another pass.
    digit = 11 if width == 32 and n >= LONG else 8
    n_passes = -(-width // digit)
    buckets = 1 << digit
    low = np.uint64(buckets - 1)
    tally = np.zeros(buckets, dtype=np.uint32)
    source, target = np.empty(n + 1, dtype=np.uint64), np.empty(n + 1, dtype=np.uint64)
    for row in range(n_rows):
        values, own = bits[row], ranks[row]
        kept = np.uint64(0)
        negative = 0
        position = np.uint64(0)
        for value16 in values:
            value = np.uint32(value16)
            source[kept] = (np.uint64(key_of(value, width)) << np.uint64(32)) | position
            position += np.uint64(1)
            nonzero = (value & ~sign & mask) != 0
            kept += np.uint64(nonzero)
            negative += nonzero and (value & sign) != 0
        for turn in range(n_passes):
            shift = np.uint64(32 + turn * digit)
            tally[:] = 0
            for pair in source[:kept]:
                tally[(pair >> shift) & low] += np.uint32(1)
            at = np.uint32(0)
            for bucket in range(buckets):
                size = tally[bucket]
                tally[bucket] = at
                at += size
            for pair in source[:kept]:
                place = (pair >> shift) & low
                target[tally[place]] = pair
                tally[place] += np.uint32(1)
            source, target = target, source
        rank_pairs(source[: np.int64(kept)], negative, own, ties[row])


@numba.njit(nogil=True, cache=True)
def rank_pairs(pairs, negative, ranks, ties):  # type: ignore[no-untyped-def]
    """Twice the centred mid-ranks and their ties, from sorted (key, position) pairs.

    The samples without a pair are zeros: they come after the `negative` first pairs.
    """
    n, kept = len(ranks), len(pairs)
    zeros = n - kept
    rank = 2 * negative + zeros - n
    ranks[:] = rank
    groups = zeros * zeros * zeros - zeros
    ties[0] = groups
    ties[1] = np.float64(groups) * rank
    i = 0
    while i < kept:
        key = pairs[i] >> np.uint64(32)
        j = i + 1
        while j < kept and pairs[j] >> np.uint64(32) == key:
            j += 1
        before = i if i < negative else i + zeros
        rank = 2 * before + (j - i) - n
        for pair in pairs[i:j]:
            ranks[pair & np.uint64(0xFFFFFFFF)] = rank
        groups = (j - i) * (j - i) * (j - i) - (j - i)
        ties[0] += groups
        ties[1] += np.float64(groups) * rank
        i = j
