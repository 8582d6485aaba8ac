"""Selecting samples in the explorer: the live correlates that its views then show."""

from __future__ import annotations

import html
import threading

import dask.array
import numpy as np
import pytest
import traitlets
import xarray as xr
from dask.callbacks import Callback

import nbcorr as nc
from nbcorr.correlation import live as live_module
from nbcorr.notebook import samples as samples_module
from nbcorr.notebook.plots import MAX_POINTS
from nbcorr.recording import blocks
from tests.conftest import planted_recording


@pytest.fixture
def explorer(recording):
    return nc.explore(recording, nc.correlate(recording, controls=()))


def ids_of(recording: xr.Dataset, selected: np.ndarray) -> tuple:
    return tuple(recording["sample"].values[selected].tolist())


def lasso(explorer, positions) -> None:
    """What arrives from the page when lassos have been drawn around these of the samples drawn."""
    explorer._samples.map.net.selected = np.array(positions, dtype=np.int64)


# From Python


def test_selected_samples_make_live_correlates_and_none_the_signals_again(recording, explorer):
    selected = np.arange(600) % 5 == 0
    explorer.samples = ids_of(recording, selected)
    expected = nc.correlate(recording, selected, controls=())
    live = explorer.neurons
    assert live.sizes["neuron"] == 60
    xr.testing.assert_allclose(
        live["auc"].sortby(["layer", "unit"]), expected["auc"].sortby(["layer", "unit"])
    )
    assert live.attrs["n_positive"] == 120
    explorer.samples = ()
    assert "rho" in explorer.neurons
    assert explorer.neurons.attrs["signal"] == "relative_performance"


def test_samples_keep_the_order_of_the_recording_and_each_once(explorer):
    explorer.samples = [7, 3, 7]
    assert explorer.samples == (3, 7)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("6000",), "no sample '6000'; did you mean '60"),
        ((3, "zebra"), "no sample 'zebra'"),
        ((True, False), "samples are True and False; expected ids"),
        (tuple(range(600)), "all 600 samples are selected; expected others"),
    ],
)
def test_samples_that_cannot_be_are_refused(explorer, ids, message):
    with pytest.raises((ValueError, traitlets.TraitError), match=message):
        explorer.samples = ids
    assert explorer.samples == ()
    assert "rho" in explorer.neurons


def test_only_the_neurons_of_the_correlates_are_compared(recording):
    late = nc.correlate(recording, controls=()).sel(layer="late")
    explorer = nc.explore(recording, late)
    explorer.samples = tuple(range(50))
    assert explorer.neurons.sizes["neuron"] == 30
    assert set(explorer.neurons["layer"].values) == {"late"}
    assert explorer.neurons.attrs["n_positive"] == 50


def test_a_whole_label_is_compared_with_all_other_samples(recording, explorer):
    label = recording["label"].values
    explorer.samples = ids_of(recording, label == 2)
    assert explorer.neurons.attrs["strata"] == "none"
    expected = nc.correlate(recording, label == 2, strata=None, controls=())["auc"]
    neuron = explorer.neurons["neuron"].values[0]
    auc = explorer.neurons["auc"].values[0]
    assert auc == pytest.approx(float(expected.sel(neuron=neuron)), abs=1e-12)


def test_what_fails_while_ranking_goes_back_to_the_signal(explorer, monkeypatch):
    explorer.samples = (4, 5)
    monkeypatch.setattr(explorer._selections, "correlates", lambda selected: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explorer.samples = (1, 2, 3)
    assert explorer.samples == ()
    assert "rho" in explorer.neurons


# In the views


def test_the_views_show_the_live_correlates(recording, explorer):
    explorer.samples = ids_of(recording, np.arange(600) % 5 == 0)
    assert explorer._samples.said.value.count("120 selected samples of 600") == 1
    assert "for the selected samples" in explorer._picker.count.value
    shown = np.concatenate([mark.x for mark in explorer._map._places])
    np.testing.assert_allclose(np.sort(shown), np.sort(explorer.neurons["auc"].values))
    assert len(explorer._map.passing.x) == 0
    first = explorer.neurons["neuron"].values[0]
    assert explorer._list.options[0][1] == f"{first[0]}:{first[1]}"
    folded = np.maximum(explorer.neurons["auc"], 1 - explorer.neurons["auc"])
    np.testing.assert_array_equal(
        explorer._picker.spread.bars.y, np.histogram(folded, bins=30, range=(0.5, 1))[0]
    )
    assert "selected samples: AUC" in explorer._card.value
    assert "below: relative_performance" in explorer._card.value


def test_the_map_and_card_of_the_signal_come_back(recording, explorer):
    before = [mark.x.tolist() for mark in explorer._map._places]
    card, threshold = explorer._card.value, explorer.threshold
    explorer.samples = (1, 2, 3)
    assert explorer.measure == "auc"
    assert not explorer._samples.back.disabled
    assert explorer._samples.back.description == "Back to relative_performance"
    explorer._samples.back.click()
    assert explorer.samples == ()
    assert [mark.x.tolist() for mark in explorer._map._places] == before
    assert (explorer._card.value, explorer.threshold) == (card, threshold)
    assert explorer.measure == "rho"
    assert explorer._samples.back.disabled
    assert "rho" in explorer.neurons


def test_rho_is_refused_while_samples_are_selected(explorer):
    explorer.samples = (1, 2, 3)
    with pytest.raises(ValueError, match="not known of selected samples; expected auc or q"):
        explorer.measure = "rho"
    explorer._picker.measures.value = "rho"
    assert (explorer._picker.measures.value, explorer.measure) == ("auc", "auc")
    assert "is not known of selected samples" in explorer._picker.count.value
    explorer._picker.measures.value = "q"
    assert explorer.measure == "q"
    explorer.samples = ()
    explorer._picker.measures.value = "rho"
    assert explorer.measure == "rho"


def test_a_selection_leaves_the_card_to_its_neuron(explorer):
    explorer.neuron = "late:7"
    explorer.measure, explorer.threshold = "auc", 0.5
    explorer.samples = (1, 2, 3)
    assert explorer.neuron == "late:7"
    explorer.threshold = 0.9
    assert "late:7" not in [label for _, label in explorer._list.options]
    assert explorer.neuron == "late:7"


# In the row


def test_nothing_is_computed_before_the_row_is_opened_or_samples_selected(recording, monkeypatch):
    def ranked(*arguments, **options):
        raise AssertionError("ranked too early")

    monkeypatch.setattr(samples_module, "LiveCorrelates", ranked)
    explorer = nc.explore(recording, nc.correlate(recording, controls=()))
    assert explorer._samples.map is None
    explorer._samples.opener.value = True
    assert explorer._samples.map is not None


@pytest.mark.parametrize("cell", ["only A", "both right"])
def test_a_cell_is_selected_by_its_name(recording, explorer, cell):
    explorer._samples.opener.value = True
    dropdown = explorer._samples.group
    assert [text.split(" (")[0] for text, _ in dropdown.options][1:3] == ["only A", "both right"]
    dropdown.value = ("cell", cell)
    wrong = recording["baseline"].values != recording["label"].values
    assert explorer.samples == ids_of(recording, wrong == (cell == "only A"))
    explorer.samples = (1, 2)
    assert dropdown.label == "…"


def test_only_a_is_the_signal_itself(recording, explorer):
    explorer._samples.opener.value = True
    explorer._samples.group.value = ("cell", "only A")
    signal = nc.correlate(recording, controls=()).sortby(["layer", "unit"])
    live = explorer.neurons.sortby(["layer", "unit"])
    np.testing.assert_allclose(live["auc"], signal["auc"], atol=1e-12)


def test_every_label_can_be_selected(recording, explorer):
    explorer._samples.opener.value = True
    labels = [value for _, (kind, value) in explorer._samples.group.options if kind == "label"]
    assert labels == [0, 1, 2, 3]
    explorer._samples.group.value = ("label", 3)
    assert explorer.samples == ids_of(recording, recording["label"].values == 3)


def test_lassoed_samples_are_selected_and_empty_lassos_give_them_back(explorer):
    row = explorer._samples
    row.opener.value = True
    lasso(explorer, [4, 9])
    assert explorer.samples == (4, 9)
    opacities = np.concatenate([mark.opacities for mark in row.map._marks.values()])
    assert (opacities == opacities.max()).sum() == 2
    lasso(explorer, [])
    assert explorer.samples == ()
    assert {o for mark in row.map._marks.values() for o in mark.opacities} == {opacities.max()}


def test_lassos_taken_away_do_not_undo_a_selection_made_otherwise(explorer):
    row = explorer._samples
    row.opener.value = True
    lasso(explorer, [4, 9])
    row.group.value = ("label", 1)
    by_label = explorer.samples
    assert row.map.net.selected is None
    lasso(explorer, [])  # what the page says when its lassos have been removed
    assert explorer.samples == by_label
    assert row.group.value == ("label", 1)
    lasso(explorer, [5])
    assert (explorer.samples, row.group.label) == ((5,), "…")


def test_other_axes_forget_the_lassos_but_keep_the_samples(explorer):
    row = explorer._samples
    row.opener.value = True
    lasso(explorer, [4, 9])
    row.up.value = "sample"
    assert row.map.net.selected is None
    lasso(explorer, [])
    assert explorer.samples == (4, 9)


def test_confidence_and_loss_are_drawn_first_and_only_where_finite(recording):
    loss = np.linspace(0, 3, 600)
    loss[[5, 6]] = np.inf, np.nan
    recording = recording.assign_coords(
        loss=("sample", loss), name=("sample", ["x"] * 600), confidence=("sample", 1 - loss / 4)
    )
    explorer = nc.explore(recording, nc.correlate(recording, controls=()))
    row = explorer._samples
    row.opener.value = True
    assert (row.across.value, row.up.value) == ("confidence", "loss")
    assert row.across.options[-1] == "sample"
    assert "name" not in row.across.options
    drawn = np.concatenate([mark.y for mark in row.map._marks.values()])
    assert np.isfinite(drawn).all()
    assert "598 of 600 samples drawn" in row.count.value
    lasso(explorer, [5])
    assert explorer.samples == (7,)


def test_at_most_two_thousand_are_drawn_the_rarest_cell_in_full():
    recording = planted_recording(n=5000, neurons=4)
    explorer = nc.explore(recording, nc.correlate(recording, controls=()))
    row = explorer._samples
    row.opener.value = True
    assert f"{MAX_POINTS} of 5000 samples drawn" in row.count.value
    drawn = {name: len(mark.x) for name, mark in row.map._marks.items()}
    n_signal = int(recording["relative_performance"].sum())
    assert drawn == {"only A": n_signal, "both right": MAX_POINTS - n_signal}


def test_a_lasso_takes_what_is_not_drawn_too():
    """Else rare cells, drawn in full, would be over-represented in every lasso."""
    recording = planted_recording(n=5000, neurons=4)
    explorer = nc.explore(recording, nc.correlate(recording, controls=()))
    row = explorer._samples
    row.opener.value = True
    assert len(row.map.net.x) == 5000
    some = np.arange(0, 5000, 3)
    lasso(explorer, some)
    assert explorer.samples == tuple(some.tolist())


def test_without_numbers_or_answers_there_are_still_the_labels():
    recording = nc.from_arrays(
        np.random.default_rng(0).normal(size=(40, 3)),
        layer="a",
        sample=[f"s{i}" for i in range(40)],
        label=np.arange(40) % 2,
    )
    texts = recording.assign_coords(label=("sample", np.array(["<b>", "cat"])[np.arange(40) % 2]))
    explorer = nc.explore(texts, nc.correlate(texts, np.arange(40) < 20, controls=()))
    row = explorer._samples
    row.opener.value = True
    assert row.map is None
    row.group.value = ("label", "<b>")
    assert len(explorer.samples) == 20
    bare = recording.drop_vars("label").assign_coords(depth=("sample", np.arange(40.0)))
    explorer = nc.explore(bare, nc.correlate(bare, np.arange(40) < 20, controls=()))
    row = explorer._samples
    row.opener.value = True
    assert (row.across.value, row.up.value) == ("depth", "depth")
    lasso(explorer, [0])
    assert explorer.samples == ("s0",)


def test_an_error_is_said_in_the_row(explorer, monkeypatch):
    explorer._samples.opener.value = True
    monkeypatch.setattr(explorer._selections, "correlates", lambda selected: 1 / 0)
    explorer._samples.group.value = ("cell", "only A")
    assert "ZeroDivisionError" in explorer._samples.said.value
    assert explorer.samples == ()


def test_what_the_user_calls_things_is_text(recording):
    hostile = "<img src=x onerror=alert(1)>"
    named = recording.assign_coords({hostile: ("sample", np.arange(600) % 3)})
    explorer = nc.explore(named, nc.correlate(named, strata=hostile, controls=()))
    explorer._samples.opener.value = True
    explorer.samples = tuple(range(0, 600, 7))
    said = (explorer._samples.said, explorer._samples.count, explorer._card, explorer._picker.count)
    assert f"of the same {html.escape(hostile)}" in explorer._samples.said.value
    assert all("<img src=x" not in view.value for view in said)


# While it is approximate, and on disk


def test_an_approximate_answer_says_so_and_is_replaced(recording, monkeypatch):
    go_on = threading.Event()
    rank = live_module.LiveCorrelates._rank

    def rank_later(self):
        assert go_on.wait(20)
        rank(self)

    monkeypatch.setattr(live_module.LiveCorrelates, "_seconds", lambda self: 100.0)
    monkeypatch.setattr(live_module.LiveCorrelates, "_rank", rank_later)
    explorer = nc.explore(recording, nc.correlate(recording, controls=()))
    explorer.samples = tuple(range(0, 600, 5))
    assert "Approximate (AUC ±" in explorer._samples.said.value
    assert "AUC about" in explorer._card.value
    assert "for the selected samples (approximately)" in explorer._picker.count.value
    assert "auc_error" in explorer.neurons
    replaced = threading.Event()
    explorer._samples.said.observe(lambda change: replaced.set(), "value")
    go_on.set()
    assert replaced.wait(20)
    with explorer._lock:
        assert "Approximate" not in explorer._samples.said.value
        assert explorer.neurons.attrs["approximate"] == 0
        assert "AUC about" not in explorer._card.value


def test_a_recording_on_disk_is_never_loaded_whole(monkeypatch):
    monkeypatch.setattr(blocks, "_VALUES_PER_BLOCK", 400 * 5)
    recording = planted_recording(n=400, neurons=40)
    read = []

    def noted(chunk):
        read.append(chunk.shape)
        return chunk

    activation = recording["activation"].values
    lazy = dask.array.from_array(activation, chunks=(400, 5)).map_blocks(noted, dtype="f4")
    stored = recording.assign(activation=(("sample", "neuron"), lazy))
    at_once = []
    noting = Callback(
        start=lambda graph: read.clear(), finish=lambda *state: at_once.append(len(read))
    )
    with noting:
        explorer = nc.explore(stored, nc.correlate(recording, controls=()))
        explorer._samples.opener.value = True
        explorer.samples = tuple(range(0, 400, 5))
    assert explorer.neurons.sizes["neuron"] == 40
    assert len(at_once) >= 8
    assert max(at_once) == 1
