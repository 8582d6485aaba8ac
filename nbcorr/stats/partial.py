"""Rank correlation with covariates held fixed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from nbcorr.stats.association import associate, checked
from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.curves import orthonormal, polynomials, products, score_curves
from nbcorr.stats.design import make_design, stratum_codes
from nbcorr.stats.ranks import midranks, row_blocks
from nbcorr.stats.sorting import compiled
from nbcorr.stats.tails import pearson3_tail

# Less than this share of a row's length left over is rounding, not a residual.
ROUNDING = 1e-10
# From this AUC on, covariates rank a signal so well that what is left of it is their misfit.
DETERMINED = 0.98
# And below this share of its variance left, for a signal of more than two values.
LEFT = 0.02
# A tail this far out is looked at for skewness: nearer, p is above .1 and decides nothing.
FAR = 1.645

Codes = Sequence[Hashable] | np.ndarray
Covariates = np.ndarray | Sequence[np.ndarray]


class Partial(NamedTuple):
    """Partial rank correlation of every neuron with a signal, and its test.

    Attributes
    ----------
    rho, t, p : array of float64, shape (n_neurons,)
        NaN where the neuron is dead or follows from the covariates.
        p is that of t, or a larger one where few samples decide.
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
    covariates: Covariates,
    strata: Codes | None = None,
    groups: Codes | None = None,
    *,
    degree: int = 5,
) -> Partial:
    """Spearman's rho between what the covariates and strata leave of a neuron and of the signal.

    The short form of ``PartialDesign(y, covariates, strata, groups).correlate(x)``; see there.
    """
    checked(x, y, None, 0.95)  # its errors speak of x and the signal together
    return PartialDesign(y, covariates, strata, groups, degree=degree).correlate(x)


class PartialDesign:
    """A signal and all that is held fixed, fitted once for blocks of neurons to come.

    All are replaced by their mid-ranks; neuron and signal then by the residuals of a least-squares
    fit on polynomials of each covariate's ranks and an intercept for each stratum; rho is the
    correlation of the residuals (Kendall, *Biometrika* 32, 1942; Conover & Iman, *The American
    Statistician* 35, 1981).
    Intercepts are fitted by centring within strata, which leaves the same residuals (Frisch &
    Waugh, *Econometrica* 1, 1933; Lovell 1963).
    Also held fixed are the products of two covariates (of degree 4 at most together) and curves of
    what all covariates and strata together say of the signal, see `score_curves`. Not held fixed is
    what covariates do only together by sharper steps that are not those of the signal.

    t is the smaller of two. One is ``rho * sqrt(degrees / (1 - rho^2))`` with
    ``n - 1 - rank(fit)`` degrees of freedom. It errs where both residuals vary most at the same
    values of the covariates, as those of a rare signal and of a ReLU do. The other allows for
    that: ``sum(e f) / sqrt(sum(e^2 v))``, e and f the residuals of neuron and signal, v the
    variance of the signal at those values: ``f^2 / (1 - leverage)``, fitted like the signal
    (White, *Econometrica* 48, 1980; MacKinnon & White's HC2, 1985; fitted, because the products
    themselves are too few where a sparse neuron meets few positives). p is that of t, or if larger
    twice the tail of the Pearson type III distribution with the skewness of ``sum(e f)`` given e,
    from the fitted third moment of f.

    With groups, t is no larger than that of the neuron in the regression of the signal's ranks,
    its error robust to any dependence within groups: Liang & Zeger, *Biometrika* 73 (1986), with
    the correction ``m / (m - 1) * (n - 1) / (n - k)`` (CR1; m groups, k columns of the fit) and
    m - 1 degrees of freedom. With fewer than about 30 groups it still rejects too often (Cameron &
    Miller 2015).

    With ``degree=1``, the textbook's partial rank correlation, only what is linear in the ranks of
    a covariate is held fixed. That is too little where the signal is binary or the neuron ends in
    a ReLU: both follow the ranks in curves, and what the lines miss of both correlates (with
    2,000 samples and a strong confounder, 3 to 6 of 10 neurons have p < .05 by that alone).

    Parameters
    ----------
    y : array, shape (n_samples,), bool or real
    covariates : array, shape (n_covariates, n_samples) or (n_samples,), or a sequence of arrays
        Numbers; categories are strata.
    strata : sequence of hashable codes, length n_samples, optional
    groups : sequence of hashable codes, length n_samples, optional
        Samples of one group are not independent: frames of a film, images of a patient.
    names : sequence of str, optional
        What to call the covariates in errors.
    degree : int
        Degree of the polynomials, 1 or more.

    Attributes
    ----------
    degrees : int
        Degrees of freedom of t.

    Raises
    ------
    ValueError
        If the lengths differ; a covariate is text, constant or holds a NaN; covariates and strata
        determine the signal (also where it is a threshold or another monotone function of a
        covariate) or nearly so (the fit tells the two values apart with an AUC above .98 within
        strata, or leaves less than 2 % of the variance of a signal with more values), or leave no
        degrees of freedom; there is a single group; or the degree is below 1.
    """

    def __init__(
        self,
        y: np.ndarray,
        covariates: Covariates,
        strata: Codes | None = None,
        groups: Codes | None = None,
        *,
        names: Sequence[str] | None = None,
        degree: int = 5,
    ) -> None:
        if degree < 1:
            raise ValueError(f"degree is {degree}; expected 1 (lines) or more")
        signal = make_design(y).signal
        n = len(signal)
        ranked, named = _ranked(covariates, n, names)
        codes = stratum_codes(strata, n)
        # Samples in the order of their strata: a stratum is a slice.
        self.order = np.argsort(codes, kind="stable")
        self.sizes = np.bincount(codes)
        signal, ranked = midranks(signal)[self.order], ranked[:, self.order]
        codes = codes[self.order]
        _refuse_determined(signal, ranked, codes, named)
        held = np.vstack([polynomials(ranked, degree), products(ranked, degree)])
        if len(ranked) and degree > 1:
            held = np.vstack([held, score_curves(signal, held, codes, degree)])
        self.basis = orthonormal(self._centred(held))
        self.fitted = len(self.sizes) + len(self.basis)
        self.degrees = n - 1 - self.fitted
        if self.degrees < 1:
            raise ValueError(
                f"cannot be decided, n = {n}: "
                f"strata and covariates take {self.fitted} degrees of freedom"
            )
        self.target = _residual(self._centred(signal[None]), self.basis)[0]
        if not self.target.any():
            raise ValueError(f"{' and '.join(named)} determine the signal; nothing of it is left")
        _refuse_nearly_determined(signal, self.target, codes, named)
        self.variance, self.third = self._moments()
        self.by_group: np.ndarray | None = None
        if groups is not None:
            self._set_groups(stratum_codes(groups, n, "groups")[self.order])

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.order)

    def correlate(self, x: np.ndarray) -> Partial:
        """Partial rank correlation of every neuron.

        Parameters
        ----------
        x : array, shape (n_neurons, n_samples)
            Activations, neuron-major. A neuron with a NaN is dead.

        Returns
        -------
        Partial

        Raises
        ------
        ValueError
            If `x` has another number of samples.
        """
        values = np.asarray(x)
        if values.ndim != 2 or values.shape[1] != self.n:
            raise ValueError(f"x has shape {values.shape}; expected (n_neurons, {self.n})")
        rho, t, p = np.empty((3, len(values)))
        for part in row_blocks(len(values), self.n):
            rows = np.take(values[part], self.order, axis=1)
            rho[part], t[part], p[part] = self._correlate(rows, compiled(values.size))
        return Partial(rho, t, p, self.degrees)

    def _correlate(
        self, rows: np.ndarray, compile_it: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        spoilt = np.isnan(rows).any(axis=1)
        ranks, _ = doubled_ranks(np.where(spoilt[:, None], 0, rows), compile_it)
        left = _residual(self._centred(ranks.astype(np.float64)), self.basis)
        square = np.sum(left * left, axis=1)
        product = left @ self.target
        square[square == 0] = np.nan
        rho = np.clip(product / np.sqrt(square * np.sum(self.target**2)), -1, 1)
        with np.errstate(divide="ignore"):
            t = rho * np.sqrt((self.n - 1 - self.fitted) / (1 - rho * rho))
        error = np.sqrt((left * left) @ self.variance)
        if self.by_group is not None:
            error = np.maximum(error, self._error(left, product / square))
        robust = np.divide(product, error, out=np.full(len(t), np.inf), where=error > 0)
        t = np.where(np.abs(robust) < np.abs(t), robust, t)
        return rho, t, np.maximum(self._tail(left, t), 2 * scipy.stats.t.sf(abs(t), self.degrees))

    def _tail(self, left: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Value of p by the skewness of the product given the neuron; 0 where t is near."""
        p = np.zeros(len(t))
        far = np.flatnonzero(np.abs(t) > FAR)
        square = left[far] ** 2
        spread = square @ self.variance
        third = (square * left[far]) @ self.third
        skewed = np.divide(third, spread**1.5, out=np.zeros(len(far)), where=spread > 0)
        p[far] = np.minimum(1, 2 * pearson3_tail(np.abs(t[far]), skewed * np.sign(t[far])))
        return p

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Second and third moment of the signal's residual at each sample, by the same fit."""
        leverage = np.repeat(1 / self.sizes, self.sizes) + np.sum(self.basis**2, axis=0)
        free = 1 - leverage
        powers = self.target ** np.array([[2], [3]])
        powers = np.divide(powers, free, out=np.zeros_like(powers), where=free > ROUNDING)
        fitted = powers - _residual(self._centred(powers), self.basis)
        return np.maximum(fitted[0], 0), fitted[1]

    def _error(self, left: np.ndarray, slope: np.ndarray) -> np.ndarray:
        """Cluster-robust standard error of the slope times the neuron's sum of squares."""
        scores = left * (self.target - slope[:, None] * left)
        sums = np.add.reduceat(scores[:, self.by_group], self.group_starts, axis=1)
        m = len(self.group_starts)
        correction = m / (m - 1) * (self.n - 1) / (self.n - 1 - self.fitted)
        return np.sqrt(correction * np.sum(sums * sums, axis=1))

    def _centred(self, rows: np.ndarray) -> np.ndarray:
        """Rows less their mean in each stratum; samples in the order of the strata."""
        starts = np.cumsum(self.sizes) - self.sizes
        means = np.add.reduceat(rows, starts, axis=1) / self.sizes
        return rows - np.repeat(means, self.sizes, axis=1)

    def _set_groups(self, codes: np.ndarray) -> None:
        self.by_group = np.argsort(codes, kind="stable")
        self.group_starts = np.flatnonzero(np.diff(codes[self.by_group], prepend=-1))
        if len(self.group_starts) < 2:
            raise ValueError(
                f"cannot be decided, n = {self.n}: all samples are of one group; "
                "expected at least 2 groups, better 30"
            )
        self.degrees = len(self.group_starts) - 1


def _ranked(
    covariates: Covariates, n: int, names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
    """Mid-ranks of the covariates, (n_covariates, n), and what to call each."""
    rows = _as_rows(covariates)
    if names is not None and len(names) != len(rows):
        raise ValueError(f"{len(names)} names for {len(rows)} covariates; expected one for each")
    listed = [f"covariate {name!r}" for name in names or range(1, len(rows) + 1)]
    ranks = np.empty((len(rows), n))
    for i, (row, name) in enumerate(zip(rows, listed, strict=True)):
        if row.shape != (n,):
            raise ValueError(f"{name} has shape {row.shape}; expected one number for each of {n}")
        if row.dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {row.dtype}, not numbers; give categories as strata=")
        missing = int(np.isnan(row).sum())
        if missing:
            raise ValueError(f"{name} is NaN for {missing} of {n} samples; expected real numbers")
        if (row == row[0]).all():
            raise ValueError(f"{name} is constant ({row[0]:g}): it holds nothing fixed")
        ranks[i] = midranks(row)
    return ranks, listed


def _as_rows(covariates: Covariates) -> list[np.ndarray]:
    """One array a covariate; in a sequence of arrays each keeps its dtype."""
    if not isinstance(covariates, np.ndarray) and any(np.ndim(row) for row in covariates):
        return [np.asarray(row) for row in covariates]
    held = np.asarray(covariates)
    return list(held[None] if held.ndim == 1 else held)


def _refuse_determined(
    signal: np.ndarray, covariates: np.ndarray, codes: np.ndarray, names: list[str]
) -> None:
    """Name what leaves nothing of the signal: the strata, or a covariate it follows from.

    Such is a covariate of which the signal, within every stratum, is a rising (or in every one a
    falling) function: what its ranks leave of a threshold on it is no signal but a misfit.
    """
    within = " within the strata" if codes[-1] > 0 else ""
    if not np.diff(signal)[np.diff(codes) == 0].any():
        raise ValueError("the strata determine the signal; nothing of it is left")
    for covariate, name in zip(covariates, names, strict=True):
        order = np.lexsort((signal, covariate, codes))
        inside = np.diff(codes[order]) == 0
        steps, tied = np.diff(signal[order])[inside], np.diff(covariate[order])[inside] == 0
        if not steps[tied].any() and ((steps >= 0).all() or (steps <= 0).all()):
            raise ValueError(f"{name} determines the signal{within}; nothing of it is left")


def _refuse_nearly_determined(
    signal: np.ndarray, target: np.ndarray, codes: np.ndarray, names: list[str]
) -> None:
    """Refuse where what is left of the signal is mostly how the fit errs."""
    if not names:
        return
    n, fit = len(signal), signal - target
    verb = "nearly determine" if len(names) > 1 else "nearly determines"
    said = f"cannot be decided, n = {n}: {' and '.join(names)} {verb} the signal"
    if len(np.unique(signal)) == 2:
        auc = float(associate(fit[None], signal, codes).auc[0])
        if auc > DETERMINED:
            raise ValueError(f"{said}: its values are told apart with AUC {auc:.3f}")
    left = np.sum(target**2) / np.sum((signal - signal.mean()) ** 2)
    if left < LEFT:
        raise ValueError(f"{said}: {left:.1%} of its variance is left")


def _residual(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What the basis leaves of each row; exactly 0 where that is less than rounding."""
    left = rows - (rows @ basis.T) @ basis
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(np.linalg.norm(left, axis=1, keepdims=True) > ROUNDING * length, left, 0)
