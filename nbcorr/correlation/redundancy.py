"""How many different things the correlates are: neurons that fire alike are one finding."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nbcorr.correlation.controls import folded
from nbcorr.correlation.question import Question
from nbcorr.stats.similarity import similar_groups

#: No more neurons than this are compared with each other: the strongest.
MOST = 2_000


def clusters(
    recording: xr.Dataset, question: Question, auc: np.ndarray, found: np.ndarray
) -> np.ndarray:
    """Groups of similar activation among the neurons that were found.

    Parameters
    ----------
    recording : xarray.Dataset
    question : Question
    auc : array, shape (n_neurons,)
    found : array of bool, shape (n_neurons,)
        The neurons that are associated.

    Returns
    -------
    array of int, shape (n_neurons,)
        The group, 1 that of the strongest neuron; 0 where a neuron was not found, -1 where it was
        but is not among the 2,000 strongest.
    """
    chosen = np.flatnonzero(found)
    chosen = chosen[np.argsort(-folded(auc[chosen]), kind="stable")][:MOST]
    cluster = np.where(found, -1, 0)
    if len(chosen):
        # In the order of storage, so that no part of a store is read twice.
        stored = np.sort(chosen)
        activation = recording["activation"].isel(neuron=stored).transpose("neuron", "sample")
        rows = activation.values[np.searchsorted(stored, chosen)]
        cluster[chosen] = similar_groups(rows, question.strata)
    return cluster
