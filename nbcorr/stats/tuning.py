"""How single neurons tell classes apart, beyond their preference for one of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.sorting import compiled
from nbcorr.stats.within import without_nan


class Information(NamedTuple):
    """What a neuron's activation tells of the class.

    Attributes
    ----------
    bits : array of float64, shape (n_neurons,)
        Mutual information of the binned activation and the class, the plug-in estimate.
    bias : array of float64, shape (n_neurons,)
        How much of it so few samples feign, to first order.
    """

    bits: np.ndarray
    bias: np.ndarray


def class_auroc(x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Probability that a neuron is larger at a sample of a class than at one of the others.

    All classes from one ranking: Mann-Whitney's U of each class against the rest, ties half.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
    codes : array of int, shape (n_samples,)
        Classes from 0, at least two, each with a sample.

    Returns
    -------
    array of float64, shape (n_neurons, n_classes)
        .5 for a constant neuron; NaN where it holds a NaN.
    """
    values, broken = without_nan(np.asarray(x))
    counts = np.bincount(codes)
    ranks, _ = doubled_ranks(values, compiled(values.size))
    # Sums of whole numbers: exact in double precision.
    sums = ranks.astype(np.float64) @ np.eye(len(counts))[codes]
    auroc = sums / (2.0 * counts * (len(codes) - counts)) + 0.5
    auroc[broken] = np.nan
    return auroc


def mutual_information(x: np.ndarray, codes: np.ndarray, n_bins: int = 10) -> Information:
    """Mutual information of a neuron's activation and the class, in bits.

    Activations go into bins with about equally many samples: the bin of a value is the number of
    inner quantiles of the neuron (inverted distribution function) below it, so equal values share
    a bin, all zeros of a ReLU among them.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
    codes : array of int, shape (n_samples,)
        Classes from 0.
    n_bins : int
        At most; 2 or more.

    Returns
    -------
    Information
        NaN where the neuron holds a NaN.

    Raises
    ------
    ValueError
        If there are fewer than two bins.

    Notes
    -----
    The bias is Panzeri & Treves', *Network* 7 (1996), with the cells that occur:
    ``(cells - bins - classes + 1) / (2 n ln 2)`` (Miller 1955).
    """
    if n_bins < 2:
        raise ValueError(f"n_bins is {n_bins}; expected 2 or more, such as 10")
    values = np.asarray(x)
    n_classes = int(codes.max()) + 1
    found = np.array([_information(row, codes, n_bins, n_classes) for row in values])
    bits, bias = found.reshape(-1, 2).T
    return Information(bits, bias)


def _information(
    row: np.ndarray, codes: np.ndarray, n_bins: int, n_classes: int
) -> tuple[float, float]:
    n = len(row)
    if np.isnan(row).any():
        return np.nan, np.nan
    at = np.ceil(np.arange(1, n_bins) * n / n_bins).astype(int) - 1
    edges = np.partition(row, np.unique(at))[at]
    bins = np.searchsorted(edges, row, "left")
    table = np.bincount(bins * n_classes + codes, minlength=n_bins * n_classes)
    joint = table.reshape(n_bins, n_classes) / n
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    cells = joint > 0
    bits = float(np.sum(joint[cells] * np.log2(joint[cells] / outer[cells])))
    rows, columns = np.count_nonzero(joint.any(axis=1)), np.count_nonzero(joint.any(axis=0))
    bias = (np.count_nonzero(cells) - rows - columns + 1) / (2 * n * np.log(2))
    return max(bits, 0.0), bias


def sparseness(responses: np.ndarray) -> np.ndarray:
    """Vinje & Gallant's sparseness: 0 where all responses are alike, 1 where there is one only.

    ``(1 - (sum r / n)^2 / (sum r^2 / n)) / (1 - 1 / n)``, *Science* 287 (2000).

    Parameters
    ----------
    responses : array, shape (n_neurons, n)
        Of 0 or more, to n stimuli, or to n classes on average; n is 2 or more.

    Returns
    -------
    array of float64, shape (n_neurons,)
        NaN for a neuron that never responds, or holds a NaN.
    """
    r = np.asarray(responses, dtype=np.float64)
    n = r.shape[1]
    largest = r.max(axis=1, keepdims=True, initial=0)
    # Squares of tiny or huge responses would vanish or overflow.
    r = np.divide(r, largest, out=np.full(r.shape, np.nan), where=largest > 0)
    activity = r.mean(axis=1) ** 2 / np.mean(r**2, axis=1)
    return np.asarray(np.clip((1 - activity) / (1 - 1 / n), 0, 1))


def precision_at(x: np.ndarray, codes: np.ndarray, k: int) -> np.ndarray:
    """Share of each class among the k samples at which a neuron is largest.

    Where several samples tie for the last places, each has the same chance of one: what is given
    is the expected share.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
    codes : array of int, shape (n_samples,)
        Classes from 0.
    k : int
        From 1 to n_samples.

    Returns
    -------
    array of float64, shape (n_neurons, n_classes)
        Rows sum to 1; NaN where the neuron holds a NaN.

    Raises
    ------
    ValueError
        If k is out of range.
    """
    values, broken = without_nan(np.asarray(x))
    n = values.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}; expected 1 to {n}, the number of samples")
    last = np.partition(values, n - k, axis=1)[:, n - k, None]
    above, tied = values > last, values == last
    places = k - above.sum(axis=1, keepdims=True)
    weight = above + tied * (places / tied.sum(axis=1, keepdims=True))
    share = weight @ np.eye(int(codes.max()) + 1)[codes] / k
    share[broken] = np.nan
    return np.asarray(share)
