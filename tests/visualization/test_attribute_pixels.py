"""Attributions at the input, and Grad-CAM, by Captum."""

from __future__ import annotations

import itertools
import sys

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from tests.network.real_models import Recurrent, vectors
from tests.visualization.nets import assert_untouched, reused, state
from tests.visualization.split_net import X, attribute, split


def test_the_pixel_methods_are_captums() -> None:
    net = split()
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf)[:, 2].sum(), leaf)
    found = attribute(net, X, 2, "input")
    np.testing.assert_allclose(found["attribution"], X * gradient, atol=1e-6)
    assert found["attribution"].dims == ("sample", "channel", "y", "x")
    path = captum.attr.IntegratedGradients(net).attribute(X, 0.5, target=2, n_steps=30)
    options = {"steps": 30, "baseline": 0.5, "batch_size": 2}
    found = attribute(net, X, 2, "input", method="integrated_gradients", **options)
    np.testing.assert_allclose(found["attribution"], path.detach(), atol=1e-6)
    np.testing.assert_allclose(found["gap"], 0, atol=1e-2)
    np.testing.assert_allclose(found["by_position"], found["attribution"].sum("channel"), atol=1e-6)


def test_occlusion_by_covering_one_window_after_the_other() -> None:
    net = split()
    found = attribute(net, X, (2, 0), "input", method="occlusion", window=2, baseline=0.25)
    with torch.no_grad():
        whole = net(X)
        change, covered = torch.zeros(3, 6, 6), torch.zeros(6, 6)
        for y, x in itertools.product(range(5), range(5)):
            image = X.clone()
            image[:, :, y : y + 2, x : x + 2] = 0.25
            drop = whole - net(image)
            change[:, y : y + 2, x : x + 2] += (drop[:, 2] - drop[:, 0])[:, None, None]
            covered[y : y + 2, x : x + 2] += 1
    expected = np.broadcast_to((change / covered)[:, None], (3, 2, 6, 6))
    np.testing.assert_allclose(found["attribution"], expected, atol=1e-6)


def test_gradcam_of_a_layer_and_of_the_last_map() -> None:
    net = split()
    found = attribute(net, X, 2, "first.1", method="gradcam")
    a = net.first(X).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.after(a)[:, 2].sum(), a)
    maps = (gradient.mean((2, 3), keepdim=True) * a).sum(1).relu().detach()
    np.testing.assert_allclose(found["attribution"], maps, atol=1e-6)
    assert found.attrs["at"] == "first.1"
    last = attribute(net, X, 2, "second.2", method="gradcam")["attribution"]
    enlarged = nn.functional.interpolate(
        torch.tensor(last.values)[:, None], (6, 6), mode="bilinear"
    )
    found = attribute(net, X, 2, "input", method="gradcam")
    np.testing.assert_allclose(found["by_position"], enlarged[:, 0], atol=1e-6)


def test_vectors_and_sequences_at_the_input() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 2))
    found = attribute(net, vectors(4, 8), "1:2", "input", method="integrated_gradients")
    assert found["attribution"].dims == ("sample", "feature")
    np.testing.assert_allclose(found["gap"], 0, atol=1e-4)
    whole = attribute(net, vectors(4, 8), 1, "input", method="occlusion")
    with torch.no_grad():
        for i in range(8):
            x = vectors(4, 8)
            x[:, i] = 0
            drop = net(vectors(4, 8)) - net(x)
            np.testing.assert_allclose(whole["attribution"][:, i], drop[:, 1], atol=1e-6)
    net = Recurrent(nn.GRU).eval()
    found = attribute(net, vectors(5, 7, 4), [0, 1], "input")
    assert found["attribution"].dims == ("target", "sample", "position", "feature")


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "occlusion", "gradcam"])
def test_after_captum_the_model_is_what_it_was(method: str) -> None:
    net = reused()
    before = state(net)
    attribute(net, torch.rand(2, 3, 8, 8), (1, 2), "input", method=method, steps=3)
    assert_untouched(net, before)


def test_without_captum_it_is_said_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(
        ImportError, match=r'the package captum: pip install "nbcorr\[attribution\]"'
    ):
        attribute(split(), X, 2, "input")
    assert attribute(split(), X, 2, "first.1").sizes["sample"] == 3
