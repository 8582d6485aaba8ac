"""Rank correlation with covariates held fixed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from nbcorr.stats.association import checked
from nbcorr.stats.design import stratum_codes
from nbcorr.stats.ranks import as_real, midranks, row_blocks


class Partial(NamedTuple):
    """Partial rank correlation of every neuron with a signal, and its test.

    Attributes
    ----------
    rho, t, p : array of float64, shape (n_neurons,)
        NaN where the neuron is dead or follows from the covariates.
    degrees : int
        Degrees of freedom of t.
    """

    rho: np.ndarray
    t: np.ndarray
    p: np.ndarray
    degrees: int


def partial_spearman(
    x: np.ndarray,
    y: np.ndarray,
    covariates: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
) -> Partial:
    """Spearman's rho between what the covariates and strata leave of a neuron and of the signal.

    All are replaced by their mid-ranks, then by the residuals of a least-squares fit on the ranks
    of the covariates and an intercept for each stratum; rho is the correlation of the residuals
    and ``t = rho * sqrt(degrees / (1 - rho^2))`` with ``n - 1 - rank(fit)`` degrees of freedom
    (Kendall, *Biometrika* 32, 1942; Conover & Iman, *The American Statistician* 35, 1981).

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples)
    y : array, shape (n_samples,), bool or real
    covariates : array, shape (n_covariates, n_samples) or (n_samples,)
    strata : sequence of hashable codes, length n_samples, optional

    Raises
    ------
    ValueError
        If the lengths differ, a covariate holds a NaN, or covariates and strata leave nothing of
        the signal or no degrees of freedom.
    """
    values, design = checked(x, y, None, 0.95)
    held = np.atleast_2d(np.asarray(covariates))
    if held.ndim != 2 or held.shape[1] != design.n:
        raise ValueError(
            f"the covariates have shape {np.shape(covariates)}; "
            f"expected (n_covariates, {design.n}) or ({design.n},)"
        )
    ranked = midranks(held)
    spoilt = int(np.isnan(ranked).any(axis=1).sum())
    if spoilt:
        raise ValueError(f"{spoilt} of {len(held)} covariates hold a NaN; expected real numbers")
    codes = stratum_codes(strata, design.n)
    intercepts = (codes == np.arange(codes.max() + 1)[:, None]).astype(np.float64)
    centred = ranked - ranked.mean(axis=1, keepdims=True)
    basis, rank = _basis(np.vstack([intercepts, centred / design.n]))
    degrees = design.n - 1 - rank
    if degrees < 1:
        raise ValueError(
            f"cannot be decided, n = {design.n}: "
            f"strata and covariates take {rank} degrees of freedom"
        )
    target = _residual(midranks(design.signal)[None], basis)
    if not target.any():
        raise ValueError("the covariates and strata determine the signal; nothing of it is left")
    parts = [
        _correlate(values[part], target[0], basis) for part in row_blocks(len(values), design.n)
    ]
    rho = np.concatenate(parts) if parts else np.empty(0)
    with np.errstate(divide="ignore"):
        t = rho * np.sqrt(degrees / (1 - rho * rho))
    return Partial(rho, t, 2 * scipy.stats.t.sf(np.abs(t), degrees), degrees)


def _basis(columns: np.ndarray) -> tuple[np.ndarray, int]:
    """Orthonormal rows that span those given, and how many there are."""
    _, sizes, directions = np.linalg.svd(columns, full_matrices=False)
    kept = sizes > sizes[0] * max(columns.shape) * np.finfo(float).eps
    return directions[kept], int(kept.sum())


def _residual(ranks: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What the basis leaves of each row; exactly 0 where that is less than rounding."""
    own = ranks - ranks.mean(axis=1, keepdims=True)
    left = own - (own @ basis.T) @ basis
    size = np.linalg.norm(own, axis=1, keepdims=True)
    return np.where(np.linalg.norm(left, axis=1, keepdims=True) > 1e-10 * size, left, 0)


def _correlate(values: np.ndarray, target: np.ndarray, basis: np.ndarray) -> np.ndarray:
    left = _residual(midranks(as_real(values)), basis)
    scale = np.linalg.norm(left, axis=1) * np.linalg.norm(target)
    rho = np.full(len(values), np.nan)
    return np.clip(np.divide(left @ target, scale, out=rho, where=scale > 0), -1, 1)
