"""Small real models and data that the tests of every room share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import nbcorr as nc


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pictures that tests make are not kept in the user's cache, nor taken from there."""
    with pytest.MonkeyPatch.context() as patch:
        usual = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
        # Where Playwright has put a browser.
        if "PLAYWRIGHT_BROWSERS_PATH" not in os.environ:
            patch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(Path(usual) / "ms-playwright"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small run faster on one thread, and other processes are not disturbed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Reusing(nn.Module):
    """A convnet with one activation module used twice, batch norm, in-place ReLU and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.hidden = nn.Linear(6 * 36, 12)
        self.relu = nn.ReLU(inplace=True)
        self.out = nn.Linear(12, 3)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.conv1(x)))
        x = self.act(self.conv2(x))
        return self.out(self.relu(self.hidden(self.drop(x.flatten(1)))))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    net = Reusing()
    net.norm.running_mean.uniform_(-0.2, 0.2)
    return net


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((40, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, 40)


def traces(net: nn.Module) -> dict:
    """Everything of a model that a verb could leave changed."""
    return {
        "hooks": [
            (name, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for name, m in net.named_modules()
        ],
        "modes": [m.training for m in net.modules()],
        "grads": [(p.requires_grad, p.grad is None) for p in net.parameters()],
        "state": {k: v.clone() for k, v in net.state_dict().items()},
    }


def assert_same_traces(before: dict, after: dict) -> None:
    for key in ("hooks", "modes", "grads"):
        assert before[key] == after[key], key
    assert before["state"].keys() == after["state"].keys()
    for key, value in before["state"].items():
        assert torch.equal(value, after["state"][key]), key


@pytest.fixture
def untouched(model):
    """Checks, when the test is over, that the model is as it was."""
    model.train()
    model.conv1.eval()
    before = traces(model)
    yield model
    assert_same_traces(before, traces(model))


def planted_recording(
    n: int = 600,
    neurons: int = 60,
    planted: int = 5,
    twins: int = 0,
    inputs: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Activations where the first ``planted`` neurons tell A-right-B-wrong within each class."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, n)
    signal = rng.random(n) < 0.15 + 0.1 * (label == 2)
    activation = rng.normal(size=(n, neurons)) + rng.normal(size=(4, neurons))[label]
    activation[:, :planted] += 1.2 * signal[:, None]
    recording = nc.from_arrays(
        np.maximum(activation, 0),
        layer=["early"] * (neurons // 2) + ["late"] * (neurons - neurons // 2),
        label=label,
        prediction=np.where(rng.random(n) < 2, label, 0),
        baseline=np.where(signal, (label + 1) % 4, label),
        inputs=np.random.default_rng(seed + 1).normal(size=(n, inputs)) if inputs else None,
    )
    if twins:
        noise = rng.normal(size=(twins, n, neurons)).astype(np.float32)
        recording["activation_twin"] = (("twin", "sample", "neuron"), noise)
    return recording


@pytest.fixture
def recording() -> xr.Dataset:
    return planted_recording(twins=3, inputs=8)
