"""Neurons that say the same: clusters by the rank correlation of their activations."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.design import stratum_codes
from nbcorr.stats.ranks import row_blocks
from nbcorr.stats.sorting import compiled


def similar_groups(
    x: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    threshold: float = 0.5,
) -> np.ndarray:
    """Number the groups of neurons whose activations go together, or go against each other.

    Average linkage (Sokal & Michener 1958) on ``1 - |rho|``: two groups are joined as long as
    ``|rho|``, averaged over all pairs of a neuron of one and a neuron of the other, is at least
    `threshold`. rho is Spearman's correlation within strata: the mid-ranks of each stratum are
    centred and divided by its size + 1, as in van Elteren's test, so that every sample counts
    about alike and differences between strata make no two neurons similar.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
        Activations, neuron-major. Memory grows with the square of n_neurons (2,000: 50 MB).
    strata : sequence of hashable codes, length n_samples, optional
    threshold : float
        Smallest average ``|rho|`` within a group, between 0 and 1.

    Returns
    -------
    array of int64, shape (n_neurons,)
        Groups numbered from 1 in the order in which they first appear; 0 where the neuron is
        constant or holds a NaN. A neuron that is constant within every stratum is alone.

    Raises
    ------
    ValueError
        If `x` has not two dimensions, the strata have another length, or the threshold is not
        between 0 and 1.
    """
    values = np.asarray(x)
    if values.ndim != 2:
        raise ValueError(f"x has shape {values.shape}; expected (n_neurons, n_samples)")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is {threshold:g}; expected an |rho| between 0 and 1")
    codes = stratum_codes(strata, values.shape[1])
    groups = np.zeros(len(values), dtype=np.int64)
    # A row without samples, or with one, is constant.
    constant = (values[:, 1:] == values[:, :1]).all(axis=1)
    alive = np.flatnonzero(~constant & ~np.isnan(values).any(axis=1))
    if len(alive) > 1:
        distance = 1 - np.abs(_rank_correlations(values[alive], codes))
        tree = linkage(squareform(distance, checks=False), "average")
        found = fcluster(tree, 1 - threshold, "distance")
        _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
        groups[alive] = np.argsort(np.argsort(first))[inverse] + 1
    elif len(alive) == 1:
        groups[alive] = 1
    return groups


def _rank_correlations(rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Spearman's rho of all pairs of rows within strata, float32 (n_neurons, n_neurons)."""
    table = np.empty(rows.shape, dtype=np.float32)
    for code, n in enumerate(np.bincount(codes).tolist()):
        samples = np.flatnonzero(codes == code)
        for part in row_blocks(len(rows), n):
            ranks, _ = doubled_ranks(np.take(rows[part], samples, axis=1), compiled(rows.size))
            table[part, samples] = ranks / np.float32(n + 1)
    length = np.sqrt(np.einsum("ij,ij->i", table, table))[:, None]
    table /= np.where(length > 0, length, 1)
    correlations: np.ndarray = np.clip(table @ table.T, -1, 1)
    return correlations
