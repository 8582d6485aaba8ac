"""Permutation within strata: Westfall & Young's max-T, right whatever joins the neurons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from nbcorr.stats.association import associate
from nbcorr.stats.centred import Scores
from nbcorr.stats.design import make_design, stratum_codes
from nbcorr.stats.sorting import compiled, in_threads

NEURONS = 64  # at a time: a row of their ranks is four cache lines
TOLERANCE = 1e-5  # of z in float32: what is this near to the observed counts as reaching it


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
    """Family-wise p-values by permuting the signal within strata.

    Westfall & Young, *Resampling-Based Multiple Testing* (1993), Algorithm 2.8 (step-down; in the
    form of Ge, Dudoit & Speed, *Test* 12, 2003, Box 4), on the standardised van Elteren statistic.
    All neurons see the same permutations, so their dependence is kept. p-values count the observed
    order as one permutation (Phipson & Smyth 2010): none is below ``1 / (n_permutations + 1)``.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
    y : array, shape (n_samples,), bool or real
    strata : sequence of hashable codes, length n_samples, optional
    groups : sequence of hashable codes, length n_samples, optional
        Samples of one group are not independent (frames of a film, images of a patient): the
        signal moves only with its whole group, to a group with as many samples of each stratum
        (whole-block exchangeability; Winkler et al., *NeuroImage* 92, 2014).
    n_permutations : int
    step_down : bool
        False compares every neuron with the largest of all (single-step).
    seed : int
    threads : int

    Raises
    ------
    ValueError
        As `associate`; or if no two groups can change places.
    """
    if n_permutations < 1:
        raise ValueError(f"n_permutations is {n_permutations}; expected 1 or more")
    values = np.asarray(x)
    observed = associate(values, y, strata, threads=threads).z
    design = make_design(y, strata)
    scores = Scores(design)
    compile_it = compiled(values.size)
    few = design.binary and int(np.count_nonzero(scores.target)) * 25 < len(scores.target)
    codes = None if groups is None else stratum_codes(groups, design.n, "groups")
    rng = np.random.default_rng(seed)
    signals = permuted_signals(scores, codes, n_permutations, rng, sparse=few)
    if few and not compile_it:
        signals = _dense(signals, len(scores.target))

    alive = np.flatnonzero(~np.isnan(observed))
    ascending = alive[np.argsort(np.abs(observed[alive]), kind="stable")]
    blocks = [ascending[at : at + NEURONS] for at in range(0, len(ascending), NEURONS)]

    def permuted(block: np.ndarray) -> np.ndarray:
        table = scores.standardised(values[block], compile_it)
        return np.abs(_sums(table, signals))

    p, familywise = np.full(len(values), np.nan), np.full(len(values), np.nan)
    largest = np.zeros(n_permutations, dtype=np.float32)
    reached = np.abs(observed) - TOLERANCE * (1 + np.abs(observed))
    for batch in (blocks[at : at + 2 * threads] for at in range(0, len(blocks), 2 * threads)):
        for block, null in zip(batch, in_threads(permuted, batch, threads), strict=True):
            p[block] = np.count_nonzero(null >= reached[block], axis=0)
            running = np.maximum.accumulate(np.vstack([largest, null.T]), axis=0)
            largest = running[-1]
            familywise[block] = np.count_nonzero(running[1:] >= reached[block][:, None], axis=1)
    if not step_down:
        top = np.sort(largest)
        familywise[alive] = n_permutations - np.searchsorted(top, reached[alive], "left")
    familywise[ascending] = np.maximum.accumulate(familywise[ascending][::-1])[::-1]
    share = 1 / (n_permutations + 1)
    return Permutation(observed, (p + 1) * share, (familywise + 1) * share, n_permutations)


def permuted_signals(
    scores: Scores,
    groups: np.ndarray | None,
    count: int,
    rng: np.random.Generator,
    *,
    sparse: bool,
) -> np.ndarray:
    """The signal after each permutation.

    Returns
    -------
    array
        If `sparse`, int32 (count, n_positive): where the positives are, for a binary signal.
        Otherwise float32 (count, n_samples), samples in the order of the scores.
    """
    dense = np.empty((0 if sparse else count, len(scores.target)), dtype=np.float32)
    lists = []
    for members in _interchangeable(scores, groups):
        signals = scores.target[members]
        carriers = np.flatnonzero(signals.any(axis=1))
        if sparse:
            places = _places(len(members), len(carriers), count, rng)
            # Group places[b, i] takes over the signal of group carriers[i].
            kept = signals[carriers] != 0
            lists.append(members[places][:, kept].reshape(count, -1))
        else:
            order = rng.permuted(np.tile(np.arange(len(members)), (count, 1)), axis=1)
            dense[:, members.ravel()] = signals[order].reshape(count, -1)
    return np.concatenate(lists, axis=1).astype(np.int32) if sparse else dense


def _places(n: int, k: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """For each permutation the new places, in random order, of k things among n."""
    if k * k < 4 * n:
        # Draws with replacement, whole rows again until no place repeats: still uniform.
        places = rng.integers(0, n, (count, k))
        while True:
            ordered = np.sort(places, axis=1)
            again = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
            if len(again) == 0:
                return places
            places[again] = rng.integers(0, n, (len(again), k))
    if k * 25 < n:
        return np.array([rng.choice(n, k, replace=False) for _ in range(count)])
    return rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)[:, :k]


def _interchangeable(scores: Scores, groups: np.ndarray | None) -> list[np.ndarray]:
    """Sets of groups that may change places: arrays (groups, samples of each)."""
    if groups is None:
        return [np.arange(start, stop)[:, None] for start, stop in pairwise(scores.bounds)]
    stratum = np.repeat(np.arange(len(scores.sizes)), scores.sizes)
    codes = groups[scores.samples]
    order = np.argsort(codes, kind="stable")
    alike: dict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)
    for members in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        alike[tuple(stratum[members].tolist())].append(members)
    sets = [np.array(members) for members in alike.values()]
    if max(len(members) for members in sets) == 1:
        raise ValueError(
            f"cannot be decided: of {len(sets)} groups no two have as many samples of each "
            "stratum, so none can change places"
        )
    return sets


def _dense(places: np.ndarray, n: int) -> np.ndarray:
    dense = np.zeros((len(places), n), dtype=np.float32)
    np.put_along_axis(dense, places.astype(np.int64), 1, axis=1)
    return dense


def _sums(table: np.ndarray, signals: np.ndarray) -> np.ndarray:
    """The z of every permutation and neuron, (n_permutations, n_neurons)."""
    if signals.dtype != np.int32:
        return signals @ table
    from nbcorr.stats import rowsums

    sums = np.empty((len(signals), table.shape[1]), dtype=np.float32)
    rowsums.add_rows(table, signals, sums)
    return sums
