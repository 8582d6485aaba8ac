"""The inner loops of `cma`, compiled by numba: what samples above and below add up to.

With ranks known nothing is sorted by comparison: samples are counted into the order of their
ranks, and one walk in that order sums up what is needed. All numbers are whole.
"""

from __future__ import annotations

import numba
import numpy as np

SHIFT, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


@numba.njit(nogil=True, cache=True)
def follow_rows(  # type: ignore[no-untyped-def]
    ranks, codes, bounds, overall, running, inside, whole, products, squares, each
):
    """`cma.follow`, compiled; all that comes after `inside` is filled.

    Parameters
    ----------
    ranks : (n_rows, n) float32, doubled centred mid-ranks over all samples.
    codes, bounds, overall, running, inside : as in `cma.Target`.
    whole : (n_rows, 4) int64.
    products, squares : (n_rows, n_strata) int64.
    each : (n_rows, samples in strata) float64.
    """
    n = ranks.shape[1]
    n_strata = len(bounds) - 1
    place = np.empty(2 * n + 1, dtype=np.uint32)
    order, by_stratum = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.uint64)
    start = np.empty(n_strata + 1, dtype=np.uint32)
    within = np.empty(n, dtype=np.int64)
    for row in range(len(ranks)):
        own, out = ranks[row], each[row]
        count_places(own, place)
        whole[row, 0] = product(own, overall)
        whole[row, 1], whole[row, 2], whole[row, 3] = extremes(place, running)
        in_order(own, place, order)
        pairs = order
        if n_strata > 1 or bounds[1] < n:
            start[:] = bounds
            split(order, codes, start, by_stratum)
            pairs = by_stratum
        for h in range(n_strata):
            part = slice(bounds[h], bounds[h + 1])
            products[row, h], squares[row, h] = walk(pairs[part], inside, within, out)
            add_through_target(within[part], inside[part], out[part])


@numba.njit(nogil=True, cache=True)
def count_places(own, place):  # type: ignore[no-untyped-def]
    """How many samples have each doubled centred rank; the lowest, -n, is at 0."""
    n = len(own)
    place[:] = 0
    for rank in own:
        place[np.uint32(np.int32(rank) + np.int32(n))] += np.uint32(1)


@numba.njit(nogil=True, cache=True)
def product(own, overall):  # type: ignore[no-untyped-def]
    """Sum of the products of the neuron's ranks and the signal's."""
    total = 0
    for i in range(len(own)):
        total += np.int64(np.int32(own[i])) * overall[i]
    return total


@numba.njit(nogil=True, cache=True)
def extremes(place, running):  # type: ignore[no-untyped-def]
    """Sum of squares, and of products with the samples paired at best and at worst.

    Counts in `place` become the position of the first sample of each rank.
    """
    n = np.uint64(len(running) - 1)
    squares, best, worst, start = 0, 0, 0, np.uint64(0)
    for value in range(len(place)):
        size = np.uint64(place[value])
        place[value] = np.uint32(start)
        if size:
            rank, end = value - np.int64(n), start + size
            squares += np.int64(size) * rank * rank
            best += rank * (running[end] - running[start])
            worst += rank * (running[n - start] - running[n - end])
            start = end
    return squares, best, worst


@numba.njit(nogil=True, cache=True)
def in_order(own, place, pairs):  # type: ignore[no-untyped-def]
    """(Rank, sample) pairs, ascending; `place` holds where each rank starts."""
    n = len(own)
    sample = np.uint64(0)
    for rank in own:
        value = np.uint64(np.int32(rank) + np.int32(n))
        pairs[np.uint64(place[value])] = (value << SHIFT) | sample
        place[value] += np.uint32(1)
        sample += np.uint64(1)


@numba.njit(nogil=True, cache=True)
def split(pairs, codes, start, by_stratum):  # type: ignore[no-untyped-def]
    """The pairs of one stratum after the other, each in their order."""
    for pair in pairs:
        code = np.uint64(codes[pair & LOW])
        by_stratum[np.uint64(start[code])] = pair
        start[code] += np.uint32(1)


@numba.njit(nogil=True, cache=True)
def walk(pairs, target, within, through_own):  # type: ignore[no-untyped-def]
    """Rank the samples of a stratum and sum up the target of those above each.

    Returns the sums of products and of squares of the ranks within the stratum.
    """
    n = len(pairs)
    products, squares, after, start = 0, 0, 0, 0
    while start < n:
        key, before, end = pairs[start] >> SHIFT, after, start
        while end < n and pairs[end] >> SHIFT == key:
            after += target[pairs[end] & LOW]
            end += 1
        rank = start + end - n
        for pair in pairs[start:end]:
            within[pair & LOW] = rank
            through_own[pair & LOW] = -(before + after)
        products += rank * (after - before)
        squares += rank * rank * (end - start)
        start = end
    return products, squares


@numba.njit(nogil=True, cache=True)
def add_through_target(within, target, each):  # type: ignore[no-untyped-def]
    """Add what goes through a sample itself, and through those above it in the target.

    The ranks sum to 0: twice those above and once those that tie are those above less those below.
    """
    below, through = 0, 0
    last = target[0]
    for i in range(len(target)):
        if target[i] != last:
            below, last = through, target[i]
        each[i] += within[i] * target[i] - below
        through += within[i]
    above, through = 0, 0
    for j in range(len(target)):
        i = np.uint64(len(target) - 1 - j)
        if target[i] != last:
            above, last = through, target[i]
        each[i] += above
        through += within[i]
