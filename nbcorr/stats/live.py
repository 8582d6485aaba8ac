"""Ranks kept for signals to come: a new signal on the same samples costs almost nothing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.design import stratum_codes
from nbcorr.stats.sorting import compiled

NEURONS = 64


class Effects(NamedTuple):
    """Stratified AUC and test of every neuron, as in `associate`; NaN where it is dead.

    Attributes
    ----------
    auc, z, p : array of float64, shape (n_neurons,) or (n_signals, n_neurons)
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
        Activations, neuron-major. A neuron with a NaN is dead.
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
        n_neurons, self.n = values.shape
        self.codes = stratum_codes(strata, self.n)
        self.sizes = np.bincount(self.codes)
        largest = self.sizes.max()
        # Doubled centred ranks lie within -n..n.
        kind = np.int16 if largest < 2**15 else np.int32
        self.ranks = np.empty((self.n, n_neurons), dtype=kind)
        self.squares = np.empty((len(self.sizes), n_neurons))
        self.dead = np.empty(n_neurons, dtype=bool)
        self.compile_it = compiled(values.size)
        for at in range(0, n_neurons, NEURONS):
            self._rank(values[at : at + NEURONS], slice(at, at + NEURONS))

    def _rank(self, rows: np.ndarray, part: slice) -> None:
        spoilt = np.isnan(rows).any(axis=1) if rows.dtype.kind == "f" else np.zeros(len(rows), bool)
        clean = np.where(spoilt[:, None], rows.dtype.type(0), rows) if spoilt.any() else rows
        for code, n in enumerate(self.sizes.tolist()):
            samples = np.flatnonzero(self.codes == code)
            chosen = clean if len(self.sizes) == 1 else np.take(clean, samples, axis=1)
            ranks, ties = doubled_ranks(chosen, self.compile_it)
            self.ranks[samples, part] = ranks.T
            self.squares[code, part] = (float(n) ** 3 - n - ties) / 3
        # Only what is constant within every stratum can be constant over all samples.
        dead = np.asarray(~self.squares[:, part].any(axis=0))
        dead[dead] = (clean[dead] == clean[dead, :1]).all(axis=1)
        self.dead[part] = dead | spoilt

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
        signals = np.asarray(y)
        if signals.shape[-1:] != (self.n,) or signals.ndim > 2:
            raise ValueError(
                f"the signal has shape {signals.shape}; "
                f"expected ({self.n},) or (n_signals, {self.n})"
            )
        if signals.dtype != bool:
            if not np.isin(signals, (0, 1)).all():
                raise ValueError("the signal is not binary; expected False and True, or 0 and 1")
            signals = signals.astype(bool)
        each = [self._one(signal) for signal in np.atleast_2d(signals)]
        if signals.ndim == 1:
            return each[0]
        return Effects(*(np.array(column) for column in zip(*each, strict=True)))

    def _one(self, positive: np.ndarray) -> Effects:
        n = self.sizes
        n1 = np.bincount(self.codes[positive], minlength=len(n))
        n0 = n - n1
        if not (n1 * n0).any():
            raise ValueError(
                f"cannot be decided, n = {self.n}, {int(n1.sum())} positive: no stratum holds both "
                f"positives and negatives ({len(n)} strata)"
            )
        few = np.flatnonzero(positive if n1.sum() * 2 <= self.n else ~positive)
        sign = 1 if n1.sum() * 2 <= self.n else -1
        weight = 1 / (n + 1)
        distance = sign * self._sum(few, weight) / 2
        total = np.sum(weight * n1 * n0)
        spread = np.where(n > 1, n1 * n0 / (n * np.maximum(n - 1, 1)), 0)
        null = (weight**2 * spread / 4) @ self.squares
        z = np.divide(distance, np.sqrt(null), out=np.zeros_like(null), where=null > 0)
        auc = 0.5 + distance / total
        for column in (auc, z):
            column[self.dead] = np.nan
        return Effects(auc, z, 2 * ndtr(-np.abs(z)), np.array(n1[n0 > 0].sum()))

    def _sum(self, samples: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Sum of weight times doubled centred rank: whole numbers within each stratum."""
        total = np.zeros(self.ranks.shape[1])
        for code in np.unique(self.codes[samples]):
            rows = samples[self.codes[samples] == code]
            wide: type = np.int32 if len(rows) * int(self.sizes[code]) < 2**31 else np.int64
            whole: np.ndarray = np.zeros(self.ranks.shape[1], dtype=wide)
            if self.compile_it:
                from nbcorr.stats import rowsums

                rowsums.add_rows(self.ranks, rows[None], whole[None])
            else:
                for row in rows:
                    np.add(whole, self.ranks[row], out=whole)
            total += weight[code] * whole
        return total
