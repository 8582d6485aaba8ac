"""How differently two networks represent the same samples, whatever their units' basis."""

from __future__ import annotations

import numpy as np

# Directions with less of the largest one's spread hold rounding only.
NEGLIGIBLE = 1e-6


def pwcca_distance(x: np.ndarray, y: np.ndarray) -> float:
    """One less the mean canonical correlation, each weighted by how much of x it accounts for.

    Projection-weighted canonical correlation analysis (Morcos, Raghu & Bengio, *Insights on
    representational similarity in neural networks with canonical correlation*, NeurIPS 2018):
    the weight of a canonical variate is the sum over the neurons of x of the absolute inner
    product of both.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
    y : array, shape (n_other_neurons, n_samples)
        Of the same samples.

    Returns
    -------
    float
        0 where y holds all that x does, linearly; 1 where it holds nothing of it. Not symmetric.
        NaN where one of them is constant or holds a NaN.

    Raises
    ------
    ValueError
        If the samples are not as many in both, or not more than the dimensions of one of them:
        then everything is a linear function of it.
    """
    first, second = (np.asarray(a, dtype=np.float64) for a in (x, y))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"x has shape {first.shape} and y {second.shape}; expected (n_neurons, n_samples), of "
            "the same samples"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    first, second = (a - a.mean(axis=1, keepdims=True) for a in (first, second))
    bases = [_basis(a) for a in (first, second)]
    n, dimensions = first.shape[1], max(basis.shape[1] for basis in bases)
    if dimensions >= n - 1:
        raise ValueError(
            f"{n} samples span {dimensions} dimensions, so everything is a linear function of "
            "them; expected more samples than neurons"
        )
    if min(basis.shape[1] for basis in bases) == 0:
        return float("nan")
    turn, correlations, _ = np.linalg.svd(bases[0].T @ bases[1], full_matrices=False)
    weights = np.abs(first @ (bases[0] @ turn)).sum(axis=0)
    return float(1 - np.minimum(correlations, 1) @ weights / weights.sum())


def _basis(centred: np.ndarray) -> np.ndarray:
    """Orthonormal directions over samples that the neurons span, shape (n_samples, rank)."""
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    return directions[sizes > NEGLIGIBLE * sizes.max(initial=0)].T
