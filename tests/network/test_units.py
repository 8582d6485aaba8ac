"""The axis of a layer's units, also of activations that are shared or declared first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbcorr.network.hooks import captured, inference
from nbcorr.network.units import governor, governors, unit_axis
from nbcorr.network.wrappers import named_modules
from tests.network import real_models


def axes(model, x):
    """Layer and call -> axis, of every module of a model."""
    found = {}
    decide = governors(model, [name for name, _ in named_modules(model) if name])

    def look(name):
        def note(output, call, _):
            found[name, call] = unit_axis(decide[name], output)

        return note

    with inference(model), captured(model, {name: look(name) for name in decide}):
        model(x)
    return found


class Shared(nn.Module):
    """One activation behind convolutions of several widths."""

    def __init__(self, first):
        super().__init__()
        if first:
            self.act = nn.ReLU()
        self.narrow = nn.Conv1d(1, 8, 3, padding=1)
        self.wide = nn.Conv1d(8, 16, 3, padding=1)
        if not first:
            self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.wide(self.act(self.narrow(x)))).mean(2)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("positions", [8, 16, 30])
def test_a_shared_activation_has_its_units_where_the_convolutions_have_them(first, positions):
    # 8 and 16 positions: as many as the other convolution has units.
    found = axes(Shared(first), torch.randn(5, 1, positions))
    assert {found[name, 0] for name in ("narrow", "wide")} == {1}
    assert [found["act", 0], found["act", 1]] == [1, 1]


class Bottleneck(nn.Module):
    """As in torchvision: one activation for three widths, declared behind the widest."""

    def __init__(self, act):
        super().__init__()
        self.reduce = nn.Conv2d(4, 8, 1)
        self.expand, self.norm = nn.Conv2d(8, 32, 1), nn.BatchNorm2d(32)
        self.act = act

    def forward(self, x):
        return self.act(self.norm(self.expand(self.act(self.reduce(x)))))


@pytest.mark.parametrize("size", [(32, 16), (16, 32), (30, 16)])
def test_rectangles_as_high_as_a_block_is_wide(size):
    found = axes(nn.Sequential(Bottleneck(nn.ReLU(inplace=True))), torch.randn(3, 4, *size))
    assert [found["0.act", 0], found["0.act", 1]] == [1, 1]


def test_one_activation_for_all_blocks_knows_the_widths_of_each():
    act = nn.ReLU()
    model = nn.Sequential(
        nn.Sequential(nn.Conv1d(1, 8, 1), act), nn.Sequential(nn.Conv1d(8, 16, 1), act)
    )
    # In the second block 16 units at 8 positions.
    found = axes(model, torch.randn(2, 1, 8))
    assert [found["0.1", 0], found["0.1", 1]] == [1, 1]


class ActivationFirst(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.act, self.layer = nn.GELU(), layer

    def forward(self, x):
        return self.act(self.layer(x))


@pytest.mark.parametrize(
    ("layer", "x", "axis"),
    [
        (nn.Conv1d(2, 6, 1), torch.randn(3, 2, 9), 1),
        (nn.Conv2d(2, 6, 1), torch.randn(3, 2, 9, 9), 1),
        (nn.Linear(2, 6), torch.randn(3, 9, 2), 2),
        (nn.Linear(2, 6), torch.randn(3, 9, 9, 2), 3),
    ],
)
def test_an_activation_before_all_others_goes_by_what_is_behind_it(layer, x, axis):
    assert axes(ActivationFirst(layer), x)["act", 0] == axis


@pytest.mark.parametrize(
    "build", [real_models.timm_vit, real_models.timm_swin], ids=lambda build: build.__name__
)
def test_one_walk_says_what_is_said_of_each_layer(build):
    model = build()
    names = [name for name, _ in named_modules(model)]
    together = governors(model, names)
    assert list(together) == names
    assert all(together[name] == governor(model, name) for name in names)


def test_names_with_the_wrappers_part_in_them():
    model = nn.DataParallel(Shared(first=False))
    assert governor(model, "module.act") == governor(model.module, "act")
    with pytest.raises(AttributeError, match="has no module 'nowhere'"):
        governors(model, ["act", "nowhere"])
