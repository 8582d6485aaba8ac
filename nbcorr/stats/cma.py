"""The coefficient of monotone association (CMA): what AUC is, for a signal of any real values."""

from __future__ import annotations

import numpy as np

from nbcorr.stats.design import Design
from nbcorr.stats.ranks import midranks, tie_bounds
from nbcorr.stats.vanelteren import Pooled


def cma_statistics(rows: np.ndarray, design: Design) -> Pooled:
    """CMA of every row with the signal, pooled over strata, with its test and its variance.

    Within stratum h let C be the sum over samples of (rank of the signal - centre) times (rank of
    the neuron - centre), D the same of the signal with itself and E of the neuron with itself.
    Walz, Eberl & Gneiting (arXiv 2510.17994): AGC = C / D and CMA = (AGC + 1) / 2. Over strata

        AGC = sum_h C_h / (n_h (n_h + 1)) / sum_h D_h / (n_h (n_h + 1)),

    which for a binary signal is van Elteren's weighting, as 4 D_h = n_h n1 n0. Under
    permutations within strata C_h has mean 0 and variance D_h E_h / (n_h - 1).

    The sampling variance is that of the influence function of AGC, by the delta method.
    """
    shape = len(rows)
    covariance, spread, null = np.zeros(shape), 0.0, np.zeros(shape)
    parts = []
    for samples in design.strata:
        n = len(samples)
        weight = 1 / (n * (n + 1))
        target = midranks(design.signal[samples]) - (n + 1) / 2
        own = midranks(rows[:, samples]) - (n + 1) / 2
        target_spread = np.sum(target * target)
        covariance += weight * (own @ target)
        spread += weight * target_spread
        null += weight**2 * target_spread * np.sum(own * own, axis=1) / (n - 1)
        parts.append((samples, weight, target, own))
    agc = np.clip(covariance / spread, -1, 1)
    variance = np.zeros(shape)
    for samples, weight, target, own in parts:
        influence = weight * _influence(rows[:, samples], target, own, agc)
        n = len(samples)
        variance += np.sum(influence * influence, axis=1) * n / (n - 1)
    z = np.divide(covariance, np.sqrt(null), out=np.zeros(shape), where=null > 0)
    pairs = sum(_disjoint_pairs(design.signal[samples]) for samples in design.strata)
    return Pooled((agc + 1) / 2, z, variance / (2 * spread) ** 2, pairs)


def _influence(
    rows: np.ndarray, target: np.ndarray, own: np.ndarray, agc: np.ndarray
) -> np.ndarray:
    """What each sample contributes to C - AGC * D, through its product and through others' ranks.

    Summed over the samples of a stratum it is C - AGC * D, so that strata whose own AGC differs
    from the common one widen the interval.
    """
    n = len(target)
    order = np.argsort(rows, axis=1)
    through_own = _sum_above(target[order], np.take_along_axis(rows, order, axis=1))
    through_own = _unsorted(through_own, order)
    by_signal = np.argsort(target)
    ordered = np.broadcast_to(target[by_signal], own.shape)
    through_target = np.empty_like(own)
    through_target[:, by_signal] = _sum_above(own[:, by_signal], ordered)
    through_itself = np.empty_like(target)
    by_itself = target[by_signal][None]
    through_itself[by_signal] = _sum_above(by_itself, by_itself)[0]

    scaled = agc[:, None]
    each = own * target + through_own + through_target
    each = each - scaled * (target * target + 2 * through_itself)
    excess = own @ target - agc * np.sum(target * target)
    return each - 2 * excess[:, None] / n


def _sum_above(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Sum of `values` at larger keys plus half of those at equal keys; `keys` are sorted."""
    first, last = tie_bounds(keys)
    running = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=running[:, 1:])
    below_or_tied = np.take_along_axis(running, first, axis=1)
    below_or_tied += np.take_along_axis(running, last, axis=1)
    return running[:, -1:] - below_or_tied / 2


def _unsorted(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    out = np.empty_like(values)
    np.put_along_axis(out, order, values, axis=1)
    return out


def _disjoint_pairs(signal: np.ndarray) -> int:
    """How many pairs with different values fit side by side: n // 2 unless one value dominates."""
    n = len(signal)
    most = int(np.unique(signal, return_counts=True)[1].max())
    return min(n // 2, n - most)
