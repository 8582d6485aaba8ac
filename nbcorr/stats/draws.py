"""Permuted signals: drawn within strata, or between groups of samples that are alike."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np

from nbcorr.stats.centred import Scores
from nbcorr.stats.ranks import row_blocks

ALIKE = 4  # groups: their 24 orders are the fewest that reach p = .05


def permuted_signals(
    target: np.ndarray,
    interchangeable: list[np.ndarray],
    count: int,
    rng: np.random.Generator,
    *,
    sparse: bool,
) -> np.ndarray:
    """The signal after each permutation.

    Parameters
    ----------
    target : array of float64, shape (n_samples,)
    interchangeable : list of arrays of int, shape (n_groups, samples of each)
        Sets of groups of samples that may change places.
    count : int

    Returns
    -------
    array
        If `sparse`, int32 (count, n_positive): where the positives are, for a binary signal.
        Otherwise float32 (count, n_samples).
    """
    dense = np.empty((0 if sparse else count, len(target)), dtype=np.float32)
    lists = []
    for members in interchangeable:
        signals = target[members]
        carriers = np.flatnonzero(signals.any(axis=1))
        if sparse:
            places = _places(len(members), len(carriers), count, rng)
            # Group places[b, i] takes over the signal of group carriers[i].
            kept = signals[carriers] != 0
            lists.append(members[places][:, kept].reshape(count, -1))
        else:
            for part in row_blocks(count, signals.size):
                order = np.tile(np.arange(len(members)), (part.stop - part.start, 1))
                rng.permuted(order, axis=1, out=order)
                dense[part, members.ravel()] = signals[order].reshape(len(order), -1)
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


def interchangeable_groups(scores: Scores, groups: np.ndarray | None) -> list[np.ndarray]:
    """Sets of groups that may change places: arrays (groups, samples of each)."""
    if groups is None:
        return [np.arange(start, stop)[:, None] for start, stop in pairwise(scores.bounds)]
    sets = _alike(scores, groups)
    if max(len(members) for members in sets) == 1:
        raise ValueError(
            f"cannot be decided: of {len(sets)} groups no two have as many samples of each "
            "stratum, so none can change places"
        )
    return sets


def share_that_moves(scores: Scores, groups: np.ndarray) -> float:
    """How much of the signal permutations of whole groups can move.

    That is the share of its sum of squares (weighted, around the strata's means) that lies in
    sets of at least `ALIKE` groups that are not all of one signal.
    """
    stratum = np.repeat(np.arange(len(scores.sizes)), scores.sizes)
    means = np.bincount(stratum, scores.target) / scores.sizes
    carried = (scores.weights[stratum] * (scores.target - means[stratum])) ** 2
    moving = [
        carried[members].sum()
        for members in _alike(scores, groups)
        if len(members) >= ALIKE and np.ptp(scores.target[members], axis=0).any()
    ]
    return float(sum(moving) / carried.sum())


def _alike(scores: Scores, groups: np.ndarray) -> list[np.ndarray]:
    """Groups with as many samples of each stratum, set by set."""
    stratum = np.repeat(np.arange(len(scores.sizes)), scores.sizes)
    codes = groups[scores.samples]
    order = np.argsort(codes, kind="stable")
    alike: dict[tuple[int, ...], list[np.ndarray]] = defaultdict(list)
    for members in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        alike[tuple(stratum[members].tolist())].append(members)
    return [np.array(members) for members in alike.values()]
