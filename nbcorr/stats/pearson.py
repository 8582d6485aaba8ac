"""Pearson's correlation: on request, where a number linear in the activation is wanted."""

from __future__ import annotations

import numpy as np

from nbcorr.stats.association import checked
from nbcorr.stats.ranks import as_real, row_blocks


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of every neuron with a signal; point-biserial if the signal is binary.

    Unlike the rank statistics it is moved by a single large activation. Sums run in float64 over
    scaled and centred values: neither a float16 recording nor a large mean costs digits.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples), float16, float32 or float64
        Activations, neuron-major.
    y : array, shape (n_samples,), bool or real, finite

    Returns
    -------
    array of float64, shape (n_neurons,)
        NaN where the neuron is constant or holds a NaN or an infinity.

    Raises
    ------
    ValueError
        If the lengths differ, there are no samples, or the signal is constant or not finite.

    Notes
    -----
    ``sum (x - mean x) (y - mean y) / sqrt(sum (x - mean x)^2 sum (y - mean y)^2)``
    (Pearson, *Proceedings of the Royal Society* 58, 1895).
    """
    values, design = checked(x, y, None, 0.95)
    infinite = int(np.count_nonzero(np.isinf(design.signal)))
    if infinite:
        raise ValueError(
            f"the signal is infinite for {infinite} of {design.n} samples; "
            "Pearson's correlation needs finite numbers"
        )
    target = _standardised(design.signal[None])[0]
    r = np.empty(len(values))
    for part in row_blocks(len(values), design.n):
        r[part] = _standardised(as_real(values[part])) @ target
    return np.clip(r, -1, 1)


def _standardised(rows: np.ndarray) -> np.ndarray:
    """Rows with mean 0 and length 1; NaN where they are constant or not finite."""
    values = rows.astype(np.float64)
    values[~np.isfinite(values).all(axis=1) | (values == values[:, :1]).all(axis=1)] = np.nan
    # Twice: the first mean is only as near as a large mean's last digit. Scaled by powers of two,
    # which round nothing, no sum and no square overflows or vanishes.
    for _ in range(2):
        exponent = np.frexp(np.abs(values).max(axis=1, keepdims=True))[1]
        values = np.ldexp(values, -exponent)
        values -= values.mean(axis=1, keepdims=True)
    return values / np.linalg.norm(values, axis=1, keepdims=True)
