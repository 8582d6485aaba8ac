from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from nbcorr import zoo


def right(model: nn.Module, data: xr.Dataset) -> float:
    with torch.inference_mode():
        answers = model(torch.tensor(data["image"].values)).argmax(1).numpy()
    return float((answers == data["label"].values).mean())


@pytest.fixture(scope="module")
def convnet() -> nn.Module:
    return zoo.digit_convnet()


def test_the_convnet_reads_digits_it_has_not_seen(convnet):
    assert right(convnet, zoo.digits("test")) >= 0.96


def test_its_layers_have_the_promised_names(convnet):
    modules = dict(convnet.named_modules())
    assert isinstance(modules["features.3"], nn.ReLU)
    assert isinstance(modules["classifier.1"], nn.ReLU)
    assert modules["classifier.0"].out_features == 64
    activations = [m for m in modules.values() if isinstance(m, nn.ReLU)]
    assert len(activations) == 3
    assert not any(m.inplace for m in activations)
    assert not any(m.training for m in modules.values())
    assert sum(p.numel() for p in convnet.parameters()) == 38_282


def test_training_leaves_torch_as_it_was_and_is_the_same_every_time():
    data = zoo.digits("train").isel(sample=slice(100))
    torch.manual_seed(123)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with torch.no_grad():
            first = zoo.train_convnet(data, epochs=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again, other = (zoo.train_convnet(data, epochs=1, seed=seed) for seed in (0, 1))
    for name, value in again.state_dict().items():
        assert torch.equal(value, first.state_dict()[name])
    assert not torch.equal(again.features[0].weight, other.features[0].weight)


def test_torch_is_as_it_was_after_an_error_too():
    data = zoo.digits("train").isel(sample=slice(10), x=slice(1))
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with pytest.raises(ValueError, match="8 x 1 pixels"):
        zoo.train_convnet(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_it_takes_the_shape_and_the_classes_of_the_data():
    data = xr.Dataset(
        {"image": (("sample", "channel", "y", "x"), np.zeros((6, 3, 9, 10), np.float32))},
        coords={"label": ("sample", [0, 1, 2, 0, 1, 2])},
    )
    model = zoo.train_convnet(data, epochs=1)
    assert model(torch.zeros(2, 3, 9, 10)).shape == (2, 3)


def test_images_without_labels_are_refused():
    with pytest.raises(ValueError, match="'label'"):
        zoo.train_convnet(zoo.digits("test").drop_vars("label"))
