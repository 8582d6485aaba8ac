from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc
from nbcorr.network.batches import Batch
from nbcorr.network.twins import calibrate_normalization, untrained_twin


def test_a_twin_has_the_same_shape_and_other_weights(untouched):
    state = torch.get_rng_state()
    twin, again, other = (untrained_twin(untouched, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in untouched.named_parameters():
        first = twin.get_parameter(name)
        assert first.shape == value.shape
        assert torch.equal(first, again.get_parameter(name))
        if name.endswith("weight") and "norm" not in name:
            assert not torch.equal(first, value)
            assert not torch.equal(first, other.get_parameter(name))
    assert torch.equal(twin.norm.running_mean, torch.zeros(4))


def test_parameters_without_a_reset_of_their_own_are_drawn_anew():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.linspace(0, 10, 1000))

    net = Tokens()
    drawn = untrained_twin(net, 0).token.detach()
    assert not torch.equal(drawn, net.token)
    assert abs(float(drawn.mean() - net.token.detach().mean())) < 0.3
    assert abs(float(drawn.std() - net.token.detach().std())) < 0.3


def test_batch_norm_of_a_twin_is_calibrated(model, images):
    twin = untrained_twin(model, 0)
    calibrate_normalization(twin, Batch(torch.tensor(images)))
    outputs = []
    twin.norm.register_forward_hook(lambda m, a, o: outputs.append(o.clone()))
    with torch.no_grad():
        twin(torch.tensor(images))
    assert torch.allclose(outputs[0].mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
    assert not twin.norm.training
    assert twin.norm.momentum == 0.1


def literal_forward(net, x, off):
    """The forward pass written out, with units set by hand."""

    def switched(name, out):
        for unit, value in off.get(name, {}).items():
            out = out.clone()
            out[:, unit] = value
        return out

    x = torch.relu(net.norm(switched("conv1", net.conv1(x))))
    x = torch.relu(switched("conv2", net.conv2(switched("act", x))))
    x = switched("act#2", x)
    return net.out(torch.relu(switched("hidden", net.hidden(x.flatten(1)))))


def test_ablate_zero_equals_the_forward_pass_written_out(untouched, images):
    x = torch.tensor(images[:5])
    untouched.eval()
    with torch.no_grad(), nc.ablate(untouched, ["conv1:2", "act#2:5", "hidden:0", "hidden:11"]):
        got = untouched(x)
    with torch.no_grad():
        off = {"conv1": {2: 0.0}, "act#2": {5: 0.0}, "hidden": {0: 0.0, 11: 0.0}}
        expected = literal_forward(untouched, x, off)
        plain = literal_forward(untouched, x, {})
    assert torch.allclose(got, expected, atol=1e-6)
    assert not torch.allclose(got, plain, atol=1e-3)
    untouched.train()
    untouched.conv1.eval()


def test_ablate_mean_sets_the_recorded_mean(model, images):
    model.eval()
    recording = nc.record(model, images, "hidden", progress=False)
    mean = float(recording.activation.sel(layer="hidden", unit=4).mean())
    x = torch.tensor(images[:5])
    with torch.no_grad(), nc.ablate(model, "hidden:4", "mean", recording=recording):
        got = model(x)
    with torch.no_grad():
        assert torch.allclose(got, literal_forward(model, x, {"hidden": {4: mean}}), atol=1e-6)


def test_gradients_flow_except_through_what_is_off(model, images):
    model.eval()
    x = torch.tensor(images[:2], requires_grad=True)
    with nc.ablate(model, {"hidden": list(range(12))}):
        model(x).sum().backward()
    assert float(x.grad.abs().sum()) == 0
    with nc.ablate(model, {"hidden": [0]}):
        model(x).sum().backward()
    assert float(x.grad.abs().sum()) > 0


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_ablate_restores_after_errors(untouched, error):
    with pytest.raises(error), nc.ablate(untouched, "conv1:0"):
        raise error


def test_two_models_and_nested_sets(images):
    torch.manual_seed(1)
    first = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    second = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    x = torch.tensor(images[:3])
    with (
        torch.no_grad(),
        nc.ablate(first, "1:0"),
        nc.ablate(first, "1:1"),
        nc.ablate(second, "1:2"),
    ):
        assert np.all(first(x).numpy()[:, :2] == 0)
        assert np.all(second(x).numpy()[:, 2] == 0)
        assert np.all(second(x).numpy()[:, :2] != 0)


@pytest.mark.parametrize(
    ("neurons", "how", "message"),
    [
        ("conv9:0", "zero", "no layer 'conv9'; did you mean"),
        ("conv1:0", "zer", "no way of switching off 'zer'; did you mean 'zero'"),
        ("conv1:0", "mean", "needs recording="),
    ],
)
def test_ablate_refuses(untouched, neurons, how, message):
    with pytest.raises(ValueError, match=message), nc.ablate(untouched, neurons, how):
        pass


def test_a_unit_beyond_the_layer_is_named_when_it_runs(untouched, images):
    with pytest.raises(ValueError, match="no neuron 'conv1:4': layer 'conv1' has 4 units, 0 to 3"):
        with nc.ablate(untouched, "conv1:4"), torch.no_grad():
            untouched.eval()(torch.tensor(images))
    untouched.train()
    untouched.conv1.eval()


@pytest.mark.parametrize("layer", ["unused", "act#3"])
def test_what_did_not_run_was_not_switched_off(untouched, images, layer):
    with pytest.raises(ValueError, match=f"layer '{layer}' did not run, so nothing was switched"):
        with nc.ablate(untouched, (layer, 0)):
            nc.record(untouched, images, "conv1", progress=False)
    with nc.ablate(untouched, (layer, 0)):
        pass


def test_twins_of_an_ablated_model_are_whole(model, images):
    whole = nc.record(model, images, "hidden", twins=1, progress=False)
    with nc.ablate(model, "hidden:2"):
        off = nc.record(model, images, "hidden", twins=1, progress=False)
    assert (off.sel(layer="hidden", unit=2)["activation"] == 0).all()
    np.testing.assert_array_equal(off["activation_twin"], whole["activation_twin"])


def test_a_model_that_cannot_be_copied_is_named(model, images):
    model.cache = model(torch.tensor(images))
    with pytest.raises(ValueError, match="no untrained twin can be made of Reusing.*twins=0"):
        untrained_twin(model)
