"""Ranks kept for signals to come: a new signal on the same samples costs almost nothing."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from nbcorr.stats.design import stratum_codes
from nbcorr.stats.sorting import compiled
from nbcorr.stats.within import dead_rows, ranks_within, without_nan

NEURONS = 64  # ranked at a time
SHORT = 2**15  # samples of a stratum from which on ranks need 32 bits


class Effects(NamedTuple):
    """Stratified AUC and test of every neuron, as in `associate`; NaN where it is dead.

    Attributes
    ----------
    auc, z : array of float64, shape (n_neurons,) or (n_signals, n_neurons)
    p : array of float64, the same shape
        From the normal distribution of `z` alone: where a sparse neuron's tail is skewed,
        `associate` looks closer and gives a larger one.
    n_positive_informative : int or array of int
        Positives in strata that hold negatives too.
    """

    auc: np.ndarray
    z: np.ndarray
    p: np.ndarray
    n_positive_informative: np.ndarray


class RankedNeurons:
    """The mid-ranks of all neurons within strata, for binary signals that come and go.

    A signal reads only the rows of its positives (or of its negatives, if these are fewer):
    dragging a selection over thousands of neurons stays interactive. Whole numbers are kept, so
    the effects are those of `associate`. Another set of samples needs another object.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
        Activations, neuron-major. A neuron with a NaN is dead. For what does not fit into
        memory see `from_blocks`.
    strata : sequence of hashable codes, length n_samples, optional

    Raises
    ------
    ValueError
        If `x` has not two dimensions or no samples, or the strata have another length.
    """

    def __init__(
        self, x: np.ndarray, strata: Sequence[Hashable] | np.ndarray | None = None
    ) -> None:
        values = np.asarray(x)
        if values.ndim != 2 or values.shape[1] == 0:
            raise ValueError(f"x has shape {values.shape}; expected (n_neurons, n_samples)")
        self._fill([values], values.shape[0], values.shape[1], strata)

    @classmethod
    def from_blocks(
        cls,
        blocks: Iterable[np.ndarray],
        n_neurons: int,
        n_samples: int,
        strata: Sequence[Hashable] | np.ndarray | None = None,
    ) -> RankedNeurons:
        """Rank neurons that come block by block; no more than one block is held beside the ranks.

        Parameters
        ----------
        blocks : iterable of arrays, shape (neurons, n_samples)
            All neurons in their order. float16 is ranked as it is.
        n_neurons, n_samples : int
            Of all blocks together; see `bytes_needed`.
        strata : sequence of hashable codes, length n_samples, optional

        Raises
        ------
        ValueError
            If a block has other samples, or the blocks have not `n_neurons` neurons in all.
        """
        ranked = cls.__new__(cls)
        ranked._fill(blocks, n_neurons, n_samples, strata)
        return ranked

    @staticmethod
    def bytes_needed(n_neurons: int, n_samples: int, n_strata: int = 1) -> int:
        """Memory of the ranks of so many neurons, at most, in bytes.

        Two for each value, four if a stratum has more than 32,767 samples.
        """
        each = 2 if n_samples - n_strata + 1 < SHORT else 4
        return n_neurons * (each * n_samples + 8 * n_strata + 1)

    def _fill(
        self,
        blocks: Iterable[np.ndarray],
        n_neurons: int,
        n_samples: int,
        strata: Sequence[Hashable] | np.ndarray | None,
    ) -> None:
        if n_samples < 1:
            raise ValueError(f"n_samples is {n_samples}; expected 1 or more")
        self.n = n_samples
        self.codes = stratum_codes(strata, n_samples)
        self.sizes = np.bincount(self.codes)
        # Doubled centred ranks lie within -n..n.
        kind = np.int16 if self.sizes.max() < SHORT else np.int32
        self.ranks = np.empty((n_samples, n_neurons), dtype=kind)
        self.squares = np.empty((len(self.sizes), n_neurons))
        self.dead = np.empty(n_neurons, dtype=bool)
        self.compile_it = compiled(n_neurons * n_samples)
        at = 0
        for rows in pieces(blocks, n_neurons, n_samples):
            self._rank(rows, slice(at, at + len(rows)))
            at += len(rows)

    def _rank(self, values: np.ndarray, part: slice) -> None:
        rows, spoilt = without_nan(values)
        ranks, squares = ranks_within(rows, self.codes, self.sizes, self.compile_it)
        self.ranks[:, part] = ranks.T
        self.squares[:, part] = squares
        self.dead[part] = dead_rows(rows, spoilt, squares)

    def associate(self, y: np.ndarray) -> Effects:
        """Stratified AUC, z and p of every neuron with one binary signal or several.

        Parameters
        ----------
        y : array of bool, shape (n_samples,) or (n_signals, n_samples)

        Raises
        ------
        ValueError
            If a signal has another length, or holds both values in no stratum.
        """
        signals = checked_signals(y, self.n)
        each = [self._one(signal) for signal in np.atleast_2d(signals)]
        if signals.ndim == 1:
            return each[0]
        return Effects(*(np.array(column) for column in zip(*each, strict=True)))

    def _one(self, positive: np.ndarray) -> Effects:
        n = self.sizes
        n1, n0 = positives_and_negatives(positive, self.codes, n)
        few = np.flatnonzero(positive if n1.sum() * 2 <= self.n else ~positive)
        sign = 1 if n1.sum() * 2 <= self.n else -1
        weight = 1 / (n + 1)
        distance = sign * self._sum(few) / 2
        total = np.sum(weight * n1 * n0)
        mixed = np.flatnonzero(n1 * n0)
        spread = n1[mixed] * n0[mixed] / (n[mixed] * (n[mixed] - 1))
        null = (weight[mixed] ** 2 * spread / 4) @ self.squares[mixed]
        z = np.divide(distance, np.sqrt(null), out=np.zeros_like(null), where=null > 0)
        auc = 0.5 + distance / total
        for column in (auc, z):
            column[self.dead] = np.nan
        return Effects(auc, z, 2 * ndtr(-np.abs(z)), np.array(n1[n0 > 0].sum()))

    def _sum(self, samples: np.ndarray) -> np.ndarray:
        """Sum of doubled centred ranks over ``n_h + 1``: whole numbers for strata of one size."""
        total = np.zeros(self.ranks.shape[1])
        sizes = self.sizes[self.codes[samples]]
        for size in np.unique(sizes).tolist():
            rows = samples[sizes == size]
            wide: type = np.int32 if len(rows) * size < 2**31 else np.int64
            whole: np.ndarray = np.zeros(self.ranks.shape[1], dtype=wide)
            if self.compile_it:
                from nbcorr.stats import rowsums

                rowsums.add_rows(self.ranks, rows[None], whole[None])
            else:
                for row in rows:
                    np.add(whole, self.ranks[row], out=whole)
            total += whole / (size + 1)
        return total


def pieces(blocks: Iterable[np.ndarray], n_neurons: int, n_samples: int) -> Iterator[np.ndarray]:
    """Rows of the blocks, a few at a time, or an error if the blocks are not as announced."""
    seen = 0
    for block in blocks:
        rows = np.asarray(block)
        seen += len(rows)
        if rows.ndim != 2 or rows.shape[1] != n_samples or seen > n_neurons:
            raise ValueError(
                f"a block has shape {rows.shape}; expected (neurons, {n_samples}) and no more "
                f"than {n_neurons} neurons in all"
            )
        yield from (rows[at : at + NEURONS] for at in range(0, len(rows), NEURONS))
    if seen != n_neurons:
        raise ValueError(f"the blocks have {seen} neurons in all; expected {n_neurons}")


def checked_signals(y: np.ndarray, n: int) -> np.ndarray:
    """One binary signal over n samples, or several in rows, as bool."""
    signals = np.asarray(y)
    if signals.shape[-1:] != (n,) or signals.ndim > 2:
        raise ValueError(
            f"the signal has shape {signals.shape}; expected ({n},) or (n_signals, {n})"
        )
    if signals.dtype != bool:
        if not np.isin(signals, (0, 1)).all():
            raise ValueError("the signal is not binary; expected False and True, or 0 and 1")
        signals = signals.astype(bool)
    return signals


def positives_and_negatives(
    positive: np.ndarray, codes: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many of both each stratum holds, or an error if none holds both."""
    n1 = np.bincount(codes[positive], minlength=len(sizes))
    n0 = sizes - n1
    if not (n1 * n0).any():
        raise ValueError(
            f"cannot be decided, n = {len(codes)}, {int(n1.sum())} positive: no stratum holds both "
            f"positives and negatives ({len(sizes)} strata)"
        )
    return n1, n0
