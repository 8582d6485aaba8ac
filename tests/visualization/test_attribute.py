"""``nc.attribute`` at a layer against literal twins, finite differences and Captum."""

from __future__ import annotations

import itertools

import captum.attr
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import nbcorr as nc
from tests.visualization.nets import assert_untouched, reused, state
from tests.visualization.split_net import Split, X, attribute, gradient_by_hand, split

# At a layer


def test_activation_times_gradient_by_finite_differences() -> None:
    net = split()
    found = attribute(net, X, 2, "first.1")
    a = net.first(X).detach()
    gradient = gradient_by_hand(lambda a: net.after(a)[:, 2], a)
    np.testing.assert_allclose(found["gradient"], gradient, atol=1e-6)
    np.testing.assert_allclose(found["activation"], a, atol=1e-6)
    np.testing.assert_allclose(found["attribution"], a.numpy() * gradient, atol=1e-6)
    assert found["attribution"].dims == ("sample", "neuron", "y", "x")
    assert found["attribution"].dtype == np.float32
    assert found.sel(layer="first.1", unit=2)["by_neuron"].shape == (3,)


def test_sums_by_neuron_by_position_and_in_all() -> None:
    found = attribute(split(), X, 2, "first.1")
    for s, u in itertools.product(range(3), range(3)):
        total = sum(float(v) for v in found["attribution"].values[s, u].ravel())
        np.testing.assert_allclose(found["by_neuron"][s, u], total, atol=1e-6)
    for s, y, x in itertools.product(range(3), range(6), range(6)):
        total = sum(float(v) for v in found["attribution"].values[s, :, y, x])
        np.testing.assert_allclose(found["by_position"][s, y, x], total, atol=1e-6)
    np.testing.assert_allclose(found["total"], found["by_neuron"].sum("neuron"), atol=1e-6)
    np.testing.assert_allclose(
        found["gap"], found["score"] - found["score_baseline"] - found["total"], atol=1e-6
    )


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_paths_by_a_loop_over_their_points(stochastic: bool, batch_size: int) -> None:
    net, steps = split(), 9
    start = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)[:, None, None]
    method = "stochastic_path" if stochastic else "path"
    options = {"steps": steps, "baseline": start.flatten(), "seed": 5, "batch_size": batch_size}
    found = attribute(net, X, (1, 3), "first.1", method=method, **options)
    generator = torch.Generator().manual_seed(5)
    drawn = torch.rand(2, steps, 3, generator=generator, dtype=torch.float64)
    a = net.first(X).detach()
    total = torch.zeros_like(a)
    for n in range(steps):
        share = torch.full((3,), (n + 0.5) / steps, dtype=torch.float64)
        if stochastic:
            share = share * (drawn[0, n] + drawn[1, n]) / 1.5
        point = (start + share[:, None, None] * (a - start)).requires_grad_()
        scores = net.after(point)
        (gradient,) = torch.autograd.grad((scores[:, 1] - scores[:, 3]).sum(), point)
        total += (a - start) * gradient / steps
    np.testing.assert_allclose(found["attribution"], total, atol=1e-6)
    assert found.attrs["baseline"] == "an array of shape (3,)"
    before = net.after(start.expand_as(a)).detach()
    np.testing.assert_allclose(found["score_baseline"], before[:, 1] - before[:, 3], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    target=st.one_of(st.integers(0, 3), st.tuples(st.integers(0, 3), st.integers(0, 3))),
    baseline=st.floats(-1, 1),
    at=st.sampled_from(["first.0", "first.1", "second.1", "second.2", "head"]),
)
def test_path_attributions_are_complete(seed, target, baseline, at) -> None:
    """Of a smooth network the middles of 100 pieces leave less than a thousandth."""
    torch.manual_seed(seed)
    net = Split(pool=False).double().eval()
    x = torch.rand(2, 2, 6, 6, dtype=torch.float64)
    found = attribute(net, x, target, at, method="path", baseline=baseline)
    np.testing.assert_allclose(
        found["total"], found["score"] - found["score_baseline"], rtol=1e-3, atol=1e-5
    )
    np.testing.assert_allclose(found["gap"], 0, atol=1e-4)


def test_with_kinks_the_gap_closes_as_steps_are_added() -> None:
    net = split(activation=nn.ReLU)
    gaps = [
        float(np.abs(attribute(net, X, 0, "first.0", method="path", steps=n)["gap"]).max())
        for n in (4, 40, 400)
    ]
    change = attribute(net, X, 0, "first.0")
    scale = float(np.abs(change["score"] - change["score_baseline"]).max())
    assert gaps[2] < gaps[1] < gaps[0]
    assert gaps[2] < 1e-3 * scale


@pytest.mark.parametrize("at", ["first.1", "second.2", "head"])
def test_as_captum_has_it(at: str) -> None:
    net = split(activation=nn.ReLU)
    module = net.get_submodule(at)
    product = captum.attr.LayerGradientXActivation(net, module).attribute(X, target=3)
    np.testing.assert_allclose(attribute(net, X, 3, at)["attribution"], product.detach(), atol=1e-6)
    path = captum.attr.LayerIntegratedGradients(net, module).attribute(
        X, target=3, n_steps=20, method="riemann_middle", baselines=torch.zeros_like(X)
    )
    # Captum's layer baseline is what the layer gives for the baseline input.
    with torch.no_grad():
        start: list[torch.Tensor] = []
        handle = module.register_forward_hook(lambda *a: start.append(a[2][0].clone()))
        net(torch.zeros_like(X))
        handle.remove()
    found = attribute(net, X, 3, at, method="path", steps=20, baseline=start[0])
    np.testing.assert_allclose(found["attribution"], path.detach(), atol=1e-6)


def test_a_difference_of_logits_is_the_difference_of_their_attributions() -> None:
    found = attribute(split(), X, [0, 3, (0, 3)], "first.1")
    assert found["target"].values.tolist() == ["0", "3", "0 - 3"]
    each = found["attribution"]
    np.testing.assert_allclose(each[0] - each[1], each[2], atol=1e-6)
    alone = attribute(split(), X, (0, 3), "first.1")
    np.testing.assert_allclose(alone["attribution"], each[2], atol=1e-7)


def test_classes_by_name_and_samples_by_id() -> None:
    pictures = xr.Dataset(
        {
            "image": (("sample", "channel", "y", "x"), X.numpy()),
            "label": ("sample", np.array([0, 1, 2])),
        },
        {"sample": ["a", "b", "c"]},
        {"classes": ["cat", "dog", "fox", "owl"]},
    )
    found = attribute(split(), pictures, ("fox", "cat"), "first.1")
    assert found.attrs["target"] == "fox - cat"
    assert found["sample"].values.tolist() == ["a", "b", "c"]
    assert found["label"].values.tolist() == [0, 1, 2]
    plain = attribute(split(), X, (2, 0), "first.1")
    np.testing.assert_array_equal(found["attribution"], plain["attribution"])
    named = attribute(split(), X, "fox", "first.1", classes=["cat", "dog", "fox", "owl"])
    assert named.attrs["target"] == "fox"


# From layer to layer


def test_a_neuron_of_a_later_layer_its_mean_and_at_a_place() -> None:
    net = split()
    a = net.first(X).detach()
    mean = gradient_by_hand(lambda a: net.second(a)[:, 3].mean((1, 2)), a)
    found = attribute(net, X, "second.2:3", "first.1")
    np.testing.assert_allclose(found["gradient"], mean, atol=1e-6)
    place = gradient_by_hand(lambda a: net.second(a)[:, 3, 0, 1], a)
    found = attribute(net, X, ("second.2", 3), "first.1", position=(0, 1))
    np.testing.assert_allclose(found["gradient"], place, atol=1e-6)
    assert found.attrs["target"] == "second.2:3 at (0, 1)"


def test_every_position_of_a_later_layer_by_the_length_of_its_vector() -> None:
    net = split()
    a = net.first(X).detach()
    found = attribute(net, X, "second.2", "first.1", position="each")
    assert found["by_position"].dims == ("target_y", "target_x", "sample", "y", "x")
    for y, x in itertools.product(range(2), range(2)):
        gradient = gradient_by_hand(lambda a, y=y, x=x: net.second(a)[:, :, y, x].norm(dim=1), a)
        spatial = (a.numpy() * gradient).sum(1)
        np.testing.assert_allclose(found["by_position"][y, x], spatial, atol=1e-6)
        length = net.second(a)[:, :, y, x].norm(dim=1).detach()
        np.testing.assert_allclose(found["score"][y, x], length, atol=1e-6)


def test_a_silent_place_has_no_attribution_rather_than_nan() -> None:
    net = split(activation=nn.ReLU)
    nn.init.constant_(net.second[1].bias, -100.0)
    found = attribute(net, X, "second.2", "first.1", position=(0, 0))
    assert not found["attribution"].any()


# Groups


def test_groups_of_units_are_sums() -> None:
    found = attribute(split(), X, 2, "first.1", groups={"two": [0, 2], "one": [1]})
    each = found["by_neuron"].values
    assert found["group"].values.tolist() == ["two", "one"]
    np.testing.assert_allclose(found["by_group"].sel(group="two"), each[:, 0] + each[:, 2])
    np.testing.assert_allclose(found["by_group"].sum("group"), found["total"], atol=1e-6)
    again = attribute(split(), X, [2, 0], "first.1", groups=[[0, 2], [1]])["by_group"]
    assert again.dims == ("target", "sample", "group")
    np.testing.assert_allclose(again[0], found["by_group"])


@pytest.mark.parametrize("across", [False, True])
def test_groups_of_a_factorisation_are_map_times_weights_times_gradient(across: bool) -> None:
    net = split(activation=nn.ReLU)
    groups = nc.factorize(net, X, "first.1", 2, across=across, progress=False)
    found = attribute(net, X, 1, "first.1", groups=groups)
    weights, maps, gradient = groups["weights"].values, groups["map"].values, found["gradient"]
    for s, g in itertools.product(range(3), range(2)):
        total = 0.0
        for u, y, x in itertools.product(range(3), range(6), range(6)):
            weight = weights[g, u] if across else weights[s, g, u]
            total += weight * maps[s, g, y, x] * float(gradient[s, u, y, x])
        np.testing.assert_allclose(found["by_group"][s, g], total, atol=1e-6)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "no groups were given"),
        ([[0], [3]], "group 1 has unit 3; expected 0 to 2"),
        ({"a": [-1]}, "group 'a' has unit -1"),
        ([[]], "expected a list of units"),
        ([[0.5]], "expected a list of units"),
        (xr.Dataset({"weights": 1}), "expected 'weights' and 'map', of nc.factorize"),
    ],
)
def test_groups_that_do_not_fit(groups, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attribute(split(), X, 2, "first.1", groups=groups)


def test_a_factorisation_of_other_samples_or_another_layer_is_refused() -> None:
    net = split(activation=nn.ReLU)
    groups = nc.factorize(net, X, "first.1", 2, progress=False)
    with pytest.raises(ValueError, match="the groups are of 3 samples, 0 to 2, the attribution of"):
        attribute(net, X[:2], 2, "first.1", groups=groups)
    with pytest.raises(ValueError, match="the groups are of 3 neurons"):
        attribute(net, X, 2, "second.2", groups=groups)


# The model afterwards


def test_the_model_is_left_untouched(untouched) -> None:
    x = np.random.default_rng(0).random((3, 1, 8, 8)).astype(np.float32)
    for method in ("gradient", "path", "stochastic_path"):
        attribute(untouched, x, (0, 1), "act#2", method=method, steps=3)
    attribute(untouched, x, "hidden:3", "act")
    with pytest.raises(ValueError, match="no class 9"):
        attribute(untouched, x, 9, "act")


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
@pytest.mark.parametrize("at", ["conv1", "input"])
def test_after_an_error_and_ctrl_c(error: type[BaseException], at: str) -> None:
    net = reused()
    passes = itertools.count(1)

    def fail(*_: object) -> None:
        if next(passes) == 2:
            raise error("from the model")

    handle = net.conv2.register_forward_hook(fail)
    before, grad_enabled = state(net), torch.is_grad_enabled()
    with pytest.raises(error, match="from the model"):
        attribute(net, torch.rand(2, 3, 8, 8), 1, at)
    assert_untouched(net, before)
    assert torch.is_grad_enabled() is grad_enabled
    handle.remove()


def test_inside_no_grad_and_inference_mode() -> None:
    net = split()
    expected = attribute(net, X, 1, "first.1")["attribution"]
    for block in (torch.no_grad(), torch.inference_mode()):
        with block:
            found = attribute(net, X, 1, "first.1")["attribution"]
            pixels = attribute(net, X, 1, "input")["attribution"]
        np.testing.assert_array_equal(found, expected)
        assert float(np.abs(pixels).max()) > 0
