"""Sums of chosen rows of a table of ranks, compiled by numba."""

from __future__ import annotations

import numba


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
