"""Caricatures: an image made anew from what a layer says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nbcorr.visualization.attribute import activations
from nbcorr.visualization.caricature import Likeness, caricature

from .nets import assert_untouched, reused, state


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)


def of(net: nn.Module, image: np.ndarray, layer: str) -> np.ndarray:
    return activations(net, image[None], layer, progress=False)["activation"].values[0]


def test_every_number_is_that_of_its_definition_and_the_model_is_untouched(image):
    net = reused()
    before = state(net)
    layers = ["act", "act#2", "head"]
    found = caricature(net, image, layers, steps=5, transforms="none", progress=False)
    assert_untouched(net, before)
    assert found["layer"].values.tolist() == ["act", "act#2", "head"]
    assert found["image"].shape == (3, 8, 8, 3)
    for place, layer in enumerate(found["layer"].values):
        target = of(net, image, layer).reshape(-1)
        made = of(net, found["image"].values[place].transpose(2, 0, 1), layer).reshape(-1)
        cosine = made @ target / np.linalg.norm(made) / np.linalg.norm(target)
        assert float(found["likeness"][place]) == pytest.approx(cosine, rel=1e-4)
        relative = made @ target / (target @ target)
        assert float(found["relative"][place]) == pytest.approx(relative, rel=1e-4)


def test_the_neurons_named_have_the_largest_part(image):
    net = reused()
    found = caricature(net, image, "act", steps=5, progress=False).isel(picture=0)
    target = of(net, image, "act").reshape(8, -1)
    made = of(net, found["image"].values.transpose(2, 0, 1), "act").reshape(8, -1)
    parts = (target * made).sum(1)
    order = np.argsort(-parts)[:4]
    np.testing.assert_array_equal(found["top_unit"], order)
    np.testing.assert_allclose(found["top_share"], parts[order] / parts.sum(), rtol=1e-4)
    np.testing.assert_allclose(found["top_image"], target[order].mean(1), rtol=1e-4)
    np.testing.assert_allclose(found["top_picture"], made[order].mean(1), rtol=1e-4)


def test_what_the_layer_sees_comes_out_stronger_and_what_it_is_blind_to_does_not():
    """The layer sees red alone: the left half is red, the right half green."""
    net = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 0, 0])[None, :, None, None])
    image = np.full((3, 8, 8), 0.2, np.float32)
    image[0, :, :4], image[1, :, 4:] = 0.5, 0.9
    found = caricature(net, image, "1", steps=60, transforms="none", progress=False)
    made = found["image"].values[0]
    assert found["relative"].item() > 1
    assert made[:, :4, 0].mean() > 0.6
    assert made[:, 4:, 1].mean() < 0.7


def test_more_cosine_keeps_closer_to_the_image(image):
    likeness = [
        caricature(
            reused(), image, "act", steps=40, cossim_pow=power, transforms="none", progress=False
        )["likeness"].item()
        for power in (0, 4)
    ]
    assert likeness[1] > likeness[0]


def test_a_larger_picture_stretches_the_map(image):
    found = caricature(reused(), image, "act", shape=(3, 12, 16), steps=2, progress=False)
    assert found["image"].shape == (1, 12, 16, 3)
    assert np.isfinite(found["likeness"]).all()


def test_layers_with_fewer_neurons_have_gaps(image):
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Conv2d(2, 6, 3))
    found = caricature(net, image, ["0", "1"], steps=1, progress=False)
    assert (found["top_unit"].values[0, 2:] == -1).all()
    assert np.isnan(found["top_share"].values[0, 2:]).all()
    assert (found["top_unit"].values[1] >= 0).all()


def test_the_objective_is_the_dot_product_times_a_power_of_the_cosine():
    rng = np.random.default_rng(0)
    target, output = rng.normal(size=(5, 3, 4)), rng.normal(size=(2, 5, 3, 4))
    output[1] = -target
    likeness = Likeness("a", torch.tensor(target), 2.0)
    found = likeness.value({"a": torch.tensor(output)}, torch.zeros(2, 3, 8, 8)).numpy()
    for each, of_one in zip(found, output, strict=True):
        dot = (of_one * target).sum()
        cosine = dot / np.linalg.norm(of_one) / np.linalg.norm(target)
        assert each == pytest.approx(dot / 12 * max(cosine, 0.1) ** 2, rel=1e-5)
    assert likeness.label == Likeness("a", torch.tensor(target), 2.0).label
    assert likeness.label != Likeness("a", torch.tensor(target + 1), 2.0).label


@pytest.mark.parametrize(
    ("layers", "change", "message"),
    [
        ("nowhere", {}, "nowhere"),
        ("act", {"transforms": "none at all"}, "transforms"),
        ("act", {"image": np.zeros((3, 8), np.float32)}, r"shape \(3, 8\); expected one image"),
        ("1", {"net": nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU())}, "silent"),
    ],
)
def test_what_cannot_be_had_is_told(image, layers, change, message):
    net = change.pop("net", None) or reused()
    shown = change.pop("image", np.zeros_like(image) if layers == "1" else image)
    with pytest.raises(ValueError, match=message):
        caricature(net, shown, layers, steps=1, progress=False, **change)
