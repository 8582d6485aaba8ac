"""Several neurons together: what a sparse probe finds, and what it must not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import nbcorr as nc
from nbcorr.correlation import probe as probe_module
from nbcorr.correlation import sparse
from nbcorr.correlation.folds import assign_folds
from nbcorr.correlation.task import Task
from nbcorr.stats.association import associate
from tests.conftest import planted_recording


def paired_recording(n: int = 1000, neurons: int = 20, seed: int = 0) -> xr.Dataset:
    """Neurons 3 and 8 share a large fluctuation; only their difference carries the signal."""
    rng = np.random.default_rng(seed)
    signal = rng.random(n) < 0.2
    activation = rng.normal(size=(n, neurons))
    shared = 3 * rng.normal(size=n)
    activation[:, 3] = shared + 0.3 * signal + 0.2 * rng.normal(size=n)
    activation[:, 8] = shared - 0.3 * signal + 0.2 * rng.normal(size=n)
    return nc.from_arrays(activation, layer="a", knows=signal, inputs=rng.normal(size=(n, 4)))


def null_recording(n: int = 500, neurons: int = 30, seed: int = 0) -> xr.Dataset:
    """Signal and neurons both depend on the class, and on nothing else in common."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, n)
    signal = rng.random(n) < np.array([0.05, 0.1, 0.2, 0.6])[label]
    activation = 2 * rng.normal(size=(4, neurons))[label] + rng.normal(size=(n, neurons))
    return nc.from_arrays(activation, layer="a", label=label, knows=signal)


def without_inputs(recording: xr.Dataset) -> xr.Dataset:
    return recording.drop_dims("feature", errors="ignore")


def test_a_pair_that_tells_only_together_is_found():
    recording = paired_recording()
    alone = aucs_alone(recording)
    assert (np.abs(alone[[3, 8]] - 0.5) < 0.06).all()
    result = nc.probe(recording, "knows", progress=False)
    assert set(np.argsort(-np.abs(result["weight"].values))[:2]) == {3, 8}
    assert (result["selected"][[3, 8]] == 1).all()
    assert result["weight"][3] > 0 > result["weight"][8]
    assert result["auc_low"] > 0.8
    assert result["auc_low"] > max(result["auc_control"].max(), result["auc_input"])
    assert float(result["selectivity"]) == pytest.approx(
        float(result["auc"] - result["auc_control"].mean())
    )


def aucs_alone(recording: xr.Dataset) -> np.ndarray:
    return associate(recording.activation.values.T, recording.knows.values).auc


def test_nothing_is_found_where_there_is_nothing():
    """Out of fold, over repetitions, the AUC is .5; and so is that of the control task."""
    reached, control = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        recording = nc.from_arrays(
            rng.normal(size=(200, 20)), layer="a", knows=rng.random(200) < 0.3
        )
        result = nc.probe(
            recording, "knows", controls="control_task", draws=2, seed=seed, progress=False
        )
        reached.append(float(result["auc"]))
        control += result["auc_control"].values.tolist()
    for values in (np.array(reached), np.array(control)):
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - 0.5) < 3 * error + 0.005


def test_knowing_the_class_is_not_credited():
    reached = []
    for seed in range(8):
        recording = null_recording(seed=seed)
        reached.append(float(nc.probe(recording, "knows", controls=(), progress=False)["auc"]))
    error = np.std(reached, ddof=1) / np.sqrt(len(reached))
    assert abs(np.mean(reached) - 0.5) < 3 * error + 0.005
    plain = nc.probe(recording, "knows", strata=None, controls=(), progress=False)
    assert plain["auc"] > 0.7


def test_groups_stay_whole():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 10)
    signal = rng.random(40)[group] < 0.4
    # What only tells the group apart tells nothing of other groups.
    activation = rng.normal(size=(40, 60))[group] + 0.1 * rng.normal(size=(400, 60))
    recording = nc.from_arrays(activation, layer="a", knows=signal, patient=group)
    leaking = nc.probe(recording, "knows", controls=(), progress=False)
    whole = nc.probe(recording, "knows", groups="patient", controls=(), progress=False)
    assert leaking["auc"] > 0.9
    assert whole["auc"] < 0.75
    assert whole.attrs["groups"] == "patient"
    task = Task.of(signal, None, group)
    folds = assign_folds(task, 5, 0)
    assert all(len(set(folds[group == g])) == 1 for g in range(40))


def film_recording(seed: int, films: int = 60, effect: float = 0) -> xr.Dataset:
    """Neurons and signal belong to whole films of 8 frames, and have nothing to do else."""
    rng = np.random.default_rng(seed)
    film = np.repeat(np.arange(films), 8)
    signal = (rng.random(films) < 0.4)[film]
    activation = rng.normal(size=(films, 10))[film] + 0.3 * rng.normal(size=(len(film), 10))
    activation[:, 0] += effect * signal
    return nc.from_arrays(activation, layer="a", knows=signal, film=film)


def test_the_interval_and_the_control_allow_for_groups():
    """Signal and neurons by film, unrelated: the interval holds .5; control tasks vary alike."""
    missed, control, reached = 0, [], []
    for seed in range(20):
        result = nc.probe(
            film_recording(seed),
            "knows",
            groups="film",
            n_folds=4,
            controls="control_task",
            draws=1,
            seed=seed,
            progress=False,
        )
        missed += not result["auc_low"] <= 0.5 <= result["auc_high"]
        control.append(float(result["auc_control"][0]))
        reached.append(float(result["auc"]))
    # At .05 more than 4 of 20 are missed in 3 of 1,000 such simulations.
    assert missed <= 4
    assert abs(np.mean(control) - 0.5) < 3 * np.std(control) / np.sqrt(20) + 0.005
    # Frames dealt one by one would leave a control that hardly varies (.03).
    assert np.std(control) > 0.5 * np.std(reached)


def test_the_sentence_says_that_groups_were_kept_whole():
    result = nc.probe(film_recording(0, effect=1.5), "knows", groups="film", progress=False)
    assert result.attrs["n_groups"] == 60
    said = result.attrs["sentence"]
    assert "interval from resamples of 60 whole groups, film" in said
    assert "on the signal permuted in whole groups (5 draws, mean)" in said
    assert result["auc_low"] > 0.5


@pytest.mark.parametrize(("half", "shown"), [(0.3, "0.7 [0.4, 1.0]"), (0.03, "0.71 [0.68, 0.74]")])
def test_no_number_is_finer_than_its_standard_error(half, shown):
    result = xr.Dataset({"auc": 0.71, "auc_low": 0.71 - half, "auc_high": 0.71 + half})
    assert probe_module._range(result) == shown


def test_matched_pairs_need_to_stay_whole():
    rng = np.random.default_rng(0)
    pair, signal = np.arange(200) // 2, np.arange(200) % 2
    activation = 3 * rng.normal(size=(100, 5))[pair] + rng.normal(size=(200, 5))
    activation[:, 0] += signal
    recording = nc.from_arrays(activation, layer="a", pair=pair, knows=signal)
    torn = nc.probe(recording, "knows", "pair", n_folds=4, controls=(), progress=False)
    whole = nc.probe(
        recording, "knows", "pair", groups="pair", n_folds=4, controls=(), progress=False
    )
    assert torn.attrs["n_compared"] < 100
    assert "that meet the other kind in their fold decide" in torn.attrs["sentence"]
    assert whole.attrs["n_compared"] == 200
    assert whole["auc_low"] > 0.55
    with pytest.raises(ValueError, match="cannot be decided, n = 8: in "):
        sparse.judge(np.zeros((1, 8)), Task.of(signal[:8], pair[:8]), np.arange(8) % 4)


def test_many_neurons_are_screened_in_the_training_set_only(monkeypatch):
    """Noise that is strong by chance in all samples must not look strong out of fold."""
    monkeypatch.setattr(sparse, "MOST_FEATURES", 100)
    monkeypatch.setattr(sparse, "SCREENED", 20)
    reached = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        recording = nc.from_arrays(
            rng.normal(size=(160, 600)), layer="a", knows=rng.random(160) < 0.4
        )
        reached.append(float(nc.probe(recording, "knows", controls=(), progress=False)["auc"]))
    error = np.std(reached, ddof=1) / np.sqrt(len(reached))
    assert abs(np.mean(reached) - 0.5) < 3 * error + 0.01
    planted = planted_recording(n=500, neurons=300, planted=4)
    result = nc.probe(planted, controls=(), progress=False)
    assert (result["selected"][:4] == 1).all()
    assert int((result["selected"] > 0).sum()) <= 5 * 20
    assert result["auc_low"] > 0.8


def test_every_control_and_the_sentence():
    recording = planted_recording(n=400, neurons=20, planted=3, twins=2)
    noise = np.random.default_rng(0).normal(size=(400, 6))
    recording = without_inputs(recording).assign(input=(("sample", "feature"), noise))
    result = nc.probe(recording, draws=3, n_folds=4, seed=2, progress=False)
    assert result.attrs["controls"] == ["control_task", "untrained", "input"]
    assert result.attrs["controls_missing"] == []
    assert result.sizes == {"neuron": 20, "draw": 3, "twin": 2}
    twin = recording.assign(activation=(("sample", "neuron"), recording.activation_twin.values[1]))
    alone = nc.probe(twin, n_folds=4, seed=2, controls=(), progress=False)
    assert float(alone["auc"]) == float(result["auc_untrained"][1])
    said = result.attrs["sentence"]
    for part in (
        "of 20 neurons (median over 4 folds",
        "tells relative_performance with AUC 0.",
        "n = 400, ",
        "compared within each label",
        "on the signal permuted (3 draws, mean)",
        "on the best of 2 untrained twins",
        "on the raw input",
        "Its interval lies above them.",
        "does not mean that the model uses it",
    ):
        assert part in said
    assert len(result.attrs["penalty"]) == 4


def test_an_untrained_twin_that_does_as_well_is_said():
    recording = planted_recording(n=400, neurons=20, planted=3)
    same = (("twin", "sample", "neuron"), recording["activation"].values[None])
    result = nc.probe(recording.assign(activation_twin=same), controls="untrained", progress=False)
    assert float(result["auc_untrained"][0]) == float(result["auc"])
    assert "does not lie above the untrained twins" in result.attrs["sentence"]


def test_missing_controls_are_named():
    recording = without_inputs(planted_recording(n=300, neurons=10))
    recording = recording.assign_attrs(input="not kept: token ids")
    result = nc.probe(recording, draws=1, progress=False)
    assert result.attrs["controls"] == ["control_task"]
    untrained, raw = result.attrs["controls_missing"]
    assert "nc.record(..., twins=5)" in untrained
    assert "not kept: token ids" in raw
    assert "Control missing: untrained: no untrained twins" in result.attrs["sentence"]
    blank = recording.assign(input=(("sample", "feature"), np.zeros((300, 2))))
    again = nc.probe(blank, controls="input", progress=False)
    assert again.attrs["controls_missing"] == ["input: all of it is constant"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dead_neurons_are_left_out(dtype):
    recording = planted_recording(n=300, neurons=12, planted=2)
    values = recording["activation"].values.astype(dtype)
    values[:, 5], values[7, 6], values[9, 7], values[:, 8] = 3, np.nan, np.inf, -0.0
    values[:, 9] = recording.label.values
    recording["activation"] = (("sample", "neuron"), values)
    result = nc.probe(recording, controls=(), progress=False)
    dead = [5, 6, 7, 8]
    assert np.flatnonzero(result["dead"]).tolist() == dead
    for name in ("weight", "selected"):
        assert np.flatnonzero(np.isnan(result[name])).tolist() == dead
    assert result.attrs["n_dead"] == 4
    # What knows nothing but the class is constant within it.
    assert float(result["weight"][9]) == 0
    left = recording.isel(neuron=[i for i in range(12) if i not in dead])
    same = nc.probe(left, controls=(), progress=False)
    assert float(same["auc"]) == float(result["auc"])


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_sparse_duplicated_and_huge_neurons_raise_no_warning(share, scale):
    rng = np.random.default_rng(0)
    signal = rng.random(300) < 0.2
    activation = scale * np.where(rng.random((300, 10)) < share, 0, 1 + rng.random((300, 10)))
    activation[:, 1] = activation[:, 0]
    activation[:, 2] = -activation[:, 0]
    activation[:, 3] = signal * scale
    recording = nc.from_arrays(activation, layer="a", knows=signal)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = nc.probe(recording, "knows", draws=1, controls="control_task", progress=False)
    assert float(result["auc"]) == pytest.approx(1)
    assert float(result["selected"][3]) == 1


def test_layers_are_chosen_by_name_and_glob(recording):
    part = nc.probe(recording, layers="late", controls=(), progress=False)
    assert part.attrs["layers"] == ["late"]
    assert part.sizes["neuron"] == 30
    same = nc.probe(recording.sel(layer="late"), controls=(), progress=False)
    np.testing.assert_array_equal(part["weight"], same["weight"])
    both = nc.probe(recording, layers=["l*", "early"], controls=(), progress=False)
    assert both.attrs["layers"] == ["early", "late"]
    with pytest.raises(ValueError, match="no layer 'lat'; did you mean 'late'"):
        nc.probe(recording, layers="lat")


def test_same_seed_same_result():
    recording = planted_recording(n=200, neurons=10)
    first, again = (nc.probe(recording, draws=1, seed=3, progress=False) for _ in range(2))
    xr.testing.assert_identical(first, again)


def test_a_recording_on_dask_gives_the_same():
    recording = planted_recording(n=200, neurons=15, twins=1)
    lazy = recording.chunk({"neuron": 6})
    xr.testing.assert_identical(
        nc.probe(lazy, draws=1, progress=False), nc.probe(recording, draws=1, progress=False)
    )


def test_an_interrupt_goes_through(recording, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sparse.Fit, "weights", stop)
    with pytest.raises(KeyboardInterrupt):
        nc.probe(recording, progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"signal": "labl"}, "no signal 'labl'; did you mean 'label'"),
        ({"signal": np.arange(600) < 9}, r"n = 600, 9 positive: \d+ samples of one kind in strata"),
        ({"signal": np.zeros(600)}, "the signal is False for all 600|is 0 for all 600"),
        ({"strata": np.arange(600)}, "cannot be decided, n = 600"),
        (
            {"groups": np.arange(600) // 100},
            "groups hold samples of one kind; expected at least 10",
        ),
        ({"controls": ["untraind"]}, "no control 'untraind'; did you mean 'untrained'"),
        ({"n_folds": 1}, "n_folds is 1; expected at least 2"),
        ({"draws": 0}, "draws is 0; expected at least 1"),
    ],
)
def test_bad_requests_are_named(recording, arguments, message):
    with pytest.raises(ValueError, match=message):
        nc.probe(recording, progress=False, **arguments)


def test_a_recording_of_dead_neurons():
    recording = nc.from_arrays(np.ones((60, 3)), layer="a", knows=np.arange(60) % 2)
    with pytest.raises(ValueError, match="all 3 neurons are dead; expected one to live"):
        nc.probe(recording, "knows")


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_samples(n):
    recording = nc.from_arrays(np.arange(n)[:, None], layer="a", knows=np.arange(n))
    with pytest.raises(
        ValueError, match="expected at least two different values|n = 2, 1 positive"
    ):
        nc.probe(recording, "knows")
