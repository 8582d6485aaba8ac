"""After success, error and Ctrl-C the model is what it was; what was made so far is kept."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc
from tests.visualization.nets import Reused, assert_untouched, reused, state

SHAPE = (3, 8, 8)

# Forward passes before the first step: of a copy, and of one whose normalisation is folded.
FIRST = 2


def raising(model: nn.Module, error: BaseException, at: int) -> torch.utils.hooks.RemovableHandle:
    """Make the model raise in its n-th forward pass, counted from 1."""
    passes = iter(range(1, 1_000_000))

    def hook(*_: object) -> None:
        if next(passes) == at:
            raise error

    return model.conv2.register_forward_hook(hook)


def test_after_success() -> None:
    model = reused()
    before = state(model)
    nc.visualize(model, ["conv1:0", "head:0"], SHAPE, steps=20, progress=False)
    assert_untouched(model, before)


@pytest.mark.parametrize("at", [1, 2, 3, 10, 25])
def test_after_an_error(at: int) -> None:
    model = reused()
    handle = raising(model, ArithmeticError("from the model"), at)
    before = state(model)
    with pytest.raises((ArithmeticError, ValueError), match="from the model"):
        nc.visualize(model, "head:0", SHAPE, steps=20, progress=False)
    assert_untouched(model, before)
    handle.remove()


def test_ctrl_c_before_anything_was_made_is_passed_on() -> None:
    for at in (1, 2, 3):
        model = reused()
        raising(model, KeyboardInterrupt(), at)
        before = state(model)
        with pytest.raises(KeyboardInterrupt):
            nc.visualize(model, "head:0", SHAPE, steps=4, progress=False)
        assert_untouched(model, before)


@pytest.mark.parametrize("at", [4, 13, 20])
def test_ctrl_c_keeps_the_pictures_so_far(at: int) -> None:
    model = reused()
    raising(model, KeyboardInterrupt(), at)
    before = state(model)
    seen = nc.visualize(
        model, ["head:0", "head:1", "head:2"], SHAPE, steps=18, batch_size=2, progress=False
    )
    assert_untouched(model, before)
    assert seen.attrs["interrupted"] == 1
    assert list(seen["unit"].values) == [0, 1]
    steps = at - 1 - FIRST
    whole = nc.visualize(reused(), ["head:0", "head:1"], SHAPE, steps=steps, progress=False)
    np.testing.assert_allclose(seen["image"], whole["image"], atol=1e-4)
    np.testing.assert_allclose(seen["reached"], whole["reached"], atol=1e-3)


def test_ctrl_c_at_the_first_step_of_a_later_batch_leaves_that_batch_out() -> None:
    model = reused()
    steps, measuring = 5, 9
    raising(model, KeyboardInterrupt(), FIRST + steps + measuring + 1)
    seen = nc.visualize(
        model, ["head:1", "head:0"], SHAPE, steps=steps, batch_size=1, progress=False
    )
    assert seen.attrs["interrupted"] == 1
    assert list(seen["neuron"].values) == [("head", 1)]


def test_a_lost_gradient_stops_its_neuron_alone() -> None:
    class Breaking(Reused):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
            self.passes = getattr(self, "passes", 0) + 1
            if self.passes >= 8 and len(x) == 2 and x.requires_grad:
                x = torch.cat([x[:1] * float("nan"), x[1:]])
            return super().forward(x)

    model = Breaking()
    model.load_state_dict(reused().state_dict())
    options = {"batch_size": 2, "progress": False}
    with pytest.warns(UserWarning, match="head:0 stopped at step 6: .* 'conv1' is the first to"):
        seen = nc.visualize(model, ["head:0", "head:1"], SHAPE, steps=20, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = nc.visualize(reused(), ["head:0", "head:1"], SHAPE, steps=20, **options)
        short = nc.visualize(reused(), ["head:0", "head:1"], SHAPE, steps=4, **options)
    assert np.isfinite(seen["image"]).all()
    assert np.isfinite(seen["reached"]).all()
    np.testing.assert_allclose(seen["image"][1], whole["image"][1], atol=1e-4)
    np.testing.assert_allclose(seen["image"][0], short["image"][0], atol=1e-4)


@pytest.mark.parametrize(
    ("neurons", "message"),
    [
        ("conv3:0", "no layer 'conv3'; did you mean 'conv"),
        ("conv1:8", "no neuron 'conv1:8': layer 'conv1' has 8 units, the last is 'conv1:7'"),
        ("head:5", "layer 'head' has 5 units"),
        ("never:0", "layer 'never' did not run"),
        ("act#3:0", "layer 'act#3' did not run"),
    ],
)
def test_neurons_that_do_not_exist(neurons: str, message: str) -> None:
    model = reused()
    before = state(model)
    with pytest.raises(ValueError, match=message):
        nc.visualize(model, neurons, SHAPE, progress=False)
    assert_untouched(model, before)


def test_an_image_too_small_names_shape_and_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 4, 5))
    before = state(model)
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\): layer '2' fails with") as caught:
        nc.visualize(model, "2:0", SHAPE, progress=False)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert_untouched(model, before)


def test_a_layer_without_a_gradient_is_named() -> None:
    class Rounded(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x > 0.5).float()

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Rounded())
    with pytest.raises(ValueError, match="layer '1' has no gradient"):
        nc.visualize(model, "1:0", SHAPE, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (8, 8)}, "expected \\(channels, height, width\\)"),
        ({"shape": (3, 0, 8)}, "at least 1"),
        ({"shape": 8}, "expected \\(channels"),
        ({"shape": (3.5, 8, 8)}, "expected \\(channels"),
        ({"transforms": "robut"}, "did you mean 'robust'"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_arguments_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nc.visualize(reused(), "head:0", **{"shape": SHAPE, **options})
