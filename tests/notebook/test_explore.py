"""The explorer's state from Python; tests/browser/ clicks it."""

from __future__ import annotations

import numpy as np
import pytest
import traitlets

import nbcorr as nc
from tests.conftest import assert_same_traces, planted_recording, traces


@pytest.fixture
def explorer(recording):
    return nc.explore(recording)


def test_it_opens_on_all_live_neurons_and_the_strongest_that_holds(recording):
    recording["activation"][:, 59] = 0
    explorer = nc.explore(recording)
    assert explorer.neurons.sizes["neuron"] == 59
    layer, unit = explorer.neuron.split(":")
    assert (layer, int(unit) < 5) == ("early", True)
    assert explorer._list.value == explorer.neuron


@pytest.mark.parametrize(
    ("measure", "threshold", "passes"),
    [
        ("rho", 0.1, lambda c: np.abs(c["rho"]) >= 0.1),
        ("auc", 0.6, lambda c: np.maximum(c["auc"], 1 - c["auc"]) >= 0.6),
        ("q", 0.05, lambda c: c["q"] <= 0.05),
    ],
)
def test_threshold_and_layers_choose_neurons(recording, explorer, measure, threshold, passes):
    correlates = nc.correlate(recording)
    explorer.measure = measure
    explorer.threshold = threshold
    assert explorer.neurons.sizes["neuron"] == int(passes(correlates).sum())
    explorer.layers = ("late",)
    expected = passes(correlates) & (correlates["layer"] == "late")
    assert explorer.neurons.sizes["neuron"] == int(expected.sum())
    assert f"<b>{int(expected.sum())}</b> of 30 live neurons" in explorer._picker.count.value


def test_the_largest_possible_rho_is_marked_and_on_the_scale(recording, explorer):
    largest = float(nc.correlate(recording)["rho_max"].max())
    assert explorer._picker.spread.largest.x.tolist() == [largest, largest]
    assert explorer._picker.sliders["rho"].max >= largest
    explorer.measure = "auc"
    assert not explorer._picker.spread.largest.visible


def test_a_brush_chooses_and_a_new_threshold_forgets_it(explorer):
    explorer._map.others.selected = np.array([0, 2])
    brushed = explorer.neurons
    assert brushed.sizes["neuron"] == 2
    explorer._map.passing.selected = np.array([1])
    assert explorer.neurons.sizes["neuron"] == 3
    assert len(explorer._list.options) == 3
    explorer.threshold = 0.02
    assert explorer.neurons.sizes["neuron"] > 3


def test_the_card_follows_the_neuron_and_says_its_numbers(explorer):
    explorer.neuron = "late:7"
    assert "<h3>late:7</h3>" in explorer._card.value
    assert "only A (" in explorer._card.value
    assert "✗ beyond untrained twins" in explorer._card.value


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("layers", ("earl",), "no layer 'earl'; did you mean 'early'"),
        ("neuron", "early:99", "no neuron 'early:99'; did you mean 'early:"),
        ("neuron", "early", "is no neuron; expected 'layer:unit'"),
        ("measure", "r", "expected any of"),
    ],
)
def test_what_does_not_exist_is_refused(explorer, trait, value, message):
    before = getattr(explorer, trait)
    with pytest.raises((ValueError, traitlets.TraitError), match=message):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before


def test_correlates_of_other_neurons_are_refused(recording):
    other = nc.from_arrays(
        recording.activation.values,
        layer="other",
        **{k: recording[k].values for k in ("label", "prediction", "baseline")},
    )
    with pytest.raises(ValueError, match="hold neuron other:0, which is not in the recording"):
        nc.explore(recording, nc.correlate(other))


def test_without_answers_or_controls(recording):
    bare = recording.drop_vars(
        ["label", "prediction", "baseline", "activation_twin", "relative_performance"]
    )
    signal = recording["relative_performance"].values
    explorer = nc.explore(bare, nc.correlate(bare, signal, controls=()))
    assert "all samples (600)" in explorer._card.value
    assert "replicated: not computed" in explorer._card.value


def test_pictures_are_made_on_demand_and_the_model_left_alone(model, images, labels):
    answers = np.where(np.arange(40) % 3 == 0, (labels + 1) % 3, labels)
    recording = nc.record(
        model, (images, labels), ["act", "hidden"], baseline=answers, progress=False
    )
    signal = np.arange(40) % 2
    correlates = nc.correlate(recording, signal, strata=None, controls=())
    model.train()
    before = traces(model)
    explorer = nc.explore(recording, correlates, model=model, data=(images, labels))
    explorer.neuron = "hidden:3"
    assert explorer._card.value.count("<img") == 1 + 8
    assert "made to drive it" in explorer._card.value
    assert_same_traces(before, traces(model))


def test_an_error_while_making_pictures_is_said_on_the_card(model, images, labels):
    recording = nc.record(model, (images, labels), "hidden", progress=False)
    correlates = nc.correlate(recording, np.arange(40) % 2, strata=None, controls=())
    broken = np.zeros_like(images)[:, :, :5]
    explorer = nc.explore(recording, correlates, model=model, data=broken)
    assert "RuntimeError" in explorer._card.value


def test_user_text_is_escaped_everywhere():
    hostile = "<img src=x onerror=alert(1)>"
    clean = planted_recording(twins=1)
    recording = nc.from_arrays(
        clean.activation.values,
        layer=hostile,
        **{k: clean[k].values for k in ("label", "prediction", "baseline")},
    )
    explorer = nc.explore(recording, nc.correlate(recording, strata=None))
    for view in (explorer._head, explorer._card, explorer._picker.count):
        assert "<img src=x" not in view.value


def test_a_saved_notebook_has_a_picture_and_a_line_of_text(explorer):
    bundle = explorer._repr_mimebundle_()[0]
    assert bundle["image/png"][:4] == b"\x89PNG"
    assert bundle["text/plain"] == "Explorer of 60 neurons"
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_one_layer_selected_by_xarray(recording):
    late = recording.sel(layer="late")
    assert nc.explore(late).neurons.sizes["neuron"] == 30
    assert nc.explore(late, nc.correlate(recording).sel(layer="late")).layers == ()


def test_a_threshold_that_the_neuron_passes_leaves_it_on_the_card(explorer):
    explorer.neuron = "late:7"
    explorer.threshold = 0.001
    assert explorer.neuron == "late:7"
    assert explorer._list.value == "late:7"
