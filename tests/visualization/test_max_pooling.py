"""The smooth gradient of max-poolings, and attributions with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from nbcorr.visualization.max_pooling import smoothed
from tests.visualization.split_net import X, attribute, split

POOLS = {
    "2d": (nn.MaxPool2d(2), (2, 3, 6, 4)),
    "overlapping, padded": (nn.MaxPool2d(3, stride=2, padding=1), (2, 3, 7, 5)),
    "ceil": (nn.MaxPool2d(2, ceil_mode=True), (1, 2, 5, 5)),
    "1d": (nn.MaxPool1d(3, padding=1), (2, 2, 8)),
    "3d": (nn.MaxPool3d(2), (1, 2, 4, 2, 4)),
    "adaptive": (nn.AdaptiveMaxPool2d(2), (2, 2, 5, 4)),
}


def mean_by_hand(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The mean over those inputs that could be the largest of a window, found by marking them."""
    numbered = torch.arange(x[0, 0].numel(), dtype=x.dtype).reshape(1, 1, *x.shape[2:])
    size = module(numbered)[0, 0].numel()
    members: list[list[int]] = [[] for _ in range(size)]
    for i in range(x[0, 0].numel()):
        marked = (numbered == i).to(x.dtype)
        for window in module(marked).flatten().nonzero().flatten().tolist():
            members[window].append(i)
    flat = x.flatten(2)
    return torch.stack([flat[:, :, each].mean(2) for each in members], 2)


@pytest.mark.parametrize("name", POOLS)
def test_the_smooth_gradient_of_a_pooling(name: str) -> None:
    module, shape = POOLS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x.requires_grad_()
    pooled = module(x)
    out = smoothed(module, x, pooled.detach())
    assert torch.equal(out, pooled)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).double()
    (found,) = torch.autograd.grad(out, x, direction)
    by_hand = mean_by_hand(module, x**2) / (0.01 + mean_by_hand(module, x.abs()))
    (expected,) = torch.autograd.grad(by_hand, x, direction.flatten(2))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_attributions_with_smooth_poolings() -> None:
    net = split()
    a = net.first(X).detach()

    def smooth(a: torch.Tensor) -> torch.Tensor:
        pool = nn.functional.avg_pool2d
        pooled, kept = net.second[0](a), pool(a**2, 2) / (0.01 + pool(a.abs(), 2))
        return net.head(net.second[1:](kept + (pooled - kept).detach()).flatten(1))

    leaf = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(smooth(leaf)[:, 1].sum(), leaf)
    exact = attribute(net, X, 1, "first.1")
    found = attribute(net, X, 1, "first.1", max_pool="smooth")
    np.testing.assert_allclose(found["gradient"], gradient, atol=1e-6)
    assert np.abs(exact["gradient"] - found["gradient"]).max() > 1e-3
    np.testing.assert_array_equal(exact["score"], found["score"])
    assert float((found["gradient"] != 0).mean()) > float((exact["gradient"] != 0).mean())


def test_poolings_that_cannot_be_smoothed_are_said() -> None:
    net = split()
    with pytest.raises(ValueError, match=r"no nn.MaxPool ran after layer 'second.1'"):
        attribute(net, X, 1, "second.1", max_pool="smooth")
    net.second[0] = nn.MaxPool2d(2, stride=2, dilation=2, padding=1)
    with pytest.raises(ValueError, match=r"MaxPool2d has dilation 2; expected 1"):
        attribute(net, X, 1, "first.1", max_pool="smooth")
