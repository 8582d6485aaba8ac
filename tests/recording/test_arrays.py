from __future__ import annotations

import numpy as np
import pytest

import nbcorr as nc
from nbcorr.recording.arrays import over_neurons
from nbcorr.recording.blocks import neuron_blocks
from nbcorr.recording.growing import GrowingArray


def test_units_are_counted_within_layers():
    recording = nc.from_arrays(np.zeros((3, 4)), layer=["b", "a", "b", "a"])
    assert recording.indexes["neuron"].tolist() == [("b", 0), ("a", 0), ("b", 1), ("a", 1)]
    assert recording.sel(layer="b").sizes == {"sample": 3, "unit": 2}
    part = over_neurons(recording.sel(layer="b"))
    assert part.indexes["neuron"].tolist() == [("b", 0), ("b", 1)]
    assert over_neurons(recording) is recording
    with pytest.raises(ValueError, match="over sample; expected 'neuron'"):
        over_neurons(recording.isel(neuron=0, drop=True))


def test_float16_stays_float16_and_float64_becomes_float32():
    for given, kept in ((np.float16, np.float16), (np.float64, np.float32), (int, np.float32)):
        recording = nc.from_arrays(np.ones((2, 1), given), layer="a")
        assert recording.activation.dtype == kept


def test_relative_performance_follows_from_the_answers():
    recording = nc.from_arrays(
        np.zeros((4, 1)),
        layer="a",
        label=[0, 1, 2, 3],
        prediction=[0, 1, 0, 0],
        baseline=[0, 9, 2, 9],
    )
    assert recording.relative_performance.values.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activations": np.zeros(3)}, r"activations have shape \(3,\); expected"),
        ({"layer": ["a"]}, r"layer has shape \(1,\); expected one value for each of 4 neurons"),
        ({"unit": [0, 1]}, r"unit has shape \(2,\); expected one value for each of 4 neurons"),
        ({"unit": [0, 1, 1, 2]}, "neuron a:1 appears twice"),
        ({"sample": ["x", "y", "x"]}, "sample id 'x' repeats"),
        ({"label": [1, 2]}, r"label has shape \(2,\); expected one value for each of 3 samples"),
        ({"activations": np.zeros((0, 4))}, "the data is empty"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    given = {"activations": np.zeros((3, 4)), "layer": "a", **arguments}
    with pytest.raises(ValueError, match=message):
        nc.from_arrays(given.pop("activations"), **given)


@pytest.mark.parametrize("expected", [None, 7, 3])
def test_growing_array(expected):
    rows = np.arange(14, dtype=np.float32).reshape(7, 2)
    array = GrowingArray()
    for start in range(0, 7, 3):
        array.extend(rows[start : start + 3], expected)
    np.testing.assert_array_equal(array.array(), rows)


def test_blocks_cover_every_neuron_once(recording, monkeypatch):
    monkeypatch.setattr("nbcorr.recording.blocks._VALUES_PER_BLOCK", 600 * 7)
    blocks = list(neuron_blocks(recording.activation))
    assert sorted({len(b) for b in blocks}) == [6, 7]
    assert len(blocks) == 9
    assert all(b.flags.c_contiguous for b in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), recording.activation.values.T)
