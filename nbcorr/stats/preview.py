"""A quick, approximate AUC of signals to come: activations rounded to a few hundred levels."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from nbcorr.stats.live import Kept, checked_signals, pieces
from nbcorr.stats.ranks import as_real
from nbcorr.stats.within import without_nan

DRAWN = 512  # samples that say where a neuron's values lie
WIDE = 1e300  # infinities count as this
FEWEST = 16  # bins, however many strata there are
POOR = 16  # times what even levels would lose: equal steps lose too much


class Approximate(NamedTuple):
    """Approximate stratified AUC and test of every neuron; NaN where it is dead.

    Attributes
    ----------
    auc, z, p : array of float64, shape (n_neurons,)
        Those of the rounded activations.
    error : array of float64, shape (n_neurons,)
        Standard error of `auc` as an estimate of the exact one: what rounding does to it, not
        what sampling does. No bound: a signal that follows the order of the values within a
        level can be off by more.
    n_positive_informative : int
        Positives in strata that hold negatives too.
    """

    auc: np.ndarray
    z: np.ndarray
    p: np.ndarray
    error: np.ndarray
    n_positive_informative: int


class Histograms(Kept):
    """Histograms of every neuron within every stratum, for a preview of binary signals.

    Each neuron's values are rounded to `n_bins` levels: equal steps between its 1/256 and 255/256
    quantiles among at most 512 drawn samples, with exact zeros a level of their own. Where values
    have heavy tails, so that equal steps would lose most of their order, the levels are the
    quantiles themselves. All samples
    are counted, so that nothing is approximate but the order within a level. One byte is kept for
    each value, and `n_bins` ranks for each stratum and neuron. With many strata there are fewer
    bins, so that these ranks never outgrow the bytes (but 16 at least).

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
        Activations, neuron-major. A neuron with a NaN is dead.
    strata : sequence of hashable codes, length n_samples, optional
    n_bins : int
        From 4 to 256.
    seed : int
        Of the drawn samples.

    Raises
    ------
    ValueError
        If `x` has not two dimensions or no samples, the strata have another length, or `n_bins`
        is out of range.

    Notes
    -----
    Let R be the exact mid-ranks within strata and Q those of the levels. For a signal that does
    not know the order within levels the exact statistic differs from the approximate one by the
    sum of R - Q over the positives, whose permutation variance in a stratum is
    ``n1 n0 / (n (n - 1)) * SS(R - Q)``; and SS(R - Q) is at most ``sum (t^3 - t) / 12`` over levels
    of t samples, reached without ties. `error` is the root of that, pooled as the AUC is.
    """

    def __init__(
        self,
        x: np.ndarray,
        strata: Sequence[Hashable] | np.ndarray | None = None,
        *,
        n_bins: int = 256,
        seed: int = 0,
    ) -> None:
        values = np.asarray(x)
        if values.ndim != 2 or values.shape[1] == 0:
            raise ValueError(f"x has shape {values.shape}; expected (n_neurons, n_samples)")
        self._fill([values], values.shape[0], values.shape[1], strata, n_bins, seed)

    @classmethod
    def from_blocks(
        cls,
        blocks: Iterable[np.ndarray],
        n_neurons: int,
        n_samples: int,
        strata: Sequence[Hashable] | np.ndarray | None = None,
        *,
        n_bins: int = 256,
        seed: int = 0,
    ) -> Histograms:
        """Count neurons that come block by block, as `RankedNeurons.from_blocks` ranks them."""
        counted = cls.__new__(cls)
        counted._fill(blocks, n_neurons, n_samples, strata, n_bins, seed)
        return counted

    def associate(self, y: np.ndarray) -> Approximate:
        """Approximate stratified AUC of every neuron with one binary signal.

        Parameters
        ----------
        y : array of bool, shape (n_samples,)

        Raises
        ------
        ValueError
            If the signal has another length, or holds both values in no stratum.
        """
        if np.ndim(y) != 1:
            raise ValueError(f"the signal has shape {np.shape(y)}; expected ({self.n},)")
        positive = checked_signals(y, self.n)
        found, n = self._test(positive), self.sizes
        n1 = np.bincount(self.codes[positive], minlength=len(n))
        both = n1 * (n - n1)
        share = both / (4 * n * np.maximum(n - 1, 1) * (n + 1.0) ** 2)
        mixed = np.flatnonzero(both)
        error = np.sqrt(share[mixed] @ self.lost[mixed]) / np.sum(both / (n + 1))
        error[self.dead] = np.nan
        return Approximate(found.auc, found.z, found.p, error, int(found.n_positive_informative))

    def _sum(self, samples: np.ndarray) -> np.ndarray:
        total = np.zeros(self.bins.shape[1])
        neuron = np.arange(self.bins.shape[1])
        for sample in samples:
            code = self.codes[sample]
            total += self.ranks[code, self.bins[sample], neuron] / (self.sizes[code] + 1)
        return total

    def _fill(
        self,
        blocks: Iterable[np.ndarray],
        n_neurons: int,
        n_samples: int,
        strata: Sequence[Hashable] | np.ndarray | None,
        n_bins: int,
        seed: int,
    ) -> None:
        if not 4 <= n_bins <= 256:
            raise ValueError(f"n_bins is {n_bins}; expected 4 to 256")
        self._start(n_neurons, n_samples, strata)
        self.n_bins = min(n_bins, max(FEWEST, n_samples // len(self.sizes)))
        rng = np.random.default_rng(seed)
        self.drawn = np.sort(rng.permutation(n_samples)[:DRAWN])
        kind = np.int16 if self.sizes.max() < 2**15 else np.int32
        self.bins = np.empty((n_samples, n_neurons), dtype=np.uint8)
        self.ranks = np.empty((len(self.sizes), self.n_bins, n_neurons), dtype=kind)
        self.lost = np.empty((len(self.sizes), n_neurons))
        at = 0
        for rows in pieces(blocks, n_neurons, n_samples):
            self._count(rows, slice(at, at + len(rows)))
            at += len(rows)

    def _count(self, values: np.ndarray, part: slice) -> None:
        rows, spoilt = without_nan(values)
        real = as_real(rows)
        low, high = _range_of(np.take(real, self.drawn, axis=1))
        bins, counts = bin_rows(
            real, low, high, self.codes, len(self.sizes), self.n_bins, self.compile_it
        )
        zero = _cells(np.zeros((len(rows), 1)), low, high, self.n_bins)[:, 0] + 1
        uneven = POOR * (self.n / (self.n_bins - 2.0)) ** 2 * self.n
        for row in np.flatnonzero(_ties_but(zero, counts.sum(axis=1)) > uneven):
            self._by_quantiles(real[row], bins[row], counts[row], zero[row : row + 1])
        ranks = np.cumsum(counts, axis=2, dtype=np.int32)
        ranks *= 2
        ranks -= counts
        ranks -= self.sizes.astype(np.int32)[:, None]
        self.bins[:, part] = bins.T
        self.ranks[:, :, part] = ranks.transpose(1, 2, 0)
        # Every level is one group of ties; the one of zeros stands for ties in truth.
        t = counts.astype(np.float64)
        tied = np.einsum("nhb,nhb,nhb->hn", t, t, t) - self.sizes[:, None]
        zeros = np.take_along_axis(t, zero[:, None, None], axis=2)[:, :, 0].T
        cubes = self.sizes.astype(np.float64) ** 3 - self.sizes
        self.squares[:, part] = (cubes[:, None] - tied) / 3
        self.lost[:, part] = (tied - zeros**3 + zeros) / 3
        centred = ranks.astype(np.float64)
        self.cubes[:, part] = np.einsum("nhb,nhb,nhb,nhb->hn", t, centred, centred, centred)
        self._keep_sparse(t, part)
        self.dead[part] = spoilt | (rows == rows[:, :1]).all(axis=1)

    def _by_quantiles(
        self, values: np.ndarray, bins: np.ndarray, counts: np.ndarray, zero: np.ndarray
    ) -> None:
        """Levels of one neuron by quantiles instead, unless it is as tied by these."""
        drawn = np.sort(values[self.drawn])
        drawn = drawn[drawn != 0]
        if len(drawn) == 0:
            return
        n_cells = self.n_bins - 2
        edges = drawn[np.arange(1, n_cells) * len(drawn) // n_cells]
        levels = np.searchsorted(edges, values, side="right") + (values >= 0) + (values > 0)
        flat = np.bincount(self.codes * self.n_bins + levels, minlength=counts.size)
        found, place = flat.reshape(counts.shape), np.searchsorted(edges, [0], side="right") + 1
        lost = [_ties_but(at, t.sum(axis=0)[None])[0] for at, t in ((zero, counts), (place, found))]
        if 2 * lost[1] < lost[0]:
            bins[:], counts[:], zero[:] = levels, found, place

    def _keep_sparse(self, counts: np.ndarray, part: slice) -> None:
        """Keep how many samples are off the commonest level, if most are on it."""
        whole = counts.sum(axis=1)
        mode = whole.argmax(axis=1)
        most = whole.max(axis=1)
        sparse = 2 * most > self.n
        on = np.take_along_axis(counts, mode[:, None, None], axis=2)[:, :, 0].T
        self.off[:, part] = np.where(sparse, self.sizes[:, None] - on, 0)
        self.total[part] = np.where(sparse, self.n - most, self.n)
        larger = np.arange(self.n_bins) > mode[:, None]
        self.above[part] = np.where(sparse, np.sum(whole * larger, axis=1), 0)
        ties = np.einsum("nb,nb,nb->n", whole, whole, whole) - self.n
        self.tied[part] = ties / max(self.n**3.0 - self.n, 1)


def bin_rows(
    rows: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    strata: np.ndarray,
    n_strata: int,
    n_bins: int,
    compile_it: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The level of each value, and how many samples of each stratum have each level.

    Returns
    -------
    bins : array of uint8, shape (n_neurons, n_samples)
        ``n_bins - 2`` equal steps from `low` to `high`, what lies outside in the outermost;
        counted on by one from zero on, and by another above it, which is zero's own level.
    counts : array of int32, shape (n_neurons, n_strata, n_bins)
    """
    bins = np.empty(rows.shape, dtype=np.uint8)
    counts = np.zeros((len(rows), n_strata, n_bins), dtype=np.int32)
    if compile_it:
        from nbcorr.stats import rowsums

        per_unit = _per_unit(low, high, n_bins)
        rowsums.bin_rows(rows, low, high, per_unit, strata, bins, counts)
        return bins, counts
    bins[:] = _cells(rows, low, high, n_bins) + (rows >= 0) + (rows > 0)
    for own, tally in zip(bins, counts, strict=True):
        flat = np.bincount(strata * n_bins + own, minlength=n_strata * n_bins)
        tally[:] = flat.reshape(n_strata, n_bins)
    return bins, counts


def _ties_but(zero: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum of t^3 - t over the levels of each neuron but that of zeros."""
    t = counts.astype(np.float64)
    np.put_along_axis(t, zero[:, None], 0, axis=1)
    return np.einsum("nb,nb,nb->n", t, t, t) - t.sum(axis=1)


def _range_of(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 1/256 and 255/256 quantiles of each row; the extremes where these are one value."""
    n = drawn.shape[1]
    places = 0, n // 256, n - 1 - n // 256, n - 1
    ordered = np.sort(drawn, axis=1)
    least, low, high, most = (ordered[:, at].astype(np.float64).clip(-WIDE, WIDE) for at in places)
    one = low == high
    return np.where(one, least, low), np.where(one, most, high)


def _per_unit(low: np.ndarray, high: np.ndarray, n_bins: int) -> np.ndarray:
    """Levels per unit of the activation; the highest value falls just short of one level more."""
    width = np.maximum(high - low, 1e-300)
    return (n_bins - 2) * (1 - 2.0**-40) / width


def _cells(rows: np.ndarray, low: np.ndarray, high: np.ndarray, n_bins: int) -> np.ndarray:
    inside = np.clip(rows.astype(np.float64), low[:, None], high[:, None]) - low[:, None]
    return (inside * _per_unit(low, high, n_bins)[:, None]).astype(np.int64)
