"""The coefficient of monotone association (CMA): what AUC is, for a signal of any real values.

Ranks are doubled and centred, ``2 * midrank - (n + 1)``: whole numbers that sum to 0 within each
stratum, so that all sums of them are exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbcorr.stats.design import Design
from nbcorr.stats.ranks import midranks, tie_bounds


class Target(NamedTuple):
    """The doubled centred ranks of a signal, and what else neurons have in common.

    Samples are in the order of their stratum and, within it, of the signal; those of no stratum
    come last.

    Attributes
    ----------
    samples : array of int64, shape (n,)
    codes : array of int64, shape (n,)
        The stratum of each sample, from 0; the number of strata where it is in none.
    bounds : array of int64, shape (n_strata + 1,)
        Where each stratum starts, and where the last ends.
    overall : array of int64, shape (n,)
        Ranks over all samples.
    running : array of int64, shape (n + 1,)
        Sums of the lowest of these ranks: of none, of one, and so on.
    inside : array of int64, shape (samples in strata,)
        Ranks within the stratum.
    itself : array of float64, shape (samples in strata,)
        `Followed.each` of the signal with itself.
    pairs : int
        Number of disjoint pairs of samples of one stratum at which the signal differs.
    """

    samples: np.ndarray
    codes: np.ndarray
    bounds: np.ndarray
    overall: np.ndarray
    running: np.ndarray
    inside: np.ndarray
    itself: np.ndarray
    pairs: int


class Followed(NamedTuple):
    """Whole numbers of each neuron next to a target, as float64.

    Attributes
    ----------
    whole : array, shape (n_neurons, 4)
        Over all samples: sums of products, of squares of the neuron's ranks, and of products
        with the samples paired at best and at worst.
    products, squares : array, shape (n_neurons, n_strata)
        The first two of these with the ranks within each stratum.
    each : array, shape (n_neurons, samples in strata)
        What each sample contributes to `products`: its own product, and what its presence adds
        to the ranks of others. Sums to three times `products`.
    """

    whole: np.ndarray
    products: np.ndarray
    squares: np.ndarray
    each: np.ndarray


class Monotone(NamedTuple):
    """How each neuron goes with a signal.

    Attributes
    ----------
    cma, z, variance : array of float64, shape (n_neurons,)
        The effect within strata, its standardised distance from 1/2, and its sampling variance.
    rho, rho_max : array of float64, shape (n_neurons,)
        Spearman's over all samples, and the largest ``|rho|`` with these values.
    z_unstratified : array of float64, shape (n_neurons,)
        What `z` would be without strata.
    squares : array of float64, shape (n_neurons,)
        Sum of squares of the doubled centred ranks: 0 where the neuron is constant.
    """

    cma: np.ndarray
    z: np.ndarray
    variance: np.ndarray
    rho: np.ndarray
    rho_max: np.ndarray
    z_unstratified: np.ndarray
    squares: np.ndarray


def make_target(design: Design) -> Target:
    """The target of a signal: its ranks and the order of its samples."""
    n, signal = design.n, design.signal
    codes = np.full(n, len(design.strata))
    for h, samples in enumerate(design.strata):
        codes[samples] = h
    samples = np.lexsort((signal, codes))
    codes = codes[samples]
    bounds = np.searchsorted(codes, np.arange(len(design.strata) + 1))
    overall = _whole(midranks(signal)[samples], n)
    ranks = [midranks(signal[own]) for own in np.split(samples, bounds[1:])[:-1]]
    inside = np.concatenate([_whole(own, len(own)) for own in ranks])
    running = np.concatenate([[0], np.cumsum(np.sort(overall))])
    ties = tie_bounds(_keys(inside[None], codes, n))
    itself = (inside * inside + 2 * _sum_above(inside[None], *ties)[0]).astype(np.float64)
    pairs = sum(_disjoint_pairs(own) for own in ranks)
    return Target(samples, codes, bounds, overall, running, inside, itself, pairs)


def monotone_association(ranks: np.ndarray, target: Target, compile_it: bool) -> Monotone:
    """The association of every neuron with a target, from its doubled centred ranks.

    Parameters
    ----------
    ranks : array of float32 or float64, shape (n_neurons, n_samples)
        Over all samples, in their own order.
    compile_it : bool
        Whether to count with numba: float32, and no more samples than `sorting.COUNTABLE`.
    """
    found = follow(np.take(ranks, target.samples, axis=1), target, compile_it)
    product, squares, best, worst = found.whole.T
    size = np.array([float(ranks.shape[1])])
    spread = np.add.reduce(np.square(target.overall, dtype=np.float64), keepdims=True)
    z = _standardised(found.whole[:, :1], found.whole[:, 1:2], spread, size)
    with np.errstate(invalid="ignore"):
        scale = np.sqrt(squares * spread)
        rho, rho_max = product / scale, np.maximum(best, -worst) / scale
    return Monotone(*_pooled(found, target), rho, rho_max, z, squares)


def follow(ranks: np.ndarray, target: Target, compile_it: bool) -> Followed:
    """The whole numbers of each neuron; `ranks` are over all samples, in the target's order."""
    if not compile_it:
        return _follow(ranks, target)
    from nbcorr.stats.monotone import follow_rows

    n_rows, n_strata = len(ranks), len(target.bounds) - 1
    whole = np.empty((n_rows, 4), dtype=np.int64)
    products, squares = np.empty((2, n_rows, n_strata), dtype=np.int64)
    each = np.empty((n_rows, len(target.inside)))
    common = target.codes, target.bounds, target.overall, target.running, target.inside
    follow_rows(ranks, *common, whole, products, squares, each)
    return Followed(whole.astype(float), products.astype(float), squares.astype(float), each)


def _follow(ranks: np.ndarray, target: Target) -> Followed:
    n, m = ranks.shape[1], len(target.inside)
    ordered, upward = np.sort(ranks, axis=1), np.diff(target.running).astype(np.float64)
    paired = (ranks, target.overall), (ranks, ranks), (ordered, upward), (ordered, upward[::-1])
    whole = [np.sum(np.multiply(*pair, dtype=np.float64), axis=1) for pair in paired]

    inside, codes, starts = target.inside, target.codes[:m], target.bounds[:-1]
    keys = _keys(ranks[:, :m], codes, n)
    order = _order(keys)
    first, last = tie_bounds(np.take_along_axis(keys, order, axis=1))
    below = (target.bounds[:-1] + target.bounds[1:])[codes]
    within = _unsorted(first + last - below, order).astype(np.float64)
    each = _unsorted(_sum_above(inside[order], first, last), order).astype(np.float64)
    each += _sum_above(within, *tie_bounds(_keys(inside[None], codes, n)))
    product = within * inside
    each += product
    products, squares = (np.add.reduceat(x, starts, axis=1) for x in (product, within * within))
    return Followed(np.stack(whole, axis=1), products, squares, each)


def _pooled(found: Followed, target: Target) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CMA of every neuron with the signal, pooled over strata, with its z and its variance.

    Within stratum h let C be the sum over samples of (rank of the signal - centre) times (rank of
    the neuron - centre), D the same of the signal with itself and E of the neuron with itself.
    Walz, Eberl & Gneiting (arXiv 2510.17994): AGC = C / D and CMA = (AGC + 1) / 2. Over strata

        AGC = sum_h C_h / (n_h (n_h + 1)) / sum_h D_h / (n_h (n_h + 1)),

    which for a binary signal is van Elteren's weighting, as 4 D_h = n_h n1 n0. Under
    permutations within strata C_h has mean 0 and variance D_h E_h / (n_h - 1).

    The sampling variance is that of the influence function of AGC, by the delta method. A sample
    contributes a = `each` - AGC `itself` to C - AGC D, less 2/n_h of it; as the a of a stratum
    sum to 3 (C - AGC D), the squares of these sum to that of a less 8 (C - AGC D)^2 / n_h.
    Strata whose own AGC differs from the common one so widen the interval.
    """
    n = np.diff(target.bounds).astype(np.float64)
    weight = 1 / (n * (n + 1))
    spread = np.add.reduceat(np.square(target.inside, dtype=np.float64), target.bounds[:-1])
    total = np.sum(weight * spread)
    covariance = np.sum(weight * found.products, axis=1)
    agc = np.clip(covariance / total, -1, 1)
    z = _standardised(found.products, found.squares, spread, n)

    share = weight**2 * n / (n - 1)
    excess = found.products - agc[:, None] * spread
    each = agc[:, None] * target.itself
    np.subtract(found.each, each, out=each)
    np.square(each, out=each)
    around = np.add.reduceat(each, target.bounds[:-1], axis=1) - 8 / n * excess**2
    variance = np.sum(share * around, axis=1)
    return (agc + 1) / 2, z, variance / (2 * total) ** 2


def _standardised(
    products: np.ndarray, squares: np.ndarray, spread: np.ndarray, n: np.ndarray
) -> np.ndarray:
    """The pooled sum of products over its standard deviation under permutations; 0 for 0 / 0."""
    weight = 1 / (n * (n + 1))
    null = np.sum(weight**2 * spread / (n - 1) * squares, axis=1)
    total = np.sum(weight * products, axis=1)
    return np.divide(total, np.sqrt(null), out=np.zeros_like(null), where=null > 0)


def _sum_above(values: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Twice the sum of `values` at larger keys, and once of those at equal keys.

    The values are in the order of their keys and sum to 0 within each stratum; `first` and `last`
    are the `tie_bounds` of the keys.
    """
    running = np.zeros((values.shape[0], values.shape[1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=1, out=running[:, 1:])
    below_or_tied = np.take_along_axis(running, first, axis=1)
    below_or_tied += np.take_along_axis(running, last, axis=1)
    return -below_or_tied


def _keys(ranks: np.ndarray, codes: np.ndarray, n: int) -> np.ndarray:
    """Whole numbers from 0 that order by stratum and then by rank."""
    return ranks.astype(np.int64) + (n + codes[: ranks.shape[1]] * (2 * n + 1))


def _order(keys: np.ndarray) -> np.ndarray:
    """What sorts each row, by 16 bits at a time: NumPy has a radix sort for these only."""
    order = np.argsort(keys.astype(np.uint16), axis=1, kind="stable")
    for shift in range(16, int(keys.max(initial=0)).bit_length(), 16):
        digits = np.take_along_axis(keys >> shift, order, axis=1).astype(np.uint16)
        order = np.take_along_axis(order, np.argsort(digits, axis=1, kind="stable"), axis=1)
    return order


def _unsorted(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    out = np.empty_like(values)
    np.put_along_axis(out, order, values, axis=1)
    return out


def _whole(ranks: np.ndarray, n: int) -> np.ndarray:
    return (2 * ranks - (n + 1)).astype(np.int64)


def _disjoint_pairs(signal: np.ndarray) -> int:
    """How many pairs with different values fit side by side: n // 2 unless one value dominates."""
    n = len(signal)
    most = int(np.unique(signal, return_counts=True)[1].max())
    return min(n // 2, n - most)
