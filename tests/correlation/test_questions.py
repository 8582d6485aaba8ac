"""Several signals, covariates, groups, Pearson, the corrections: what may be asked of correlate."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
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
    assert "against 2 signals, all 120 tests counted together," in said
    assert "relative_performance: 5 are associated" in said
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
    assert "No neuron can reach q ≤ 0.05 alone among 4000 here" in said
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
    assert "permuted only as 40 whole groups (patient)" in result.attrs["sentence"]


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
