from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from sklearn.metrics import roc_auc_score

import nbcorr as nc
from nbcorr.stats.association import associate
from tests.conftest import planted_recording


def literal_stratified_auc(x, y, strata) -> float:
    """Van Elteren's weighting, from its definition by counting pairs."""
    total = weight = 0.0
    for stratum in set(strata.tolist()):
        here = strata == stratum
        positive, negative = x[here & y], x[here & ~y]
        if len(positive) and len(negative):
            wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
            total += wins / (here.sum() + 1)
            weight += len(positive) * len(negative) / (here.sum() + 1)
    return total / weight


def test_statistics_equal_their_definitions(recording):
    result = nc.correlate(recording)
    y = recording.relative_performance.values.astype(bool)
    for i in (0, 3, 17, 59):
        x = recording.activation.values[:, i]
        expected = literal_stratified_auc(x, y, recording.label.values)
        assert float(result["auc"][i]) == pytest.approx(expected, abs=1e-12)
        rho = scipy.stats.spearmanr(x, y).statistic
        assert float(result["rho"][i]) == pytest.approx(rho, abs=1e-12)
        assert result["auc_low"][i] < result["auc"][i] < result["auc_high"][i]
    np.testing.assert_allclose(result["rank_biserial"], 2 * result["auc"] - 1)
    np.testing.assert_allclose(
        result["q"], scipy.stats.false_discovery_control(result["p"]), rtol=1e-12
    )


def test_plain_spearman_and_auc_are_one_argument_away(recording):
    result = nc.correlate(recording, strata=None, controls=())
    y = recording.relative_performance.values.astype(bool)
    x = recording.activation.values.astype(np.float64)
    for i in (0, 30):
        assert float(result["auc"][i]) == pytest.approx(roc_auc_score(y, x[:, i]), abs=1e-12)
        test = scipy.stats.mannwhitneyu(
            x[y, i], x[~y, i], method="asymptotic", use_continuity=False
        )
        assert float(result["p"][i]) == pytest.approx(test.pvalue, rel=1e-9)
    assert result.attrs["strata"] == "none"
    assert "replicated" not in result
    assert "excess" not in result


def test_planted_neurons_pass_every_control_and_others_do_not(recording):
    result = nc.correlate(recording)
    passed = (result["q"] <= 0.05) & result["replicated"] & (result["excess"] > 0)
    assert passed.values[:5].all()
    assert not passed.values[5:].any()
    assert result.attrs["controls"] == ["untrained", "input", "replication"]
    assert result.attrs["controls_missing"] == []


def test_class_confounding_fools_the_plain_test_only():
    """Neurons that know the class and nothing more (validity: the known trap)."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 2000)
    signal = rng.random(2000) < np.array([0.02, 0.05, 0.1, 0.3])[label]
    activation = rng.normal(size=(4, 100))[label] + rng.normal(size=(2000, 100))
    recording = nc.from_arrays(activation, layer="a", label=label, knows=signal)
    result = nc.correlate(recording, "knows", controls=())
    assert int((result["q_unstratified"] <= 0.05).sum()) > 50
    assert int((result["q"] <= 0.05).sum()) <= 2


def test_the_untrained_envelope_is_the_best_unit_of_the_layer_in_any_twin(recording):
    result = nc.correlate(recording)
    y = recording.relative_performance.values.astype(bool)
    best = 0.5
    for twin in recording.activation_twin.values:
        for x in twin[:, :30].T:
            auc = literal_stratified_auc(x, y, recording.label.values)
            best = max(best, auc, 1 - auc)
    early = result.sel(layer="early")
    np.testing.assert_allclose(early["auc_untrained"], best, atol=1e-12)
    np.testing.assert_allclose(
        early["excess"], np.maximum(early["auc"], 1 - early["auc"]) - best, atol=1e-12
    )


def test_replication_looks_at_the_other_half():
    """Selected noise does not replicate; its held-out AUC falls back to chance."""
    result = nc.correlate(planted_recording(n=300, neurons=2000, planted=0))
    strongest = nc.top(result, 20, by="auc_selection").neurons
    first = np.abs(strongest["auc_selection"] - 0.5).mean()
    sign = np.sign(strongest["auc_selection"] - 0.5)
    second = (sign * (strongest["auc_heldout"] - 0.5)).mean()
    assert float(second) < 0.5 * float(first)
    assert int(result["replicated"].sum()) == 0


def test_dead_neurons_are_nan_and_counted(recording):
    recording["activation"][:, 7] = 3.0
    result = nc.correlate(recording)
    assert bool(result["dead"][7])
    assert result.attrs["n_dead"] == 1
    for name in ("auc", "p", "q", "rho", "auc_heldout", "excess"):
        assert np.isnan(float(result[name][7])), name
    assert not bool(result["replicated"][7])
    assert np.isfinite(result["q"].values[np.arange(60) != 7]).all()
    assert "59 neurons (and 1 dead, left out) of 2 layers" in result.attrs["sentence"]


def test_missing_controls_are_named(recording):
    result = nc.correlate(recording.drop_vars(["activation_twin", "input"]))
    assert result.attrs["controls"] == ["replication"]
    assert "nc.record(..., twins=5)" in result.attrs["controls_missing"][0]
    assert "nc.from_arrays(..., inputs=...)" in result.attrs["controls_missing"][1]
    assert "Control missing: untrained" in result.attrs["sentence"]
    assert "Control missing: input" in result.attrs["sentence"]
    few = nc.correlate(planted_recording(n=60, planted=0))
    assert any("too few to split" in reason for reason in few.attrs["controls_missing"])
    assert "With only" in few.attrs["sentence"]


def test_signals_of_every_kind(recording):
    n = recording.sizes["sample"]
    column = recording.assign_coords(margin=("sample", np.linspace(0, 1, n)))
    by_name = nc.correlate(column, "margin", strata=None, controls=())
    by_array = nc.correlate(recording, np.linspace(0, 1, n), strata=None, controls=())
    np.testing.assert_array_equal(by_name["auc"], by_array["auc"])
    # CMA is (rho + 1) / 2 for a signal without ties.
    rho = [scipy.stats.spearmanr(x, np.arange(n)).statistic for x in recording.activation.T]
    np.testing.assert_allclose(by_name["rho"], rho, atol=1e-12)
    assert "n_positive" not in by_name.attrs


def test_a_labelled_signal_is_aligned_by_sample_id(recording):
    ids = np.array([f"s{i}" for i in range(recording.sizes["sample"])])
    named = recording.assign_coords(sample=ids)
    signal = named["relative_performance"].drop_vars("label").rename("mine")
    shuffled = signal.isel(sample=np.random.default_rng(0).permutation(len(ids)))
    np.testing.assert_array_equal(nc.correlate(named, shuffled)["auc"], nc.correlate(named)["auc"])
    with pytest.raises(ValueError, match="'mine' has no value for 1 of 600 samples, the first of"):
        nc.correlate(named, shuffled.isel(sample=slice(1, None)))


def test_one_layer_selected_by_xarray(recording):
    whole = nc.correlate(recording)
    part = nc.correlate(recording.sel(layer="late"))
    np.testing.assert_array_equal(part["auc"], whole.sel(layer="late")["auc"])
    assert part.indexes["neuron"][0] == ("late", 0)


def test_family_wise_p_by_permutation(recording):
    """Against a literal single-step max-T with permutations of its own: a one-sided bound."""
    result = nc.correlate(recording, permutations=200, controls=())
    assert result.attrs["permutations"] == 200
    y = recording.relative_performance.values.astype(bool)
    rng = np.random.default_rng(1)
    label = recording.label.values
    largest = []
    for _ in range(100):
        shuffled = y.copy()
        for stratum in range(4):
            shuffled[label == stratum] = rng.permutation(y[label == stratum])
        z = associate(recording.activation.values.T, shuffled, label).z
        largest.append(np.nanmax(np.abs(z)))
    observed = np.abs(associate(recording.activation.values.T, y, label).z)
    literal = (1 + (np.array(largest)[:, None] >= observed).sum(0)) / 101
    assert (result["p_familywise"] <= literal + 0.15).all()
    assert (result["p_familywise"][:5] < 0.01).all()
    assert (result["p_familywise"][5:] > 0.05).all()
    assert "p_familywise" not in nc.correlate(recording, controls=())


def test_blocks_do_not_change_the_numbers(recording, monkeypatch):
    whole = nc.correlate(recording)
    monkeypatch.setattr("nbcorr.recording.blocks._VALUES_PER_BLOCK", 600 * 7)
    xr.testing.assert_equal(nc.correlate(recording), whole)


def test_same_seed_same_result(recording):
    xr.testing.assert_identical(nc.correlate(recording, seed=4), nc.correlate(recording, seed=4))


def test_results_merge_by_neuron(recording):
    together = xr.merge(
        [nc.correlate(recording), nc.selectivity(recording)], compat="override", join="exact"
    )
    assert {"auc", "selectivity"} <= set(together.data_vars)
    assert together.to_dataframe().index.names == ["layer", "unit"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"signal": "labl"}, "no signal 'labl'; did you mean 'label'"),
        ({"signal": np.zeros(3)}, r"signal 'signal' has shape \(3,\); expected one value for each"),
        ({"signal": np.zeros(600)}, "0 for all|constant|same"),
        ({"signal": np.full(600, np.nan)}, "is NaN for 600 samples"),
        ({"signal": np.array(["a"] * 600)}, "expected numbers or booleans"),
        ({"strata": "site"}, "no strata 'site'"),
        ({"strata": np.arange(600)}, "cannot be decided"),
        ({"strata": [None] * 600}, "are missing for 600 samples"),
        ({"controls": ["untraind"]}, "no control 'untraind'; did you mean 'untrained'"),
    ],
)
def test_bad_requests_are_named(recording, arguments, message):
    with pytest.raises(ValueError, match=message):
        nc.correlate(recording, **arguments)


def test_asking_for_labels_that_are_not_there(recording):
    with pytest.raises(ValueError, match="no strata 'label'"):
        nc.correlate(recording.drop_vars("label"), "relative_performance", strata="label")


def test_no_sample_where_only_a_is_right_stops_before_statistics():
    same = np.arange(6) % 2
    recording = nc.from_arrays(np.eye(6), layer="a", label=same, prediction=same, baseline=same)
    with pytest.raises(ValueError, match=r"no sample where only the model is right.*both right 6"):
        nc.correlate(recording)


def test_answers_that_are_missing_are_named():
    with pytest.raises(ValueError, match="the recording has no label, no prediction, no baseline"):
        nc.correlate(nc.from_arrays(np.eye(6), layer="a"))


def test_one_control_by_its_name(recording):
    assert nc.correlate(recording, controls="untrained").attrs["controls"] == ["untrained"]


def test_twins_that_are_dead_are_nothing_to_be_beyond_of(recording):
    twins = recording["activation_twin"].values.copy()
    twins[:, :, :30] = 0
    result = nc.correlate(recording.assign(activation_twin=(("twin", "sample", "neuron"), twins)))
    assert np.isnan(result.sel(layer="early")["excess"]).all()
    assert np.isfinite(result.sel(layer="late")["excess"]).all()


def test_the_sentence_says_how_many_samples_decide():
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(20), 50)
    signal = (label == 3) & (rng.random(1000) < 0.4)
    recording = nc.from_arrays(rng.normal(size=(1000, 5)), layer="a", label=label, odd=signal)
    said = nc.correlate(recording, "odd").attrs["sentence"]
    assert "(the 50 samples of those with both kinds decide)" in said


def test_sparse_neurons_are_not_found_where_there_is_nothing():
    """Zero but at 2 % of the samples, with 10 positives: the normal tail finds several a run."""
    found = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        positive = np.zeros(1000, bool)
        positive[rng.permutation(1000)[:10]] = True
        activation = np.where(rng.random((1000, 300)) < 0.02, rng.random((1000, 300)), 0)
        recording = nc.from_arrays(
            activation, layer="a", label=rng.integers(0, 4, 1000), s=positive
        )
        result = nc.correlate(recording, "s", controls=())
        found += int((result["q"] <= 0.05).sum() + (result["q_unstratified"] <= 0.05).sum())
    assert found <= 1
