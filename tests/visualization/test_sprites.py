"""A whole layer's pictures in a thread: stopped, resumed, beside other work, failing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import nbcorr as nc
from nbcorr.visualization.sprites import sprites

from .nets import assert_untouched, reused, state

SHAPE = (3, 8, 8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def net() -> nn.Module:
    return reused()


def test_they_are_those_of_visualize_and_the_model_is_untouched(net):
    before = state(net)
    work = sprites(net, "conv2", SHAPE, steps=3, batch_size=3)
    found = work.wait()
    assert_untouched(net, before)
    assert (work.done, work.total, work.running, work.error) == (8, 8, False, None)
    assert repr(work) == "Sprites: 8 of 8 pictures, finished"
    expected = nc.visualize(net, {"conv2": range(8)}, SHAPE, steps=3, cache=False, progress=False)
    assert found.indexes["neuron"].equals(expected.indexes["neuron"])
    for name in ("image", "reached", "reached_fresh"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    assert found.attrs["steps"] == 3


def test_stopped_it_keeps_what_was_made_and_started_it_goes_on(net):
    work = sprites(net, "act", SHAPE, steps=3, batch_size=2)
    seen = []
    work.on_change(lambda: (seen.append(work.done), work.stop()))
    some = work.wait()
    assert 0 < work.done < work.total == 8
    assert not work.running
    assert "stopped" in repr(work)
    assert list(some.indexes["neuron"]) == work.neurons[: work.done]
    work._listeners.clear()
    work.start()
    assert list(work.wait().indexes["neuron"]) == work.neurons
    held = work.pictures.isel(neuron=slice(some.sizes["neuron"]))
    xr.testing.assert_identical(held["image"], some["image"])
    work.start()
    assert not work.running


def test_a_stop_that_is_taken_back_at_once_changes_nothing(net):
    work = sprites(net, "act", SHAPE, steps=2, batch_size=1)
    for _ in range(200):
        work.stop()
        work.start()
    work.wait()
    assert work.done == work.total


def test_neurons_come_in_the_order_asked_for(net):
    wanted = ["act:5", "conv2:1", "act:0"]
    found = sprites(net, wanted, SHAPE, steps=1, batch_size=2).wait()
    assert list(found.indexes["neuron"]) == [("act", 5), ("conv2", 1), ("act", 0)]
    assert sprites(net, "act:5", SHAPE, steps=1).neurons == [("act", 5)]


def test_pictures_show_one_state_though_the_model_is_trained_meanwhile(net):
    expected = nc.visualize(net, {"conv2": range(8)}, SHAPE, steps=4, cache=False, progress=False)
    net.zero_grad()
    work = sprites(net, "conv2", SHAPE, steps=4, batch_size=1, cache=False)
    net.train()
    adam = torch.optim.Adam([w for w in net.parameters() if w.requires_grad], lr=0.1)
    steps = 0
    while work.running or steps == 0:
        net(torch.rand(2, *SHAPE))[0].sum().backward()
        adam.step()
        steps += 1
    assert net.training
    assert all(not module._forward_hooks for module in net.modules())
    np.testing.assert_allclose(work.wait()["image"], expected["image"], atol=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_begins_in_a_cell_without_gradients_and_leaves_its_mode_alone(net, mode):
    with mode():
        work = sprites(net, "conv2", SHAPE, steps=2)
        found = work.wait()
        assert not torch.is_grad_enabled()
    assert found["image"].std() > 0


def test_two_layers_at_once_do_not_meddle(net):
    both = [sprites(net, layer, SHAPE, steps=4, cache=False) for layer in ("conv1", "conv2")]
    for work, layer in zip(both, ("conv1", "conv2"), strict=True):
        expected = nc.visualize(net, {layer: range(8)}, SHAPE, steps=4, cache=False, progress=False)
        np.testing.assert_allclose(work.wait()["image"], expected["image"], atol=1e-5)


class Counting(nn.Module):
    """Counts the forward passes of all its copies that are followed by gradients."""

    passes = 0

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).passes += x.requires_grad
        return self.conv(x)


def test_a_later_session_goes_on_from_the_cache():
    torch.manual_seed(0)
    net = Counting()
    first = sprites(net, "conv", SHAPE, steps=5, batch_size=2).wait()
    made = Counting.passes
    assert made >= 15
    again = sprites(net, "conv", SHAPE, steps=5, batch_size=2).wait()
    np.testing.assert_array_equal(again["image"], first["image"])
    assert Counting.passes - made < 5


class Broken(nn.Module):
    """Cannot be run on what is rendered."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("out of luck")
        return self.conv(x)


def test_what_goes_wrong_is_kept_told_and_raised():
    work = sprites(Broken(), "conv", SHAPE, steps=2)
    with pytest.raises(ValueError, match="out of luck"):
        work.wait()
    assert not work.running
    assert "out of luck" in repr(work)
    work.start()
    with pytest.raises(ValueError, match="out of luck"):
        work.wait()


def test_a_listener_that_fails_ends_the_work_and_is_told(net):
    work = sprites(net, "act", SHAPE, steps=2, batch_size=1)
    work.on_change(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        work.wait()
    assert not work.running


@pytest.mark.parametrize(
    ("neurons", "options", "message"),
    [
        ("conv3", {}, "no layer 'conv3'"),
        ("never", {}, "layer 'never' did not run"),
        ("act", {"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ([], {}, "no neurons given"),
    ],
)
def test_what_cannot_be_begun_is_told_at_once(net, neurons, options, message):
    with pytest.raises(ValueError, match=message):
        sprites(net, neurons, SHAPE, **options)
