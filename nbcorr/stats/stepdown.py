"""Step-down maxima in one pass: what permutations reach, as a few intervals of ``|z|``.

Westfall & Young's step-down compares neuron j, in every permutation, with the largest permuted
``|z|`` among the neurons whose observed ``|z|`` is no larger than j's. Neuron i, observed at
``|z_i|`` and permuted to v, reaches j exactly if ``|z_i| <= |z_j| <= v``: it covers an interval of
``|z|``. So of all neurons seen, a permutation need only keep the union of their intervals. That
union is one or two intervals as a rule, does not depend on the order of the neurons, and unions
of blocks unite further: neurons may come in any order, in blocks, from anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-5  # of z in float32: what is this near to the observed counts as reaching it
KEPT = 32  # intervals of a permutation; the lowest are joined beyond


class Reached(NamedTuple):
    """The ``|z|`` that each permutation reaches.

    Attributes
    ----------
    starts : array of float64, shape (n_intervals, n_permutations)
        Ascending; infinite where a permutation has fewer intervals.
    ends : array of float32, shape (n_intervals, n_permutations)
        The permuted ``|z|``: an observed one from `starts` on is reached if its `threshold` is
        no larger. 0 where there is no interval.
    """

    starts: np.ndarray
    ends: np.ndarray


def threshold(z: np.ndarray) -> np.ndarray:
    """What a permuted ``|z|``, a float32 sum, must come to to count as reaching ``|z|``."""
    return (z * (1 - TOLERANCE) - TOLERANCE).astype(np.float32)


def reached_by(z: np.ndarray, null: np.ndarray) -> Reached:
    """The union of the intervals of some neurons.

    Parameters
    ----------
    z : array of float64, shape (n_neurons,)
        Observed ``|z|``, without NaN.
    null : array of float32, shape (n_neurons, n_permutations)
        Permuted ``|z|``.
    """
    order = np.argsort(z)
    return _united(z[order][:, None], null[order])


def unite(first: Reached, second: Reached) -> Reached:
    """The union of both."""
    starts = np.concatenate([first.starts, second.starts])
    ends = np.concatenate([first.ends, second.ends])
    order = np.argsort(starts, axis=0)
    return _united(
        np.take_along_axis(starts, order, axis=0), np.take_along_axis(ends, order, axis=0)
    )


def times_reached(z: np.ndarray, reached: Reached) -> np.ndarray:
    """By how many permutations each observed ``|z|`` is reached."""
    ordered = np.sort(z)
    first = np.searchsorted(ordered, reached.starts.ravel(), "left")
    last = np.searchsorted(threshold(ordered), reached.ends.ravel(), "right")
    some = last > first
    steps = np.bincount(first[some], minlength=len(z) + 1) - np.bincount(
        last[some], minlength=len(z) + 1
    )
    return np.cumsum(steps)[np.searchsorted(ordered, z)]


def _united(starts: np.ndarray, ends: np.ndarray) -> Reached:
    """Join intervals that touch; starts ascend along axis 0 (one column may serve for all)."""
    n_rows, n_permutations = ends.shape
    least = threshold(starts)
    new = ends >= least
    so_far = ends * new
    for row in range(1, n_rows):  # many times faster than np.maximum.accumulate along this axis
        np.maximum(so_far[row - 1], so_far[row], out=so_far[row])
    new[1:] &= so_far[:-1] < least[1:]

    place, permutation = np.divmod(np.flatnonzero(new), n_permutations)
    order = np.argsort(permutation, kind="stable")
    place, permutation = place[order], permutation[order]
    count = np.bincount(permutation, minlength=n_permutations)
    number = np.arange(len(place)) - (np.cumsum(count) - count)[permutation]
    # Beyond KEPT the lowest are joined: more is reached, which errs on the safe side.
    slot = np.maximum(number - np.maximum(count[permutation] - KEPT, 0), 0)
    following = np.append(place[1:], n_rows)
    following[np.cumsum(count)[count > 0] - 1] = n_rows

    shape = (int(slot.max(initial=-1)) + 1, n_permutations)
    united = Reached(np.full(shape, np.inf), np.zeros(shape, dtype=np.float32))
    observed = np.broadcast_to(starts, ends.shape)[place, permutation]
    np.minimum.at(united.starts, (slot, permutation), observed)
    np.maximum.at(united.ends, (slot, permutation), so_far[following - 1, permutation])
    return united
