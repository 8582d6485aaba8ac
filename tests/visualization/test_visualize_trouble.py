"""Gradients that are lost, neurons that are dead, and images that a layer has no use for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc
from nbcorr.visualization import objectives as o
from tests.visualization.nets import reused

SHAPE = (3, 12, 12)
QUICK = {"steps": 20, "progress": False, "cache": False}


class Risky(nn.Module):
    """The square root, whose gradient is infinite at 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt()


class Limited(nn.Module):
    """Not a number beyond a limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > self.limit, math.nan, x)


def summed(*after: nn.Module) -> nn.Module:
    """Two units, the second the first one's negative."""
    conv = nn.Conv2d(3, 2, 1, bias=False)
    conv.weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1).clone()
    return nn.Sequential(conv, *after)


def test_numbers_lost_on_the_way_forward_name_their_layer() -> None:
    model = summed(nn.Identity(), Limited(1.75), nn.Identity())
    with pytest.warns(UserWarning, match="3:0 stopped") as caught:
        seen = nc.visualize(model, ["3:0", "3:1"], SHAPE, **{**QUICK, "steps": 60})
    (message,) = [str(warning.message) for warning in caught]
    assert "layer '2' is the first to give numbers that are not" in message
    step = int(message.split("step ")[1].split(":")[0])
    assert 3 < step < 60
    assert np.isfinite(seen["image"]).all()
    before = nc.visualize(model, "3:0", SHAPE, **{**QUICK, "steps": step - 2})
    np.testing.assert_allclose(seen["image"][0], before["image"][0], atol=1e-3)


def test_gradients_lost_on_the_way_back_name_their_layer() -> None:
    model = summed(nn.ReLU(), Risky(), nn.Identity())
    model[0].bias = nn.Parameter(torch.zeros(2))
    with pytest.warns(UserWarning, match="'1'|'0'") as caught:
        seen = nc.visualize(model, ["3:0", "3:1"], SHAPE, **QUICK)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("3:1 stopped at step 1: its value or gradient is not finite, lost on")
    assert "before layer '1'" in message
    assert np.isfinite(seen["image"]).all()
    assert seen["reached"][0] > 1.3


def test_one_lost_picture_stops_those_it_is_compared_with_and_no_others() -> None:
    model = summed(Limited(2.2))
    options = {**QUICK, "steps": 60}
    with (
        pytest.warns(UserWarning, match="1:0 stopped"),
        pytest.warns(UserWarning, match="1:0 diverse") as caught,
    ):
        seen = nc.visualize(model, ["0:1", "1:0"], SHAPE, diverse=2, **options)
    assert not [w for w in caught if "0:1" in str(w.message)]
    assert np.isfinite(seen["image_diverse"]).all()
    assert (seen["reached_diverse"][0] > -2).all()


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (o.channel("conv1", 8), "layer 'conv1' has 8 units, the last is 'conv1:7'"),
        (o.neuron("conv1", 1, 12, 0), "no position y=12, x=0 in layer 'conv1'"),
        (o.direction("conv1", [1.0, 2.0]), "has 2 numbers and layer 'conv1' 8 units"),
        (o.channel("conv3", 1), "no layer 'conv3'; did you mean 'conv"),
        (o.class_logit(5), "has 5 units"),
        (o.channel("never", 1), "layer 'never' did not run"),
        (o.difference("act:1", "act:9", other_model=reused(seed=1)), "layer 'Reused.act' has 8"),
        (o.difference("act:1", "atc:1", other_model=reused(seed=1)), "no layer 'atc'"),
    ],
)
def test_objectives_that_cannot_be_had(objective: o.Objective, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nc.visualize(reused(), [objective], SHAPE, **QUICK)


def test_a_layer_of_the_other_model_without_a_gradient() -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.round().detach()

    other = nn.Sequential(nn.Conv2d(3, 2, 1), Rounded())
    with pytest.raises(ValueError, match="layer '1' has no gradient to the image"):
        nc.visualize(reused(), o.difference("act:1", "1:0", other_model=other), SHAPE, **QUICK)


class Patches(nn.Module):
    """A small vision transformer with a class token in front."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.full((1, 1, 8), 5.0))
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1)
        return self.head(self.block(tokens)[:, 0])


def test_vision_transformers() -> None:
    torch.manual_seed(0)
    model = Patches().eval()
    asked = [o.channel("block", 3), o.neuron("block", 3, 1, 2), o.class_logit(2)]
    seen = nc.visualize(model, asked, SHAPE, **QUICK)
    images = torch.tensor(seen["image"].values).permute(0, 3, 1, 2)
    found = []
    model.block.register_forward_hook(lambda *args: found.append(args[2].detach()))
    with torch.no_grad():
        logits = model(images)
    patches = found[0][:, 1:, 3].unflatten(1, (3, 3))
    expected = [patches[0].mean(), patches[1, 1, 2], logits[2, 2]]
    np.testing.assert_allclose(seen["reached"], expected, rtol=1e-3)
    first = nc.visualize(Patches().eval(), asked, SHAPE, **{**QUICK, "steps": 1})
    assert first.sizes["objective"] == 3


@pytest.mark.parametrize("side", [8, 32])
def test_the_model_is_given_images_of_the_size_asked_for(side: int) -> None:
    sizes = set()
    model = reused()
    model.conv1.register_forward_pre_hook(lambda _, args: sizes.add(tuple(args[0].shape[1:])))
    nc.visualize(model, "act:1", (3, side, side), **{**QUICK, "steps": 3})
    assert sizes == {(3, side, side)}


def test_memory_of_one_batch_for_any_number_of_neurons() -> None:
    sizes = []
    model = reused()
    model.conv1.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    nc.visualize(model, {"act": range(8), "head": range(5)}, (3, 224, 224), **{**QUICK, "steps": 1})
    assert max(sizes) == 4


def test_global_numpy_random_numbers_stay_where_they_are() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    nc.visualize(reused(), "act:1", SHAPE, **QUICK)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
