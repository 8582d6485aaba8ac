"""What cached ranks and permutations do to whole tables of ranks, compiled by numba.

Without numba, `ranks_within` and the callers of `add_rows` do the same with NumPy.
"""

from __future__ import annotations

import numba
import numpy as np

STRETCH = 64


@numba.njit(nogil=True, cache=True)
def rank_within(ranks, codes, sizes, ties):  # type: ignore[no-untyped-def]
    """Turn twice the centred mid-ranks of each row into those within strata, in place.

    The ranks over all samples say where each sample stands, so nothing is sorted again: samples
    are walked in that order, and each stratum counts those it has had. The sums of t^3 - t over
    its groups of ties are added to `ties` (n_strata, n_rows).
    """
    n_rows, n = ranks.shape
    shift, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    order = np.empty(n, dtype=np.uint64)
    place = np.empty(2 * n + 1, dtype=np.uint32)
    seen = np.empty(len(sizes), dtype=np.uint32)
    fresh = np.zeros(len(sizes), dtype=np.uint32)
    for row in range(n_rows):
        own = ranks[row]
        place[:] = 0
        for rank in own:
            place[np.uint32(np.int32(rank) + np.int32(n))] += np.uint32(1)
        # A run of ties over places a to b - 1 has the doubled centred rank a + b - n.
        for value in range(2 * n + 1):
            place[value] = (np.uint32(value) - place[value]) >> np.uint32(1)
        sample = np.uint64(0)
        for rank in own:
            value = np.uint64(np.int32(rank) + np.int32(n))
            order[np.uint64(place[value])] = (value << shift) | sample
            place[value] += np.uint32(1)
            sample += np.uint64(1)
        seen[:] = 0
        i = 0
        while i < n:
            end = i + 1
            while end < n and order[end] >> shift == order[i] >> shift:
                end += 1
            for pair in order[i:end]:
                fresh[np.uint64(codes[pair & low])] += np.uint32(1)
            for pair in order[i:end]:
                code = np.uint64(codes[pair & low])
                own[pair & low] = np.int32(2 * seen[code] + fresh[code]) - np.int32(sizes[code])
            for pair in order[i:end]:
                code = np.uint64(codes[pair & low])
                t = np.float64(fresh[code])
                if t > 1:
                    ties[code, row] += t * t * t - t
                seen[code] += fresh[code]
                fresh[code] = np.uint32(0)
            i = end


@numba.njit(nogil=True, cache=True)
def add_rows(table, rows, sums):  # type: ignore[no-untyped-def]
    """For each list of row numbers, the sum of those rows of `table`."""
    n_lists, length = rows.shape
    width = table.shape[1]
    for turn in range(n_lists):
        out = sums[turn]
        chosen = rows[turn]
        out[:] = 0
        # Four at a time: the running sums are read and written once for all of them.
        for i in range(0, length - length % 4, 4):
            first, second = table[chosen[i]], table[chosen[i + 1]]
            third, fourth = table[chosen[i + 2]], table[chosen[i + 3]]
            for j in range(width):
                out[j] += (first[j] + second[j]) + (third[j] + fourth[j])
        for i in range(length - length % 4, length):
            values = table[chosen[i]]
            for j in range(width):
                out[j] += values[j]


@numba.njit(nogil=True, cache=True)
def transpose(rows, table):  # type: ignore[no-untyped-def]
    """Copy rows to the columns of a table, a stretch that stays in the first-level cache a turn."""
    n_rows, n = rows.shape
    for start in range(0, n, STRETCH):
        for i in range(start, min(start + STRETCH, n)):
            line = table[i]
            for row in range(n_rows):
                line[row] = rows[row, i]


@numba.njit(nogil=True, cache=True)
def count_off(rows, mode, codes, inside, sums):  # type: ignore[no-untyped-def]
    """How many values of each row are off its mode, by stratum; of all, and how many are larger."""
    whole = (codes == 0).all()
    for row in range(len(rows)):
        values, usual = rows[row], mode[row]
        off, above = 0, 0
        for value in values:
            off += value != usual
            above += value > usual
        sums[0, row], sums[1, row] = off, above
        if whole:
            inside[row, 0] = off
        else:
            for i in range(len(values)):
                inside[row, codes[i]] += values[i] != usual


@numba.njit(nogil=True, cache=True)
def bin_rows(rows, low, high, per_unit, strata, bins, counts):  # type: ignore[no-untyped-def]
    """`preview.bin_rows`, compiled."""
    n_rows, n = rows.shape
    for row in range(n_rows):
        values, out, tally = rows[row], bins[row], counts[row]
        least, most, scale = low[row], high[row], per_unit[row]
        for i in range(n):
            value = np.float64(values[i])
            cell = np.int32((min(max(value, least), most) - least) * scale)
            out[i] = cell + np.int32(value >= 0) + np.int32(value > 0)
        for i in range(n):
            tally[strata[i], out[i]] += 1


@numba.njit(nogil=True, cache=True)
def add_cubes(ranks, rows, codes, cubes):  # type: ignore[no-untyped-def]
    """Add the cubes of some rows of `ranks` to `cubes` (n_strata, n_rows), by stratum."""
    n = ranks.shape[1]
    for row in rows:
        own = ranks[row]
        for sample in range(n):
            rank = np.float64(own[sample])
            cubes[codes[sample], row] += rank * rank * rank
