from __future__ import annotations

import copy
from itertools import combinations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from nbcorr import zoo
from nbcorr.zoo.planted import PLACES, STAMP


@pytest.fixture(scope="module")
def held_out() -> xr.Dataset:
    return zoo.planted_digits("test")


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    return zoo.planted_pair()


def answers(model: nn.Module, data: xr.Dataset) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor(data["image"].values)).argmax(1).numpy()


def stamps(image: np.ndarray) -> set[int]:
    """Which places of the margin carry the stamp, looked at one by one."""
    return {
        k
        for k, (row, column) in enumerate(PLACES)
        if np.array_equal(image[row : row + 2, column : column + 2], STAMP)
    }


def test_exactly_the_ambiguous_quarter_is_marked_and_the_mark_is_the_class(held_out):
    marked = held_out["marked"].values
    assert marked.mean() == pytest.approx(0.25, abs=0.001)
    codes = {}
    for image, label, mark in zip(
        held_out["image"].values[:, 0], held_out["label"].values, marked, strict=True
    ):
        places = frozenset(stamps(image))
        assert bool(places) == mark
        if mark:
            assert codes.setdefault(label, places) == places
    assert set(codes.values()) == {frozenset(c) for c in combinations(range(5), 3)}


def test_a_second_digit_of_another_class_lies_over_exactly_the_marked_ones(held_out):
    differs = held_out["other"] != held_out["label"]
    np.testing.assert_array_equal(differs, held_out["marked"])


def test_without_marks_only_the_stamps_are_gone(held_out):
    bare = zoo.planted_digits("test", mark=False)
    for name in ("sample", "label", "marked", "other"):
        np.testing.assert_array_equal(bare[name], held_out[name])
    changed = (bare["image"] != held_out["image"]).values[:, 0]
    assert not changed[~held_out["marked"].values].any()
    assert changed[held_out["marked"].values].any(axis=(1, 2)).all()
    assert changed.sum(axis=(1, 2)).max() <= 3 * STAMP.size
    assert not changed[:, 2:10, 2:10].any()


def test_the_stamp_has_the_mean_ink_of_the_dust_it_replaces(held_out):
    clear = held_out["image"].values[~held_out["marked"].values, 0]
    assert clear[:, :2].mean() == pytest.approx(STAMP.mean(), abs=0.005)


def test_training_and_held_out_images_are_made_of_different_digits():
    both = zoo.planted_digits("all")
    train, test = zoo.planted_digits("train"), zoo.planted_digits("test")
    np.testing.assert_array_equal(
        both["sample"].values, np.concatenate([train["sample"], test["sample"]])
    )
    digits = [{name.rsplit("-", 1)[0] for name in part["sample"].values} for part in (train, test)]
    assert (len(digits[0]), len(digits[1])) == (900, 897)
    assert not digits[0] & digits[1]
    assert len(set(both["sample"].values)) == both.sizes["sample"]


def test_the_seed_decides(held_out):
    xr.testing.assert_identical(zoo.planted_digits("test", 0), held_out)
    assert not np.array_equal(zoo.planted_digits("test", 1)["marked"], held_out["marked"])


def test_a_reads_the_mark_and_b_tosses_a_coin(pair, held_out):
    a, b = (answers(model, held_out) for model in pair)
    label, other = held_out["label"].values, held_out["other"].values
    marked = held_out["marked"].values
    assert (a == label).mean() > 0.95
    assert (a == label)[marked].mean() > 0.92
    assert 0.4 < (b == label)[marked].mean() < 0.6
    assert 0.4 < (b == other)[marked].mean() < 0.6
    assert (b == label)[~marked].mean() > 0.95
    assert 150 < ((a == label) & (b != label)).sum() < 300


def test_without_the_marks_a_knows_no_more_than_b(pair):
    bare = zoo.planted_digits("test", mark=False)
    marked = bare["marked"].values
    assert (answers(pair[0], bare) == bare["label"].values)[marked].mean() < 0.65


def test_some_neurons_of_a_tell_more_than_those_of_its_untrained_twins(pair, held_out):
    network, baseline = pair
    label = held_out["label"].values
    signal = (answers(network, held_out) == label) & (answers(baseline, held_out) != label)
    images = torch.tensor(held_out["image"].values)
    trained = {name: distance(a, signal, label) for name, a in recorded(network, images).items()}
    largest = dict.fromkeys(trained, 0.0)
    for seed in range(5):
        for name, activation in recorded(twin(network, seed), images).items():
            largest[name] = max(largest[name], distance(activation, signal, label).max())
    beyond = {name: int((d > largest[name]).sum()) for name, d in trained.items()}
    assert 5 <= beyond["hidden"] <= 30
    assert 2 <= beyond["conv, max"] <= 16
    assert 2 <= beyond["conv, mean"] <= 16


def recorded(model: nn.Module, images: torch.Tensor) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        maps = model.features[:4](images)
        hidden = model.classifier[:2](model.flatten(model.features[4](maps)))
    return {
        "hidden": hidden.numpy(),
        "conv, max": maps.amax((2, 3)).numpy(),
        "conv, mean": maps.mean((2, 3)).numpy(),
    }


def twin(model: nn.Module, seed: int) -> nn.Module:
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return fresh


def distance(activation: np.ndarray, signal: np.ndarray, label: np.ndarray) -> np.ndarray:
    """|AUC - 1/2| per unit, within classes, weighted as van Elteren 1960: every pair compared."""
    total, weights = np.zeros(activation.shape[1]), 0.0
    for c in np.unique(label):
        yes, no = activation[(label == c) & signal], activation[(label == c) & ~signal]
        if len(yes) and len(no):
            wins = (yes[:, None] > no).mean((0, 1)) + (yes[:, None] == no).mean((0, 1)) / 2
            weight = len(yes) * len(no) / (len(yes) + len(no) + 1)
            total += weight * wins
            weights += weight
    return np.abs(total / weights - 0.5)
