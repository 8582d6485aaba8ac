"""A sparse linear score of many features, fitted on some samples and judged on others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import ndtr, ndtri
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LogisticRegression

from nbcorr.correlation.folds import Fold, folds_of, plan_folds
from nbcorr.correlation.task import Task
from nbcorr.recording.blocks import neuron_blocks
from nbcorr.stats.association import Association, associate
from nbcorr.stats.bootstrap import block_bootstrap
from nbcorr.stats.ranks import midranks

# Penalties tried, strongest first, as shares of the smallest that lets no feature in. The search
# ends after two that do no better than a stronger one.
PENALTIES = np.geomspace(0.8, 0.05, 7)
_PATIENCE = 2

# With more features than this, each training set takes those that alone tell most in it.
MOST_FEATURES, SCREENED = 2000, 500

# Of whole groups, for the interval.
_RESAMPLES = 1000

# Where there is nothing to tell, each pair of samples counts twice in the AUC, once each way round
# in training and test: its variance is twice that of scores that are given, and an interval of 95 %
# reaches sqrt(2) times as far. This is the level at which one for given scores does.
_LEVEL = 1 - 2 * float(ndtr(np.sqrt(2) * ndtri(0.025)))


class Sparse(NamedTuple):
    """A cross-validated sparse score.

    Attributes
    ----------
    judged : Association
        Of the out-of-fold scores, one row; where the task has groups, its interval allows for
        them.
    coefficients : array of float64, shape (n_folds, n_features)
        Per standard deviation of the feature within strata; 0 for features left out.
    penalties : array of float64, shape (n_folds,)
        The chosen member of `PENALTIES`.
    """

    judged: Association
    coefficients: np.ndarray
    penalties: np.ndarray


def cross_validate(
    features: xr.DataArray,
    alive: np.ndarray,
    task: Task,
    n_folds: int,
    seed: int,
    tick: Callable[[], object] = lambda: None,
) -> Sparse:
    """Fit a sparse score on all folds but one, choosing its penalty there, and judge it on that.

    Parameters
    ----------
    features : xarray.DataArray, dims ``sample`` and ``neuron``
    alive : array of int
        The features that may enter; all their values are finite.
    task : Task
    n_folds : int
    seed : int
        Of the folds.
    tick : callable
        Called after every fold.
    """
    numbers, inner = plan_folds(task, n_folds, seed)
    outer = folds_of(numbers)
    training = [fold.train for fold in outer] + [f.train for folds in inner for f in folds]
    columns = _columns(features, alive, task, training)
    entering = np.unique(np.concatenate(columns))
    values = features.transpose("sample", "neuron")[:, entering].values
    places = [np.searchsorted(entering, own) for own in columns]

    scores = np.empty(len(task.signal))
    coefficients = np.zeros((n_folds, features.sizes["neuron"]))
    penalties = np.empty(n_folds)
    for k, (fold, folds) in enumerate(zip(outer, inner, strict=True)):
        own = places[n_folds + k * len(folds) : n_folds + (k + 1) * len(folds)]
        penalties[k] = _choose(values, task, folds, own)
        fit = Fit(values, task, fold.train, places[k])
        weights = fit.weights(penalties[k])
        coefficients[k, columns[k]] = weights
        scores[fold.test] = fit.score(values, fold.test, weights)
        tick()
    judged = judge(scores[None], task, numbers)
    if task.groups is not None:
        low, high = _interval_in_groups(scores[None], task, numbers, task.groups, seed)
        judged = replace(judged, auc_low=low, auc_high=high)
    return Sparse(judged, coefficients, penalties)


def judge(scores: np.ndarray, task: Task, folds: np.ndarray) -> Association:
    """The association of scores with the signal, comparing only within a fold and a stratum.

    Its interval is for 95 % where there is nothing to tell; where there is, it may hold more.

    Parameters
    ----------
    scores : array, shape (n_scores, n)
    folds : array of int, shape (n,)
        Scores of different folds come from different fits and are not comparable.

    Raises
    ------
    ValueError
        If no fold holds two samples of one stratum at which the signal differs.
    """
    try:
        return associate(scores, task.signal, _cells(task, folds), _LEVEL)
    except ValueError as error:
        raise ValueError(
            f"cannot be decided, n = {len(task.signal)}: in no fold does the signal differ within "
            "a stratum; expected larger strata, strata=None, or fewer folds"
        ) from error


def _interval_in_groups(
    scores: np.ndarray, task: Task, folds: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The interval of what `judge` finds, where samples of one group are not independent."""
    cells = _cells(task, folds)
    return block_bootstrap(
        scores, task.signal, cells, groups, level=_LEVEL, n_resamples=_RESAMPLES, seed=seed
    )


def _cells(task: Task, folds: np.ndarray) -> np.ndarray:
    """The fold and the stratum of each sample as one number: what is compared with what."""
    return folds * (task.strata.max() + 1) + task.strata


class Fit:
    """The lasso on a training set, at any penalty.

    Every feature is centred within its strata and divided by its standard deviation there, so
    that what tells the strata apart tells nothing. A binary signal is fitted by logistic
    regression; each positive weighs the share of negatives in its stratum, ``n0 / (n + 1)``, and
    each negative that of positives, so that strata count as in the stratified AUC. Another signal
    is fitted by least squares, as mid-ranks centred within strata.
    """

    def __init__(self, values: np.ndarray, task: Task, train: np.ndarray, columns: np.ndarray):
        own = task.among(train)
        self.columns, self.binary = columns, task.binary
        raw = values[np.ix_(train, columns)].astype(np.float64)
        x = _centred(raw, own.strata)
        self.scale = x.std(axis=0)
        # What is left of a feature that is constant within strata is rounding.
        flat = self.scale <= 1e-12 * np.abs(raw).max(axis=0)
        self.scale[flat] = 1
        x[:, flat] = 0
        x /= self.scale
        if self.binary:
            self.importance = _importance(own)
            # Classes balanced around 0 need no intercept, which the penalty would shrink.
            x -= np.average(x, axis=0, weights=self.importance)
            pull = 0.5 * (self.importance * (2 * own.signal - 1)) @ x
            self.target = own.signal
        else:
            self.target = _centred(midranks(own.signal)[:, None], own.strata)[:, 0]
            pull = self.target @ x / len(x)
        self.x = np.asfortranarray(x)
        self.largest = float(np.abs(pull).max(initial=0))

    def weights(self, share: float) -> np.ndarray:
        """Standardised coefficients at this share of the largest useful penalty."""
        if self.largest == 0:
            return np.zeros(len(self.columns))
        penalty = share * self.largest
        with warnings.catch_warnings():
            # A fit that stops short is judged, as any other, by what it tells held out.
            warnings.simplefilter("ignore", ConvergenceWarning)
            if not self.binary:
                return Lasso(penalty, fit_intercept=False).fit(self.x, self.target).coef_
            model = LogisticRegression(
                C=1 / penalty,
                solver="liblinear",
                fit_intercept=False,
                tol=1e-3,
                random_state=0,
                **_l1(),
            )
            return model.fit(self.x, self.target, sample_weight=self.importance).coef_[0]

    def score(self, values: np.ndarray, samples: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The score of other samples, comparable within a stratum."""
        used = weights != 0
        x = values[np.ix_(samples, self.columns[used])].astype(np.float64)
        return x @ (weights[used] / self.scale[used])


def _choose(values: np.ndarray, task: Task, folds: list[Fold], columns: list[np.ndarray]) -> float:
    """The strongest penalty of those with the largest AUC on the folds' test sets."""
    fits = [Fit(values, task, fold.train, own) for fold, own in zip(folds, columns, strict=True)]
    numbers = np.empty(len(task.signal), dtype=np.int64)
    for k, fold in enumerate(folds):
        numbers[fold.test] = k
    samples = np.sort(np.concatenate([fold.test for fold in folds]))
    scores = np.empty(len(task.signal))
    best, chosen, waited = -np.inf, PENALTIES[0], 0
    for share in PENALTIES:
        for fold, fit in zip(folds, fits, strict=True):
            scores[fold.test] = fit.score(values, fold.test, fit.weights(share))
        reached = judge(scores[None, samples], task.among(samples), numbers[samples]).auc[0]
        # NaN where nothing entered in any fold: no more than chance.
        if np.nan_to_num(reached, nan=0.5) > best:
            best, chosen, waited = np.nan_to_num(reached, nan=0.5), share, 0
        else:
            waited += 1
        if waited == _PATIENCE:
            break
    return float(chosen)


def _columns(
    features: xr.DataArray, alive: np.ndarray, task: Task, training: list[np.ndarray]
) -> list[np.ndarray]:
    """The features that enter each training set, chosen by nothing outside it."""
    if len(alive) <= MOST_FEATURES:
        return [alive] * len(training)
    tasks = [task.among(samples) for samples in training]
    effects = np.concatenate(
        [
            [
                np.abs(associate(block[:, samples], own.signal, own.strata).auc - 0.5)
                for samples, own in zip(training, tasks, strict=True)
            ]
            for block in neuron_blocks(features)
        ],
        axis=1,
    )
    effects = np.nan_to_num(effects[:, alive], nan=-1)
    strongest = np.argsort(-effects, axis=1, kind="stable")[:, :SCREENED]
    return [np.sort(alive[own]) for own in strongest]


def _centred(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Columns less their means within strata."""
    codes = np.unique(strata, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    sums = np.add.reduceat(values[order], np.cumsum(sizes) - sizes, axis=0)
    return values - (sums / sizes[:, None])[codes]


def _importance(task: Task) -> np.ndarray:
    """Van Elteren's weights by sample: the share of the other kind in its stratum."""
    n = np.bincount(task.strata)[task.strata]
    positive = np.bincount(task.strata, task.signal)[task.strata]
    return np.where(task.signal > 0, n - positive, positive) / (n + 1)


def _l1() -> dict[str, object]:
    """How this scikit-learn is asked for the L1 penalty: 1.8 named it anew."""
    named = getattr(LogisticRegression(), "penalty", "deprecated")
    return {"penalty": "l1"} if named == "l2" else {"l1_ratio": 1}
