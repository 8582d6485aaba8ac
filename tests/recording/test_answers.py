"""Answers that are missing, of another kind, or called like somebody else's column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import nbcorr as nc

IDS = [f"s{at}" for at in range(40)]


def answered(labels, missing, at=13):
    answers = labels.astype(object)
    answers[at] = missing
    return answers


@pytest.mark.parametrize("missing", [np.nan, None])
@pytest.mark.parametrize("kind", [pd.Series, dict, xr.DataArray, "callable", "scores"])
def test_a_baseline_that_leaves_a_sample_out_is_named(model, images, labels, missing, kind):
    answers = answered(labels, missing)
    scores = np.eye(3)[labels]
    scores[13, 1] = np.nan
    baseline = {
        pd.Series: lambda: pd.Series(answers, index=IDS),
        dict: lambda: dict(zip(IDS, answers, strict=True)),
        xr.DataArray: lambda: xr.DataArray(answers, coords={"sample": IDS}, dims="sample"),
        "callable": lambda: iter_of(answers),
        "scores": lambda: iter_of(scores),
    }[kind]()
    data = ((images[at : at + 8], labels[at : at + 8], IDS[at : at + 8]) for at in range(0, 40, 8))
    message = r"the baseline has no answer \(NaN or None\) for 1 of 8 samples, first 's13'"
    with pytest.raises(ValueError, match=message) as caught:
        nc.record(model, data, baseline=baseline, progress=False)
    assert caught.value.recording.sizes["sample"] == 8


def iter_of(answers):
    parts = iter(np.split(answers, 5))
    return lambda batch: next(parts)


@pytest.mark.parametrize("rows", [False, True])
def test_by_position_too(model, images, labels, rows):
    answers = np.eye(3)[labels] if rows else labels.astype(float)
    answers[7] = np.nan
    with pytest.raises(ValueError, match=r"no answer .* 1 of 40 samples, first 7"):
        nc.record(model, (images, labels), baseline=answers, progress=False)
    with pytest.raises(ValueError, match=r"no answer .* 1 of 40 samples, first 's7'"):
        nc.from_arrays(
            np.zeros((40, 1)),
            layer="a",
            sample=IDS,
            label=labels,
            prediction=labels,
            baseline=answered(labels, np.nan, 7),
        )


def test_answers_of_samples_that_are_not_recorded_may_be_missing(model, images, labels):
    answers = pd.Series(labels.astype(float), index=IDS)
    answers["elsewhere"] = np.nan
    recording = nc.record(model, [(images, labels, IDS)], baseline=answers, progress=False)
    np.testing.assert_array_equal(recording.baseline, labels)


def test_text_is_not_compared_with_numbers(model, images, labels):
    names = np.array(["cat", "dog", "owl"])
    with pytest.warns(UserWarning, match=r"label is text and prediction int64.*left out"):
        recording = nc.record(model, (images, names[labels]), baseline=labels, progress=False)
    assert "relative_performance" not in recording.coords
    with pytest.warns(UserWarning, match=r"label is int64 and baseline text.*left out"):
        recording = nc.record(
            model, (images, labels), baseline=names[labels].astype(object), progress=False
        )
    assert "relative_performance" not in recording.coords
    recording = nc.from_arrays(
        np.zeros((3, 1)), layer="a", label=names, prediction=names, baseline=names[[0, 0, 0]]
    )
    assert recording.relative_performance.values.tolist() == [0, 1, 1]


TAKEN = ["sample", "prediction", "confidence", "loss", "margin", "relative_performance", "neuron"]


@pytest.mark.parametrize("name", TAKEN)
def test_columns_called_like_what_a_recording_says_itself(model, images, name):
    ran = []
    handle = model.register_forward_pre_hook(lambda module, args: ran.append(1))
    with pytest.raises(ValueError, match=rf"a column is called '{name}'.*expected another name"):
        nc.record(model, images, columns={name: np.arange(40)}, progress=False)
    assert not ran
    handle.remove()
    if name != "sample":
        pictures = xr.Dataset(
            {"image": (("sample", "channel", "y", "x"), images)},
            coords={name: ("sample", np.arange(40))},
        )
        with pytest.raises(ValueError, match=f"a column is called '{name}'"):
            nc.record(model, pictures, progress=False)


def test_a_column_may_be_called_anything_else(model, images, labels):
    table = {"losses": torch.arange(40).numpy(), "group": labels}
    recording = nc.record(model, images, columns=table, progress=False)
    np.testing.assert_array_equal(recording.losses, table["losses"])
