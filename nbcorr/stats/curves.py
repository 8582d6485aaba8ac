"""Curves of covariates: what is held fixed when a covariate is."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from nbcorr.stats.ranks import midranks

# Columns nearer than this to what others span are left out: they hold nothing more fixed.
COLLINEAR = 1e-6
# Highest degree, of both together, of the products of two covariates.
TOGETHER = 4
# Weight of the squared coefficients of the logistic fit: finite where the fit is perfect.
RIDGE = 1.0
# Newton's steps end here: when they are this short, or so many.
CONVERGED = 1e-12
STEPS = 50


def polynomials(ranks: np.ndarray, degree: int) -> np.ndarray:
    """Legendre polynomials, 1 to `degree`, of each row of ranks put on -1..1."""
    return _legendre(ranks, degree).reshape(-1, ranks.shape[1])


def products(ranks: np.ndarray, degree: int) -> np.ndarray:
    """Products of the polynomials of two rows, of degree 4 at most together; none of lines."""
    n = ranks.shape[1]
    curves = _legendre(ranks, degree)
    rows = [
        curves[i, a] * curves[j, b]
        for i in range(len(ranks))
        for j in range(i)
        for a in range(degree)
        for b in range(degree)
        if degree > 1 and a + b + 2 <= TOGETHER
    ]
    return np.array(rows).reshape(-1, n)


def _legendre(ranks: np.ndarray, degree: int) -> np.ndarray:
    n = ranks.shape[1]
    powers = np.polynomial.legendre.legvander((2 * ranks - 1) / n - 1, degree)[..., 1:]
    return np.moveaxis(powers, -1, 1)


def score_curves(
    signal: np.ndarray, columns: np.ndarray, codes: np.ndarray, degree: int
) -> np.ndarray:
    """What covariates and strata together say of the signal, and polynomials of its ranks.

    Holding this score fixed frees a signal and covariates of what they share through any one
    function of a weighted sum of the covariates, however sharp (Rosenbaum & Rubin, *Biometrika*
    70, 1983; Hansen, *Biometrika* 95, 2008).
    """
    centred = columns - columns.mean(axis=1, keepdims=True)
    score = logistic_score(signal, orthonormal(centred), codes)
    # Rounded, so that samples alike in all covariates stay tied.
    ranks = midranks(np.round(score, 9))[None]
    return np.vstack([score[None], polynomials(ranks, degree)])


def logistic_score(signal: np.ndarray, basis: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Fitted share of the signal's range: ridge logistic regression on basis and strata.

    Of a binary signal the probability of the larger value; of any other a fractional logit (Papke
    & Wooldridge, *Journal of Applied Econometrics* 11, 1996).

    Parameters
    ----------
    signal : array, shape (n_samples,)
        Not constant.
    basis : array of float64, shape (n_columns, n_samples)
        Orthonormal rows.
    codes : array of int, shape (n_samples,)
        Strata. They enter as one column, the log odds of each, improved twice by a Newton step.

    Returns
    -------
    array of float64, shape (n_samples,)
    """
    y = np.asarray(signal, dtype=np.float64)
    y = (y - y.min()) / np.ptp(y)
    odds = logit((np.bincount(codes, y) + 0.5) / (np.bincount(codes) + 1))
    columns = np.vstack([odds[codes], np.ones(len(y)), np.sqrt(len(y)) * basis])
    weights = _fit(y, columns)
    for _ in range(2 if len(odds) > 1 else 0):
        p = expit(weights @ columns)
        step = np.bincount(codes, y - p) / (np.bincount(codes, p * (1 - p)) + RIDGE)
        columns[0] = weights[0] * columns[0] + step[codes]
        weights = _fit(y, columns)
    return np.asarray(expit(weights @ columns))


def _fit(y: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Weights of the ridge logistic regression, by Newton's method with halved steps."""
    penalty = RIDGE * np.eye(len(columns))

    def loss(weights: np.ndarray) -> float:
        fit = weights @ columns
        return float(np.sum(np.logaddexp(0, fit) - y * fit) + RIDGE / 2 * weights @ weights)

    weights = np.zeros(len(columns))
    for _ in range(STEPS):
        p = expit(weights @ columns)
        curvature = (columns * (p * (1 - p))) @ columns.T + penalty
        step = np.linalg.solve(curvature, columns @ (y - p) - RIDGE * weights)
        before = loss(weights)
        while loss(weights + step) > before + CONVERGED * before:
            step = step / 2
        weights = weights + step
        if np.abs(step).max() <= CONVERGED:
            break
    return weights


def orthonormal(rows: np.ndarray) -> np.ndarray:
    """Orthonormal rows that span those given."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    _, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    return directions[sizes > COLLINEAR]
