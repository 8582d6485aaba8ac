"""The semantic dictionary against a loop over positions and a hook of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc
from nbcorr.visualization.semantic_dictionary import layer_cube, one_image, semantic_dictionary
from tests.visualization.nets import assert_untouched, reused, state


@pytest.fixture
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 7, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d((2, 4)),
            nn.Flatten(),
            nn.Linear(7 * 4 * 2, 5),
        )


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)


def test_every_position_holds_its_largest_neurons_in_order(net, image):
    seen = {}
    handle = net[2].register_forward_hook(lambda m, i, out: seen.update(maps=out[0].detach()))
    net(torch.tensor(image)[None])
    handle.remove()
    found = semantic_dictionary(net, image, "2", k=3)
    assert dict(found.sizes) == {"neuron": 7, "y": 4, "x": 2, "rank": 3}
    for y in range(4):
        for x in range(2):
            values = seen["maps"][:, y, x].tolist()
            best = sorted(range(7), key=lambda unit: -values[unit])[:3]
            assert found["top_unit"].isel(y=y, x=x).values.tolist() == best
            expected = [values[unit] for unit in best]
            np.testing.assert_allclose(found["top_value"].isel(y=y, x=x), expected, rtol=1e-5)
            length = sum(value**2 for value in values) ** 0.5
            np.testing.assert_allclose(found["strength"].isel(y=y, x=x), length, rtol=1e-5)


def test_by_attribution_it_is_ranked_by_what_nc_attribute_says(net, image):
    found = semantic_dictionary(net, image, "2", k=2, of="attribution", target=(1, 3))
    by_hand = nc.attribute(net, image[None], (1, 3), "2", progress=False).isel(sample=0)
    values = by_hand["attribution"].transpose("neuron", "y", "x").values
    np.testing.assert_array_equal(found["top_value"].isel(rank=0), values.max(axis=0))
    np.testing.assert_allclose(found["strength"], by_hand["by_position"], atol=1e-6)
    assert found.attrs["target"] == "1 - 3"


def test_more_neurons_than_there_are_is_all_of_them(net, image):
    found = semantic_dictionary(net, image, "2", k=99)
    assert found.sizes["rank"] == found.attrs["k"] == 7
    assert (np.sort(found["top_unit"].values, axis=-1) == np.arange(7)).all()


def test_the_model_is_left_as_it_was():
    model = reused()
    before = state(model)
    semantic_dictionary(model, torch.rand(3, 8, 8), "norm")
    semantic_dictionary(model, torch.rand(1, 3, 8, 8), "norm", of="attribution", target=0)
    assert_untouched(model, before)


def test_what_does_not_fit_is_said(net, image):
    with pytest.raises(ValueError, match="k is 0; expected at least 1"):
        semantic_dictionary(net, image, "2", k=0)
    with pytest.raises(ValueError, match=r"layer '4' gives 5 numbers per image and no maps"):
        semantic_dictionary(net, image, "4")
    with pytest.raises(ValueError, match="needs target="):
        semantic_dictionary(net, image, "2", of="attribution")
    with pytest.raises(ValueError, match="several targets"):
        semantic_dictionary(net, image, "2", of="attribution", target=[0, 1])
    with pytest.raises(ValueError, match=r"no content 'activations'; did you mean 'activation'"):
        layer_cube(net, image, "2", of="activations")
    with pytest.raises(ValueError, match=r"shape \(2, 3, 8, 8\); expected one image"):
        one_image(np.zeros((2, 3, 8, 8)))
    with pytest.raises(ValueError, match="'22'"):
        semantic_dictionary(net, image, "22")
