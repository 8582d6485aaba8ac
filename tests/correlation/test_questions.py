"""Several signals, covariates, groups, Pearson, the corrections: what may be asked of correlate."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
import xarray as xr
from statsmodels.stats.multitest import multipletests

import nbcorr as nc
from nbcorr.stats.partial import partial_spearman
from nbcorr.stats.permutation import max_t


@pytest.fixture
def columns(recording):
    """The planted recording with an ordered and a continuous column."""
    rng = np.random.default_rng(5)
    n = recording.sizes["sample"]
    return recording.assign_coords(
        confidence=("sample", rng.random(n)),
        grade=("sample", rng.integers(0, 4, n)),
    )


def test_several_signals_are_each_what_one_is_but_for_q(columns):
    names = ["relative_performance", "confidence", "grade"]
    together = nc.correlate(columns, names)
    assert together["auc"].dims == ("signal", "neuron")
    p = []
    for name in names:
        alone, one = nc.correlate(columns, name), together.sel(signal=name)
        for column in ("auc", "auc_low", "rho", "p", "auc_heldout", "replicated", "excess"):
            np.testing.assert_array_equal(one[column], alone[column], err_msg=column)
        p.append(alone["p"].values)
    expected = scipy.stats.false_discovery_control(np.concatenate(p))
    np.testing.assert_allclose(together["q"].values.ravel(), expected, rtol=1e-12)
    assert together.attrs["signal"] == names
    assert float(together["n_positive"].sel(signal="relative_performance")) > 0
    assert np.isnan(together["n_positive"].sel(signal="grade"))


def test_several_signals_may_be_given_as_values(columns):
    by_name = nc.correlate(columns, ["confidence", "grade"], controls=())
    values = {name: columns[name].values for name in ("confidence", "grade")}
    xr.testing.assert_equal(nc.correlate(columns, values, controls=()), by_name)
    stacked = xr.DataArray(
        np.array(list(values.values())),
        dims=("signal", "sample"),
        coords={"signal": list(values), "sample": columns["sample"].values},
    )
    shuffled = stacked.isel(sample=np.random.default_rng(0).permutation(stacked.sizes["sample"]))
    xr.testing.assert_equal(nc.correlate(columns, shuffled, controls=()), by_name)


def test_the_table_and_the_sentence_of_several_signals(columns):
    together = nc.correlate(columns, ["relative_performance", "confidence"])
    said = together.attrs["sentence"]
    assert "against 2 signals (120 tests) on 600 samples" in said
    assert "positive): 5 are associated" in said
    table = nc.top(together, 8)
    header, rows = table.rows()
    assert header[:2] == ["neuron", "signal"]
    assert [row[1] for row in rows[:5]] == ["relative_performance"] * 5
    one = nc.top(together.sel(signal="confidence"), 3)
    assert "against confidence on 600 samples" in one.sentence
    assert "signal" not in one.rows()[0]


def test_a_perfect_neuron_that_could_not_be_found_is_told():
    """3 of 60 positive, 4,000 neurons: 1 in C(60, 3) is not below .05 / 4,000."""
    rng = np.random.default_rng(0)
    signal = np.zeros(60, bool)
    signal[:3] = True
    recording = nc.from_arrays(rng.normal(size=(60, 4000)), layer="a", s=signal)
    said = nc.correlate(recording, "s").attrs["sentence"]
    assert "No neuron can reach q ≤ 0.05 alone among 4000 tests" in said
    few = nc.correlate(recording.isel(neuron=slice(5)), "s").attrs["sentence"]
    assert "No neuron can reach" not in few


def test_pearson_and_point_biserial_are_on_request(columns):
    assert "pearson" not in nc.correlate(columns, controls=())
    for signal in ("confidence", "relative_performance"):
        result = nc.correlate(columns, signal, controls=(), pearson=True)
        for i in (0, 40):
            x = columns["activation"].values[:, i].astype(np.float64)
            expected = scipy.stats.pearsonr(x, columns[signal].values).statistic
            assert float(result["pearson"][i]) == pytest.approx(expected, abs=1e-12)
    header, _ = nc.top(result, 2, by="pearson").rows()
    assert "Pearson r" in header


def test_benjamini_yekutieli(recording):
    result = nc.correlate(recording, controls=(), correction="by")
    expected = multipletests(result["p"].values, method="fdr_by")[1]
    np.testing.assert_allclose(result["q"], expected, rtol=1e-12)
    assert "(Benjamini-Yekutieli, q ≤ 0.05)" in result.attrs["sentence"]


def test_covariates_are_held_fixed():
    """A difficulty drives the signal and half of the neurons; five know the signal itself."""
    rng = np.random.default_rng(1)
    n = 1500
    difficulty = rng.normal(size=n)
    signal = rng.random(n) < 1 / (1 + np.exp(1.5 - 1.5 * difficulty))
    activation = rng.normal(size=(n, 60))
    activation[:, :30] += 0.8 * difficulty[:, None]
    activation[:, 30:35] += 0.8 * signal[:, None]
    label = rng.integers(0, 3, n)
    recording = nc.from_arrays(
        activation, layer="a", label=label, knows=signal, difficulty=difficulty
    )
    result = nc.correlate(recording, "knows", controls=(), covariates="difficulty")
    expected = partial_spearman(recording["activation"].values.T, signal, difficulty[None], label)
    np.testing.assert_allclose(result["rho_partial"], expected.rho, atol=1e-12)
    np.testing.assert_allclose(result["p_partial"], expected.p, rtol=1e-9)
    assert (result["q"] <= 0.05)[:35].all()
    assert int((result["q_partial"] <= 0.05)[:30].sum()) <= 3
    assert (result["q_partial"] <= 0.05)[30:35].all()
    said = result.attrs["sentence"]
    assert "of them also with difficulty held fixed" in said
    assert result.attrs["covariates"] == ["difficulty"]
    header, _ = nc.top(result, 2, by="rho_partial").rows()
    assert "rho beyond covariates" in header


def grouped_recording(informative: bool = False) -> xr.Dataset:
    """40 patients of 10 images: the signal and every neuron go by the patient."""
    rng = np.random.default_rng(2)
    patient = np.repeat(np.arange(40), 10)
    signal = (rng.random(40) < 0.5)[patient] ^ (rng.random(400) < 0.05)
    activation = rng.normal(size=(40, 50))[patient] + 0.5 * rng.normal(size=(400, 50))
    if informative:
        activation[:, 0] += 3 * signal
    return nc.from_arrays(activation, layer="a", patient=patient, s=signal)


def test_groups_are_permuted_whole():
    recording = grouped_recording(informative=True)
    naive = nc.correlate(recording, "s", controls=())
    result = nc.correlate(recording, "s", controls=(), groups="patient")
    assert int((naive["q"] <= 0.05).sum()) > 15
    assert int((result["q"] <= 0.05).sum()) <= 3
    assert float(result["q"][0]) <= 0.05
    np.testing.assert_array_equal(result["auc"], naive["auc"])
    expected = max_t(
        recording["activation"].values.T,
        recording["s"].values,
        groups=recording["patient"].values,
        n_permutations=9_999,
        seed=0,
    )
    np.testing.assert_array_equal(result["p"], expected.p)
    np.testing.assert_array_equal(result["p_familywise"], expected.p_familywise)
    wider = (result["auc_high"] - result["auc_low"]) / (naive["auc_high"] - naive["auc_low"])
    assert float(wider[1:].median()) > 1.5
    assert "p by permutation of groups (40 groups of patient)" in result.attrs["sentence"]


def test_no_group_is_in_both_halves():
    recording = grouped_recording()
    result = nc.correlate(recording, "s", controls="replication", groups="patient")
    # Neurons are as good as random between patients: what is found in one half does not hold.
    assert int(result["replicated"].sum()) <= 1
    assert result.attrs["controls"] == ["replication"]


def test_stratified_groups_have_a_plain_p_of_their_own():
    recording = grouped_recording()
    site = recording["patient"].values % 2
    result = nc.correlate(recording, "s", strata=site, controls=(), groups="patient")
    plain = nc.correlate(recording, "s", strata=None, controls=(), groups="patient")
    np.testing.assert_allclose(result["q_unstratified"], plain["q"], rtol=1e-12)
    np.testing.assert_allclose(plain["q_unstratified"], plain["q"], rtol=1e-12)


def test_the_input_control_is_the_best_raw_feature(recording):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(600, 8)).astype(np.float32)
    y = recording.relative_performance.values.astype(bool)
    inputs[:, 4] += 0.3 * y
    recording["input"] = (("sample", "feature"), inputs)
    result = nc.correlate(recording)
    features = nc.from_arrays(inputs, layer="input", label=recording.label.values, s=y)
    auc = nc.correlate(features, "s", controls=())["auc"]
    best = float(np.maximum(auc, 1 - auc).max())
    np.testing.assert_allclose(result["auc_input"], best, atol=1e-12)
    np.testing.assert_allclose(
        result["excess_input"], np.maximum(result["auc"], 1 - result["auc"]) - best, atol=1e-12
    )
    assert result.attrs["controls"] == ["untrained", "input", "replication"]
    assert "of those every raw input feature" in result.attrs["sentence"]


def test_correlates_that_fire_alike_are_one_group(recording):
    """Five planted neurons, then two of them twice over with a little noise."""
    rng = np.random.default_rng(3)
    activation = recording["activation"].values
    activation[:, 5:8] = activation[:, [0]] + 0.1 * rng.normal(size=(600, 3))
    activation[:, 8:10] = -activation[:, [1]] + 0.1 * rng.normal(size=(600, 2))
    result = nc.correlate(recording, controls=())
    cluster = result["cluster"].values
    assert len(set(cluster[[0, 5, 6, 7]])) == 1
    assert len(set(cluster[[1, 8, 9]])) == 1
    assert cluster[0] != cluster[1]
    assert set(cluster[result["q"] > 0.05]) == {0}
    strongest = np.abs(result["auc"].values - 0.5).argmax()
    assert cluster[strongest] == 1
    assert "10 are associated" in result.attrs["sentence"]
    assert "in 5 groups of similar activation" in result.attrs["sentence"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"covariates": "confidnce"}, "no covariate 'confidnce'; did you mean 'confidence'"),
        ({"covariates": np.full(600, np.nan)}, "covariate 'covariate' is NaN for 600 samples"),
        ({"covariates": ["name"]}, "holds .*; expected numbers or booleans; strata= takes categ"),
        ({"covariates": "relative_performance"}, "determine the signal|determines the signal"),
        ({"groups": "patient"}, "no groups 'patient'"),
        ({"groups": np.zeros(600)}, "all samples are in one group of 'groups'"),
        ({"groups": np.zeros(3)}, r"groups 'groups' has shape \(3,\)"),
        ({"correction": "b"}, "no correction 'b'"),
        ({"controls": None}, "controls is None; expected some of untrained, input, replication"),
        ({"permutations": True}, "permutations is True; expected 0 or a number like 1000"),
        ({"permutations": -5}, "permutations is -5"),
        ({"signal": np.ones(600) * 1j}, "holds complex128; expected numbers or booleans"),
        ({"signal": []}, "no signal was given"),
        ({"signal": ["grade", "grade"]}, "signal 'grade' was given twice"),
        ({"signal": ["grade", "confidnce"]}, "no signal 'confidnce'; did you mean 'confidence'"),
        ({"signal": np.ones(600, bool)}, "for all 600 samples"),
        ({"strata": np.arange(600)}, "cannot be decided, n = 600"),
    ],
)
def test_what_cannot_be_asked_is_named(columns, arguments, message):
    named = columns.assign_coords(name=("sample", np.array(["a", "b"] * 300)))
    with pytest.raises(ValueError, match=message):
        nc.correlate(named, **arguments)


def test_two_values_for_one_sample_are_refused(recording):
    twice = xr.concat([recording["relative_performance"]] * 2, "sample").rename("mine")
    with pytest.raises(ValueError, match="'mine' has several values for sample 0; expected one"):
        nc.correlate(recording, twice)


def test_one_signal_of_several_for_the_report_and_the_explorer(columns, tmp_path):
    together = nc.correlate(columns, ["relative_performance", "confidence"], controls=())
    for verb in (lambda c: nc.explore(columns, c), lambda c: nc.report(tmp_path / "r", columns, c)):
        with pytest.raises(ValueError, match="of several signals .*; expected one, for example"):
            verb(together)
    page = nc.report(tmp_path / "one.html", columns, together.sel(signal="confidence"))
    assert "confidence" in page.read_text(encoding="utf-8")


def test_a_series_with_an_index_is_aligned_and_one_without_is_not(recording):
    named = recording.assign_coords(sample=[f"s{i}" for i in range(600)])
    values = np.random.default_rng(0).random(600)
    plain = nc.correlate(named, values, controls=())
    order = np.random.default_rng(1).permutation(600)
    series = pd.Series(values, index=named["sample"].values).iloc[order]
    xr.testing.assert_equal(nc.correlate(named, series, controls=()), plain)
    xr.testing.assert_equal(nc.correlate(named, pd.Series(values), controls=()), plain)
    with pytest.raises(ValueError, match="has no value for 1 of 600 samples"):
        nc.correlate(named, series.iloc[1:], controls=())


def test_a_tensor_that_asks_for_gradients_is_a_column(recording):
    values = torch.rand(600, requires_grad=True)
    result = nc.correlate(recording, values, controls=())
    expected = nc.correlate(recording, values.detach().numpy(), controls=())
    xr.testing.assert_equal(result, expected)


def test_two_values_are_a_binary_signal_whatever_they_are(recording):
    y = recording["relative_performance"].values
    coded = nc.correlate(recording, 2.0 * y - 1)
    plain = nc.correlate(recording, y)
    xr.testing.assert_equal(coded, plain)
    assert coded.attrs["n_positive"] == int(y.sum())


def test_a_relative_performance_of_other_values_is_refused(recording):
    odd = recording.assign_coords(
        relative_performance=("sample", np.random.default_rng(0).integers(-1, 2, 600))
    )
    with pytest.raises(ValueError, match=r"relative_performance holds \[-1, 0, 1\]; expected 1"):
        nc.correlate(odd)


def test_films_of_unequal_length(recording):
    """No two can change places: signs of whole films are flipped, in the halves too."""
    rng = np.random.default_rng(4)
    length = rng.integers(5, 60, 40)
    film = np.repeat(np.arange(40), length)
    signal = (rng.random(40) < 0.5)[film]
    activation = rng.normal(size=(40, 30))[film] + rng.normal(size=(len(film), 30))
    films = nc.from_arrays(activation, layer="a", film=film, s=signal)
    result = nc.correlate(films, "s", groups="film", controls="replication")
    assert result.attrs["groups_method"] == "sign flips of groups"
    assert "p by sign flips of groups (40 groups of film)" in result.attrs["sentence"]
    assert result.attrs["controls"] == ["replication"]
    assert int((result["q"] <= 0.05).sum()) <= 1
    naive = nc.correlate(films, "s", controls=())
    assert int((naive["q"] <= 0.05).sum()) > 10


def test_halves_with_too_few_groups_are_a_missing_control():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(8), 20)
    signal = rng.random(160) < 0.4
    recording = nc.from_arrays(rng.normal(size=(160, 5)), layer="a", g=group, s=signal)
    result = nc.correlate(recording, "s", groups="g", controls="replication")
    said = result.attrs["controls_missing"]
    assert result.attrs["controls"] == ["replication"] or "in half of the samples" in said[0]
    assert np.isfinite(result["p"]).all()


def test_the_plain_test_may_be_undecided_where_the_stratified_one_is_not():
    """The only stratum with both kinds has groups alike; the other makes them all differ."""
    rng = np.random.default_rng(0)
    inside = np.repeat(np.arange(20), 10)
    outside = np.repeat(np.arange(20), np.arange(1, 21))
    group = np.concatenate([inside, outside])
    label = np.repeat([0, 1], [len(inside), len(outside)])
    signal = np.concatenate([rng.random(len(inside)) < 0.4, np.zeros(len(outside), bool)])
    recording = nc.from_arrays(
        rng.normal(size=(len(group), 5)), layer="a", label=label, g=group, s=signal
    )
    result = nc.correlate(recording, "s", groups="g", controls=())
    assert np.isfinite(result["q"]).all()


def test_reach_counts_every_test_and_the_price_of_dependence():
    """5 of 40 positive: the smallest p allows some hundred tests, but not ten times as many."""
    rng = np.random.default_rng(0)
    signal = np.arange(40) < 5
    recording = nc.from_arrays(rng.normal(size=(40, 1000)), layer="a", s=signal)
    smallest = nc.correlate(recording, "s", controls=()).attrs["p_smallest"]
    most = int(0.05 / smallest)
    few = recording.isel(neuron=slice(most - 1))
    assert 20 < most < 1000

    def unreachable(*arguments, **options) -> bool:
        result = nc.correlate(*arguments, controls=(), **options)
        return "No neuron can reach" in result.attrs["sentence"]

    assert not unreachable(few, "s")
    assert unreachable(few, "s", correction="by")
    assert unreachable(few, {"s": signal, "other": np.roll(signal, 7)})


def test_the_table_of_part_of_a_result(recording):
    result = nc.correlate(recording)
    late = nc.top(result.sel(layer="late"), 3)
    assert late.neurons.sizes["neuron"] == 3
    assert "60 neurons, 30 of them here, were tested" in late.sentence
    assert "60 neurons, 2 of them here, were tested" in nc.top(result.isel(neuron=[0, 1])).sentence


def test_many_signals_are_told_by_those_with_the_most(recording):
    rng = np.random.default_rng(0)
    many = {f"s{i}": rng.random(600) for i in range(20)}
    many["mine"] = recording["relative_performance"].values
    said = nc.correlate(recording, many, controls=()).attrs["sentence"]
    assert "mine (" in said
    assert re.search(r"(19|20) of the 21 signals have no associated neuron", said)
    assert len(said) < 1500


def test_more_correlates_than_are_compared_with_each_other(monkeypatch, recording):
    monkeypatch.setattr("nbcorr.correlation.redundancy.MOST", 3)
    result = nc.correlate(recording, controls=())
    assert int((result["cluster"] == -1).sum()) == 2
    assert "in 3 groups of similar activation (of the 3 strongest)" in result.attrs["sentence"]


def test_the_table_of_answers_is_told(recording):
    said = nc.correlate(recording).attrs["sentence"]
    positive = int(recording["relative_performance"].sum())
    assert f"only the model on {positive}, only the baseline on 0" in said
    assert "McNemar p" in said
    assert "McNemar" not in nc.correlate(recording, np.arange(600)).attrs["sentence"]


def test_replication_is_of_what_covariates_leave():
    """A confounder alone: the plain association replicates, what it leaves does not."""
    rng = np.random.default_rng(3)
    difficulty = rng.normal(size=1500)
    signal = rng.random(1500) < 1 / (1 + np.exp(1 - difficulty))
    activation = rng.normal(size=(1500, 40)) + 0.8 * difficulty[:, None]
    recording = nc.from_arrays(activation, layer="a", s=signal, difficulty=difficulty)
    plain = nc.correlate(recording, "s", controls="replication")
    held = nc.correlate(recording, "s", controls="replication", covariates="difficulty")
    assert int(plain["replicated"].sum()) > 30
    assert int(held["replicated"].sum()) <= 1
