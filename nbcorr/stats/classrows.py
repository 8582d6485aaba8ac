"""Rows of samples added up by class, compiled by numba."""

from __future__ import annotations

import numba
import numpy as np

# Neurons whose running sums stay in the cache.
WIDTH = 4096


@numba.njit(nogil=True, cache=True)
def add_rows_by_class(rows, order, bounds, sums, lowest):  # type: ignore[no-untyped-def]
    """Add the rows of each class to its sums, and keep the lowest value of every column.

    `order` has the rows by class, those of class c from ``bounds[c]``. Eight at a time: the sums
    are read and written once for all of them, in double precision.
    """
    for left in range(0, rows.shape[1], WIDTH):
        part = slice(left, min(left + WIDTH, rows.shape[1]))
        low = lowest[part]
        for code in range(len(bounds) - 1):
            total = sums[code, part]
            i, end = bounds[code], bounds[code + 1]
            while i + 8 <= end:
                a, b = rows[order[i], part], rows[order[i + 1], part]
                c, d = rows[order[i + 2], part], rows[order[i + 3], part]
                e, f = rows[order[i + 4], part], rows[order[i + 5], part]
                g, h = rows[order[i + 6], part], rows[order[i + 7], part]
                for j in range(len(total)):
                    first = (a[j] + b[j]) + (c[j] + d[j])
                    second = (e[j] + f[j]) + (g[j] + h[j])
                    total[j] += first + second
                    least = min(min(a[j], b[j]), min(c[j], d[j]))
                    smaller = min(min(e[j], f[j]), min(g[j], h[j]))
                    low[j] = min(low[j], min(least, smaller))
                i += 8
            while i < end:
                a = rows[order[i], part]
                for j in range(len(total)):
                    total[j] += np.float64(a[j])
                    low[j] = min(low[j], a[j])
                i += 1
