"""The checks that could defeat the paper's finding, on networks where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc
from nbcorr.selectivity.basis import cca_distance, selective_basis
from nbcorr.selectivity.usage import ablate_selective
from nbcorr.stats.cca import pwcca_distance
from nbcorr.stats.selectivity import selectivity_index
from tests.conftest import assert_same_traces, traces


def recorded(x, label, layer="a"):
    return nc.from_arrays(x, layer=layer, label=label)


@pytest.fixture(scope="module")
def hidden():
    """Four detectors, one a class, turned into a basis in which no unit is very selective."""
    rng = np.random.default_rng(0)
    label = np.arange(400) % 4
    detectors = np.eye(4)[label] + 0.05 * rng.random((400, 4))
    mixed = detectors @ (np.ones((4, 4)) / 2 - np.eye(4)).T
    return detectors, np.maximum(mixed + 0.6, 0), label


def test_selectivity_that_was_turned_away_is_found(hidden):
    _, mixed, label = hidden
    found = selective_basis(recorded(mixed, label), draws=5)
    own = float(found["selectivity"][0])
    assert own < 0.4
    assert float(found["selectivity_rotated"][0]) > own + 0.3
    assert float(found["selectivity_rotated"][0]) > float(found["selectivity_random"].max())
    assert float(found["bound"][0]) == pytest.approx(
        float(found["selectivity_rotated"][0]), abs=0.05
    )


def test_of_detectors_there_is_nothing_more_to_find_and_the_index_is_ours(hidden):
    detectors, _, label = hidden
    found = selective_basis(recorded(detectors, label), steps=20, seed=3)
    assert float(found["selectivity_rotated"][0] - found["selectivity"][0]) < 0.1
    whole = nc.selectivity(recorded(detectors, label), n_resamples=0)["selectivity"].mean()
    assert float(found["selectivity"][0]) == pytest.approx(float(whole), abs=0.02)


def test_noise_has_no_selective_basis_on_other_samples():
    rng = np.random.default_rng(0)
    x, label = rng.random((600, 5)), np.arange(600) % 3
    found = selective_basis(recorded(x, label), steps=50)
    assert float(found["bound"][0]) > float(found["selectivity"][0])
    excess = found["selectivity_rotated"] - found["selectivity_random"].mean("draw")
    assert float(excess[0]) < 0.25


def test_layers_dead_units_and_seeds():
    rng = np.random.default_rng(0)
    x, label = rng.random((60, 6)), np.arange(60) % 3
    x[:, 1], x[:, 4:] = 0, 0
    recording = recorded(x, label, layer=["a"] * 4 + ["b"] * 2)
    found = selective_basis(recording, steps=3, draws=2)
    assert found["units"].values.tolist() == [3, 0]
    assert np.isnan(found["selectivity"].values).tolist() == [False, True]
    assert found.identical(selective_basis(recording, steps=3, draws=2))
    assert selective_basis(recording, layers="a", steps=3)["layer"].values.tolist() == ["a"]
    with pytest.raises(ValueError, match="steps is 0"):
        selective_basis(recording, steps=0)
    with pytest.raises(ValueError, match="fewer than two classes"):
        selective_basis(recording.isel(sample=[0, 1]))


def test_cca_distance_by_layer_and_sample_id():
    rng = np.random.default_rng(0)
    x, label = rng.random((200, 7)), np.arange(200) % 2
    names = ["a"] * 4 + ["b"] * 3
    one = recorded(x, label, names)
    turned = np.concatenate([x[:, :4] @ rng.normal(size=(4, 4)), rng.random((200, 3))], axis=1)
    other = recorded(turned, label, names).isel(sample=rng.permutation(200)[:150])
    found = cca_distance(one, other)
    assert found.attrs["n"] == 150
    assert float(found["distance"][0]) == pytest.approx(0, abs=1e-6)
    ids = np.sort(other["sample"].values)
    expected = pwcca_distance(
        one["activation"].values[ids, 4:].T, turned[ids, 4:].astype(np.float32).T
    )
    assert float(found["distance"][1]) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="share 200 samples and 0 layers"):
        cca_distance(one, recorded(x, label, "c"))


@pytest.fixture
def reader():
    """Six units: three detectors of classes that the output reads, three that it does not."""
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.bias.zero_()
        model[0].weight.copy_(torch.eye(6))
        model[2].weight.copy_(torch.cat([torch.eye(3), torch.zeros(3, 3)], dim=1))
    rng = np.random.default_rng(0)
    label = np.arange(90) % 3
    x = np.concatenate([np.eye(3)[label], np.ones((90, 3))], axis=1) + 0.1 * rng.random((90, 6))
    return model, x.astype(np.float32), label


def test_selective_units_that_are_used_cost_more_than_random_ones(reader):
    model, x, label = reader
    recording = nc.record(model, (x, label), "ReLU", progress=False)
    index = nc.selectivity(recording, n_resamples=0)
    before = traces(model)
    found = ablate_selective(model, (x, label), index, [0.34, 0.5], draws=30, progress=False)
    assert_same_traces(before, traces(model))
    assert float(found["accuracy"]) == 1
    assert found["units"].values.tolist() == [[2, 3]]
    most = found["accuracy_ablated"].sel(order="most").values[0]
    least = found["accuracy_ablated"].sel(order="least").values[0]
    assert most[1] < 0.5
    assert least.tolist() == [1, 1]
    random = found["accuracy_random"].values[0]
    for j in range(2):
        expected = np.mean(random[j] > most[j]) + np.mean(random[j] == most[j]) / 2
        assert found["percentile"].sel(order="most").values[0, j] == pytest.approx(expected)
    assert (found["percentile"].sel(order="most") > 0.75).all()
    again = ablate_selective(model, (x, label), index, [0.34, 0.5], draws=30, progress=False)
    assert found.identical(again)


def test_accuracies_are_those_of_the_model_with_these_units_off(reader):
    model, x, label = reader
    recording = nc.record(model, (x, label), "ReLU", progress=False)
    index = nc.selectivity(recording, n_resamples=0)
    first = int(index["unit"].values[np.argmax(index["selectivity"].values)])
    found = ablate_selective(model, (x, label), index, [0.1], draws=1, progress=False)
    off = torch.relu(torch.from_numpy(x) @ model[0].weight.T)
    off[:, first] = 0
    expected = (model[2](off).argmax(1).numpy() == label).mean()
    assert float(found["accuracy_ablated"].sel(order="most")[0, 0]) == expected


def test_ablation_refuses(reader):
    model, x, label = reader
    recording = nc.record(model, (x, label), "ReLU", progress=False)
    index = nc.selectivity(recording, n_resamples=0)
    for arguments, options, message in (
        (((x, label), index, [1.0]), {}, "shares between 0 and 1"),
        (((x, label), index), {"draws": 0}, "at least one draw"),
        (((x, label), index), {"layers": "2"}, "no layer '2'"),
        ((x, index), {}, "the data has no labels"),
        (((x, label), index.where(index["unit"] > 9)), {}, "no living unit"),
    ):
        with pytest.raises(ValueError, match=message):
            ablate_selective(model, *arguments, progress=False, **options)


def test_the_bound_is_of_the_same_index_as_the_verbs():
    means = np.array([[1.0, 2, 4], [3, 3, 1]])
    x = np.repeat(means.T, 10, axis=0)
    found = selective_basis(recorded(x, np.repeat([0, 1, 2], 10)), steps=1)
    expected = selectivity_index(means).selectivity.mean()
    assert float(found["selectivity"][0]) == pytest.approx(expected, rel=1e-5)
