"""Hooks live inside a ``with``: nothing stays, whatever happens."""

from __future__ import annotations

import collections
import dataclasses

import pytest
import torch
from torch import nn

from nbcorr.network.hooks import captured, evaluating, first_tensor, inference, replaced_first


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
    ],
)
def test_first_tensor_of_any_output_and_its_replacement(output):
    assert torch.equal(first_tensor(output), torch.ones(2))
    changed = replaced_first(output, torch.full((2,), 7.0))
    assert type(changed) is type(output)
    assert torch.equal(first_tensor(changed), torch.full((2,), 7.0))
    assert torch.equal(first_tensor(output), torch.ones(2))


def test_an_output_without_a_tensor_is_named():
    with pytest.raises(TypeError, match="a layer gave str; expected a tensor"):
        first_tensor("text")
