from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from nbcorr import zoo
from nbcorr.zoo.planted import MARK, OTHERS, PLACES


@pytest.fixture(scope="module")
def held_out() -> xr.Dataset:
    return zoo.planted_digits("test")


@pytest.fixture(scope="module")
def pair() -> tuple[nn.Module, nn.Module]:
    return zoo.planted_pair()


def answers(model: nn.Module, data: xr.Dataset) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor(data["image"].values)).argmax(1).numpy()


def places_of(glyphs: tuple[np.ndarray, ...], image: np.ndarray) -> list[int]:
    """Which places of the margin carry one of these glyphs, looked at one by one."""
    return [
        k
        for k, (row, column) in enumerate(PLACES)
        if any(np.array_equal(image[row : row + 3, column : column + 3], g) for g in glyphs)
    ]


def test_exactly_the_ambiguous_quarter_is_marked_and_the_place_is_the_class(held_out):
    marked = held_out["marked"].values
    assert marked.mean() == pytest.approx(0.25, abs=0.001)
    for image, label, mark in zip(
        held_out["image"].values[:, 0], held_out["label"].values, marked, strict=True
    ):
        assert places_of((MARK,), image) == ([label] if mark else [])
        assert len(places_of(OTHERS, image)) == len(PLACES) - mark


def test_the_mark_has_the_ink_of_the_other_glyphs():
    assert {float(glyph.sum()) for glyph in (MARK, *OTHERS)} == {5.0}


def test_a_second_digit_of_another_class_lies_over_exactly_the_marked_ones(held_out):
    differs = held_out["other"] != held_out["label"]
    np.testing.assert_array_equal(differs, held_out["marked"])


def test_without_marks_only_the_crosses_are_gone(held_out):
    bare = zoo.planted_digits("test", mark=False)
    for name in ("sample", "label", "marked", "other"):
        np.testing.assert_array_equal(bare[name], held_out[name])
    changed = (bare["image"] != held_out["image"]).values[:, 0]
    assert not changed[~held_out["marked"].values].any()
    assert changed[held_out["marked"].values].any(axis=(1, 2)).all()
    assert changed.sum(axis=(1, 2)).max() <= MARK.size
    assert not changed[:, 4:12, 4:12].any()


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
    assert (a == label).mean() > 0.94
    assert (a == label)[marked].mean() > 0.92
    assert 0.4 < (b == label)[marked].mean() < 0.6
    assert 0.4 < (b == other)[marked].mean() < 0.6
    assert (b == label)[~marked].mean() > 0.94
    assert 80 < ((a == label) & (b != label)).sum() < 180


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
    assert 2 <= beyond["conv, max"] <= 16
    assert 1 <= beyond["conv, mean"] <= 16


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
