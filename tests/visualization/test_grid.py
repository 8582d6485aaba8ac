"""The activation grid: a picture of every position's activation vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nbcorr.visualization.attribute import activations
from nbcorr.visualization.grid import activation_grid, renumbered, unit_vectors
from tests.network.real_models import images, timm_vit

from .nets import assert_untouched, reused, state


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)


def colours() -> nn.Module:
    """Unit i answers to channel i, the last where all are dark."""
    net = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 1), nn.ReLU())
    with torch.no_grad():
        net[1].weight[:3] = torch.eye(3)[:, :, None, None]
        net[1].weight[3] = -0.1
        net[1].bias[:3] = -0.5
        net[1].bias[3] = 0.2
    return net


def patches() -> np.ndarray:
    """Red, green and blue quarters, and a black one; 8 x 8 pixels, 4 x 4 positions."""
    image = np.zeros((3, 8, 8), np.float32)
    image[0, :4, :4] = image[1, :4, 4:] = image[2, 4:, :4] = 1
    return image


def test_every_position_has_the_picture_of_its_own_vector_and_the_model_is_untouched(image):
    net = reused()
    before = state(net)
    found = activation_grid(net, image, "conv2", steps=2, progress=False)
    assert_untouched(net, before)
    cube = activations(net, image[None], "conv2", progress=False)["activation"].isel(sample=0)
    for row in range(8):
        for column in range(8):
            vector = cube.isel(y=row, x=column).values
            index = int(found["picture"][row, column])
            expected = vector / np.linalg.norm(vector)
            np.testing.assert_allclose(found["vector"][index], expected, atol=1e-6)
            here = float(found["strength"][row, column])
            assert here == pytest.approx(np.linalg.norm(vector), rel=1e-5)
    assert found["image"].shape == (64, 8, 8, 3)
    assert found["image"].dtype == np.float32
    np.testing.assert_allclose(found["input"], image.transpose(1, 2, 0))


def test_equal_vectors_are_rendered_once_and_look_like_what_they_stand_for():
    net = colours()
    found = activation_grid(net, patches(), "2", steps=40, progress=False, transforms="none")
    assert found.sizes["direction"] == 4
    expected = np.repeat(np.repeat([[0, 1], [2, 3]], 2, 0), 2, 1)
    np.testing.assert_array_equal(found["picture"], expected)
    mean = found["image"].mean(["y", "x"]).values
    assert mean[:3].argmax(1).tolist() == [0, 1, 2]
    assert mean[3].max() < mean[:3].max(1).min()


def test_how_far_a_picture_goes_is_that_of_its_definition(image):
    net = reused()
    found = activation_grid(net, image, "conv2", steps=3, progress=False)
    real = activations(net, image[None], "conv2", progress=False)["activation"].values[0]
    for index in (0, 17, 63):
        shown = found["image"].values[index].transpose(2, 0, 1)
        vector = found["vector"].values[index]
        made = activations(net, shown[None], "conv2", progress=False)["activation"].values[0]
        reached = max(made[:, y, x] @ vector for y in range(8) for x in range(8))
        best = max(real[:, y, x] @ vector for y in range(8) for x in range(8))
        assert float(found["reached"][index]) == pytest.approx(reached, rel=1e-4)
        assert float(found["best_real"][index]) == pytest.approx(best, rel=1e-4)
        assert float(found["relative"][index]) == pytest.approx(reached / best, rel=1e-4)


def test_groups_save_work_and_lie_where_their_part_is_largest():
    net = colours()
    with torch.no_grad():
        net[1].bias[3] = -1
    found = activation_grid(net, patches(), "2", groups=3, steps=2, progress=False)
    assert found.sizes["direction"] == 3
    assert found.attrs["groups"] == 3
    colour = found["picture"].values[[0, 0, 3], [0, 3, 0]]
    assert sorted(colour.tolist()) == [0, 1, 2]
    for index, unit in zip(colour, range(3), strict=True):
        assert found["vector"].values[index].argmax() == unit


def test_silent_positions_have_no_picture():
    net = colours()
    with torch.no_grad():
        net[1].bias[3] = -1
    found = activation_grid(net, patches(), "2", steps=1, progress=False)
    assert (found["picture"].values[2:, 2:] == -1).all()
    assert (found["picture"].values[:2] >= 0).all()
    assert (found["strength"].values[2:, 2:] == 0).all()
    with pytest.raises(ValueError, match="layer '2' is silent on this image"):
        activation_grid(net, np.zeros((3, 8, 8), np.float32), "2", progress=False)


def test_six_channels_and_opacity(image):
    six = np.concatenate([image, image])
    found = activation_grid(reused(6), six, "act", steps=1, progress=False)
    assert found.sizes["channel"] == found.sizes["input_channel"] == 6
    found = activation_grid(reused(), image, "act", steps=1, alpha=True, progress=False)
    assert (found.sizes["channel"], found.sizes["input_channel"]) == (4, 3)
    assert np.isfinite(found["reached"]).all()


def test_preprocessing_is_that_of_the_pictures_only(image):
    def scaled(images: torch.Tensor) -> torch.Tensor:
        return (images - 0.5) / 0.25

    found = activation_grid(
        reused(), (image - 0.5) / 0.25, "conv2", steps=1, preprocess=scaled, progress=False
    )
    vector, shown = found["vector"].values[5], found["image"].values[5].transpose(2, 0, 1)
    made = activations(reused(), scaled(torch.tensor(shown))[None], "conv2", progress=False)
    reached = np.einsum("u,uyx->yx", vector, made["activation"].values[0]).max()
    assert float(found["reached"][5]) == pytest.approx(reached, rel=1e-4)
    assert found["input"].values.min() == 0
    assert found["input"].values.max() == 1


def test_patches_of_a_vision_transformer_have_pictures_without_its_class_token():
    net, image = timm_vit(), images(count=1)[0]
    found = activation_grid(net, image, "blocks.0", image.shape, steps=1, progress=False)
    assert found["picture"].shape == (5, 5)
    tokens = {}
    handle = net.blocks[0].register_forward_hook(lambda *a: tokens.setdefault("out", a[2]))
    with torch.no_grad():
        net.eval()(image[None])
    handle.remove()
    own = tokens["out"][0, 1:].reshape(5, 5, -1)
    np.testing.assert_allclose(found["strength"], own.norm(dim=2), rtol=1e-4)


def test_the_same_seed_gives_the_same_pictures(image):
    first, again, other = (
        activation_grid(reused(), image, "act#2", steps=2, seed=seed, cache=False, progress=False)[
            "image"
        ]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert abs(first - other).max() > 1e-3


def test_directions_come_from_the_cache_too(image):
    first, again = (
        activation_grid(reused(), image, "act", steps=2, progress=False) for _ in range(2)
    )
    np.testing.assert_array_equal(first["image"], again["image"])
    other = activation_grid(reused(), image, "act", steps=2, cossim_pow=3, progress=False)
    assert abs(first["image"] - other["image"]).max() > 0


@pytest.mark.parametrize(
    ("layer", "change", "message"),
    [
        ("head", {}, "gives 5 numbers per image and no maps"),
        ("conv9", {}, "conv9"),
        ("conv2", {"groups": 3}, "negative"),
        ("act", {"groups": 99}, "k is 99"),
        ("act", {"image": np.zeros((2, 3, 8, 8), np.float32)}, r"shape \(2, 3, 8, 8\)"),
        ("act", {"steps": 0}, "steps is 0"),
    ],
)
def test_what_cannot_be_had_is_told(image, layer, change, message):
    with pytest.raises(ValueError, match=message):
        activation_grid(reused(), change.pop("image", image), layer, progress=False, **change)


def test_directions_are_told_apart_by_their_angle():
    values = np.array([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0], [0.0, 2.0]])
    directions, which = unit_vectors(values)
    np.testing.assert_allclose(directions, [[0.6, 0.8], [0, 1]])
    assert which.tolist() == [0, -1, 0, 1]
    kept = np.array([1])
    assert renumbered(which, kept).tolist() == [-1, -1, -1, 0]
