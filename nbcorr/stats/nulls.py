"""Max-T for neurons that come in blocks: what every way to draw the null distribution shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import numpy as np

from nbcorr.stats.centred import Scores
from nbcorr.stats.sorting import compiled
from nbcorr.stats.stepdown import Reached, reached_by, threshold, times_reached, unite

NEURONS = 64  # worked on at a time: a row of their ranks is two cache lines
RANKED = 1 << 20  # ranks held at a time, where samples are many
NULL = 1 << 18  # permuted statistics held at a time


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
    """What a plan keeps of a block of neurons: a few numbers for each neuron and permutation.

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


class NullPlan(ABC):
    """Draws of the null distribution of one signal, made once, for all blocks of neurons.

    Blocks may be worked on in any order and anywhere (the plan and what it returns can be
    pickled); the p-values are those of all neurons at once::

        result = plan.finish(plan.block(x) for x in blocks)

    All neurons see the same draws, so their dependence is kept.

    Attributes
    ----------
    method : str
        What is drawn: "permutation of samples", "permutation of groups" or "sign flips of groups".
    n, n_permutations : int
        Samples of the signal, and draws.
    """

    method: str
    terms: int  # numbers added up for one permuted statistic

    def __init__(self, scores: Scores, n: int, n_permutations: int) -> None:
        if n_permutations < 1:
            raise ValueError(f"n_permutations is {n_permutations}; expected 1 or more")
        self.n = n
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

    def block(self, x: np.ndarray) -> BlockNull:
        """Draw the statistics of a block of neurons.

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
        work = values.size + self.n_permutations * self.terms * len(values)
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

    @abstractmethod
    def _permuted(self, values: np.ndarray, compile_it: bool) -> tuple[np.ndarray, np.ndarray]:
        """Observed z (n_neurons,), and permuted z (n_neurons, n_permutations)."""

    def _permutation_variance(self, squares: np.ndarray) -> np.ndarray:
        """Of each neuron's statistic under permutations of samples within strata."""
        # Sums, not matrix products: BLAS would round by the size of the block.
        return np.sum(self.variances[:, None] * squares, axis=0)
