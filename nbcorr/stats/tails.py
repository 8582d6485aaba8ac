"""The tail of a rank statistic that is far from normal: sparse neurons, few positives."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaincc, ndtr
from scipy.stats import hypergeom

from nbcorr.stats.design import Design
from nbcorr.stats.ranks import row_blocks

# Below this skewness the normal tail serves; above it a sparse neuron's can be off by powers of 10.
SKEWED = 0.2
# A tail this far out is looked at: nearer, p is above .1 and decides nothing.
FAR = 1.645
# Up to so many values off the mode their hits are counted exactly.
FEW = 12


def tail_p(rows: np.ndarray, z: np.ndarray, tied: np.ndarray, design: Design) -> np.ndarray:
    """Two-sided p-values of van Elteren's statistic, right where the normal ones are not.

    Ties and few positives make the permutation distribution of the statistic skewed: of a neuron
    that is zero but at one sample, it has two values. Where its skewness, which is known exactly,
    is above .2, the larger is taken of the normal p and that of the Pearson type III
    distribution with this skewness (Mielke & Berry, *Permutation Methods*, 2007, section 2.3;
    Winkler et al., *NeuroImage* 141, 2016), and where no more than twelve values are off the
    neuron's commonest one, no less than twice the chance that as many of them fall on positives
    (a convolution of hypergeometric distributions over the strata).

    Parameters
    ----------
    rows : array, shape (n_neurons, n_samples), finite where ``z`` is
    z : array of float64, shape (n_neurons,)
        Standardised statistics; NaN where a neuron is dead.
    tied : array of float64, shape (n_neurons,)
        Sum of t^3 - t over groups of ties as a share of n^3 - n.
    design : Design
        Of a binary signal.

    Returns
    -------
    array of float64, shape (n_neurons,)
    """
    p = 2 * ndtr(-np.abs(z))
    looked_at = np.flatnonzero((np.abs(z) > FAR) & _may_be_skewed(tied, design))
    for block in row_blocks(len(looked_at), design.n):
        chosen = looked_at[block]
        skewness = statistic_skewness(rows[chosen], design)
        far = np.abs(skewness) > SKEWED
        chosen, skewness = chosen[far], skewness[far]
        tail = 2 * pearson3_tail(np.abs(z[chosen]), skewness * np.sign(z[chosen]))
        p[chosen] = np.maximum(p[chosen], np.minimum(tail, 1))
        for row in chosen:
            p[row] = max(p[row], hits_p(rows[row], z[row], design))
    return p


def _may_be_skewed(tied: np.ndarray, design: Design) -> np.ndarray:
    """Rows whose statistic can be skewed, by half as much again as its largest likely skewness.

    For given ties the ranks are most skewed when one value holds a share s of the samples at an
    end of the scale, ``tied = s^3``; what many positives add up to is skewed the less for it.
    """
    s = np.cbrt(np.nan_to_num(tied, nan=0.0))
    third = -s * (1 - s) ** 3 / 8 + (0.0625 - (s - 0.5) ** 4) / 4
    skewness = third / np.maximum((1 - s**3) / 12, 1e-12) ** 1.5
    positive = design.n_positive_informative or 1
    fewer = max(1, min(positive, design.n_informative - positive))
    return 1.5 * skewness / np.sqrt(fewer) > SKEWED


def statistic_skewness(rows: np.ndarray, design: Design) -> np.ndarray:
    """Skewness of van Elteren's statistic over permutations within strata, given the ties.

    The third central moment of the sum of n1 of n numbers drawn without replacement is
    ``n1 n0 (n0 - n1) / ((n - 1) (n - 2)) * m3``, ``m3`` that of the numbers (Isserlis 1931);
    the strata are independent, so their moments add.
    """
    second, third = np.zeros(len(rows)), np.zeros(len(rows))
    for samples in design.strata:
        n = len(samples)
        n1 = int(design.signal[samples].sum())
        n0 = n - n1
        square, cube = _rank_moments(np.sort(rows[:, samples], axis=1))
        second += n1 * n0 / (n - 1) * square
        if n > 2:
            third += n1 * n0 * (n0 - n1) / ((n - 1) * (n - 2)) * cube
    return np.divide(third, second**1.5, out=np.zeros(len(rows)), where=second > 0)


def _rank_moments(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Second and third central moments of the mid-ranks over n + 1 of sorted rows."""
    count, n = ordered.shape
    first = np.ones(ordered.shape, dtype=bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(first)
    lengths = np.diff(np.append(starts, first.size))
    row = starts // n
    centred = (starts % n + (lengths + 1) / 2 - (n + 1) / 2) / (n + 1)
    square = lengths * centred * centred
    moments = (np.bincount(row, weights, count) / n for weights in (square, square * centred))
    return next(moments), next(moments)


def pearson3_tail(z: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """P(Z >= z) of the standardised Pearson type III distribution; z above 0.

    With a negative skewness, where the tail is lighter than the normal one, 0: the normal p, which
    is the larger, is then the one that counts.
    """
    shape = 4 / np.maximum(skewness, 1e-8) ** 2
    at = shape + z * np.sqrt(shape)
    return np.where(skewness > 0, gammaincc(shape, at), 0.0)


def hits_p(row: np.ndarray, z: float, design: Design) -> float:
    """Twice the chance of as many hits of the few values off the mode, 0 where they are many.

    Counted are the values on the side of the mode that the statistic leans to: large ones that
    fall on positives, or on negatives.
    """
    values, counts = np.unique(row, return_counts=True)
    off = row != values[counts.argmax()]
    if not 0 < np.count_nonzero(off) <= FEW:
        return 0.0
    above = row > values[counts.argmax()]
    toward = above if np.count_nonzero(above) * 2 >= np.count_nonzero(off) else off & ~above
    sought = (z > 0) == (toward is above)
    chance, hits = np.ones(1), 0
    for samples in design.strata:
        drawn = int(np.count_nonzero(toward[samples]))
        if drawn == 0:
            continue
        target = design.signal[samples] == (1 if sought else 0)
        hits += int(np.count_nonzero(toward[samples] & target))
        possible = np.arange(drawn + 1)
        own = hypergeom.pmf(possible, len(samples), int(target.sum()), drawn)
        chance = np.convolve(chance, own)
    return float(min(1.0, 2 * chance[hits:].sum()))
