from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

import nbcorr as nc
from nbcorr.correlation.ladder import holds, ladder
from nbcorr.correlation.outcomes import cells
from nbcorr.correlation.table import rounded, rounded_p


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 200)
    return nc.from_arrays(
        rng.normal(size=(200, 4)),
        layer="a",
        label=label,
        prediction=np.where(rng.random(200) < 0.8, label, 0),
        baseline=np.where(rng.random(200) < 0.6, label, 1),
    )


def test_four_cells_against_counting_and_statsmodels(answers):
    table = nc.outcomes(answers)
    a = answers.prediction.values == answers.label.values
    b = answers.baseline.values == answers.label.values
    expected = [[sum(a & b), sum(a & ~b)], [sum(~a & b), sum(~a & ~b)]]
    np.testing.assert_array_equal(table["count"].values, expected)
    assert table.attrs["n"] == 200
    assert table.attrs["mcnemar_p"] == pytest.approx(mcnemar(expected, exact=True).pvalue)
    names, counts = np.unique(cells(answers).values, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        "both right": expected[0][0],
        "only A": expected[0][1],
        "only B": expected[1][0],
        "neither": expected[1][1],
    }


def test_relative_performance_is_one_where_only_a_is_right(answers):
    signal = nc.relative_performance(answers)
    np.testing.assert_array_equal(signal.values == 1, cells(answers).values == "only A")


def test_top_is_ordered_and_ends_with_the_sentence(recording):
    correlates = nc.correlate(recording)
    table = nc.top(correlates, 7, by="auc")
    effect = np.abs(table.neurons["auc"].values - 0.5)
    assert len(effect) == 7
    assert (np.diff(effect) <= 0).all()
    assert effect[0] == np.abs(correlates["auc"] - 0.5).max()
    lines = repr(table).splitlines()
    assert lines[0].split()[0] == "neuron"
    assert len(lines) == 1 + 7 + 2
    assert lines[-1] == correlates.attrs["sentence"]
    assert "60 neurons of 2 layers were tested against relative_performance on 600" in lines[-1]
    assert "exceed every unit of their layer in 3 untrained twins" in lines[-1]
    assert "5 of those exceed" in lines[-1]
    assert list(table.to_dataframe().columns)[:2] == ["auc", "auc_low"]


@pytest.mark.parametrize("by", ["auc", "rho", "q", "excess", "auc_selection"])
def test_every_order(recording, by):
    assert nc.top(nc.correlate(recording), 3, by).neurons.sizes["neuron"] == 3


def test_top_leaves_dead_neurons_out(recording):
    recording["activation"][:, :50] = 0.0
    assert nc.top(nc.correlate(recording), 20).neurons.sizes["neuron"] == 10


def test_top_without_controls_has_no_columns_for_them(recording):
    table = nc.top(nc.correlate(recording, controls=()), 2)
    header, _ = table.rows()
    assert "untrained twins" not in header
    assert "replicated" not in header
    with pytest.raises(ValueError, match="no 'excess'"):
        nc.top(nc.correlate(recording, controls=()), by="excess")
    with pytest.raises(ValueError, match="no order 'acu'; did you mean 'auc'"):
        nc.top(nc.correlate(recording), by="acu")
    with pytest.raises(ValueError, match="n is 0"):
        nc.top(nc.correlate(recording), 0)


def test_html_escapes_what_the_user_named(recording):
    hostile = "<img src=x onerror=alert(1)>"
    named = nc.from_arrays(
        recording.activation.values,
        layer=hostile,
        **{k: recording[k].values for k in ("label", "prediction", "baseline")},
    )
    page = nc.top(nc.correlate(named))._repr_html_()
    assert hostile not in page
    assert "&lt;img" in page


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.61234, 0.02, "0.61"),
        (0.61234, 0.2, "0.6"),
        (0.61234, 0.003, "0.612"),
        (0.6, 0.0, "0.60"),
        (float("nan"), 0.1, "–"),
    ],
)
def test_no_more_digits_than_the_error_supports(value, error, text):
    assert rounded(value, error) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.50"), (0.0123, "0.012"), (1.234e-7, "1e-07"), (0.0, "<1e-300"), (np.nan, "–")],
)
def test_p_values_as_people_read_them(value, text):
    assert rounded_p(value) == text


def test_ladder_and_holds(recording):
    correlates = nc.correlate(recording)
    checks = ladder(correlates)
    assert list(checks) == [
        "associated",
        "stratified",
        "replicated",
        "beyond_untrained",
        "beyond_input",
    ]
    expected = (correlates["q"] <= 0.05) & correlates["replicated"] & (correlates["excess"] > 0)
    np.testing.assert_array_equal(holds(correlates), expected)
    plain = nc.correlate(recording, strata=None, controls=())
    assert list(ladder(plain)) == ["associated"]
    np.testing.assert_array_equal(holds(plain), plain["q_unstratified"] <= 0.05)


def test_the_default_order_leaves_the_held_out_half_out_of_the_choice(recording):
    correlates = nc.correlate(recording)
    by_default = nc.top(correlates, 5).neurons
    np.testing.assert_array_equal(
        by_default["auc"], nc.top(correlates, 5, by="auc_selection").neurons["auc"]
    )
    bare = nc.correlate(recording, controls=())
    np.testing.assert_array_equal(
        nc.top(bare, 5).neurons["auc"], nc.top(bare, 5, "auc").neurons["auc"]
    )


def test_text_labels_and_class_numbers_are_not_compared(answers):
    named = answers.assign_coords(label=("sample", np.array(list("ab") * 100)))
    with pytest.raises(ValueError, match="label is .*'a'.* and prediction .*cannot be compared"):
        nc.outcomes(named)


def test_text_beside_numbers_is_no_comparison():
    answers = {"label": [0, 1, 0], "prediction": [0, 1, 0], "baseline": ["1", "1", "1"]}
    with pytest.warns(UserWarning, match="text"):
        recording = nc.from_arrays(np.ones((3, 1)), layer="a", **answers)
    with pytest.raises(ValueError, match="text"):
        nc.relative_performance(recording)
