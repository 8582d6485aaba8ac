from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc
from nbcorr.description.vocabulary import vocabulary_scores


def test_scores_equal_their_definition():
    words = np.array([[0, 0, 1, 0], [2, 2, 2, 2]])
    counts = np.array([50, 30, 20])
    scores = vocabulary_scores(words, counts, smoothing=1.0)
    for i, row in enumerate(words.tolist()):
        for word, count in enumerate(counts.tolist()):
            prior = count / 100
            given = (row.count(word) + prior) / (len(row) + 1)
            assert scores[i, word] == pytest.approx(math.log(given) - math.log(prior))


@pytest.fixture
def detectors():
    """Unit c of this model answers to images of class c: what is true of it is known."""
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).random((60, 1, 4, 4)).astype(np.float32) * 0.1
    images[np.arange(60), 0, labels, labels] += 1
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    with torch.no_grad():
        net[1].weight.zero_()
        for c in range(3):
            net[1].weight[c, c * 4 + c] = 1
    return net, images, labels


def test_a_neuron_is_named_after_what_drives_it(detectors):
    net, images, labels = detectors
    found = nc.exemplars(net, (images, labels), {"1": [0, 1, 2]}, 8, progress=False)
    words = nc.describe(net, ["1:2", "1:0"], found, words={0: "zero", 2: "two"})
    assert words["description"].values.tolist() == ["two", "zero"]
    assert words.indexes["neuron"].tolist() == [("1", 2), ("1", 0)]
    assert float(words["score"].min()) > 0.9
    assert nc.describe(net, "1:1", found)["description"].values.tolist() == ["1"]


def test_refuses(detectors):
    net, images, labels = detectors
    found = nc.exemplars(net, (images, labels), "1:0", 4, progress=False)
    with pytest.raises(ValueError, match="no labeler 'vocab'; did you mean 'vocabulary'"):
        nc.describe(net, "1:0", found, by="vocab")
    with pytest.raises(ValueError, match="no neuron '1:1'; did you mean '1:0'"):
        nc.describe(net, "1:1", found)
    with pytest.raises(ValueError, match="carry no labels"):
        nc.describe(net, "1:0", nc.exemplars(net, images, "1:0", 4, progress=False))
    with torch.no_grad():
        net[1].weight += 1
    with pytest.raises(ValueError, match="found with other weights"):
        nc.describe(net, "1:0", found)
