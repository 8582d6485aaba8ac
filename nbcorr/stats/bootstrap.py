"""Intervals for samples that are not independent: groups resampled whole."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.special import ndtri
from scipy.stats import t as student

from nbcorr.stats.association import checked
from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.design import Design, stratum_codes
from nbcorr.stats.intervals import logit_interval
from nbcorr.stats.ranks import row_blocks
from nbcorr.stats.sorting import compiled

# An effect on so many resamples costs about what sorting does: when to load numba.
RESAMPLES_A_VALUE = 10


def block_bootstrap(
    x: np.ndarray,
    y: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None,
    groups: Sequence[Hashable] | np.ndarray,
    *,
    level: float = 0.95,
    n_resamples: int = 200,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence interval of the stratified AUC (or CMA) of every neuron, right within groups.

    As many groups as there are are drawn with replacement, each with all its samples, whatever
    their strata (Davison & Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8;
    Field & Welsh, *Journal of the Royal Statistical Society B* 69, 2007). The effect is computed
    anew, exactly, on each resample; its variance over them gives an interval on the logit scale,
    with Student's quantile for as many groups as hold the rarer kind of sample. All neurons see
    the same resamples, and so do all calls with the same groups and seed.

    Where fewer than two groups hold positives, or negatives, what groups differ by cannot be
    known, and the interval is `logit_interval`'s for an unknown variance.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
        Activations, neuron-major.
    y : array, shape (n_samples,), bool or real
    strata : sequence of hashable codes, length n_samples, or None
    groups : sequence of hashable codes, length n_samples
        Samples of one group are not independent: frames of a film, images of a patient.
    level : float
        Coverage of the interval.
    n_resamples : int
    seed : int

    Returns
    -------
    low, high : array of float64, shape (n_neurons,)
        NaN where the neuron is constant or holds a NaN.

    Raises
    ------
    ValueError
        As `associate`; or if there are fewer than two groups, or two resamples.
    """
    values, design = checked(x, y, strata, level)
    if n_resamples < 2:
        raise ValueError(f"n_resamples is {n_resamples}; expected 2 or more, such as 200")
    codes = stratum_codes(groups, design.n, "groups")
    if codes.max() == 0:
        raise ValueError(
            f"cannot be decided, n = {design.n}: all samples are of one group; "
            "expected at least 2 groups, better 30"
        )
    n_groups = int(codes.max()) + 1
    resamples = Resamples(design, codes, _drawn(n_groups, n_resamples, seed))
    effects = resamples.effects(values)
    again = effects[:, 1:][:, resamples.spread[1:] > 0]
    variance = np.full(len(values), np.nan)
    pairs = _independent(design, codes)
    if pairs > 1 and again.shape[1] > 1:
        tail = (1 - level) / 2
        few = student.ppf(tail, pairs - 1) / ndtri(tail)
        variance = np.var(again, axis=1, ddof=1) * few**2
    return logit_interval(effects[:, 0], variance, pairs, level)


def _drawn(n_groups: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each resample holds each group, (n_groups, 1 + n_resamples); the first as it is."""
    draws = np.random.default_rng(seed).integers(0, n_groups, (n_resamples, n_groups))
    draws += n_groups * np.arange(n_resamples)[:, None]
    counts = np.bincount(draws.ravel(), minlength=n_groups * n_resamples)
    return np.vstack([np.ones(n_groups), counts.reshape(n_resamples, n_groups)]).T


def _independent(design: Design, codes: np.ndarray) -> int:
    """Groups that hold the rarer kind of sample: positives or negatives, or off the mode."""
    samples = np.concatenate(design.strata)
    signal = design.signal[samples]
    values, counts = np.unique(signal, return_counts=True)
    off = signal != values[counts.argmax()]
    kinds = (off, ~off) if design.binary else (off,)
    return min(len(np.unique(codes[samples[kind]])) for kind in kinds)


class Resamples:
    """A signal on resamples of whole groups, and the exact effect of any neuron on each.

    A sample that is drawn w times weighs w. With A_i what sample i's signal adds to the effect,
    the effect is the sum over pairs within strata of ``w_j A_i sign(x_i - x_j)``: for all
    resamples at once one cumulated sum of A in the order of x, read at every sample and summed
    over groups by a sparse product.

    Parameters
    ----------
    design : Design
    codes : array of int, shape (n_samples,)
        The group of each sample, from 0.
    counts : array of float64, shape (n_groups, n_resamples)
        How often each resample holds each group.
    """

    def __init__(self, design: Design, codes: np.ndarray, counts: np.ndarray) -> None:
        samples = np.concatenate(design.strata)
        sizes = [len(part) for part in design.strata]
        # In the order of their groups: the rows of the sparse product.
        order = np.argsort(codes[samples], kind="stable")
        self.samples = samples[order]
        self.stratum = np.repeat(np.arange(len(sizes)), sizes)[order]
        self.group = codes[self.samples]
        self.counts = np.ascontiguousarray(counts)
        signal = design.signal[self.samples]
        # Only positives have a score of their own, if the signal is binary.
        self.carriers = np.flatnonzero(signal) if design.binary else np.arange(len(signal))
        weights = self.counts[self.group]
        totals = self._by_stratum(weights)
        if design.binary:
            self._weigh_positives(weights[self.carriers], totals)
        else:
            self._weigh_ranks(signal, weights, totals)
        within = self._by_stratum(self.scores, self.carriers)
        self.both_ends = np.sum(totals * _ends(within), axis=0)

    def _weigh_positives(self, weights: np.ndarray, totals: np.ndarray) -> None:
        """Van Elteren's weights, ``1 / (n_h + 1)``."""
        n1 = self._by_stratum(weights, self.carriers)
        each = 0.5 / (totals + 1)
        self.scores = weights * each[self.stratum[self.carriers]]
        self.spread = np.sum(n1 * (totals - n1) * each / 2, axis=0)

    def _weigh_ranks(self, signal: np.ndarray, weights: np.ndarray, totals: np.ndarray) -> None:
        """The signal's centred mid-rank in each resample over ``n_h (n_h + 1)``, as in CMA."""
        sums, left, right = self._cumulated(self._keys(signal[None], False)[0], weights)
        ranks = (sums[left] + sums[right] - _ends(totals)[self.stratum]) / 2
        each = 1 / np.maximum(totals * (totals + 1), 1)
        self.scores = weights * ranks * each[self.stratum]
        self.spread = np.sum(self.scores * ranks, axis=0)

    def _by_stratum(self, values: np.ndarray, samples: np.ndarray | None = None) -> np.ndarray:
        """Sums over the samples of each stratum, (n_strata, n_resamples)."""
        stratum = self.stratum if samples is None else self.stratum[samples]
        shape = (int(self.stratum.max()) + 1, len(stratum))
        members = csr_array((np.ones(len(stratum)), (stratum, np.arange(len(stratum)))), shape)
        sums: np.ndarray = members @ values
        return sums

    def effects(self, x: np.ndarray) -> np.ndarray:
        """AUC (CMA if the signal is not binary) of every neuron on every resample.

        Returns
        -------
        array of float64, shape (n_neurons, n_resamples)
            NaN where the neuron is dead, and for resamples in which no stratum holds two values
            of the signal.
        """
        effects = np.full((len(x), self.counts.shape[1]), np.nan)
        dead = np.isnan(x).any(axis=1) | (x == x[:, :1]).all(axis=1)
        alive = np.flatnonzero(~dead)
        compile_it = compiled(x.size * self.counts.shape[1] // RESAMPLES_A_VALUE)
        for part in row_blocks(len(alive), x.shape[1]):
            rows = alive[part]
            ordered = self._keys(x[rows][:, self.samples], compile_it)
            for row, keys in zip(rows, ordered, strict=True):
                effects[row] = self._effect(keys, compile_it)
        return effects

    def _effect(self, keys: np.ndarray, compile_it: bool) -> np.ndarray:
        below = self._below_compiled(keys) if compile_it else self._below(keys)
        with np.errstate(invalid="ignore", divide="ignore"):
            effect = 0.5 + (self.both_ends - below) / (4 * self.spread)
            return np.where(self.spread > 0, effect, np.nan)

    def _below_compiled(self, keys: np.ndarray) -> np.ndarray:
        from nbcorr.stats import sweep

        carrier = np.full(len(keys), -1)
        carrier[self.carriers] = np.arange(len(self.carriers))
        below = np.zeros(self.counts.shape[1])
        order = np.argsort(keys)
        sweep.add_below(keys, order, self.group, carrier, self.scores, self.counts, below)
        return below

    def _below(self, keys: np.ndarray) -> np.ndarray:
        """Sum over samples of weight times (the scores below it plus those not above it)."""
        sums, left, right = self._cumulated(keys, self.scores)
        # left + right tells a place among the carriers; most samples share few of them.
        place = left + right
        any_at = np.empty(2 * len(self.carriers) + 1, dtype=np.int64)
        any_at[place] = np.arange(len(place))
        taken = np.flatnonzero(np.bincount(place))
        table = sums[left[any_at[taken]]] + sums[right[any_at[taken]]]
        column = np.empty(len(any_at), dtype=np.int64)
        column[taken] = np.arange(len(taken))
        bounds = np.searchsorted(self.group, np.arange(len(self.counts) + 1))
        shape = (len(self.counts), len(taken))
        read = csr_array((np.ones(len(place)), column[place], bounds), shape=shape)
        below: np.ndarray = np.sum(self.counts * (read @ table), axis=0)
        return below

    def _keys(self, rows: np.ndarray, compile_it: bool) -> np.ndarray:
        """Whole numbers in the order of strata and, within each, of the values."""
        n = rows.shape[1]
        ranks, _ = doubled_ranks(rows, compile_it)
        return ranks.astype(np.int64) + n + self.stratum * (2 * n + 1)

    def _cumulated(
        self, keys: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sums of the carriers' scores up to each in the order of keys; where each sample falls."""
        own = keys[self.carriers]
        order = np.argsort(own)
        sums = np.zeros((len(own) + 1, scores.shape[1]))
        np.cumsum(scores[order], axis=0, out=sums[1:])
        ordered = own[order]
        left, right = (np.searchsorted(ordered, keys, side) for side in ("left", "right"))
        return sums, left, right


def _ends(within: np.ndarray) -> np.ndarray:
    """For each stratum, the sum over all strata before it plus the same with its own."""
    ends: np.ndarray = 2 * np.cumsum(within, axis=0) - within
    return ends
