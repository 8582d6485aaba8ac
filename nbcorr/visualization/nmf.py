"""Non-negative factors of a matrix, ordered by how much they explain."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

MOST_ITERATIONS = 1000
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Factors:
    """A matrix as a sum of maps times directions.

    Attributes
    ----------
    maps : array, shape (positions, k)
        Never negative, in the matrix's units.
    weights : array, shape (k, neurons)
        Directions of length 1; zero for a group that explains nothing.
    explained : array, shape (k,)
        Share of the matrix's sum of squares that is lost when the group is left out.
    error : float
        What remains of the matrix's length: ``||X - maps @ weights|| / ||X||``.
    converged : bool
    """

    maps: np.ndarray
    weights: np.ndarray
    explained: np.ndarray
    error: float
    converged: bool

    @classmethod
    def silent(cls, positions: int, neurons: int, k: int) -> Factors:
        """Of a matrix that is zero everywhere: unknown."""
        nans = np.full((positions + neurons + 1, k), np.nan)
        return cls(nans[:positions], nans[positions:-1].T, nans[-1], np.nan, True)


def places_and_neurons(matrix: np.ndarray) -> tuple[int, int]:
    """A matrix's positions and its neurons that are not dead: neither is less than its groups."""
    return matrix.shape[0], int(matrix.any(axis=0).sum())


def factors(matrix: np.ndarray, k: int, seed: int) -> Factors:
    """The non-negative factorisation of a matrix into k groups.

    Parameters
    ----------
    matrix : array, shape (positions, neurons)
        Finite. Negative numbers are split off: every neuron becomes two, its positive and its
        negative part, and their weights are put together again with their signs. A group then
        says where something happens (its map, never negative) and in which direction.
    k : int
        At most the lesser of `places_and_neurons`.
    seed : int

    Notes
    -----
    Source: Olah et al. 2018, which factorises the activations of ReLU networks by scikit-learn's
    NMF. Splitting channels before and collapsing the columns afterwards is what its footnote on
    groups that are compatible with attributions does. The start is NNDSVDa, the same for one seed.
    """
    live = matrix.any(axis=0)
    if not live.any():
        return Factors.silent(matrix.shape[0], matrix.shape[1], k)
    # Squared, the smallest gradients would vanish; sklearn's constants are for numbers near 1.
    scale = np.abs(matrix).max()
    found, halves, converged = _nmf(_split(matrix[:, live] / scale), k, seed)
    weights = np.zeros((k, matrix.shape[1]))
    weights[:, live] = _joined(halves, int(live.sum()))
    length = np.linalg.norm(weights, axis=1)
    weights /= np.where(length > 0, length, 1)[:, None]
    maps = found * length * scale
    return _ordered(matrix, maps, weights, converged)


def _nmf(matrix: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, bool]:
    model = NMF(k, init="nndsvda", tol=TOLERANCE, max_iter=MOST_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        # Said in the result instead.
        warnings.simplefilter("ignore", ConvergenceWarning)
        maps = model.fit_transform(matrix)
    return maps, model.components_, model.n_iter_ < MOST_ITERATIONS


def _split(matrix: np.ndarray) -> np.ndarray:
    if matrix.min() >= 0:
        return matrix
    return np.concatenate([np.maximum(matrix, 0), np.maximum(-matrix, 0)], axis=1)


def _joined(halves: np.ndarray, neurons: int) -> np.ndarray:
    return halves if halves.shape[1] == neurons else halves[:, :neurons] - halves[:, neurons:]


def _ordered(matrix: np.ndarray, maps: np.ndarray, weights: np.ndarray, converged: bool) -> Factors:
    rest = matrix - maps @ weights
    whole = (matrix**2).sum()
    # ||rest + map x weights||^2 - ||rest||^2, without the outer products.
    shared = 2 * np.einsum("pk,pn,kn->k", maps, rest, weights, optimize=True)
    explained = (shared + (maps**2).sum(0) * (weights**2).sum(1)) / whole
    order = np.argsort(-explained, kind="stable")
    error = float(np.sqrt((rest**2).sum() / whole))
    return Factors(maps[:, order], weights[order], explained[order], error, converged)
