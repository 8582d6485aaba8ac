"""Small networks to look into, and what must be as before after looking."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class Reused(nn.Module):
    """Batch norm, an in-place activation that runs twice, dropout, a dense head, a tuple output."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.never = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
        x = self.drop(self.act(self.norm(self.conv1(x))))
        x = self.act(self.conv2(x))
        return self.head(x.mean((2, 3))), "an extra"


def reused(channels: int = 3, seed: int = 0) -> Reused:
    """The net in a state that is easy to spoil: mixed modes and flags, gradients waiting."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Reused(channels)
        model(torch.rand(4, channels, 8, 8))[0].sum().backward()
    model.conv2.eval()
    model.conv2.weight.requires_grad_(False)
    return model


def state(model: nn.Module) -> Any:
    """Everything that must survive: weights, statistics, gradients, flags, modes, hooks."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [
        (name, module.training, "forward" in vars(module), [len(vars(module)[k]) for k in kinds])
        for name, module in model.named_modules()
    ]
    weights = [
        (name, weight.requires_grad, weight.grad is None)
        for name, weight in model.named_parameters()
    ]
    gradients = [w.grad.clone() for w in model.parameters() if w.grad is not None]
    tensors = [tensor.clone() for tensor in model.state_dict().values()]
    return modules, weights, gradients + tensors


def assert_untouched(model: nn.Module, before: Any) -> None:
    modules, weights, tensors = state(model)
    assert modules == before[0]
    assert weights == before[1]
    assert all(torch.equal(a, b) for a, b in zip(tensors, before[2], strict=True))
    copy.deepcopy(model)
