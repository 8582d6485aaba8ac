"""The class selectivity index of single neurons, with its interval."""

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


def drawn_within(codes: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """How often each resample holds each sample, drawn with replacement within classes.

    Parameters
    ----------
    codes : array of int, shape (n_samples,)
        Classes from 0, each with a sample.
    n_resamples : int
    seed : int

    Returns
    -------
    array of float32, shape (n_samples, n_resamples)
        Every class has in every resample as many samples as it has.
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((len(codes), n_resamples), dtype=np.float32)
    for code in range(int(codes.max()) + 1):
        members = np.flatnonzero(codes == code)
        n = len(members)
        draws = rng.integers(0, n, (n, n_resamples)) * n_resamples + np.arange(n_resamples)
        counts[members] = np.bincount(draws.ravel(), minlength=n * n_resamples).reshape(n, -1)
    return counts


def selectivity_interval(
    x: np.ndarray,
    codes: np.ndarray,
    draws: np.ndarray,
    *,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Bootstrap percentile interval of the selectivity index, the preferred class held.

    Samples are drawn with replacement within each class (Efron & Tibshirani, *An Introduction to
    the Bootstrap*, 1993, chapter 13); all neurons see the same resamples. In each the index is
    that of the class preferred in the sample: were it chosen anew, every resample would prefer
    something, and the intervals of weakly selective neurons would lie above the truth. So the
    lower end may be negative; an interval with 0 in it leaves open whether there is a preference.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
    codes : array of int, shape (n_samples,)
        Classes from 0, at least two.
    draws : array, shape (n_samples, n_resamples)
        As `drawn_within` gives it.
    level : float
        Coverage.

    Returns
    -------
    low, high : array of float64, shape (n_neurons,)
        NaN where the neuron is dead or holds a NaN.
    """
    values = np.asarray(x)
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    n_classes = int(codes.max()) + 1
    largest = np.full(len(values), -np.inf)
    total = np.zeros((len(values), draws.shape[1]))
    own = np.zeros_like(total)
    for code in range(n_classes):
        members = np.flatnonzero(codes == code)
        part = values.take(members, axis=1)
        means = part @ draws[members] / len(members)
        total += means
        in_sample = part.mean(axis=1, dtype=np.float64)
        better = in_sample > largest
        own[better] = means[better]
        largest[better] = in_sample[better]
    others = (total - own) / (n_classes - 1)
    index = (own - others) / (own + others + EPSILON)
    tail = (1 - level) / 2
    low, high = np.quantile(index, [tail, 1 - tail], axis=1)
    dead = ~(largest > 0)
    low[dead] = high[dead] = np.nan
    return low, high
