"""Permutation within strata: Westfall & Young's max-T, right whatever joins the neurons."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property, reduce
from typing import Any, NamedTuple

import numpy as np

from nbcorr.stats.centred import Scores
from nbcorr.stats.design import make_design, stratum_codes
from nbcorr.stats.draws import interchangeable_groups, permuted_signals
from nbcorr.stats.sorting import compiled, in_threads
from nbcorr.stats.stepdown import Reached, reached_by, threshold, times_reached, unite
from nbcorr.stats.within import dead_rows, ranks_within, without_nan

NEURONS = 64  # whose ranks are added up at a time: a row of theirs is two cache lines
RANKED = 1 << 20  # ranks held at a time, where samples are many
NULL = 1 << 18  # permuted statistics held at a time
SPARSE = 25  # with fewer positives than one in so many, adding rows beats a matrix product


class Permutation(NamedTuple):
    """Permutation p-values of every neuron, two-sided.

    Attributes
    ----------
    z : array of float64, shape (n_neurons,)
        The observed statistic, as in `associate`.
    p : array of float64, shape (n_neurons,)
        Share of permutations, the observed one among them, whose ``|z|`` reaches the neuron's.
    p_familywise : array of float64, shape (n_neurons,)
        The same for the largest ``|z|`` among the neurons not yet rejected: the chance of even one
        false finding. Dead neurons are NaN and not counted.
    n_permutations : int
    """

    z: np.ndarray
    p: np.ndarray
    p_familywise: np.ndarray
    n_permutations: int


class BlockNull(NamedTuple):
    """What `MaxT` keeps of a block of neurons: a few numbers for each neuron and permutation.

    Attributes
    ----------
    z : array of float64, shape (n_neurons,)
        Observed statistics; NaN where a neuron is dead.
    reaching : array of int, shape (n_neurons,)
        How many permutations of the neuron itself reach its ``|z|``.
    largest : array of float32, shape (n_permutations,)
        The largest ``|z|`` of the block under each permutation.
    reached : Reached
        The ``|z|`` that the block's successive maxima reach under each permutation.
    """

    z: np.ndarray
    reaching: np.ndarray
    largest: np.ndarray
    reached: Reached

    def join(self, other: BlockNull) -> BlockNull:
        """Both blocks as one, this one's neurons first; `join` is associative."""
        return BlockNull(
            np.concatenate([self.z, other.z]),
            np.concatenate([self.reaching, other.reaching]),
            np.maximum(self.largest, other.largest),
            unite(self.reached, other.reached),
        )


class MaxT:
    """Max-T permutation of one signal, for neurons that come in blocks.

    The permuted signals are drawn once. Blocks may be worked on in any order and anywhere (the
    plan and what it returns can be pickled); the p-values are those of all neurons at once::

        plan = MaxT(signal, strata)
        result = plan.finish(plan.block(x) for x in blocks)

    Parameters
    ----------
    y : array, shape (n_samples,), bool or real
    strata : sequence of hashable codes, length n_samples, optional
    groups : sequence of hashable codes, length n_samples, optional
        Samples of one group are not independent (frames of a film, images of a patient): the
        signal moves only with its whole group, to a group with as many samples of each stratum
        (whole-block exchangeability; Winkler et al., *NeuroImage* 92, 2014).
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
    All neurons see the same permutations, so their dependence is kept. p-values count the observed
    order as one permutation (Phipson & Smyth 2010): none is below ``1 / (n_permutations + 1)``.

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
        if n_permutations < 1:
            raise ValueError(f"n_permutations is {n_permutations}; expected 1 or more")
        design = make_design(y, strata)
        scores = Scores(design)
        self.n = design.n
        self.binary = design.binary
        self.n_permutations = n_permutations
        self.sizes = scores.sizes
        # Samples of uninformative strata are left out; the others keep their order.
        self.kept = np.sort(scores.samples)
        place = np.searchsorted(self.kept, scores.samples)
        self.codes = np.empty(len(place), dtype=np.int64)
        self.codes[place] = np.repeat(np.arange(len(scores.sizes)), scores.sizes)
        self.weights = scores.weights[self.codes]
        self.variances = scores.weights**2 * scores.spreads / (scores.sizes - 1)
        self.target = np.empty(len(place))
        self.target[place] = scores.target

        self.members = np.flatnonzero(self.target)
        moving = self.target
        if design.binary and 2 * len(self.members) > len(moving):
            moving = 1 - moving  # the sum over negatives is that over positives, negative
        sparse = design.binary and int(np.count_nonzero(moving)) * SPARSE < len(moving)
        codes = None if groups is None else stratum_codes(groups, design.n, "groups")
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

    def block(self, x: np.ndarray) -> BlockNull:
        """Permute the signal against a block of neurons.

        Parameters
        ----------
        x : array, shape (n_neurons, n_samples)
            Activations, neuron-major. A neuron with a NaN is dead.

        Raises
        ------
        ValueError
            If `x` has not the samples of the signal.
        """
        values = self.checked(x)
        return reduce(
            BlockNull.join, (self._null(values[part]) for part in self.parts(len(values)))
        )

    def finish(self, blocks: Iterable[BlockNull], *, step_down: bool = True) -> Permutation:
        """The p-values of all neurons, in the order of the blocks.

        Parameters
        ----------
        blocks : iterable of BlockNull
            Of this plan. From an iterator they are taken one at a time.
        step_down : bool
            False compares every neuron with the largest of all (single-step).
        """
        none = self._null(np.empty((0, self.n)))
        zs, reaching, largest, reached = [none.z], [none.reaching], none.largest, none.reached
        for block in blocks:
            zs.append(block.z)
            reaching.append(block.reaching)
            largest = np.maximum(largest, block.largest)
            reached = unite(reached, block.reached)
        z = np.concatenate(zs)
        alive = ~np.isnan(z)
        observed = np.abs(z[alive])
        if step_down:
            times = times_reached(observed, reached)
            downward = np.argsort(-observed)
            times[downward] = np.maximum.accumulate(times[downward])
        else:
            times = self.n_permutations - np.searchsorted(np.sort(largest), threshold(observed))
        p, familywise = np.full((2, len(z)), np.nan)
        share = 1 / (self.n_permutations + 1)
        p[alive] = (np.concatenate(reaching)[alive] + 1) * share
        familywise[alive] = (times + 1) * share
        return Permutation(z, p, familywise, self.n_permutations)

    def checked(self, x: np.ndarray) -> np.ndarray:
        """The activations as an array, or an error if they are not of this plan's samples."""
        values = np.asarray(x)
        if values.ndim != 2 or values.shape[1] != self.n:
            raise ValueError(
                f"x has shape {values.shape}; expected (n_neurons, {self.n}), "
                "a value for each sample of the signal"
            )
        return values

    def parts(self, n_neurons: int) -> list[slice]:
        """Neurons to work on at a time: whole tables, as many as their null leaves room for."""
        step = max(NEURONS, NULL // self.n_permutations // NEURONS * NEURONS)
        return [slice(at, at + step) for at in range(0, max(n_neurons, 1), step)]

    def _null(self, values: np.ndarray) -> BlockNull:
        work = values.size + self.n_permutations * len(self.members) * len(values)
        compile_it = compiled(work)
        z = np.empty(len(values))
        null = np.empty((len(values), self.n_permutations), dtype=np.float32)
        step = min(NEURONS, max(1, RANKED // self.n))
        for at in range(0, len(values), step):
            part = slice(at, at + step)
            z[part], null[part] = self._permuted(values[part], compile_it)
        np.abs(null, out=null)
        alive = ~np.isnan(z)
        observed = np.abs(z[alive])
        if not alive.all():
            null = null[alive]
        reaching = np.zeros(len(values), dtype=np.int64)
        reaching[alive] = np.count_nonzero(null >= threshold(observed)[:, None], axis=1)
        return BlockNull(z, reaching, null.max(axis=0, initial=0), reached_by(observed, null))

    def _permuted(self, values: np.ndarray, compile_it: bool) -> tuple[np.ndarray, np.ndarray]:
        """Observed z (n_neurons,), and permuted z (n_neurons, n_permutations)."""
        rows, spoilt = without_nan(values)
        kept = rows if len(self.kept) == self.n else np.take(rows, self.kept, axis=1)
        ranks, squares = ranks_within(kept, self.codes, self.sizes, compile_it)
        # Sums, not matrix products: BLAS would round by the size of the block.
        null = np.sum(self.variances[:, None] * squares, axis=0)
        scale = np.divide(1, np.sqrt(null), out=np.zeros_like(null), where=null > 0)
        scores = (self.target * self.weights)[self.members]
        z = np.sum(np.take(ranks, self.members, axis=1) * scores, axis=1) * scale
        z[dead_rows(rows, spoilt, squares)] = np.nan
        if len(self.sizes) > 1:
            ranks *= self.weights.astype(np.float32)
        else:
            scale *= self.weights[0]
        return z, self._sums(ranks, compile_it) * scale[:, None].astype(np.float32)

    def _sums(self, ranks: np.ndarray, compile_it: bool) -> np.ndarray:
        """The sum of each neuron's ranks, float32 (n_neurons, n), under each permutation."""
        if self.rows is None or not compile_it:
            return (self.signals @ np.ascontiguousarray(ranks.T)).T
        from nbcorr.stats import rowsums

        # Ranks that are not weighted are whole numbers within -n..n.
        whole = len(self.sizes) == 1 and len(self.kept) < 2**15
        table = ranks.T.astype(np.int16 if whole else np.float32, order="C")
        kind = np.int32 if whole else np.float32
        sums = np.empty((self.n_permutations, len(ranks)), dtype=kind)
        rowsums.add_rows(table, self.rows, sums)
        return sums.T


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
    """Family-wise p-values by permuting the signal within strata: `MaxT` in one call.

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
        As `MaxT` and its `block`.
    """
    plan = MaxT(y, strata, groups, n_permutations=n_permutations, seed=seed)
    values = plan.checked(x)
    parts = plan.parts(len(values))
    blocks = in_threads(lambda part: plan.block(values[part]), parts, threads)
    return plan.finish(blocks, step_down=step_down)
