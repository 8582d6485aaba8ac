"""Class means in one pass over the samples: no more is held than a sum per neuron and class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbcorr.stats.sorting import compiled

# Samples turned to sample-major order, or rectified, at a time.
TILE = 256


class ClassSums(NamedTuple):
    """Sums over samples that can be added to those over further samples.

    Attributes
    ----------
    sums : array of float64, shape (n_classes, n_neurons)
        NaN or infinite where a sample is.
    lowest : array of float64, shape (n_neurons,)
        The lowest activation, before any rectification; infinite where there are no samples.
    """

    sums: np.ndarray
    lowest: np.ndarray

    def plus(self, other: ClassSums) -> ClassSums:
        """The sums over the samples of both."""
        return ClassSums(self.sums + other.sums, np.minimum(self.lowest, other.lowest))


def class_sums(
    x: np.ndarray, codes: np.ndarray, n_classes: int, *, rectify: bool = False
) -> ClassSums:
    """Sums of the activations of each class.

    Parameters
    ----------
    x : array, shape (n_samples, n_neurons), real
        In any memory order; added up in the type that NumPy gives it with float32.
    codes : array of int, shape (n_samples,)
        The class of each sample, from 0.
    n_classes : int
    rectify : bool
        Whether negative activations count as 0.

    Returns
    -------
    ClassSums
    """
    sums = np.zeros((n_classes, x.shape[1]))
    lowest = np.full(x.shape[1], np.inf)
    wide = np.result_type(x.dtype, np.float32)
    ready = x.flags.c_contiguous and x.dtype == wide and not rectify
    step = max(1, len(x)) if ready else TILE
    for at in range(0, len(x), step):
        tile = np.ascontiguousarray(x[at : at + step], dtype=wide)
        if rectify:
            np.minimum(lowest, tile.min(axis=0), out=lowest)
            tile = np.maximum(tile, 0)
        _add(tile, codes[at : at + step], sums, lowest)
    return ClassSums(sums, lowest)


def _add(rows: np.ndarray, codes: np.ndarray, sums: np.ndarray, lowest: np.ndarray) -> None:
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(sums) + 1))
    if compiled(rows.size):
        from nbcorr.stats.classrows import add_rows_by_class

        low = np.full(len(lowest), np.inf, dtype=rows.dtype)
        add_rows_by_class(rows, order, bounds, sums, low)
    else:
        low = rows.min(axis=0)
        for code in np.unique(codes):
            chosen = order[bounds[code] : bounds[code + 1]]
            for at in range(0, len(chosen), TILE):
                sums[code] += rows[chosen[at : at + TILE]].sum(axis=0)
    np.minimum(lowest, low, out=lowest)
