"""Ranks kept for signals to come: a new signal on the same samples costs almost nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.design import Design, stratum_codes
from nbcorr.stats.sorting import compiled
from nbcorr.stats.tails import FAR, Sparsity, skewed_p, sparsity_of
from nbcorr.stats.within import SHORT, dead_rows, rank_table, rankable, ranks_within, without_nan

NEURONS = 64  # ranked at a time


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


class Kept(ABC):
    """What any kind of kept ranks shares: their moments within strata, and the test of a signal.

    Attributes
    ----------
    squares, cubes : array of float64, shape (n_strata, n_neurons)
        Sums of squares and of cubes of the doubled centred ranks: they tell how wide the
        statistic is spread, and how skewed.
    off : array of int32, shape (n_strata, n_neurons)
        Samples at which a sparse neuron is off its commonest value; 0 for other neurons.
    total, above : array of int64, shape (n_neurons,)
        All of these, and how many of them are larger; n and 0 for other neurons.
    tied : array of float64, shape (n_neurons,)
        Sum of t^3 - t over groups of ties as a share of n^3 - n, 0 where it does not matter.
    dead : array of bool, shape (n_neurons,)
    """

    def _start(
        self, n_neurons: int, n_samples: int, strata: Sequence[Hashable] | np.ndarray | None
    ) -> None:
        if n_samples < 1:
            raise ValueError(f"n_samples is {n_samples}; expected 1 or more")
        self.n = n_samples
        self.codes = stratum_codes(strata, n_samples)
        self.sizes = np.bincount(self.codes)
        order = np.argsort(self.codes, kind="stable")
        self.members = tuple(np.split(order, np.cumsum(self.sizes)[:-1]))
        self.squares, self.cubes = np.empty((2, len(self.sizes), n_neurons))
        self.off = np.zeros((len(self.sizes), n_neurons), dtype=np.int32)
        self.total = np.full(n_neurons, n_samples)
        self.above = np.zeros(n_neurons, dtype=np.int64)
        self.tied = np.zeros(n_neurons)
        self.dead = np.empty(n_neurons, dtype=bool)
        self.compile_it = compiled(n_neurons * n_samples)

    @abstractmethod
    def _sum(self, samples: np.ndarray) -> np.ndarray:
        """Sum of doubled centred ranks over ``n_h + 1``, float64, shape (n_neurons,)."""

    def _test(self, positive: np.ndarray) -> Effects:
        """The test of one signal; of its distribution see `vanelteren.skewness`."""
        n = self.sizes
        n1, n0 = positives_and_negatives(positive, self.codes, n)
        sign = 1 if n1.sum() * 2 <= self.n else -1
        rare = np.flatnonzero(positive == (sign == 1))
        distance = sign * self._sum(rare) / 2
        total = np.sum(n1 * n0 / (n + 1))
        mixed = np.flatnonzero(n1 * n0)
        n1, n0, n = n1[mixed], n0[mixed], n[mixed]
        drawn = n1 * n0 / (4 * n * (n - 1.0) * (n + 1.0) ** 2)
        null = drawn @ self.squares[mixed]
        z = np.divide(distance, np.sqrt(null), out=np.zeros_like(null), where=null > 0)
        auc = 0.5 + distance / total
        for column in (auc, z):
            column[self.dead] = np.nan

        far = np.flatnonzero(np.abs(z) > FAR)
        further = drawn * (n0 - n1) / (2 * np.maximum(n - 2, 1) * (n + 1))
        skewness = np.zeros_like(z)
        skewness[far] = further @ self.cubes[np.ix_(mixed, far)] / null[far] ** 1.5
        strata = tuple(self.members[h] for h in mixed)
        signal = positive.astype(np.float64)
        design = Design(signal, True, strata, int(signal.sum()), int(n1.sum()))

        def sparsity(neurons: np.ndarray) -> Sparsity:
            off = self.off[np.ix_(mixed, neurons)].T
            return Sparsity(off, self.total[neurons], self.above[neurons])

        p = skewed_p(z, self.tied, skewness, design, sparsity)
        return Effects(auc, z, p, np.array(n1.sum()))


class RankedNeurons(Kept):
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
        return n_neurons * (each * n_samples + 20 * n_strata + 25)

    def _fill(
        self,
        blocks: Iterable[np.ndarray],
        n_neurons: int,
        n_samples: int,
        strata: Sequence[Hashable] | np.ndarray | None,
    ) -> None:
        self._start(n_neurons, n_samples, strata)
        # Doubled centred ranks lie within -n..n.
        kind = np.int16 if self.sizes.max() < SHORT else np.int32
        self.ranks = np.empty((n_samples, n_neurons), dtype=kind)
        at = 0
        for rows in pieces(blocks, n_neurons, n_samples):
            self._rank(rows, slice(at, at + len(rows)))
            at += len(rows)

    def _rank(self, values: np.ndarray, part: slice) -> None:
        rows, spoilt = without_nan(values)
        if self.compile_it and len(self.sizes) == 1 and rankable(rows):
            squares, cubes = rank_table(rows, self.ranks[:, part])[:, None]
        else:
            ranks, squares = ranks_within(rows, self.codes, self.sizes, self.compile_it)
            self.ranks[:, part] = ranks.T
            cubes = sums_of_cubes(ranks, self.codes, self.sizes, squares, self.compile_it)
        self.squares[:, part], self.cubes[:, part] = squares, cubes
        self.dead[part] = dead_rows(rows, spoilt, squares)
        self._keep_sparse(rows, part)

    def _keep_sparse(self, rows: np.ndarray, part: slice) -> None:
        """Keep where the sparse ones among some neurons are off; `squares` are there already."""
        n = self.n
        # Where most samples share a value, its cube is an eighth of all, in some stratum too.
        cubes = 7 / 8 * self.sizes[:, None] ** 3.0
        may_be = np.flatnonzero((3 * self.squares[:, part] <= cubes).any(axis=0))
        if len(may_be) == 0:
            return
        sparse, rows = part.start + may_be, rows[may_be]
        found = sparsity_of(rows, Design(np.zeros(n), True, self.members, None, None))
        self.off[:, sparse], self.total[sparse], self.above[sparse] = found.off.T, *found[1:]
        if len(self.sizes) == 1:
            ties = n**3.0 - n - 3 * self.squares[0, sparse]
        else:
            ties = doubled_ranks(rows, self.compile_it)[1]
        self.tied[sparse] = ties / max(n**3.0 - n, 1)

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
        each = [self._test(signal) for signal in np.atleast_2d(signals)]
        if signals.ndim == 1:
            return each[0]
        return Effects(*(np.array(column) for column in zip(*each, strict=True)))

    def _sum(self, samples: np.ndarray) -> np.ndarray:
        # Whole numbers for strata of one size.
        total = np.zeros(self.ranks.shape[1])
        sizes = self.sizes[self.codes[samples]]
        for size in np.unique(sizes).tolist() if len(self.sizes) > 1 else self.sizes.tolist():
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


def sums_of_cubes(
    ranks: np.ndarray,
    codes: np.ndarray,
    sizes: np.ndarray,
    squares: np.ndarray,
    compile_it: bool,
) -> np.ndarray:
    """Sums of cubes of `within.Ranked.ranks` by stratum, shape (n_strata, n_neurons).

    Those of a neuron without ties are 0, which is not summed.
    """
    n = sizes[:, None].astype(np.float64)
    cubes = np.zeros(squares.shape)
    tied = np.flatnonzero((3 * squares < n**3 - n).any(axis=0))
    if compile_it:
        from nbcorr.stats import rowsums

        rowsums.add_cubes(ranks, tied, codes, cubes)
        return cubes
    for row in tied:
        cube = np.square(ranks[row], dtype=np.float64)
        cube *= ranks[row]
        cubes[:, row] = np.bincount(codes, cube, len(sizes)) if len(sizes) > 1 else cube.sum()
    return cubes


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
    # By their positions: a mask over all samples costs more than the few that it picks.
    n1 = np.bincount(codes[np.flatnonzero(positive)], minlength=len(sizes))
    n0 = sizes - n1
    if not (n1 * n0).any():
        raise ValueError(
            f"cannot be decided, n = {len(codes)}, {int(n1.sum())} positive: no stratum holds both "
            f"positives and negatives ({len(sizes)} strata)"
        )
    return n1, n0
