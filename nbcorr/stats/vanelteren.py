"""The stratified AUC of a binary signal, its test (van Elteren) and its variance (DeLong)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbcorr.stats.sorting import Counts

# Fewer disjoint pairs, or a larger share of ties (sum of t^3 - t over n^3 - n), and the structural
# components are too few to tell their variance.
FEW_PAIRS, MOSTLY_TIED = 20, 0.5


class Pooled(NamedTuple):
    """An effect pooled over strata, for each neuron.

    Attributes
    ----------
    auc, z, variance : array of float64, shape (n_neurons,)
        The effect (AUC or CMA), its standardised distance from 1/2 under the null hypothesis,
        and its sampling variance.
    pairs : int
        Number of disjoint pairs of samples of one stratum at which the signal differs.
    """

    auc: np.ndarray
    z: np.ndarray
    variance: np.ndarray
    pairs: int


class Stratum(NamedTuple):
    """What one stratum, or each of several, contributes for each neuron.

    Attributes
    ----------
    n1, n0 : int, or array of int, shape (n_strata, 1)
        Positives and negatives.
    auc, ties : array of float64, shape (n_neurons,) or (n_strata, n_neurons)
        The AUC within the stratum, and its sum of t^3 - t over groups of ties.
    lean : array of float64, shape (n_neurons,) or (n_strata, n_neurons)
        The same sum with each term times twice the group's centred mid-rank.
    spread1, spread0 : array of float64, shape (n_neurons,) or (n_strata, n_neurons)
        Sums of squares, around `auc`, of the structural components of the positives (share of
        negatives below each) and of the negatives (share of positives above each): DeLong,
        DeLong & Clarke-Pearson (1988), counted from a sorted row (Sun & Xu 2014).
    """

    n1: int | np.ndarray
    n0: int | np.ndarray
    auc: np.ndarray
    ties: np.ndarray
    lean: np.ndarray
    spread1: np.ndarray
    spread0: np.ndarray


def stratum_of(counts: Counts, n1: int | np.ndarray, n0: int | np.ndarray) -> Stratum:
    """The share of one stratum, or of each of several, from its whole numbers."""
    return Stratum(
        n1,
        n0,
        counts.wins / (2 * n1 * n0),
        counts.ties,
        counts.lean,
        _spread(counts.wins, counts.square1, n1) / (4 * n0**2),
        _spread(counts.wins, counts.square0, n0) / (4 * n1**2),
    )


def _spread(total: np.ndarray, squares: np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """Sum of squares around the mean from that around the whole number below the mean."""
    rest = total % n / n
    return squares - n * rest * rest


def stacked(parts: list[Stratum]) -> list[np.ndarray]:
    """The columns of all strata, float64, shape (n_strata, 1) or (n_strata, n_neurons)."""
    columns = (np.vstack(column) for column in zip(*parts, strict=True))
    return [column.astype(np.float64, copy=False) for column in columns]


def pool_strata(parts: list[Stratum]) -> Pooled:
    """Van Elteren's weights, his test, and DeLong's variance with common components.

    The null variance of the sum of ``U_h / (n_h + 1)`` is, given the ties,
    ``sum_h n1 n0 / (12 (n + 1)^2) * (n + 1 - T / (n (n - 1)))`` (Lehmann, *Nonparametrics*,
    1975, section 3.3). A neuron that is constant within every stratum has statistic 0 under
    every permutation: z = 0.

    The sampling variance is ``sum_h (w_h / W)^2 (s1^2 / n1 + s0^2 / n0)`` with s1^2 and s0^2 the
    variances of the structural components around the AUC common to all strata. With one stratum
    this is DeLong's variance; with several it stands even where strata hold a single positive,
    and what the AUC truly varies between strata widens it.

    A handful of components that happen to agree would make it far too small: with fewer than 20
    disjoint pairs, or where most values are tied, it is no less than ``4 A (1 - A)`` times the
    null variance, which counts no component as known.
    """
    n1, n0, auc_by_stratum, ties, _, spread1, spread0 = stacked(parts)
    n = n1 + n0
    weight = n1 * n0 / (n + 1)
    share = weight / weight.sum()
    # Both sums run in the same order, so that strata with one and the same AUC give just that.
    total = np.sum(weight * np.ones_like(auc_by_stratum), axis=0)
    auc = np.sum(weight * auc_by_stratum, axis=0) / total
    null = np.sum(weight / (12 * (n + 1)) * (n + 1 - ties / (n * (n - 1))), axis=0)
    distance = np.sum(weight * (auc_by_stratum - 0.5), axis=0)
    z = np.divide(distance, np.sqrt(null), out=np.zeros_like(auc), where=null > 0)

    between = (auc_by_stratum - auc) ** 2
    spread1 = spread1 + n1 * between
    spread0 = spread0 + n0 * between
    variance = np.full_like(auc, np.nan)
    if n1.sum() > 1 and n0.sum() > 1:
        s1 = spread1.sum(axis=0) / (n1.sum() - 1)
        s0 = spread0.sum(axis=0) / (n0.sum() - 1)
        variance = np.sum(share**2 * (s1 / n1 + s0 / n0), axis=0)
    pairs = int(np.minimum(n1, n0).sum())
    tied = ties.sum(axis=0) / np.sum(n**3 - n)
    unsure = (tied > MOSTLY_TIED) if pairs >= FEW_PAIRS else np.ones_like(auc, dtype=bool)
    floor = np.where(unsure, 4 * auc * (1 - auc) * null / total**2, 0)
    # A variance of exactly 0, or unknown, has bounds of its own.
    variance = np.where(variance > 0, np.maximum(variance, floor), variance)
    return Pooled(auc, z, variance, pairs)


def skewness(parts: list[Stratum]) -> np.ndarray:
    """Skewness of the pooled statistic over permutations within strata, given the ties.

    The third central moment of the sum of n1 of n numbers drawn without replacement is
    ``n1 n0 (n0 - n1) / ((n - 1) (n - 2))`` times that of the numbers (Isserlis 1931). Of mid-ranks
    it is ``-sum m (t^3 - t) / (8 n)`` over groups of t ties, m twice the group's centred mid-rank:
    without ties the cubes cancel. The strata are independent, so their moments add. The same as
    `tails.statistic_skewness`, from whole numbers instead of another sort.
    """
    n1, n0, _, ties, lean, *_ = stacked(parts)
    n = n1 + n0
    drawn = n1 * n0 / (n * (n - 1) * (n + 1) ** 2)
    second = np.sum(drawn * (n**3 - n - ties) / 12, axis=0)
    further = (n0 - n1) / (np.maximum(n - 2, 1) * (n + 1))
    third = np.sum(drawn * further * -lean / 8, axis=0)
    return np.divide(third, second**1.5, out=np.zeros_like(third), where=second > 0)
