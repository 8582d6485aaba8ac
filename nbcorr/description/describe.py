"""A phrase for each neuron."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from nbcorr.description.vocabulary import vocabulary_scores
from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label, parse_neurons
from nbcorr.recording.record import fingerprint

LABELERS = ("vocabulary",)


def describe(
    model: nn.Module,
    neurons: Any,
    exemplars: xr.Dataset,
    by: str = "vocabulary",
    *,
    words: Mapping[Any, str] | None = None,
) -> xr.Dataset:
    """Describe neurons in the words of their exemplars.

    Parameters
    ----------
    model : torch.nn.Module
        The model the exemplars were found with.
    neurons : ``"layer:unit"``, an iterable of them, or any Dataset over ``neuron``
    exemplars : xarray.Dataset
        As ``nc.exemplars`` makes it from labelled data.
    by : {"vocabulary"}
        The word among the samples' own labels with the largest pointwise mutual information
        with the neuron's exemplars.
    words : mapping from label to phrase, optional
        What each label is called; its own text by default.

    Returns
    -------
    xarray.Dataset
        Over ``neuron``: ``description`` and ``score`` (pointwise mutual information, nats).

    Raises
    ------
    ValueError
        If the exemplars carry no labels, were found with other weights, or lack a neuron.
    """
    if by not in LABELERS:
        raise ValueError(unknown("labeler", by, LABELERS))
    if "label" not in exemplars:
        raise ValueError("the exemplars carry no labels; by='vocabulary' describes in their words")
    made_with = exemplars.attrs.get("fingerprint")
    if made_with not in (None, fingerprint(model)):
        raise ValueError("the exemplars were found with other weights than this model's")
    chosen = parse_neurons(neurons)
    index = exemplars.indexes["neuron"]
    missing = [neuron for neuron in chosen if neuron not in index]
    if missing:
        known = [neuron_label(*neuron) for neuron in index]
        raise ValueError(unknown("neuron", neuron_label(*missing[0]), known))
    picked = exemplars.isel(neuron=index.get_indexer(chosen))
    classes = exemplars["class"].values
    codes = np.searchsorted(classes, picked["label"].values)
    scores = vocabulary_scores(codes, exemplars["label_count"].values)
    best = scores.argmax(1)
    names = words or {}
    phrases = [str(names.get(label, label)) for label in classes[best].tolist()]
    return (
        picked[["neuron"]]
        .drop_vars("rank", errors="ignore")
        .assign(
            description=("neuron", np.array(phrases, dtype=object)),
            score=("neuron", scores[np.arange(len(best)), best]),
        )
        .assign_attrs(by=by, unit="nats", exemplars=int(exemplars.sizes["rank"]))
    )
