"""The controls beside every correlate: the untrained twin, and the half not used to select."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from nbcorr.correlation.ladder import LEVEL
from nbcorr.recording.blocks import neuron_blocks
from nbcorr.stats.association import associate
from nbcorr.stats.multiple import fdr
from nbcorr.stats.split import stratified_halves

CONTROLS = ("untrained", "replication")

# Fewer positives than this in a half and no neuron could be told from chance there.
_FEWEST = 5

Added = dict[str, tuple[str, np.ndarray]]


def untrained(
    recording: xr.Dataset,
    result: xr.Dataset,
    signal: np.ndarray,
    strata: np.ndarray | None,
    seed: int,
) -> tuple[Added, str]:
    """Each neuron beside what any unit of its layer reaches in networks that learnt nothing.

    ``auc_untrained`` is the largest max(auc, 1 - auc) over all units of the neuron's layer in all
    twins, the same for every neuron of a layer: as the best of many, it allows for the choice
    among many. ``excess`` is max(auc, 1 - auc) less that.
    """
    if "activation_twin" not in recording:
        return {}, "no untrained twins were recorded; nc.record(..., twins=5) records them"
    largest = np.full(recording.sizes["neuron"], np.nan)
    for twin in range(recording.sizes["twin"]):
        twin_activation = recording["activation_twin"].isel(twin=twin)
        auc = np.concatenate(
            [associate(block, signal, strata).auc for block in neuron_blocks(twin_activation)]
        )
        largest = np.fmax(largest, folded(auc))
    layers = recording.indexes["neuron"].get_level_values("layer")
    envelope = np.zeros_like(largest)
    for layer in layers.unique():
        here = layers == layer
        # NaN where every unit of every twin is dead: there is nothing to compare with.
        envelope[here] = np.fmax.reduce(largest[here])
    excess = folded(result["auc"].values) - envelope
    return {"auc_untrained": ("neuron", envelope), "excess": ("neuron", excess)}, ""


def replication(
    recording: xr.Dataset,
    result: xr.Dataset,
    signal: np.ndarray,
    strata: np.ndarray | None,
    seed: int,
) -> tuple[Added, str]:
    """Selected in one half of the samples, looked at again in the other.

    ``auc_selection`` is the AUC in the half used for selection, ``auc_heldout`` in the other: what
    was strongest in the first shrinks in the second. ``replicated`` is true where
    the neuron has q <= .05 in the first half and, among those, q <= .05 with the same sign in
    the second (Kriegeskorte et al. 2009: no double dipping).
    """
    select = stratified_halves(signal, strata, seed=seed)
    too_few = _too_few(signal, select)
    if too_few:
        return {}, too_few
    try:
        first = _in_half(recording["activation"], select, signal, strata)
        second = _in_half(recording["activation"], ~select, signal, strata)
    except ValueError as error:
        return {}, str(error)
    selected = fdr(first["p"]) <= LEVEL
    q_second = np.full(len(selected), np.nan)
    q_second[selected] = fdr(second["p"][selected])
    same_sign = np.sign(first["auc"] - 0.5) == np.sign(second["auc"] - 0.5)
    return {
        "auc_selection": ("neuron", first["auc"]),
        "auc_heldout": ("neuron", second["auc"]),
        "replicated": ("neuron", selected & same_sign & (q_second <= LEVEL)),
    }, ""


def folded(auc: Any) -> Any:
    """max(auc, 1 - auc): how far a neuron tells the samples apart, in either direction."""
    return np.maximum(auc, 1 - auc)


def _in_half(
    activation: xr.DataArray, half: np.ndarray, signal: np.ndarray, strata: np.ndarray | None
) -> dict[str, np.ndarray]:
    parts = [
        associate(block[:, half], signal[half], None if strata is None else strata[half])
        for block in neuron_blocks(activation)
    ]
    return {key: np.concatenate([getattr(part, key) for part in parts]) for key in ("auc", "p")}


def _too_few(signal: np.ndarray, select: np.ndarray) -> str:
    if signal.dtype != bool:
        return ""
    positives = min(int(signal[select].sum()), int(signal[~select].sum()))
    if positives >= _FEWEST:
        return ""
    return (
        f"{int(signal.sum())} positives are too few to split into halves "
        f"(at least {_FEWEST} in each)"
    )
