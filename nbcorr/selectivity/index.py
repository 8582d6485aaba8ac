"""The class selectivity index of every neuron."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.network.neurons import neuron_label
from nbcorr.recording.arrays import over_neurons
from nbcorr.recording.blocks import neuron_blocks
from nbcorr.stats.selectivity import selectivity_index


def selectivity(recording: xr.Dataset) -> xr.Dataset:
    """How strongly each neuron prefers one class to the mean of the others.

    ``SI = (mu_max - mu_rest) / (mu_max + mu_rest + 1e-7)``, mu_max the largest class mean of the
    activation and mu_rest the mean of the other classes' means (Morcos et al. 2018; Leavitt &
    Morcos 2020, arXiv 2003.01262, section 2). 0: the same for all classes; 1: active for one only.

    Parameters
    ----------
    recording : xarray.Dataset
        Mean-pooled activations that are nowhere negative (after a ReLU), with ``label``.

    Returns
    -------
    xarray.Dataset
        Over ``neuron``: ``selectivity`` (NaN where dead), ``preferred_class`` (None where dead),
        ``dead`` (never active); in attrs ``classes`` and ``class_count``, the samples each mean
        stands on.

    Raises
    ------
    ValueError
        If there are no labels, fewer than two classes, or a neuron is negative somewhere.

    Notes
    -----
    A selective neuron is not thereby an important one: that is the finding of the paper.
    """
    recording = over_neurons(recording)
    if "label" not in recording.coords:
        raise ValueError("the recording has no label; selectivity is about classes")
    codes, classes = pd.factorize(recording["label"].values, sort=True)
    if len(classes) < 2:
        raise ValueError(f"all samples have label {classes[0]!s}; expected at least two classes")
    counts = np.bincount(codes)
    membership = np.eye(len(classes))[codes] / counts
    _check_not_negative(recording["activation"])
    means = np.concatenate([block @ membership for block in neuron_blocks(recording["activation"])])
    index = selectivity_index(means)
    preferred = classes[index.preferred_class].astype(object)
    preferred[index.preferred_class < 0] = None
    return (
        recording[["neuron"]]
        .drop_dims("sample", errors="ignore")
        .assign(
            selectivity=("neuron", index.selectivity),
            preferred_class=("neuron", preferred),
            dead=("neuron", np.isnan(index.selectivity)),
        )
        .assign_attrs(
            n=int(recording.sizes["sample"]),
            classes=classes.tolist(),
            class_count=counts.tolist(),
            pool=recording.attrs.get("pool", ""),
        )
    )


def _check_not_negative(activation: xr.DataArray) -> None:
    lowest = activation.min("sample")
    if bool((lowest < 0).any()):
        layer, unit = lowest["neuron"].values[int(lowest.values.argmin())]
        raise ValueError(
            f"neuron {neuron_label(layer, unit)} is negative for some samples "
            f"({float(lowest.min()):.3g}); the index is defined for activations after a ReLU"
        )
