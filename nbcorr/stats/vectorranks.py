"""Mid-ranks by whole registers: one sort of 32-bit numbers that hold both value and position.

The upper bits of such a number say in which of many cells between the smallest and the largest
value a sample lies, the lower bits which sample it is. Few cells hold more than one sample; these
are ranked by their values. Where too many do, as an outlier has left the rest few cells, a row is
sorted by radix.

What numba keeps of this module it does not renew when a module imported here changes: then delete
`__pycache__`.
"""

from __future__ import annotations

import numba
import numpy as np

from nbcorr.stats import accelerated
from nbcorr.stats.accelerated import key_of
from nbcorr.stats.vectors import (
    LANES,
    below,
    both,
    choose,
    compress,
    differing,
    larger,
    load,
    size,
    smaller,
    spread,
    store,
)
from nbcorr.stats.vectorsort import DEPTH, SLACK, sort_keys

MOST = 1 << 15  # samples: they leave four cells for each
CELL_BITS = 20  # at most: float32 numbers the cells
LARGEST = np.finfo(np.float32).max
CROWD = 16  # different values in one cell that are still compared each with each


@numba.njit(nogil=True, cache=True)
def rank_keys(bits, width, ranks, ties):  # type: ignore[no-untyped-def]
    """`accelerated.rank_keys` of rows of uint32, up to `MOST` long."""
    n_rows, n = bits.shape
    position_bits = 1
    while n > 1 << position_bits:
        position_bits += 1
    placed, packed = np.empty(n, dtype=np.uint32), np.empty(n + SLACK, dtype=np.uint32)
    spare, waiting = np.empty(n + SLACK, dtype=np.uint32), np.empty((DEPTH, 2), dtype=np.int64)
    ends = np.empty(2 * LANES, dtype=np.uint32)
    for row in range(n_rows):
        values = bits[row]
        found = False
        if place(values, width, position_bits, placed, ends):
            kept, negative = nonzero(values, width, placed, packed)
            sort_keys(packed, kept, spare, waiting)
            found = rank_packed(
                packed[:kept], position_bits, negative, values, width, ranks[row], ties[row]
            )
        if not found:
            one = slice(row, row + 1)
            accelerated.rank_keys(bits[one], width, ranks[one], ties[one])


@numba.njit(nogil=True, cache=True)
def place(values, width, position_bits, placed, ends):  # type: ignore[no-untyped-def]
    """The cell and the position of each number as one; whether there are cells."""
    shift = np.uint32(position_bits)
    if width == 16:
        for i in range(len(values)):
            placed[i] = (key_of(values[i], width) << shift) | np.uint32(i)
        return True
    find_ends(values, ends)
    numbers, both_ends = values.view(np.float32), ends.view(np.float32)
    low, high = both_ends[0], both_ends[1]
    n_cells = np.float32((1 << min(32 - position_bits, CELL_BITS)) - 1)
    if not n_cells / LARGEST < high - low < np.inf:
        return False
    scale = n_cells / (high - low)
    for i in range(len(values)):
        # Rounded, but never out of order.
        placed[i] = (np.uint32((numbers[i] - low) * scale) << shift) | np.uint32(i)
    return True


@numba.njit(nogil=True, cache=True)
def find_ends(values, ends):  # type: ignore[no-untyped-def]
    """The smallest and the largest of some float32, as bits, to ends[0] and ends[1]."""
    sign, ones = np.uint32(0x80000000), np.uint32(0xFFFFFFFF)
    signs, mask = spread(sign), spread(ones)
    least, most = spread(ones), spread(np.uint32(0))
    n = len(values)
    for i in range(0, n - LANES + 1, LANES):
        register = load(values, i)
        keys = differing(register, choose(below(register, signs), signs, mask))
        least, most = smaller(least, keys), larger(most, keys)
    store(ends, 0, least)
    store(ends, LANES, most)
    lowest, highest = ends[:LANES].min(), ends[LANES:].max()
    for value in values[n - n % LANES :]:
        lowest, highest = min(lowest, key_of(value, 32)), max(highest, key_of(value, 32))
    ends[0] = lowest ^ (sign if lowest & sign else ones)
    ends[1] = highest ^ (sign if highest & sign else ones)


@numba.njit(nogil=True, cache=True)
def nonzero(values, width, placed, packed):  # type: ignore[no-untyped-def]
    """Those `placed` whose value is not zero; how many these are, and how many of them negative."""
    sign = np.uint32(1 << (width - 1))
    none, signs, magnitude = spread(np.uint32(0)), spread(sign), spread(np.uint32(sign - 1))
    n = len(values)
    whole = n - n % LANES
    kept, positive = 0, 0
    for i in range(0, whole, LANES):
        register = load(values, i)
        chosen = below(none, both(register, magnitude))
        store(packed, kept, compress(load(placed, i), chosen))
        kept += size(chosen)
        positive += size(chosen & below(register, signs))
    for i in range(whole, n):
        packed[kept] = placed[i]
        kept += (values[i] & np.uint32(sign - 1)) != 0
        positive += np.uint32(0) < values[i] < sign
    return kept, kept - positive


@numba.njit(nogil=True, cache=True)
def rank_packed(packed, position_bits, negative, values, width, ranks, ties):  # type: ignore[no-untyped-def]
    """Rank from sorted cells and positions; False if a cell holds too many different values."""
    n, kept = len(ranks), len(packed)
    zeros = n - kept
    shift, low = np.uint32(position_bits), np.uint32((1 << position_bits) - 1)
    ranks[:] = 2 * negative + zeros - n
    groups = zeros * zeros * zeros - zeros
    ties[0] = groups
    ties[1] = np.float64(groups) * (2 * negative + zeros - n)
    i = 0
    while i < kept:
        cell = packed[i] >> shift
        end = i + 1
        while end < kept and packed[end] >> shift == cell:
            end += 1
        if end == i + 1:
            before = i if i < negative else i + zeros
            ranks[packed[i] & low] = 2 * before + 1 - n
        elif not rank_cell(packed[i:end], low, i, zeros, values, width, ranks, ties):
            return False
        i = end
    return True


@numba.njit(nogil=True, cache=True)
def rank_cell(packed, low, before, zeros, values, width, ranks, ties):  # type: ignore[no-untyped-def]
    """Rank the samples of one cell by their values; False if too many of these differ."""
    n, sign = len(ranks), np.uint32(1 << (width - 1))
    first = values[packed[0] & low]
    equal = 0
    for each in packed:
        equal += values[each & low] == first
    if equal == len(packed):
        rank = 2 * (before if first & sign else before + zeros) + equal - n
        for each in packed:
            ranks[each & low] = rank
        groups = equal * equal * equal - equal
        ties[0] += groups
        ties[1] += np.float64(groups) * rank
        return True
    if len(packed) > CROWD:
        return False
    for each in packed:
        value = values[each & low]
        key = key_of(value, width)
        lower, equal = 0, 0
        for other in packed:
            other_key = key_of(values[other & low], width)
            lower += other_key < key
            equal += other_key == key
        rank = 2 * (before + lower + (0 if value & sign else zeros)) + equal - n
        ranks[each & low] = rank
        ties[0] += equal * equal - 1
        ties[1] += np.float64(equal * equal - 1) * rank
    return True
