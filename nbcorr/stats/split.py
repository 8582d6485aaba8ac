"""Two halves of the samples: one to select neurons in, the other to test them in."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from nbcorr.stats.design import stratum_codes


def stratified_halves(
    y: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    fraction: float = 0.5,
    seed: int = 0,
) -> np.ndarray:
    """Draw the half of the samples used for selection, alike in strata and signal.

    Every cell (a stratum and a value of the signal) is split at random. What cannot be split
    evenly is handed on to the next cell, so that over all cells, and over the cells of each value
    of the signal, the share stays that of `fraction` within one sample.

    Parameters
    ----------
    y : array, shape (n_samples,)
        The signal. A signal with more than two values is split within each stratum, not by value.
    strata : sequence of hashable codes, length n_samples, optional
    fraction : float
        Share of samples in the selection half, between 0 and 1.
    seed : int
        The same seed draws the same half.

    Returns
    -------
    array of bool, shape (n_samples,)
        True for the selection half.

    Raises
    ------
    ValueError
        If the lengths differ, there are no samples, or `fraction` is not between 0 and 1.
    """
    signal = np.asarray(y)
    if signal.ndim != 1 or len(signal) == 0:
        raise ValueError(f"the signal has shape {signal.shape}; expected one value per sample")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction:g}; expected a share between 0 and 1, such as 0.5")
    codes = stratum_codes(strata, len(signal))
    values, kind = np.unique(signal, return_inverse=True)
    if len(values) > 2:
        kind = np.zeros(len(signal), dtype=np.int64)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(signal), dtype=bool)
    for value in np.unique(kind):
        owed = rng.uniform()
        for code in np.unique(codes[kind == value]):
            cell = np.flatnonzero((kind == value) & (codes == code))
            owed += fraction * len(cell)
            take = min(len(cell), int(owed))
            owed -= take
            chosen[rng.permutation(cell)[:take]] = True
    return chosen
