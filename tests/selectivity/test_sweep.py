"""The sweep: its numbers, and that it can be killed, gone on with and run side by side."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from nbcorr.recording.record import record
from nbcorr.selectivity.attacks import fgsm, pgd
from nbcorr.selectivity.corruptions import corrupt
from nbcorr.selectivity.index import selectivity
from nbcorr.selectivity.robustness import Corrupted, accuracy
from nbcorr.selectivity.sweep import selectivity_sweep, swept_model
from tests.selectivity.sweeps import FEW, build, same, small_data


@pytest.fixture(scope="module")
def data():
    return small_data()


@pytest.fixture(scope="module")
def sweep(data, tmp_path_factory):
    store = tmp_path_factory.mktemp("sweep")
    return selectivity_sweep(
        build, data, [-1, 0, 1], 2, epochs=4, store=store, progress=False, **FEW
    )


def test_the_knob_turns_selectivity_and_the_labels_are_in_place(sweep):
    assert dict(sweep["accuracy_corrupted"].sizes) == {
        "alpha": 3,
        "seed": 2,
        "corruption": 2,
        "severity": 2,
    }
    assert dict(sweep["accuracy_attacked"].sizes) == {"alpha": 3, "seed": 2, "attack": 2, "eps": 1}
    assert sweep["layer"].values.tolist() == ["1", "6"]
    assert sweep["neuron"].values.tolist()[5:7] == ["1:5", "6:0"]
    index = sweep["selectivity"].mean(("seed", "layer"))
    assert float(index.sel(alpha=-1)) < float(index.sel(alpha=0)) < float(index.sel(alpha=1))
    assert float(sweep["accuracy"].sel(alpha=0).min()) > 0.7
    easy, hard = (sweep["accuracy_corrupted"].sel(severity=s).mean() for s in (1, 5))
    assert easy > hard


def test_every_number_is_what_its_own_verb_says_of_the_network(sweep, data):
    images, labels = data[1]["image"].values, data[1]["label"].values
    model = swept_model(sweep, build, 1, 1)
    own = sweep.sel(alpha=1, seed=1)
    assert accuracy(model, images, labels) == float(own["accuracy"])
    fogged = accuracy(model, corrupt(images, "fog", 5), labels)
    assert fogged == float(own["accuracy_corrupted"].sel(corruption="fog", severity=5))
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for attack, attacked in (
        ("fgsm", fgsm(model, x, y, 0.1)),
        ("pgd", pgd(model, x, y, 0.1, steps=2)),
    ):
        expected = accuracy(model, attacked.numpy(), labels)
        assert expected == float(own["accuracy_attacked"].sel(attack=attack, eps=0.1))
    recording = record(model, (images, labels), "ReLU", progress=False)
    index = selectivity(recording, n_resamples=0)["selectivity"]
    np.testing.assert_allclose(own["unit_selectivity"], index.values, rtol=1e-4)
    for layer in ("1", "6"):
        expected = float(index.sel(layer=layer).mean())
        assert float(own["selectivity"].sel(layer=layer)) == pytest.approx(expected, rel=1e-4)


def test_runs_side_by_side_give_the_same(sweep, data):
    beside = selectivity_sweep(
        lambda: build(), data, [-1], 2, epochs=4, n_jobs=2, progress=False, **FEW
    )
    same(sweep.sel(alpha=[-1]), beside)


def test_corrupted_images_are_made_once_and_are_the_same(data):
    images = data[1]["image"].values
    corrupted = Corrupted(images)
    for _ in range(2):
        for kind, severity in (("gaussian_noise", 5), ("zoom_blur", 2)):
            assert np.array_equal(corrupted(kind, severity), corrupt(images, kind, severity))


def test_images_too_large_to_be_sent_and_warnings_of_the_workers(data, tmp_path):
    """joblib hands arrays over a megabyte on as files mapped into memory."""
    train, test = data
    large = np.repeat(train["image"].values, 11, axis=0)
    assert large.nbytes > 1 << 20
    repeated = large, np.repeat(train["label"].values, 11)
    few = {**FEW, "corruptions": (), "eps": (), "batch_size": 256, "epochs": 1, "progress": False}
    found = []
    for n_jobs in (1, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found.append(
                selectivity_sweep(strict_build, (repeated, test), [0], 1, n_jobs=n_jobs, **few)
            )
    same(*found)
    found[0].to_netcdf(tmp_path / "sweep.nc")
    same(xr.load_dataset(tmp_path / "sweep.nc"), found[0])


def strict_build():
    """In whatever process it is called, a warning is an error from then on."""
    warnings.simplefilter("error")
    return build()


def test_what_is_kept_is_not_made_again(sweep, data):
    store = Path(sweep.attrs["store"]).parent
    files = {path: path.stat().st_mtime_ns for path in store.rglob("*.pt")}
    arguments = {"epochs": 4, "store": store, "progress": False}
    again = selectivity_sweep(build, data, [-1, 0, 1], 2, **arguments, **FEW)
    same(sweep, again)
    other_tests = selectivity_sweep(
        build, data, [-1, 0, 1], 2, **arguments, **{**FEW, "corruptions": ("snow",)}
    )
    assert other_tests["corruption"].values.tolist() == ["snow"]
    assert files == {path: path.stat().st_mtime_ns for path in store.rglob("*.pt")}
    other = selectivity_sweep(build, data, [0], [0], **{**arguments, "epochs": 1}, **FEW)
    assert other.attrs["store"] != sweep.attrs["store"]
    assert not np.array_equal(other["accuracy"], sweep["accuracy"].sel(alpha=[0], seed=[0]))


def test_the_random_state_and_threads_of_the_caller_are_left_alone(data):
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    few = {**FEW, "corruptions": (), "eps": ()}
    found = selectivity_sweep(build, data, [0], [3], epochs=1, progress=False, **few)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert "accuracy_corrupted" not in found
    assert "accuracy_attacked" not in found


def test_a_network_that_diverges_is_nan_and_the_others_are_there(data):
    few = {**FEW, "corruptions": (), "eps": ()}
    with pytest.warns(UserWarning, match="NaN or infinite"):
        found = selectivity_sweep(
            build, data, [0], [0], epochs=2, learning_rate=1e6, progress=False, **few
        )
    assert np.isnan(found["selectivity"]).all()
    assert (found["dead"] == 1).all()
    assert np.isfinite(found["accuracy"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphas": []}, "no alpha was given"),
        ({"alphas": [0, 0]}, r"the alphas \[0.0, 0.0\] repeat"),
        ({"alphas": [np.nan]}, "expected finite numbers"),
        ({"seeds": 0}, "no seed was given"),
        ({"corruptions": ("fogg",)}, "did you mean 'fog'"),
        ({"severities": (0,)}, "severity is 0; expected 1 to 5"),
        ({"eps": (-1,)}, r"eps are \[-1\]"),
        ({"epochs": 0}, "epochs is 0; expected 1 or more"),
        ({"layers": "relu"}, "no layer 'relu'"),
    ],
)
def test_refuses(data, change, message):
    arguments = {"alphas": [0], "seeds": 1, "epochs": 1, "progress": False, **FEW, **change}
    with pytest.raises(ValueError, match=message):
        selectivity_sweep(build, data, **arguments)


def test_refuses_data_it_cannot_use(data):
    images, labels = data[0]["image"].values, data[0]["label"].values
    for train, message in (
        (images, "the training images have no labels"),
        ((images, labels.astype(str)), "the training labels are <U"),
        ((images * 3, labels), "values from 0 to 3; expected 0 to 1"),
        ((images, labels * 0), "all of one class"),
    ):
        with pytest.raises(ValueError, match=message):
            selectivity_sweep(build, (train, data[1]), [0], 1, progress=False)
    with pytest.raises(ValueError, match="made without store="):
        swept_model(xr.Dataset(), build, 0, 0)
