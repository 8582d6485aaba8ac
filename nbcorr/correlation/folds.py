"""Which samples a score is fitted to and which it is judged on."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from nbcorr.correlation.task import Task
from nbcorr.stats.design import make_design

# Folds in which the penalty is chosen.
_INNER_FOLDS = 3

# Of a control task that can be fitted.
_DRAWS = 20


class Fold(NamedTuple):
    """Places of samples: a training set and its test set, in order."""

    train: np.ndarray
    test: np.ndarray


def plan_folds(task: Task, n_folds: int, seed: int) -> tuple[np.ndarray, list[list[Fold]]]:
    """The fold of every sample, and the folds within each training set; all can be fitted."""
    numbers = assign_folds(task, n_folds, seed)
    outer = folds_of(numbers)
    inner = [_inner_folds(task, fold, min(_INNER_FOLDS, n_folds), seed) for fold in outer]
    _check_training(task, [f.train for f in outer] + [f.train for folds in inner for f in folds])
    return numbers, inner


def control_task(task: Task, n_folds: int, seed: int) -> Task:
    """The signal permuted, so that it can be fitted and judged in as many folds.

    Raises
    ------
    ValueError
        If none of 20 permutations can be: groups of unequal size seldom keep how many samples
        are of each kind.
    """
    rng = np.random.default_rng(seed)
    for _ in range(_DRAWS):
        drawn = task.permuted(rng)
        try:
            with warnings.catch_warnings():
                # Fewer samples of a kind than folds.
                warnings.simplefilter("error")
                plan_folds(drawn, n_folds, seed)
        except (ValueError, UserWarning) as error:
            reason = error
        else:
            return drawn
    raise ValueError(f"of {_DRAWS} permutations none fits the folds") from reason


def assign_folds(task: Task, n_folds: int, seed: int) -> np.ndarray:
    """The fold of every sample, from 0; alike in signal and strata, whole groups in one fold."""
    rng = np.random.default_rng(seed)
    n = len(task.signal)
    if task.groups is not None:
        kind = task.signal if task.binary else task.signal > np.median(task.signal)
        splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
        folds = np.empty(n, dtype=np.int64)
        for k, (_, test) in enumerate(splitter.split(np.zeros(n), kind, task.groups)):
            folds[test] = k
        return folds
    keys = (task.strata, task.signal) if task.binary else (task.signal, task.strata)
    order = np.lexsort((rng.random(n), *keys))
    # Neighbours in this order are alike: each run of them is dealt to different folds.
    hands = np.argsort(rng.random((-(-n // n_folds), n_folds)), axis=1).ravel()[:n]
    folds = np.empty(n, dtype=np.int64)
    folds[order] = hands
    return folds


def folds_of(numbers: np.ndarray) -> list[Fold]:
    """Training and test set of every fold."""
    return [
        Fold(np.flatnonzero(numbers != k), np.flatnonzero(numbers == k))
        for k in range(numbers.max() + 1)
    ]


def _inner_folds(task: Task, fold: Fold, n_folds: int, seed: int) -> list[Fold]:
    numbers = assign_folds(task.among(fold.train), n_folds, seed + 1)
    return [Fold(fold.train[train], fold.train[test]) for train, test in folds_of(numbers)]


def _check_training(task: Task, training: list[np.ndarray]) -> None:
    for samples in training:
        try:
            make_design(task.signal[samples], task.strata[samples])
        except ValueError as error:
            raise ValueError(
                f"cannot be decided, n = {len(task.signal)}: in a training set the signal differs "
                "within no stratum; expected larger strata, strata=None, or fewer folds"
            ) from error
