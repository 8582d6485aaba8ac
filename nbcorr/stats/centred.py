"""Centred mid-ranks within strata: with them every association is a sum over samples."""

from __future__ import annotations

import numpy as np

from nbcorr.stats.design import Design
from nbcorr.stats.ranks import as_real, midranks, tie_term


def doubled_ranks(rows: np.ndarray, compile_it: bool) -> tuple[np.ndarray, np.ndarray]:
    """``2 * midrank - (n + 1)`` of each row as whole numbers, and the sum of t^3 - t.

    Parameters
    ----------
    rows : array, shape (n_neurons, n_samples)
        Without NaN.

    Returns
    -------
    ranks : array of float32, shape (n_neurons, n_samples)
        Each row sums to 0; exact for n below 2**24.
    ties : array of float64, shape (n_neurons,)
    """
    if compile_it and rows.dtype in (np.float16, np.float32):
        ranks = np.empty(rows.shape, dtype=np.float32)
        return ranks, rank_into(rows, ranks)[:, 0]
    real = as_real(rows)
    return (2 * midranks(real) - (rows.shape[1] + 1)).astype(np.float32), tie_term(real)


def rank_into(rows: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """`doubled_ranks` of float16 or float32, compiled, into numbers of any type that holds them.

    Returns
    -------
    array of float64, shape (n_neurons, 2)
        The sum of t^3 - t over groups of ties, and the same with each term times the group's
        rank: its negative is the sum of cubes of all ranks.
    """
    from nbcorr.stats import accelerated, vectors

    kernel, bits = accelerated.rank_keys, np.ascontiguousarray(rows).view(f"u{rows.itemsize}")
    if vectors.vectorised():
        from nbcorr.stats import vectorranks

        if rows.shape[1] <= vectorranks.MOST:
            kernel, bits = vectorranks.rank_keys, bits.astype(np.uint32, copy=False)
    ties = np.empty((len(rows), 2))
    kernel(bits, 8 * rows.itemsize, ranks, ties)
    return ties


class Scores:
    """What turns centred ranks into z: a weight per sample, a target, and the null variance.

    For a binary signal the target is 0/1 and the weights are van Elteren's; otherwise the target
    is the signal's centred mid-rank (see `cma`). ``z`` is the sum over samples of
    target times weight times doubled rank, over the root of the null variance: under permutations
    within strata that is, exactly, ``sum_h weight^2 SS(target) SS(rank) / (n_h - 1)``.
    """

    def __init__(self, design: Design) -> None:
        self.samples = np.concatenate(design.strata)
        self.sizes = np.array([len(samples) for samples in design.strata])
        self.bounds = np.concatenate([[0], np.cumsum(self.sizes)])
        targets, weights, spreads = [], [], []
        for samples in design.strata:
            n = len(samples)
            signal = design.signal[samples]
            if design.binary:
                target, weight = signal, 0.5 / (n + 1)
            else:
                target, weight = midranks(signal) - (n + 1) / 2, 0.5 / (n * (n + 1))
            targets.append(target)
            weights.append(weight)
            spreads.append(np.sum((target - target.mean()) ** 2))
        self.target = np.concatenate(targets)
        self.weights = np.array(weights)
        self.spreads = np.array(spreads)
