"""The class selectivity index of single neurons."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EPSILON = 1e-7


class Selectivity(NamedTuple):
    """Selectivity index and preferred class of every neuron.

    Attributes
    ----------
    selectivity : array of float64, shape (n_neurons,)
        0 where all class means are equal, 1 where the neuron answers one class only; NaN if dead.
    preferred_class : array of int64, shape (n_neurons,)
        The class with the largest mean (the first of several); -1 if dead.
    """

    selectivity: np.ndarray
    preferred_class: np.ndarray


def selectivity_index(class_means: np.ndarray) -> Selectivity:
    """Class selectivity, ``(mu_max - mu_others) / (mu_max + mu_others + 1e-7)``.

    ``mu_max`` is the largest of the neuron's class means and ``mu_others`` the mean of the others:
    Leavitt & Morcos, *Selectivity considered harmful* (2020), section 3.2, after Morcos et al.
    (2018).

    Parameters
    ----------
    class_means : array, shape (n_neurons, n_classes)
        Mean activation within each class, after a ReLU: none below 0.

    Returns
    -------
    Selectivity
        A neuron whose means are all zero, or hold a NaN, is dead.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or a mean is negative: the index is bounded only for
        activations that are not.
    """
    means = np.asarray(class_means, dtype=np.float64)
    if means.ndim != 2 or means.shape[1] < 2:
        raise ValueError(
            f"class_means have shape {means.shape}; expected (n_neurons, n_classes), "
            "2 classes or more"
        )
    negative = (means < 0).any(axis=1)
    if negative.any():
        raise ValueError(
            f"{int(negative.sum())} of {len(means)} neurons have a class mean below 0 "
            f"(lowest {np.nanmin(means):g}); the index needs activations of 0 or more, "
            "as after a ReLU"
        )
    dead = np.isnan(means).any(axis=1) | (means == 0).all(axis=1)
    index = np.full(len(means), np.nan)
    preferred = np.full(len(means), -1, dtype=np.int64)
    alive = means[~dead]
    best = np.argmax(alive, axis=1)
    largest = alive[np.arange(len(alive)), best]
    others = (np.sum(alive, axis=1) - largest) / (means.shape[1] - 1)
    index[~dead] = (largest - others) / (largest + others + EPSILON)
    preferred[~dead] = best
    return Selectivity(index, preferred)
