"""The tails of a rank statistic that is far from normal: sparse neurons, rare signals, few samples.

All of it is about the permutation distribution within strata of the sum over samples of (rank of
the neuron) times (rank of the signal); for a binary signal that is van Elteren's statistic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, gammaincc, gammaln, ndtr

from nbcorr.stats.design import Design
from nbcorr.stats.ranks import as_real, midranks, row_blocks
from nbcorr.stats.sorting import compiled

# Below this skewness the normal tail serves; above it a sparse neuron's can be off by powers of 10.
SKEWED = 0.2
# A tail this far out is looked at: nearer, p is above .1 and decides nothing.
FAR = 1.645
# Where more hits than that are expected, they no longer show one by one.
EXPECTED = 25.0
# Where fewer are, the tail is heavy even if it is not skewed.
HEAVY = 10.0


def tail_p(rows: np.ndarray, z: np.ndarray, tied: np.ndarray, design: Design) -> np.ndarray:
    """`skewed_p` where the skewness is not known: it is found where it can matter.

    Parameters
    ----------
    rows : array, shape (n_neurons, n_samples), without NaN where ``z`` is finite
    z : array of float64, shape (n_neurons,)
        Standardised statistics; NaN where a neuron is dead.
    tied : array of float64, shape (n_neurons,)
        Sum of t^3 - t over groups of ties as a share of n^3 - n.
    design : Design

    Returns
    -------
    array of float64, shape (n_neurons,)
    """
    skewness = np.zeros(len(z))
    looked_at = np.flatnonzero((np.abs(z) > FAR) & _may_be_skewed(tied, design))
    for block in row_blocks(len(looked_at), design.n):
        chosen = looked_at[block]
        skewness[chosen] = statistic_skewness(rows[chosen], design)
    return skewed_p(z, tied, skewness, design, lambda some: sparsity_of(rows[some], design))


def skewed_p(
    z: np.ndarray,
    tied: np.ndarray,
    skewness: np.ndarray,
    design: Design,
    sparsity: Callable[[np.ndarray], Sparsity],
) -> np.ndarray:
    """Two-sided p-values of a rank statistic, right where the normal ones are not.

    Ties and rare signals make the permutation distribution of the statistic skewed: of a neuron
    that is zero but at one sample, and a binary signal, it has two values. The largest is taken of
    the normal p; that of the Pearson type III distribution with the statistic's own skewness, both
    tails summed, where this is above .2 (Mielke & Berry, *Permutation Methods*, 2007, section 2.3;
    Winkler et al., *NeuroImage* 141, 2016); `hits_p` where few hits are expected, as the tail is
    heavy there even if it is not skewed; and `smallest_p`.

    Parameters
    ----------
    z, tied, design : as in `tail_p`
    skewness : array of float64, shape (n_neurons,)
        Of the statistic over permutations, as `statistic_skewness` finds it.
    sparsity : callable
        `sparsity_of` the neurons with these indices; few are asked for.

    Returns
    -------
    array of float64, shape (n_neurons,)
    """
    p = 2 * ndtr(-np.abs(z))
    rare = rare_of(design)
    far = np.flatnonzero(np.abs(z) > FAR)
    off = 1 - np.cbrt(tied[far])
    heavy = (off < 0.5) & (off * rare.total < HEAVY) if rare else np.zeros(len(far), dtype=bool)
    far = far[(np.abs(skewness[far]) > SKEWED) | heavy]
    p[far] = np.maximum(p[far], pearson3_p(z[far], skewness[far]))
    for block in row_blocks(len(far) if rare else 0, design.n):
        chosen = far[block]
        hits = hits_p(sparsity(chosen), z[chosen], tied[chosen], rare, design)
        p[chosen] = np.maximum(p[chosen], hits)
    return np.maximum(p, smallest_p(design))


def smallest_p(design: Design) -> float:
    """The smallest two-sided p there can be: 2 of the ways to deal the signal out within strata.

    Each stratum has n! / prod(c!) of them, c the number of samples with each of its values.
    """
    if design.binary:
        n, n1 = _sizes_and_positives(design)
        ways = np.sum(gammaln(n + 1) - gammaln(n1 + 1) - gammaln(n - n1 + 1))
        return float(min(1.0, 2 * np.exp(-ways)))
    ways = 0.0
    for samples in design.strata:
        counts = np.unique(design.signal[samples], return_counts=True)[1]
        ways += gammaln(len(samples) + 1) - gammaln(counts + 1.0).sum()
    return float(min(1.0, 2 * np.exp(-ways)))


def _sizes_and_positives(design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Samples and positives of each stratum, of a binary signal."""
    if design.whole:
        return np.array([design.n]), np.array([design.n_positive])
    sizes = np.array([len(samples) for samples in design.strata])
    counts = [np.count_nonzero(design.signal[samples]) for samples in design.strata]
    return sizes, np.array(counts)


def _may_be_skewed(tied: np.ndarray, design: Design) -> np.ndarray:
    """Rows whose statistic can be skewed, by half as much again as its largest likely skewness.

    For given ties the ranks are most skewed when one value holds a share s of the samples at an
    end of the scale, ``tied = s^3``. With one stratum of n samples the skewness of the statistic is
    that of the neuron's ranks times that of the signal's over about the root of n.
    """
    s = np.cbrt(np.nan_to_num(tied, nan=0.0))
    third = -s * (1 - s) ** 3 / 8 + (0.0625 - (s - 0.5) ** 4) / 4
    skewness = third / np.maximum((1 - s**3) / 12, 1e-12) ** 1.5
    square, cube = 0.0, 0.0
    for samples in design.strata:
        ranks = _centred(design.signal[samples])
        square += ranks @ ranks
        cube += abs(ranks @ (ranks * ranks))
    return 1.5 * skewness * cube / square**1.5 > SKEWED


def statistic_skewness(rows: np.ndarray, design: Design) -> np.ndarray:
    """Skewness of the statistic over permutations within strata, given the ties.

    Of two lists of n numbers with mean 0, paired at random, the sum of products has the second
    moment ``A2 B2 / (n - 1)`` and the third ``n A3 B3 / ((n - 1) (n - 2))``, where A2 and A3 are
    sums of squares and of cubes: of the six kinds of products over distinct samples each is a
    multiple of these, as the sums of the numbers vanish (Mielke & Berry 2007, section 2.3). The
    strata are independent, so their moments add. For a binary signal it is Isserlis' (1931).
    """
    second, third = np.zeros(len(rows)), np.zeros(len(rows))
    for samples in design.strata:
        n = len(samples)
        signal = _centred(design.signal[samples])
        square, cube = _rank_moments(np.sort(rows[:, samples], axis=1))
        second += n * square * (signal @ signal) / (n - 1)
        if n > 2:
            third += n * n * cube * (signal @ (signal * signal)) / ((n - 1) * (n - 2))
    return np.divide(third, second**1.5, out=np.zeros(len(rows)), where=second > 0)


def _centred(signal: np.ndarray) -> np.ndarray:
    """Centred mid-ranks of one stratum as a share of its size."""
    n = len(signal)
    return (midranks(signal) - (n + 1) / 2) / n


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


def pearson3_p(z: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """P(|Z| >= |z|) of the standardised Pearson type III distribution: both tails summed."""
    skew, far = np.abs(skewness), np.abs(z)
    return np.minimum(pearson3_tail(far, skew) + pearson3_tail(far, -skew), 1)


def pearson3_tail(z: np.ndarray, skewness: np.ndarray) -> np.ndarray:
    """P(Z >= z) of the standardised Pearson type III distribution; z above 0."""
    shape = 4 / np.maximum(np.abs(skewness), 1e-4) ** 2
    reach = z * np.sqrt(shape)
    below = 1 - gammaincc(shape, np.maximum(shape - reach, 0))
    return np.where(skewness > 0, gammaincc(shape, shape + reach), below)


class Rare(NamedTuple):
    """The samples at which a signal is off its commonest value.

    Attributes
    ----------
    inside : array of int, shape (n_strata,)
        How many there are in each stratum.
    total : int
        How many of all samples they are.
    mean, variance : float
        Of their distance from the commonest value, in ranks.
    largest : float
        Of these distances, either way.
    """

    inside: np.ndarray
    total: int
    mean: float
    variance: float
    largest: float


def rare_of(design: Design) -> Rare | None:
    """What is rare in a signal; None where no value holds half of its samples."""
    if design.binary:
        # Known without sorting: the two mid-ranks lie half of the samples apart.
        sizes, inside = _sizes_and_positives(design)
        total, half = design.n_positive or 0, design.n / 2
        if 2 * total <= design.n:
            return Rare(inside, total, half, 0.0, half)
        return Rare(sizes - inside, design.n - total, -half, 0.0, half)
    values, counts = np.unique(design.signal, return_counts=True)
    if 2 * counts.max() < design.n:
        return None
    off = design.signal != values[counts.argmax()]
    ranks = midranks(design.signal)
    apart = ranks[off] - ranks[~off][0]
    inside = np.array([np.count_nonzero(off[samples]) for samples in design.strata])
    moments = float(apart.mean()), float(apart.var()), float(np.abs(apart).max())
    return Rare(inside, int(off.sum()), *moments)


class Sparsity(NamedTuple):
    """Where neurons are off the value that most samples share.

    Attributes
    ----------
    off : array of int, shape (n_neurons, n_strata)
        How many samples of each stratum are off it.
    total, above : array of int, shape (n_neurons,)
        How many of all samples are, and how many of these are larger.
    """

    off: np.ndarray
    total: np.ndarray
    above: np.ndarray


def sparsity_of(rows: np.ndarray, design: Design) -> Sparsity:
    """What is rare in neurons; where no value holds most samples, off the median."""
    values = as_real(rows)
    mode = np.zeros(len(values), dtype=values.dtype)
    found = _sparsity(values, mode, design)
    other = 2 * found.total >= values.shape[1]
    if other.any():
        middle = values.shape[1] // 2
        mode = np.partition(values[other], middle, axis=1)[:, middle]
        for column, own in zip(found, _sparsity(values[other], mode, design), strict=True):
            column[other] = own
    return found


def _sparsity(rows: np.ndarray, mode: np.ndarray, design: Design) -> Sparsity:
    """How many samples of each row are off its `mode`."""
    if not compiled(rows.size):
        off = rows != mode[:, None]
        each = [np.count_nonzero(off[:, samples], axis=1) for samples in design.strata]
        above = np.count_nonzero(rows > mode[:, None], axis=1)
        return Sparsity(np.stack(each, axis=1), np.count_nonzero(off, axis=1), above)
    from nbcorr.stats import rowsums

    # What is in no stratum is counted as one more.
    codes = np.full(rows.shape[1], len(design.strata))
    for h, samples in enumerate(design.strata):
        codes[samples] = h
    inside = np.zeros((len(rows), len(design.strata) + 1), dtype=np.int64)
    sums = np.empty((2, len(rows)), dtype=np.int64)
    rowsums.count_off(np.ascontiguousarray(rows), mode, codes, inside, sums)
    return Sparsity(inside[:, :-1], *sums)


def hits_p(
    sparsity: Sparsity, z: np.ndarray, tied: np.ndarray, rare: Rare | None, design: Design
) -> np.ndarray:
    """P-values that count how often the rare values of neuron and signal fall on one sample.

    The statistic of a sparse neuron and a rare signal goes in steps, one for each such hit, and
    what ranks among the rare values add is little. The number of hits is a sum of hypergeometric
    ones, hence one of independent trials (Vatutin & Mikhailov, *Theory of Probability and its
    Applications* 27, 1982), and taken as a binomial one. Given k hits the statistic is taken as
    normal with the moments of a sum of k products drawn at random, but no larger than k
    of the largest; and 1.7 standard deviations of a single product over the root of k count as
    reached, as few products are far from normal.

    Parameters
    ----------
    sparsity : Sparsity
        `sparsity_of` the neurons.
    z, tied, design : as in `tail_p`
    rare : Rare, optional
        `rare_of` the design.

    Returns
    -------
    array of float64, shape (n_neurons,)
        0 where the steps do not show: no value holds half of the samples, or more than 25 hits are
        expected.
    """
    p = np.zeros(len(z))
    if rare is None:
        return p
    size = np.array([len(samples) for samples in design.strata])
    off, total, above = sparsity
    expected = off * rare.inside / size
    left = (size - off) * (size - rare.inside) / (size * (size - 1))
    mean, variance = expected.sum(axis=1), np.sum(expected * left, axis=1)
    counted = (2 * total < design.n) & (variance > 0) & (mean <= EXPECTED)
    if counted.any():
        total, above, tied, mean, variance, z = (
            column[counted] for column in (total, above, tied, mean, variance, z)
        )
        gap, spread = _rank_gap(total, above, tied, design.n)
        largest = (design.n - total) / 2 + np.maximum(above, total - above)
        p[counted] = _steps_p(total, gap, spread, largest, mean, variance, z, rare)
    return p


def _steps_p(
    total: np.ndarray,
    gap: np.ndarray,
    spread: np.ndarray,
    largest: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    z: np.ndarray,
    rare: Rare,
) -> np.ndarray:
    """P(|Z| >= |z|) over all numbers of hits."""
    hits = np.arange(2 + int(np.max(mean + 12 * np.sqrt(variance + 1))))
    chance = _hit_chances(hits, mean, variance, np.minimum(total, rare.total))
    total, gap, spread = total[:, None], gap[:, None], spread[:, None]
    product = gap * rare.mean
    # Those drawn are drawn from few: of all of them the sum is known.
    one = np.maximum(total - hits, 0) / np.maximum(total - 1, 1) * spread * rare.mean**2
    one += np.maximum(rare.total - hits, 0) / max(rare.total - 1, 1) * rare.variance * gap**2
    one += spread * rare.variance
    centre = hits * product
    middle = mean[:, None] * product
    among = np.sum(chance * hits * one, axis=1, keepdims=True)
    scale = np.sqrt(variance[:, None] * product**2 + among)
    apart = (centre - middle) / scale
    width = np.maximum(np.sqrt(hits * one) / scale, 1e-8)
    reach = (
        np.sqrt(3 * one[:, 1:2]) / np.sqrt(np.maximum(hits, 1)) / scale + 1e-6 - np.abs(z)[:, None]
    )
    beyond = ndtr((reach + apart) / width) + ndtr((reach - apart) / width)
    possible = hits * largest[:, None] * rare.largest / scale + np.abs(middle) / scale
    chance = np.where(possible + 1e-6 >= np.abs(z)[:, None], chance, 0)
    return np.minimum(np.sum(chance * beyond, axis=1), 1)


def _hit_chances(
    hits: np.ndarray, mean: np.ndarray, variance: np.ndarray, most: np.ndarray
) -> np.ndarray:
    """Chance of each number of hits, shape (n_neurons, len(hits)).

    The binomial with this mean and the next larger variance that a whole number of trials has.
    """
    trials = np.minimum(np.ceil(mean**2 / (mean - variance) - 1e-9), most)[:, None]
    k = hits[1:]
    left = np.maximum(trials - k + 1, 1)
    at_least = np.where(k <= trials, betainc(k, left, mean[:, None] / trials), 0.0)
    ends = np.ones((len(mean), 1))
    return -np.diff(np.hstack([ends, at_least, 0 * ends]))


def _rank_gap(
    total: np.ndarray, above: np.ndarray, tied: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of how far values off the mode are from it in ranks.

    Half the mode's samples lie between, and half of those of their own side on average; the
    variance is what the mode leaves of the sum of squares of all centred ranks.
    """
    mode, below = n - total, total - above
    gap = (above * (mode + above) - below * (mode + below)) / (2 * total)
    centre = (below - above) / 2
    squares = (float(n) ** 3 - n) * (1 - tied) / 12
    spread = (squares - mode * centre**2) / total - (centre + gap) ** 2
    return gap, np.maximum(spread, 0)
