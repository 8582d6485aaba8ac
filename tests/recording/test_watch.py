from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc


def test_a_loop_of_ones_own_is_recorded_as_record_does(model, images):
    model.eval()
    with nc.watch(model, "all", ["mean", "max"]) as watched, torch.inference_mode():
        assert watched.count == 0
        for start in range(0, 40, 16):
            model(torch.tensor(images[start : start + 16]))
        assert watched.count == 40
    expected = nc.record(model, images, "all", ["mean", "max"], batch_size=16, progress=False)
    seen = watched.recording()
    for name in ("activation", "input", "prediction", "confidence", "nonfinite", "sample"):
        np.testing.assert_allclose(seen[name], expected[name], rtol=1e-6, atol=1e-6)
    assert seen.attrs["layers"] == expected.attrs["layers"]
    assert (seen.attrs["training"], seen.attrs["weights_changed"]) == (0, 0)


def test_training_is_watched_and_not_disturbed(model, images, labels):
    import copy

    def train(net):
        torch.manual_seed(0)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        net.train()
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(torch.tensor(images)), torch.tensor(labels))
            loss.backward()
            optimizer.step()

    alone = copy.deepcopy(model)
    train(alone)
    with nc.watch(model, "all", dtype="float16") as watched:
        train(model)
    for mine, its in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=0)
    seen = watched.recording()
    assert seen.sizes["sample"] == 120
    assert seen["activation"].dtype == np.float16
    assert (seen.attrs["training"], seen.attrs["weights_changed"]) == (1, 1)


def test_what_was_seen_before_an_error_is_there_and_the_hooks_are_gone(untouched, images):
    modes = [module.training for module in untouched.modules()]
    untouched.eval()
    blocks = []

    def block():
        with nc.watch(untouched, "all") as watched:
            blocks.append(watched)
            untouched(torch.tensor(images[:5]))
            untouched(torch.zeros(2, 7, 8, 8))

    with pytest.raises(RuntimeError):
        block()
    assert blocks[0].recording().sizes["sample"] == 5
    for module, mode in zip(untouched.modules(), modes, strict=True):
        module.training = mode


def test_a_pass_after_one_that_failed(model, images):
    model.eval()
    with nc.watch(model, "all") as watched:
        with pytest.raises(RuntimeError):
            model(torch.zeros(2, 7, 8, 8))
        model(torch.tensor(images[:3]))
    assert watched.recording().sizes["sample"] == 3


def test_parts_called_on_their_own_do_not_count(model, images):
    with nc.watch(model, "conv1") as watched:
        model.conv1(torch.tensor(images))
    with pytest.raises(ValueError, match="Reusing made no forward pass in the block"):
        watched.recording()


def test_keyword_arguments_and_calls_without_a_tensor():
    class Keywords(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x=None, scale=1.0):
            return self.act(x * scale) if x is not None else None

    net = Keywords()
    with nc.watch(net, "act") as watched:
        net(x=torch.arange(-3.0, 3).reshape(3, 2), scale=2.0)
        with pytest.raises(TypeError, match="Keywords was called without a tensor"):
            net(scale=3.0)
    seen = watched.recording()["activation"]
    np.testing.assert_array_equal(seen, [[0, 0], [0, 0], [2, 4]])


def test_two_blocks_around_one_another(model, images):
    model.eval()
    with nc.watch(model, "relu") as outer:
        model(torch.tensor(images[:4]))
        with nc.watch(model, "conv1") as inner:
            model(torch.tensor(images[4:9]))
    assert (outer.count, inner.count) == (9, 5)
    assert not any(module._forward_hooks for module in model.modules())


class Parts(nn.Module):
    """Fails when it is asked to, after its first layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x, fail=False):
        x = self.first(x)
        if fail:
            raise RuntimeError("as asked")
        return self.second(x)


def test_parts_called_after_a_pass_that_failed_do_not_count():
    net, x = Parts(), torch.randn(5, 4)
    with nc.watch(net, ["first", "second"]) as watched:
        with pytest.raises(RuntimeError, match="as asked"):
            net(x, fail=True)
        # As many samples, and then others: neither is of a pass.
        net.first(x)
        net.first(x[:2])
        net(x)
        net.second(torch.zeros(7, 3))
        net.first(x[:1])
    seen = watched.recording()
    assert seen.sizes["sample"] == 5
    np.testing.assert_array_equal(seen["activation"].sel(layer="first"), net.first(x).detach())


class Denoiser(nn.Module):
    """The time comes before the samples, as a number or one for each."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, time, x):
        return self.linear(x) * time.reshape(-1, 1)


@pytest.mark.parametrize("kind", ["positional", "keyword"])
def test_a_number_before_the_samples(kind):
    net, x = Denoiser(), torch.randn(5, 4)
    with nc.watch(net, "linear") as watched:
        if kind == "positional":
            net(torch.tensor(0.5), x)
        else:
            net(time=torch.tensor(0.5), x=x)
    seen = watched.recording()
    np.testing.assert_array_equal(seen["activation"], net.linear(x).detach())
    if kind == "positional":
        np.testing.assert_array_equal(seen["input"], x)


def test_an_empty_batch_adds_nothing():
    net, x = Parts(), torch.randn(5, 4)
    with nc.watch(net, "all") as watched:
        for part in (x[:0], x, x[:0]):
            net(part)
    assert watched.recording().sizes == {"sample": 5, "neuron": 5, "feature": 4}
