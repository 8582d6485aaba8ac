"""Neuron-major blocks of a recording, small enough to rank in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

# About 64 MB of float32 at a time.
_VALUES_PER_BLOCK = 1 << 24


def neuron_blocks(activation: xr.DataArray) -> Iterator[np.ndarray]:
    """Blocks of shape (neurons, samples), contiguous, in the order of the neurons.

    Parameters
    ----------
    activation : xarray.DataArray, dims ``sample`` and ``neuron``

    Raises
    ------
    ValueError
        If there are no neurons.
    """
    if activation.sizes["neuron"] == 0:
        raise ValueError("the recording has no neurons; expected at least one")
    step = max(1, _VALUES_PER_BLOCK // max(1, activation.sizes["sample"]))
    values = activation.transpose("neuron", "sample")
    for start in range(0, activation.sizes["neuron"], step):
        yield np.ascontiguousarray(values[start : start + step].values)
