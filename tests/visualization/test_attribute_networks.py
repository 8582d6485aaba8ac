"""``nc.attribute`` on networks of many kinds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from nbcorr.network.hooks import captured
from tests.conftest import assert_same_traces, traces
from tests.network.real_models import build, hf_vit, images, timm_vit, vectors
from tests.visualization.nets import reused
from tests.visualization.split_net import X, attribute, split


def test_patches_lie_in_the_image_and_class_tokens_beside_it() -> None:
    torch.manual_seed(0)
    net, x = timm_vit().eval(), images()
    found = attribute(net, x, 4, "blocks.0")
    tokens: list[torch.Tensor] = []

    def keep(module, args, output):
        leaf = output.detach().requires_grad_()
        tokens.append(leaf)
        return leaf.clone()

    handle = net.blocks[0].register_forward_hook(keep)
    score = net(x)[:, 4].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, tokens[0])
    product = (tokens[0] * gradient).detach()
    assert found["attribution"].shape == (5, 36, 5, 5)
    np.testing.assert_allclose(found["off_map"], product[:, 0], atol=1e-6)
    by_place = product[:, 1:].reshape(5, 5, 5, 36).permute(0, 3, 1, 2)
    np.testing.assert_allclose(found["attribution"], by_place, atol=1e-6)
    np.testing.assert_allclose(found["by_neuron"], product.sum(1), atol=1e-5)
    np.testing.assert_allclose(found["total"], product.sum((1, 2)), atol=1e-5)


def test_a_transformer_is_complete_from_its_mean_activation() -> None:
    torch.manual_seed(0)
    net, x = timm_vit().eval(), images()
    mean = attribute(net, x, 4, "blocks.0")["activation"].mean(("sample", "y", "x"))
    found = attribute(net, x, 4, "blocks.0", method="path", baseline=mean, steps=200)
    change = np.abs(found["score"] - found["score_baseline"])
    assert float(np.abs(found["gap"]).max()) < 0.01 * float(change.max())


# The layer, the axis of its units, the target, and what the attributions lie on.
KINDS = {
    "generator": ("2", 1, "8:1", ("neuron", "y", "x")),
    "six bands": ("act", 1, 3, ("neuron", "y", "x")),
    "tied": ("encode.0", 1, 5, ("neuron",)),
    "lstm": ("rnn", 2, 2, ("neuron", "position")),
    "timm swin": ("layers.0", 3, 1, ("neuron", "y", "x")),
    "transformers vit": ("vit.layers.0", 2, 1, ("neuron", "y", "x")),
    "transformers bert": ("bert.encoder.layer.0", 2, 1, ("neuron", "position")),
    "transformer encoder": ("encoder.layers.0", 2, 1, ("neuron", "position")),
    "torchvision resnet18": ("layer2", 1, (1, 0), ("neuron", "y", "x")),
}


def scaled(net: nn.Module, data, at: str, axis: int, by: torch.Tensor) -> torch.Tensor:
    """What the network gives when each unit of a layer's first call gives so many times its own."""

    def scale(output, call, args):
        shape = [-1] + [1] * (output.ndim - 1 - axis)
        return output * by.reshape(shape) if call == 0 else None

    inputs = data if isinstance(data, dict) else data.clone()
    with torch.no_grad(), captured(net, {at: scale}):
        output = net(**inputs) if isinstance(inputs, dict) else net(inputs)
    return output.logits if hasattr(output, "logits") else output


@pytest.mark.parametrize("name", KINDS)
def test_by_neuron_is_what_a_small_change_of_each_unit_does(name: str) -> None:
    """The slope of the score as the units are scaled, whatever the axes and tokens."""
    net, data = build(name)
    net = net.double()
    data = data if isinstance(data, dict) else data.double()
    at, axis, target, dims = KINDS[name]
    before = traces(net)
    found = attribute(net, data, target, at)
    assert_same_traces(before, traces(net))
    assert found["attribution"].dims == ("sample", *dims)
    units = found.sizes["neuron"]
    change = torch.rand(units, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    up, down = (scaled(net, data, at, axis, 1 + step * change) for step in (1e-5, -1e-5))
    slope = (up - down) / 2e-5
    if target == "8:1":
        expected = slope[:, 1].mean((1, 2))
    elif target == (1, 0):
        expected = slope[:, 1] - slope[:, 0]
    else:
        expected = slope[:, target]
    assert float(expected.abs().max()) > 1e-5
    weighted = (found["by_neuron"].values * change.numpy()).sum(1)
    np.testing.assert_allclose(weighted, expected, rtol=1e-3, atol=1e-7)


def test_outputs_in_a_dataclass_and_in_a_tuple() -> None:
    torch.manual_seed(0)
    net = hf_vit().eval()
    found = attribute(net, {"pixel_values": images()}, 5, "vit.layers.0")
    plain = attribute(net, images(), 5, "vit.layers.0")
    np.testing.assert_array_equal(found["attribution"], plain["attribution"])
    assert dataclasses.is_dataclass(net(images()))
    assert attribute(reused(), torch.rand(2, 3, 8, 8), 4, "conv2").sizes["neuron"] == 8


def test_one_score_per_sample_is_one_class() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0))
    found = attribute(net, vectors(5, 4), 0, "1")
    a = net[:2](vectors(5, 4)).detach()
    np.testing.assert_allclose(found["attribution"], a * net[2].weight.detach()[0], atol=1e-6)


def test_a_layer_that_runs_twice_has_two_attributions() -> None:
    net = reused()
    x = torch.rand(2, 3, 8, 8)
    first, second = (attribute(net, x, 1, at) for at in ("act", "act#2"))
    assert second.attrs["at"] == "act#2"
    pooled = net.head.weight.detach()[1] / 64
    np.testing.assert_allclose(
        second["gradient"], np.broadcast_to(pooled[:, None, None], (2, 8, 8, 8)), atol=1e-7
    )
    assert np.abs(first["activation"].values - second["activation"].values).max() > 0


def test_before_a_layer_that_works_in_place_its_own_output_is_seen() -> None:
    net = split(activation=lambda: nn.ReLU(inplace=True))
    twin = split(activation=nn.ReLU)
    for at in ("first.0", "second.1"):
        found, expected = attribute(net, X, 2, at), attribute(twin, X, 2, at)
        np.testing.assert_array_equal(found["activation"], expected["activation"])
        np.testing.assert_array_equal(found["attribution"], expected["attribution"])
    found = attribute(net, X, ("second.1", 2), "first.0")
    expected = attribute(twin, X, ("second.1", 2), "first.0")
    np.testing.assert_array_equal(found["attribution"], expected["attribution"])


def test_half_precision_and_compiled_models() -> None:
    whole = attribute(split(pool=False).float(), X, 2, "first.1")
    half = attribute(split(pool=False).bfloat16(), X, 2, "first.1")
    assert half["attribution"].dtype == np.float32
    np.testing.assert_allclose(half["attribution"], whole["attribution"], atol=1e-3)
    compiled = attribute(torch.compile(split(pool=False).float()), X, 2, "first.1")
    np.testing.assert_array_equal(compiled["attribution"], whole["attribution"])


def test_neither_batches_nor_the_seed_change_what_is_not_drawn() -> None:
    net = split()
    whole = attribute(net, X, 2, "first.1", method="path")
    parts = attribute(net, X, 2, "first.1", method="path", batch_size=2, seed=9)
    np.testing.assert_allclose(whole["attribution"], parts["attribution"], atol=1e-7)
    drawn = [
        attribute(net, X, 2, "first.1", method="stochastic_path", seed=seed)["attribution"]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.abs(drawn[0] - drawn[2]).max() > 1e-5
