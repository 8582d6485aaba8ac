"""Confidence intervals for an AUC (or CMA) pooled over strata."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, ndtri


def logit_interval(
    auc: np.ndarray, variance: np.ndarray, pairs: int, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """An interval for an AUC on the logit scale, which keeps it inside (0, 1).

    ``expit(logit(auc) -+ z * sqrt(variance) / (auc * (1 - auc)))`` (Pepe, *The Statistical
    Evaluation of Medical Tests*, 2003, section 5.2). Two cases have no such interval:

    * The variance is zero: every structural component is 0, every one is 1, or all are ties.
      Then `pairs` disjoint pairs of a positive and a negative fell the same way, and the exact
      binomial bound (Clopper & Pearson 1934) says how often another way can be missed so often:
      ``low = (alpha / 2) ** (1 / pairs)`` for an AUC of 1.
    * The variance is unknown (NaN), because there is a single positive or a single negative:
      one draw with values in [0, 1], whose mean Markov's inequality bounds,
      ``low = auc * alpha / 2``. For an AUC of 1 the two cases agree.

    Parameters
    ----------
    auc, variance : array of float64, shape (n_neurons,)
    pairs : int
        Sum over strata of min(number of positives, number of negatives).
    level : float
        Coverage, such as 0.95.
    """
    tail = (1 - level) / 2
    inside = (auc > 0) & (auc < 1) & (variance > 0)
    centre = np.where(inside, auc, 0.5)
    reach = -ndtri(tail) * np.sqrt(np.where(inside, variance, 0)) / (centre * (1 - centre))
    low = expit(logit(centre) - reach)
    high = expit(logit(centre) + reach)

    # Where every pair fell the same way, another way was missed in all of them.
    same = ~inside & ~np.isnan(variance)
    kept = tail ** (1 / pairs)
    low = np.where(same, auc * kept, low)
    high = np.where(same, 1 - (1 - auc) * kept, high)

    unknown = np.isnan(variance)
    low = np.where(unknown, auc * tail, low)
    high = np.where(unknown, 1 - (1 - auc) * tail, high)
    return low, high
