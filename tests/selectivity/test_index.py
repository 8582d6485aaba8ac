from __future__ import annotations

import numpy as np
import pytest

import nbcorr as nc
from tests.conftest import planted_recording


def literal(values, labels) -> tuple[float, int]:
    """The index from its definition, one neuron at a time."""
    means = {c: float(np.mean(values[labels == c])) for c in sorted(set(labels.tolist()))}
    best = max(means, key=means.get)
    rest = [m for c, m in means.items() if c != best]
    others = sum(rest) / len(rest)
    return (means[best] - others) / (means[best] + others + 1e-7), best


def test_index_equals_its_definition(recording):
    result = nc.selectivity(recording)
    for i in range(60):
        expected, best = literal(recording.activation.values[:, i], recording.label.values)
        assert float(result["selectivity"][i]) == pytest.approx(expected, rel=1e-5)
        assert result["preferred_class"].values[i] == best
    assert result.attrs["class_count"] == np.bincount(recording.label.values).tolist()


def test_extremes():
    label = np.repeat([0, 1], 5)
    activation = np.stack([label == 1, np.ones(10), np.zeros(10)], axis=1)
    result = nc.selectivity(nc.from_arrays(activation, layer="a", label=label))
    assert float(result["selectivity"][0]) == pytest.approx(1.0, abs=1e-6)
    assert float(result["selectivity"][1]) == 0
    assert np.isnan(float(result["selectivity"][2]))
    assert result["dead"].values.tolist() == [False, False, True]
    assert result["preferred_class"].values.tolist()[2] is None


def test_text_labels_and_one_layer():
    recording = planted_recording().drop_vars("label")
    recording = recording.assign_coords(label=("sample", np.array(list("abc") * 200)))
    assert set(nc.selectivity(recording)["preferred_class"].values) <= set("abc")
    assert nc.selectivity(recording.sel(layer="late")).sizes["neuron"] == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.drop_vars("label"), "the recording has no label"),
        (lambda r: r.isel(sample=r.label.values == 1), "all samples have label 1"),
        (
            lambda r: r.assign(activation=(["sample", "neuron"], -r.activation.values)),
            "negative",
        ),
    ],
)
def test_refuses(recording, change, message):
    with pytest.raises(ValueError, match=message):
        nc.selectivity(change(recording))
