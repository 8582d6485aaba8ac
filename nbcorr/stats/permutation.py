"""Permutation within strata: Westfall & Young's max-T, right whatever joins the neurons."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nbcorr.stats.centred import Scores
from nbcorr.stats.design import make_design, stratum_codes
from nbcorr.stats.draws import (
    interchangeable_groups,
    permuted_signals,
    share_that_moves,
)
from nbcorr.stats.flips import SignFlips
from nbcorr.stats.nulls import NullPlan, Permutation
from nbcorr.stats.sorting import in_threads
from nbcorr.stats.within import SHORT, dead_rows, rank_table, rankable, ranks_within, without_nan

SPARSE = 25  # with fewer positives than one in so many, adding rows beats a matrix product
MOVING = 0.9  # of the signal must be able to change places; else groups' signs are flipped


class MaxT(NullPlan):
    """Max-T permutation of one signal, for neurons that come in blocks (see `NullPlan`).

    Parameters
    ----------
    y : array, shape (n_samples,), bool or real
    strata : sequence of hashable codes, length n_samples, optional
    groups : sequence of hashable codes, length n_samples, optional
        Samples of one group are not independent (frames of a film, images of a patient): the
        signal moves only with its whole group, to a group with as many samples of each stratum
        (whole-block exchangeability; Winkler et al., *NeuroImage* 92, 2014). Where few groups
        have their like, `max_t_plan` takes `SignFlips` instead.
    n_permutations : int
    seed : int

    Raises
    ------
    ValueError
        As `associate`; or if no two groups can change places.

    Notes
    -----
    Westfall & Young, *Resampling-Based Multiple Testing* (1993), Algorithm 2.8 (step-down; in the
    form of Ge, Dudoit & Speed, *Test* 12, 2003, Box 4), on the standardised van Elteren statistic.
    p-values count the observed order as one permutation (Phipson & Smyth 2010): none is below
    ``1 / (n_permutations + 1)``.

    The step-down is exact for any number of neurons, and of all of them no more is kept than
    `BlockNull` (see `nbcorr.stats.stepdown`). Only where permutations hardly differ from the
    observed order (a handful of groups that can change places) may the least significant
    neurons get too large a p.

    The plan holds ``4 * n_permutations`` bytes for each positive or, where these are more than one
    in 25 or the signal is not binary, for each sample; pickled, a binary signal takes bits.
    """

    def __init__(
        self,
        y: np.ndarray,
        strata: Sequence[Hashable] | np.ndarray | None = None,
        groups: Sequence[Hashable] | np.ndarray | None = None,
        *,
        n_permutations: int = 1000,
        seed: int = 0,
    ) -> None:
        design = make_design(y, strata)
        scores = Scores(design)
        super().__init__(scores, design.n, n_permutations)
        self.method = "permutation of samples" if groups is None else "permutation of groups"
        self.binary = design.binary
        self.members = np.flatnonzero(self.target)
        self.terms = len(self.members)
        moving = self.target
        if design.binary and 2 * len(self.members) > len(moving):
            moving = 1 - moving  # the sum over negatives is that over positives, negative
        sparse = design.binary and int(np.count_nonzero(moving)) * SPARSE < len(moving)
        codes = None if groups is None else stratum_codes(groups, design.n, "groups")
        place = np.searchsorted(self.kept, scores.samples)
        sets = [place[members] for members in interchangeable_groups(scores, codes)]
        rng = np.random.default_rng(seed)
        signals = permuted_signals(moving, sets, n_permutations, rng, sparse=sparse)
        self.rows = signals if sparse else None
        if not sparse:
            self.signals = signals

    def __getstate__(self) -> dict[str, Any]:
        """The plan as it travels to other processes: signals of 0 and 1 as bits."""
        state = vars(self).copy()
        signals = state.pop("signals", None)
        if self.rows is None:
            packed = np.packbits(signals != 0, axis=1) if self.binary else signals
            state["packed"] = packed
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        packed = state.pop("packed", None)
        vars(self).update(state)
        if packed is not None and self.binary:
            packed = np.unpackbits(packed, axis=1, count=len(self.kept)).astype(np.float32)
        if packed is not None:
            self.signals = packed

    @cached_property
    def signals(self) -> np.ndarray:
        """The permuted signals, float32 (n_permutations, samples)."""
        assert self.rows is not None
        dense = np.zeros((self.n_permutations, len(self.kept)), dtype=np.float32)
        np.put_along_axis(dense, self.rows, 1, axis=1)
        return dense

    def _permuted(self, values: np.ndarray, compile_it: bool) -> tuple[np.ndarray, np.ndarray]:
        rows, spoilt = without_nan(values)
        kept = rows if len(self.kept) == self.n else np.take(rows, self.kept, axis=1)
        whole = len(self.sizes) == 1 and len(self.kept) < SHORT and rankable(kept)
        if compile_it and self.rows is not None and whole:
            observed, sums, squares = self._whole_sums(kept)
        else:
            observed, sums, squares = self._sums(kept, compile_it)
        null = self._permutation_variance(squares)
        scale = np.divide(1, np.sqrt(null), out=np.zeros_like(null), where=null > 0)
        z = observed * scale
        z[dead_rows(rows, spoilt, squares)] = np.nan
        if len(self.sizes) == 1:
            scale *= self.weights[0]
        return z, sums * scale[:, None].astype(np.float32)

    def _sums(
        self, rows: np.ndarray, compile_it: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each neuron's observed sum, those of permutations, and the squares of its ranks.

        The sums of permutations, float32 (n_neurons, n_permutations), are weighted only if there
        are several strata: ranks of one are whole numbers.
        """
        ranks, squares = ranks_within(rows, self.codes, self.sizes, compile_it)
        scores = (self.target * self.weights)[self.members]
        observed = np.sum(np.take(ranks, self.members, axis=1) * scores, axis=1)
        if len(self.sizes) > 1:
            ranks *= self.weights.astype(np.float32)
        table = np.ascontiguousarray(ranks.T)
        if self.rows is None or not compile_it:
            return observed, (self.signals @ table).T, squares
        return observed, _add_rows(table, self.rows, np.float32), squares

    def _whole_sums(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`_sums` of one stratum in whole numbers of 16 bits, which fewer than 2**15 ranks are."""
        assert self.rows is not None
        table = np.empty((rows.shape[1], len(rows)), dtype=np.int16)
        squares = rank_table(rows, table)[:1]
        observed = np.sum(table[self.members], axis=0, dtype=np.int64) * self.weights[0]
        return observed, _add_rows(table, self.rows, np.int32), squares


def _add_rows(table: np.ndarray, rows: np.ndarray, kind: type) -> np.ndarray:
    """For each list of row numbers the sum of these rows, shape (n_columns, n_lists), compiled."""
    from nbcorr.stats import rowsums

    sums: np.ndarray = np.empty((len(rows), table.shape[1]), dtype=kind)
    rowsums.add_rows(table, rows, sums)
    return sums.T


def max_t_plan(
    y: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    groups: Sequence[Hashable] | np.ndarray | None = None,
    *,
    n_permutations: int = 1000,
    seed: int = 0,
) -> NullPlan:
    """`MaxT` where the signal can change places, `SignFlips` where groups are too unlike.

    Groups are permuted if those of at least 4 alike (as many samples of each stratum) hold 90 % of
    the signal's sum of squares around the strata's means: of 4 groups there are 24 orders, the
    fewest that reach p = .05. The plan's `method` says which it is.

    Parameters
    ----------
    y, strata, groups, n_permutations, seed
        As for `MaxT`.

    Raises
    ------
    ValueError
        As `MaxT` and `SignFlips`.
    """
    if groups is not None:
        design = make_design(y, strata)
        codes = stratum_codes(groups, design.n, "groups")
        if share_that_moves(Scores(design), codes) < MOVING:
            return SignFlips(y, strata, groups, n_permutations=n_permutations, seed=seed)
    return MaxT(y, strata, groups, n_permutations=n_permutations, seed=seed)


def max_t(
    x: np.ndarray,
    y: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    groups: Sequence[Hashable] | np.ndarray | None = None,
    *,
    n_permutations: int = 1000,
    step_down: bool = True,
    seed: int = 0,
    threads: int = 1,
) -> Permutation:
    """Family-wise p-values by permuting the signal within strata: `max_t_plan` in one call.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
        Activations, neuron-major. A neuron with a NaN is dead.
    y, strata, groups, n_permutations, seed
        As for `MaxT`.
    step_down : bool
        False compares every neuron with the largest of all (single-step).
    threads : int
        Blocks of neurons worked on side by side; the numbers do not depend on it.

    Raises
    ------
    ValueError
        As `max_t_plan` and the plan's `block`.
    """
    plan = max_t_plan(y, strata, groups, n_permutations=n_permutations, seed=seed)
    values = plan.checked(x)
    parts = plan.parts(len(values))
    blocks = in_threads(lambda part: plan.block(values[part]), parts, threads)
    return plan.finish(blocks, step_down=step_down)
