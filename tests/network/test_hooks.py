"""Hooks live inside a ``with``: nothing stays, whatever happens."""

from __future__ import annotations

import collections
import dataclasses
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nbcorr as nc
from nbcorr.network.hooks import captured, evaluating, first_tensor, inference, replaced_first
from tests.conftest import assert_same_traces, traces


def test_captured_sees_each_call_of_a_reused_module(untouched, images):
    seen = []
    with captured(untouched, {"act": lambda out, call, _: seen.append((call, tuple(out.shape)))}):
        with inference(untouched):
            untouched(torch.tensor(images[:2]))
            untouched(torch.tensor(images[:2]))
    assert seen == [(0, (2, 4, 8, 8)), (1, (2, 6, 6, 6))] * 2


def test_a_returned_tensor_replaces_the_output(untouched, images):
    x = torch.tensor(images[:2])
    with inference(untouched), captured(untouched, {"hidden": lambda out, *_: out * 0}):
        got = untouched(x)
    with inference(untouched):
        assert torch.allclose(got, untouched.out.bias.expand_as(got))
        assert not torch.allclose(got, untouched(x))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_hooks_and_modes_come_back_after_errors(untouched, images, error):
    def fail(*_):
        raise error("from the callback")

    with pytest.raises(error), inference(untouched), captured(untouched, {"conv2": fail}):
        untouched(torch.tensor(images[:2]))
    assert torch.is_grad_enabled()


def test_a_callback_is_given_the_arguments_the_module_was_called_with(untouched, images):
    seen = []
    x = torch.tensor(images[:2])
    with inference(untouched), captured(untouched, {"conv1": lambda *got: seen.append(got)}):
        untouched(x)
    ((output, call, args),) = seen
    assert call == 0
    assert torch.equal(args[0], x)
    assert output.shape == (2, 4, 8, 8)


def test_an_unknown_module_leaves_no_hook_behind(untouched):
    with pytest.raises(AttributeError), captured(untouched, {"conv1": lambda *_: None, "x": None}):
        pass


def test_evaluating_restores_each_module_of_a_mixed_model():
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2), nn.Linear(2, 2))
    net.train()
    net[1].eval()
    with evaluating(net):
        assert not any(m.training for m in net.modules())
    assert [m.training for m in net.modules()] == [True, True, False, True]


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Output:
    loss: None
    logits: torch.Tensor


@pytest.mark.parametrize(
    "output",
    [
        torch.ones(2),
        (torch.ones(2), None),
        [None, (torch.ones(2), torch.zeros(2))],
        {"note": "text", "hidden": torch.ones(2)},
        Point(torch.ones(2), 3),
        Output(None, torch.ones(2)),
        ((), {"cache": [None]}, torch.ones(2)),
        (Output(None, torch.ones(2)), torch.zeros(2)),
    ],
)
def test_first_tensor_of_any_output_and_its_replacement(output):
    assert torch.equal(first_tensor(output), torch.ones(2))
    changed = replaced_first(output, torch.full((2,), 7.0))
    assert type(changed) is type(output)
    assert torch.equal(first_tensor(changed), torch.full((2,), 7.0))
    assert torch.equal(first_tensor(output), torch.ones(2))


class Silent(nn.Module):
    """A layer that gives the shape of what it was given, and no tensor."""

    def forward(self, x):
        return tuple(x.shape)


def test_a_layer_without_a_tensor_is_named():
    net = nn.Sequential(nn.Linear(2, 2), Silent())
    expected = "layer '1', a Silent, gave tuple; expected a tensor somewhere in it"
    with pytest.raises(TypeError, match=expected), captured(net, {"1": lambda *_: None}):
        net(torch.ones(1, 2))
    assert not net[1]._forward_hooks
    with pytest.raises(TypeError, match="a layer gave str; expected a tensor"):
        first_tensor("text")


class Pausing(nn.Module):
    """Waits in the middle of its forward pass until another thread is there too."""

    def __init__(self, barrier):
        super().__init__()
        self.first, self.act, self.second = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)
        self.barrier = barrier

    def forward(self, x):
        x = self.act(self.first(x))
        self.barrier.wait(timeout=30)
        return self.act(self.second(x))


def in_two_threads(work):
    """What ``work(0)`` and ``work(1)`` give, run side by side."""
    results = [None, None]

    def run(i):
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_models_are_recorded_side_by_side():
    barrier = threading.Barrier(2)
    nets = [Pausing(barrier).train(), Pausing(barrier).train()]
    x = np.random.default_rng(0).normal(size=(2, 24, 3)).astype(np.float32)
    before = [traces(net) for net in nets]
    together = in_two_threads(
        lambda i: nc.record(nets[i], x[i], "all", batch_size=8, progress=False)
    )
    for net, trace in zip(nets, before, strict=True):
        assert_same_traces(trace, traces(net))
        net.barrier = threading.Barrier(1)
    for net, data, recording in zip(nets, x, together, strict=True):
        alone = nc.record(net, data, "all", batch_size=8, progress=False)
        assert recording.attrs["layers"] == ["first", "act", "second", "act#2"]
        np.testing.assert_array_equal(recording.activation, alone.activation)


def test_each_thread_counts_its_own_calls():
    """As the replicas of a DataParallel model run, side by side under the same hooks."""
    net = Pausing(threading.Barrier(2))
    seen = []
    keep = {"act": lambda out, call, _: seen.append((threading.get_ident(), call, out.shape[1]))}
    with captured(net, keep):
        in_two_threads(lambda _: net(torch.ones(2, 3)))
    by_thread = collections.defaultdict(list)
    for thread, *what in seen:
        by_thread[thread].append(what)
    assert list(by_thread.values()) == [[[0, 4], [1, 2]]] * 2


def test_recordings_of_one_model_can_be_nested(untouched, images):
    expected = nc.record(untouched, images, "all", batch_size=16, progress=False)
    inner = []

    def data():
        for start in range(0, 40, 16):
            inner.append(nc.record(untouched, images, "auto", progress=False))
            yield images[start : start + 16]

    def baseline(x):
        inner.append(nc.record(untouched, images, "auto", progress=False))
        return torch.zeros(len(x))

    outer = nc.record(untouched, data(), "all", baseline=baseline, progress=False)
    np.testing.assert_array_equal(outer.activation, expected.activation)
    auto = expected.sel(neuron=expected.layer.isin(["act", "act#2", "relu"]))
    assert len(inner) == 6
    for recording in inner:
        np.testing.assert_allclose(recording.activation, auto.activation, rtol=1e-5, atol=1e-6)


def test_hooks_of_two_blocks_on_one_model_are_called_both(untouched, images):
    seen = []
    note = [lambda out, call, _, i=i: seen.append((i, call)) for i in (0, 1)]
    with captured(untouched, {"act": note[0]}):
        with inference(untouched), captured(untouched, {"act": note[1]}):
            untouched(torch.tensor(images[:2]))
        with inference(untouched):
            untouched(torch.tensor(images[:2]))
    assert seen == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 0), (0, 1)]


def test_calls_are_counted_anew_after_a_pass_that_failed(untouched, images):
    calls = []
    with inference(untouched), captured(untouched, {"act": lambda o, call, _: calls.append(call)}):
        with pytest.raises(RuntimeError, match="while running|shapes cannot be multiplied"):
            untouched(torch.ones(1, 1, 9, 9))
        untouched(torch.tensor(images[:2]))
    assert calls == [0, 1, 0, 1]


class Stopping(nn.Module):
    """Passes two batches on and stops at the third."""

    def __init__(self, error):
        super().__init__()
        self.hidden, self.error, self.batches = nn.Linear(3, 4), error, 0

    def forward(self, x):
        self.batches += 1
        if self.batches == 3:
            raise self.error("in the forward pass")
        return torch.relu(self.hidden(x))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_model_is_as_it_was_when_a_recording_stops(error, frozen):
    net = Stopping(error).train()
    net.hidden.requires_grad_(not frozen).eval()
    net.hidden.register_forward_hook(lambda *_: None)
    before, device = traces(net), net.hidden.weight.device
    state = torch.get_rng_state()
    with pytest.raises(error), torch.enable_grad():
        nc.record(net, np.ones((12, 3), np.float32), "hidden", batch_size=4, progress=False)
    assert_same_traces(before, traces(net))
    assert net.hidden.weight.device == device
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["array", "dataset", "loader"])
def test_random_numbers_drawn_after_a_recording_are_the_same(untouched, images, kind):
    """The user's next draw is what it would have been."""
    dataset = TensorDataset(torch.tensor(images))
    loader = DataLoader(dataset, batch_size=16, generator=torch.Generator().manual_seed(0))
    data = {"array": images, "dataset": dataset, "loader": loader}[kind]
    state = torch.get_rng_state()
    nc.record(untouched, data, "all", twins=1, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
