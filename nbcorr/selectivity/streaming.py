"""Class sums of a recording, in memory or on disk, in one pass over its blocks."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import xarray as xr

from nbcorr.stats.class_means import ClassSums, class_sums


def streamed_class_sums(
    activation: xr.DataArray, codes: np.ndarray, n_classes: int, *, rectify: bool
) -> ClassSums:
    """`class_sums` of all neurons; every stored block is read once and dropped.

    Parameters
    ----------
    activation : xarray.DataArray, dims ``sample`` and ``neuron``
        Of a Dask array, blocks are worked on by this machine's threads or by the cluster of the
        active ``dask.distributed.Client``; one block at a time for the same neurons.
    codes : array of int, shape (n_samples,)
    n_classes : int
    rectify : bool

    Raises
    ------
    ValueError
        If there are no neurons.
    """
    if activation.sizes["neuron"] == 0:
        raise ValueError("the recording has no neurons; expected at least one")
    values = activation.transpose("sample", "neuron")
    if values.chunks is None:
        return class_sums(values.values, codes, n_classes, rectify=rectify)
    return _on_dask(values, codes, n_classes, rectify)


def _on_dask(values: xr.DataArray, codes: np.ndarray, n_classes: int, rectify: bool) -> ClassSums:
    import dask

    bounds = accumulate(values.data.chunks[0], initial=0)
    parts = [slice(*pair) for pair in pairwise(bounds)]
    chains = []
    for column in values.data.to_delayed().T:
        sums = None
        # Each block waits for the one before it, so that sums and not blocks are kept.
        for block, part in zip(column, parts, strict=True):
            sums = dask.delayed(_added)(sums, block, codes[part], n_classes, rectify)
        chains.append(sums)
    found = dask.compute(*chains)
    return ClassSums(
        np.concatenate([each.sums for each in found], axis=1),
        np.concatenate([each.lowest for each in found]),
    )


def _added(
    sums: ClassSums | None, block: np.ndarray, codes: np.ndarray, n_classes: int, rectify: bool
) -> ClassSums:
    own = class_sums(block, codes, n_classes, rectify=rectify)
    return own if sums is None else sums.plus(own)
