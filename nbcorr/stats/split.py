"""Two halves of the samples: one to select neurons in, the other to test them in."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.sparse import csr_array

from nbcorr.stats.design import stratum_codes
from nbcorr.stats.ranks import midranks


def stratified_halves(
    y: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    fraction: float = 0.5,
    seed: int = 0,
    groups: Sequence[Hashable] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the half of the samples used for selection, alike in strata and signal.

    Every cell (a stratum and a value of the signal) is split at random. What cannot be split
    evenly is handed on to the next cell, in random order, so that over all cells, and over the
    cells of each value of the signal, the share stays that of `fraction` within one sample.
    Strata of two samples that differ in the signal stay whole, for nothing can be compared within
    one alone: of these pairs, too, the share is that of `fraction` within one.

    Parameters
    ----------
    y : array, shape (n_samples,)
        The signal. A signal with more than two values is split within each stratum, not by value.
    strata : sequence of hashable codes, length n_samples, optional
    fraction : float
        Share of samples in the selection half, between 0 and 1.
    seed : int
        The same seed draws the same half.
    groups : sequence of hashable codes, length n_samples, optional
        Samples of one group are not independent and stay together: whole groups are dealt out,
        the largest first and otherwise in random order, each to the half that leaves the number
        of samples, each stratum, each value of the signal (of one with more than two values: each
        quarter) and each cell nearest to its share: least squares, each over its own size.

    Returns
    -------
    array of bool, shape (n_samples,)
        True for the selection half.

    Raises
    ------
    ValueError
        If the lengths differ, there are no samples, `fraction` is not between 0 and 1, or all
        samples are of one group.
    """
    signal = np.asarray(y)
    if signal.ndim != 1 or len(signal) == 0:
        raise ValueError(f"the signal has shape {signal.shape}; expected one value per sample")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction:g}; expected a share between 0 and 1, such as 0.5")
    codes = stratum_codes(strata, len(signal))
    rng = np.random.default_rng(seed)
    if groups is None:
        return _split_cells(_kinds(signal, 1), _torn_alone(signal, codes), codes, fraction, rng)
    members = stratum_codes(groups, len(signal), "groups")
    if members.max() == 0:
        raise ValueError(
            f"all {len(signal)} samples are of one group, which cannot be split; "
            "expected at least 2 groups"
        )
    return _deal_groups(_kinds(signal, 4), codes, members, fraction, rng)[members]


def _kinds(signal: np.ndarray, n_parts: int) -> np.ndarray:
    """The two values as 0 and 1; of a signal with more, as many parts of its ranks."""
    values, kind = np.unique(signal, return_inverse=True)
    if len(values) <= 2:
        return kind
    ranks = midranks(kind)
    return np.asarray((ranks - 0.5) * n_parts // len(ranks), dtype=np.int64)


def _split_cells(
    kind: np.ndarray,
    pairs: np.ndarray,
    codes: np.ndarray,
    fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Split the cells of each value at random, and whole strata of which `pairs` is true."""
    place = rng.permutation(len(pairs))[codes]
    whole = rng.permutation(np.flatnonzero(pairs))
    chosen = np.isin(codes, whole[_systematic(len(whole), fraction, rng)])
    for value in np.unique(kind):
        members = np.flatnonzero((kind == value) & ~pairs[codes])
        members = members[np.lexsort((rng.random(len(members)), place[members]))]
        chosen[members] = _systematic(len(members), fraction, rng)
    return chosen


def _systematic(n: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Which of n places in a row are drawn: at equal distances from a random start."""
    return np.diff(np.floor(rng.uniform() + fraction * np.arange(n + 1))) > 0


def _torn_alone(signal: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Strata, by code, of two samples that differ in the signal."""
    sizes = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    first = (np.cumsum(sizes) - sizes)[sizes == 2]
    pairs = sizes == 2
    pairs[pairs] = signal[order[first]] != signal[order[first + 1]]
    return pairs


def _deal_groups(
    kind: np.ndarray,
    codes: np.ndarray,
    members: np.ndarray,
    fraction: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Which groups go to the selection half: each where it leaves the smaller imbalance."""
    held = _samples_held(kind, codes, members)
    weight = 1 / held.sum(axis=0)
    sizes = np.bincount(members)
    surplus = np.zeros(len(weight))  # of the selection half over its share, so far
    chosen = np.zeros(len(sizes), dtype=bool)
    for group in np.lexsort((rng.random(len(sizes)), -sizes)):
        part = slice(held.indptr[group], held.indptr[group + 1])
        at, own = held.indices[part], held.data[part]
        # Squared surplus with the group less that without it.
        worse = np.sum(weight[at] * own * (2 * surplus[at] + (1 - 2 * fraction) * own))
        chosen[group] = worse < 0 or (worse == 0 and rng.random() < fraction)
        surplus[at] += own * (chosen[group] - fraction)
    if chosen.all() or not chosen.any():
        smallest = sizes.argmin()
        chosen[smallest] = not chosen[smallest]
    return chosen


def _samples_held(kind: np.ndarray, codes: np.ndarray, members: np.ndarray) -> csr_array:
    """Samples of each group: in all, of each stratum, of each value, and of each cell."""
    n_kinds, n_strata = kind.max() + 1, codes.max() + 1
    features = np.concatenate(
        [
            np.zeros_like(kind),
            1 + kind,
            1 + n_kinds + codes,
            1 + n_kinds + n_strata + codes * n_kinds + kind,
        ]
    )
    features = np.unique(features, return_inverse=True)[1]
    return csr_array((np.ones(len(features)), (np.tile(members, 4), features)))
