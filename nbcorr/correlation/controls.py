"""The controls beside every correlate: untrained twins, raw inputs, and the held-out half."""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
import xarray as xr

from nbcorr.correlation.examine import Half, effects, make_half
from nbcorr.correlation.ladder import LEVEL
from nbcorr.correlation.question import Question
from nbcorr.recording.blocks import map_blocks
from nbcorr.stats.multiple import fdr
from nbcorr.stats.split import stratified_halves

CONTROLS = ("untrained", "input", "replication")

# Fewer positives than this in a half and no neuron could be told from chance there.
_FEWEST = 5

# Arrays of shape (n_questions, n_neurons).
Added = dict[str, np.ndarray]


def untrained(
    recording: xr.Dataset, questions: list[Question], auc: np.ndarray
) -> tuple[Added, str]:
    """Each neuron beside what any unit of its layer reaches in networks that learnt nothing.

    ``auc_untrained`` is the largest max(auc, 1 - auc) over all units of the neuron's layer in all
    twins, the same for every neuron of a layer: as the best of many, it allows for the choice
    among many. ``excess`` is max(auc, 1 - auc) less that.
    """
    if "activation_twin" not in recording:
        return {}, "no untrained twins were recorded; nc.record(..., twins=5) records them"
    work = functools.partial(effects, questions=questions)
    largest = np.full(auc.shape, np.nan)
    for twin in range(recording.sizes["twin"]):
        activation = recording["activation_twin"].isel(twin=twin)
        parts = map_blocks(work, activation, "untrained twins")
        largest = np.fmax(largest, folded(np.concatenate(parts, axis=1)))
    layers = recording.indexes["neuron"].get_level_values("layer")
    envelope = np.zeros_like(largest)
    for layer in layers.unique():
        here = layers == layer
        # NaN where every unit of every twin is dead: there is nothing to compare with.
        envelope[:, here] = np.fmax.reduce(largest[:, here], axis=1, keepdims=True)
    return {"auc_untrained": envelope, "excess": folded(auc) - envelope}, ""


def raw_input(
    recording: xr.Dataset, questions: list[Question], auc: np.ndarray
) -> tuple[Added, str]:
    """Each neuron beside what the best raw input feature reaches.

    ``auc_input`` is the largest max(auc, 1 - auc) over all features of ``input``, the same for
    every neuron; ``excess_input`` is max(auc, 1 - auc) less that.
    """
    if "input" not in recording:
        said = str(recording.attrs.get("input", ""))
        return {}, said if said.startswith("not kept") else (
            "the raw inputs are not in the recording; nc.record keeps those of images and "
            "vectors, nc.from_arrays(..., inputs=...) takes them"
        )
    features = recording["input"].transpose("feature", "sample").values
    best = np.fmax.reduce(folded(effects(features, questions)), axis=1, keepdims=True)
    return {
        "auc_input": np.broadcast_to(best, auc.shape).copy(),
        "excess_input": folded(auc) - best,
    }, ""


def halves(question: Question, seed: int) -> tuple[tuple[Half, ...], str]:
    """The half of the samples to select in and the other, or why there are none."""
    try:
        select = stratified_halves(
            question.signal, question.strata, seed=seed, groups=question.groups
        )
        both = [question.among(half) for half in (select, ~select)]
        if question.signal.dtype == bool:
            fewest = min(min(int(part.signal.sum()), int((~part.signal).sum())) for part in both)
            if fewest < _FEWEST:
                total = min(int(question.signal.sum()), int((~question.signal).sum()))
                return (), (
                    f"{total} samples of one kind are too few to split into halves "
                    f"(at least {_FEWEST} in each)"
                )
        return tuple(make_half(question, half, seed) for half in (select, ~select)), ""
    except ValueError as error:
        return (), f"in half of the samples, {error}"


def replicated(columns: dict[str, np.ndarray], correction: Literal["bh", "by"]) -> np.ndarray:
    """Whether each neuron, selected in one half of the samples, holds in the other.

    That is q <= .05 in the first half and, among those, q <= .05 with the same sign in the second
    (Kriegeskorte et al. 2009: no double dipping).
    """
    selected = fdr(columns["p_selection"], correction) <= LEVEL
    q_heldout = np.full(len(selected), np.nan)
    q_heldout[selected] = fdr(columns["p_heldout"][selected], correction)
    same_sign = np.sign(columns["auc_selection"] - 0.5) == np.sign(columns["auc_heldout"] - 0.5)
    return selected & same_sign & (q_heldout <= LEVEL)


def folded(auc: Any) -> Any:
    """max(auc, 1 - auc): how far a neuron tells the samples apart, in either direction."""
    return np.maximum(auc, 1 - auc)
