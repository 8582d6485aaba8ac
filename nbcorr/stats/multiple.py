"""Many tests at once: the false discovery rate."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import false_discovery_control


def fdr(p: np.ndarray, method: Literal["bh", "by"] = "bh") -> np.ndarray:
    """Adjusted p-values (q) that control the false discovery rate over all tests at once.

    Parameters
    ----------
    p : array of float, any shape
        p-values. NaN (a dead neuron) is no test: it stays NaN and is not counted.
    method : {"bh", "by"}
        Benjamini & Hochberg (1995), right for independent or positively dependent tests, or
        Benjamini & Yekutieli (2001), right under any dependence.

    Returns
    -------
    array of float64, the shape of `p`

    Raises
    ------
    ValueError
        If a p-value lies outside 0..1, or the method is another.
    """
    if method not in ("bh", "by"):
        raise ValueError(f"no method {method!r}; expected 'bh' or 'by'")
    values = np.asarray(p, dtype=np.float64)
    tested = ~np.isnan(values)
    outside = int(np.count_nonzero((values < 0) | (values > 1)))
    if outside:
        raise ValueError(f"{outside} of {values.size} p-values lie outside 0..1")
    adjusted = np.full(values.shape, np.nan)
    if tested.any():
        adjusted[tested] = false_discovery_control(values[tested], method=method)
    return adjusted
