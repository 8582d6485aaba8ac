"""The block bootstrap's inner loop compiled by numba; `bootstrap` does the same without it."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def add_below(keys, order, group, carrier, scores, counts, below):  # type: ignore[no-untyped-def]
    """Add, per resample, each sample's weight times the scores below it plus those not above it.

    Samples are walked in the `order` of their keys; `carrier` is the row of `scores` that belongs
    to a sample, -1 where it has none.
    """
    n, n_resamples = len(order), counts.shape[1]
    running = np.zeros(n_resamples)
    run_scores, run_counts = np.empty(n_resamples), np.empty(n_resamples)
    i = 0
    while i < n:
        end = i + 1
        while end < n and keys[order[end]] == keys[order[i]]:
            end += 1
        if end == i + 1 and carrier[order[i]] < 0:
            # Most samples of a binary signal: not tied, and nothing to add for those above.
            weight = counts[group[order[i]]]
            for b in range(n_resamples):
                below[b] += 2 * weight[b] * running[b]
            i = end
            continue
        run_scores[:] = 0
        run_counts[:] = 0
        for sample in order[i:end]:
            weight = counts[group[sample]]
            for b in range(n_resamples):
                run_counts[b] += weight[b]
            if carrier[sample] >= 0:
                own = scores[carrier[sample]]
                for b in range(n_resamples):
                    run_scores[b] += own[b]
        for b in range(n_resamples):
            below[b] += run_counts[b] * (2 * running[b] + run_scores[b])
            running[b] += run_scores[b]
        i = end
