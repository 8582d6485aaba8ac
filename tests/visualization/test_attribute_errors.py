"""What ``nc.attribute`` refuses, and what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import assert_same_traces, traces
from tests.network.real_models import build, vectors
from tests.visualization.split_net import X, attribute, split


@pytest.mark.parametrize(
    ("target", "at", "options", "message"),
    [
        (4, "first.1", {}, "there is no class 4: the model has 4, 0 to 3"),
        ((0, 9), "first.1", {}, "there is no class 9"),
        (-1, "first.1", {}, "there is no class -1; expected 0 or more"),
        (1.5, "first.1", {}, "target 1.5 is a float; expected the index or the name"),
        ((1, 2, 3), "first.1", {}, "3 parts; expected one class or two"),
        ([], "first.1", {}, "no target was given"),
        ("dgo", "first.1", {"classes": ["cat", "dog"]}, "did you mean 'dog'"),
        ("dog", "first.1", {}, "names of classes are known by classes="),
        ("second.2", "first.1", {}, r"whole layer; expected a neuron of it, 'second.2:0'"),
        ("second.2:5", "first.1", {}, "layer 'second.2' has 5 units, 0 to 4"),
        ("second.9:0", "first.1", {}, "no layer 'second.9'; did you mean 'second"),
        ("second.2:0", "first.1", {"position": (2, 0)}, "maps have 2 rows and 2 columns"),
        ("second.2:0", "first.1", {"position": 1}, r"position is 1; expected \(row, column\)"),
        (1, "first.1", {"position": (0, 0)}, "is a class, which has no position"),
        (["second.2:0"], "first.1", {"position": "each"}, "expected no list"),
        (1, "frst.1", {}, "did you mean 'first.1'"),
        (1, "first.*", {}, "stands for 2 layers"),
        (1, "first.1#2", {}, "layer 'first.1#2' did not run"),
        (1, "first.1", {"method": "pth"}, "did you mean 'path'"),
        (1, "first.1", {"method": "occlusion"}, "no method at a layer 'occlusion'"),
        (1, "input", {"method": "path"}, "no method at the input 'path'"),
        (1, "first.1", {"max_pool": "smoth"}, "did you mean 'smooth'"),
        (1, "input", {"max_pool": "smooth"}, "is of gradients at a layer"),
        (1, "input", {"groups": [[0]]}, "groups are of a layer's neurons"),
        (1, "first.1", {"steps": 0}, "steps is 0"),
        (1, "first.1", {"batch_size": 0}, "batch_size is 0"),
        (1, "first.1", {"baseline": [1, 2]}, r"shape \(2,\); expected a number, \(3,\) or"),
        (1, "first.1", {"baseline": np.nan}, "the baseline has NaN"),
        (1, "input", {"method": "occlusion", "window": 7}, "window is 7; expected 1 to 6"),
        (1, "head", {"method": "gradcam"}, r"'head' gave \[\(1, 4\)\]"),
        ("second.2", "input", {"position": "each"}, "is at a layer"),
        ("first.0:1", "second.2", {}, "back to layer 'second.2': layer 'first.0' runs before it"),
    ],
)
def test_arguments_that_do_not_fit(target, at: str, options: dict, message: str) -> None:
    net = split()
    before = traces(net)
    with pytest.raises(ValueError, match=message):
        attribute(net, X, target, at, **options)
    assert_same_traces(before, traces(net))


class Branching(nn.Module):
    """A side branch, rounding on the way, and a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.side = nn.Linear(4, 4)
        self.round = Rounded()
        self.never = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(x)
        return {"side": self.side(x)[None], "logits": self.head(self.round(x))}


class Rounded(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).to(x.dtype)


def test_a_layer_that_is_not_on_the_way_or_does_not_run() -> None:
    net, x = Branching(), vectors(5, 4)
    with pytest.raises(ValueError, match="no gradient flows from '1' back to layer 'side': it is"):
        attribute(net, x, 1, "side")
    with pytest.raises(ValueError, match="layer 'never' did not run"):
        attribute(net, x, 1, "never")
    with pytest.raises(ValueError, match="layer 'never' did not run"):
        attribute(net, x, "never:0", "stem")


def test_the_layer_that_has_no_gradient_is_named() -> None:
    net, x = Branching(), vectors(5, 4)
    for grads in (True, False):
        net.requires_grad_(grads)
        message = r"back to layer 'stem': layer 'round', a Rounded, gives an output that is not"
        with pytest.raises(ValueError, match=message):
            attribute(net, x, 1, "stem")
    with pytest.raises(ValueError, match="back to the input: something between them is not"):
        attribute(net, x, 1, "input")


def test_gradients_and_activations_that_are_no_numbers() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sqrt()

    net = nn.Sequential(nn.Identity(), nn.ReLU(), Root())
    x = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    with pytest.raises(ValueError, match="the gradient at layer '1' has NaN .* at sample 1"):
        attribute(net, x, 1, "1")
    with pytest.raises(ValueError, match="the attribution has NaN .* at sample 1"):
        attribute(nn.Sequential(Root()), x, 1, "input")
    named = [(-x, np.array([0, 1]), np.array(["b", "c"]))]
    with pytest.raises(ValueError, match="layer '1' has NaN or infinite values at sample b"):
        attribute(nn.Sequential(nn.Identity(), Root()), named, 1, "1")


def test_inputs_that_do_not_fit() -> None:
    net = split()
    with pytest.raises(ValueError, match="sample 1 has NaN"):
        attribute(net, np.stack([X[0], X[1] * np.nan]), 1, "first.1")
    with pytest.raises(ValueError, match="inputs are empty"):
        attribute(net, X[:0], 1, "first.1")
    whole = nn.Sequential(nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    with pytest.raises(ValueError, match=r"differ in size: .*'y': 6.*'y': 5"):
        attribute(whole, [X, X[:, :, 1:]], 1, "0")
    bert, ids = build("transformers bert")
    with pytest.raises(ValueError, match="inputs are dict; expected floating-point images"):
        attribute(bert, ids, 1, "input")
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(ValueError, match=r"torch.int64 of shape \(3, 2\)"):
        attribute(plain, torch.zeros(3, 2, dtype=torch.long), 1, "input")


def test_outputs_that_are_no_class_scores() -> None:
    with pytest.raises(ValueError, match=r"the model gave \(3, 5, 2, 2\); expected one tensor of"):
        attribute(split().second, X[:, [0, 1, 0]], 0, "1")
    deit, x = build("transformers deit")
    with pytest.raises(ValueError, match="expected one tensor of class scores"):
        attribute(deit, x, 0, "layers.0")


class Counting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).sum(1, keepdim=True)


def test_a_layer_of_whole_numbers_is_refused() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count, self.head = Counting(), nn.Linear(1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.count(x).float())

    with pytest.raises(TypeError, match="layer 'count' gave torch.int64; expected floating-point"):
        attribute(Counted(), vectors(3, 4), 0, "count")
