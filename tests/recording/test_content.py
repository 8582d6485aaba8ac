"""What makes a model this one and no other: ``fingerprint`` and ``forward_hash``."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import nbcorr as nc
from nbcorr.recording.content import code_hash, fingerprint, forward_hash, hooked_modules
from tests.network.real_models import MODELS, build
from tests.recording.test_real_models import run


class Settings(nn.Module):
    """Everything plain that an ``__init__`` may keep."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.gain, self.shift, self.deep, self.mode = 2, 0.5, True, "fast"
        self.kind, self.size, self.shift_by = torch.float32, (3, (4, 5)), 1j
        self.table, self.numbers = torch.arange(3.0), np.arange(3)
        self._factor = 4
        self.act = torch.relu
        self.head = lambda x: x + 1
        self.register_buffer("mask", torch.ones(4), persistent=False)

    def forward(self, x):
        return self.head(self.act(self.linear(x) * self.gain + self.shift) * self.mask)


CHANGES = {
    "gain": 3,
    "shift": 0.25,
    "deep": False,
    "mode": "slow",
    "kind": torch.float64,
    "size": (3, (4, 6)),
    "shift_by": 2j,
    "table": torch.arange(3.0) + 1,
    "numbers": np.arange(4),
    "_factor": 5,
    "act": torch.tanh,
    "head": lambda x: x + 2,
    "mask": torch.zeros(4),
}


def settings():
    torch.manual_seed(0)
    return Settings()


@pytest.mark.parametrize("name", CHANGES)
def test_settings_and_buffers_that_are_not_kept_count(name):
    model = settings()
    assert fingerprint(model) == fingerprint(settings())
    setattr(model, name, CHANGES[name])
    assert fingerprint(model) != fingerprint(settings())


def test_a_store_of_another_setting_is_not_taken(tmp_path):
    model, x = settings(), torch.randn(6, 4)
    how = {"layers": "linear", "store": tmp_path / "a.zarr", "progress": False}
    nc.record(model, x, **how)
    nc.record(settings(), x, **how)
    for name in ("gain", "mask"):
        other = settings()
        setattr(other, name, CHANGES[name])
        with pytest.raises(ValueError, match=r"holds another recording \(weights"):
            nc.record(other, x, **how)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quantize_per_tensor")
def test_quantized_weights_count():
    def quantized(seed, kind):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        qconfig = {nn.Linear: kind}
        return torch.ao.quantization.quantize_dynamic(net, qconfig)

    kinds = [
        torch.ao.quantization.default_dynamic_qconfig,
        torch.ao.quantization.per_channel_dynamic_qconfig,
    ]
    for kind in kinds:
        assert fingerprint(quantized(0, kind)) == fingerprint(quantized(0, kind))
        assert fingerprint(quantized(0, kind)) != fingerprint(quantized(1, kind))
    assert fingerprint(quantized(0, kinds[0])) != fingerprint(quantized(0, kinds[1]))


class Counting(nn.Module):
    """Everything that running a model may leave in it."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls, self.cache, self.steps = nn.Linear(4, 4), 0, None, 0
        self.seen, self.losses = {}, []
        self.size = 1.0

    def forward(self, x):
        self.calls += 1
        self.seen[self.calls] = x
        self.losses.append(0.5)
        return self.inside(x)

    def inside(self, x):
        def scaled(y):
            self.size = float(y.abs().max())
            return y / self.size

        if self.cache is None:
            self.cache = torch.ones(4)
        return scaled(self.linear(x) * self.cache)


class CountingMore(Counting):
    def forward(self, x):
        return super().forward(x)

    def inside(self, x):
        self.steps = self.steps + 1
        return super().inside(x)


@pytest.mark.parametrize("kind", [Counting, CountingMore])
def test_what_running_leaves_behind_does_not_count(kind, tmp_path):
    torch.manual_seed(0)
    model = kind()
    fresh, x = copy.deepcopy(model), torch.randn(6, 4)
    before = fingerprint(model), forward_hash(model)
    first = nc.record(model, x, "linear", store=tmp_path / "a.zarr", progress=False)
    assert model.calls
    assert (fingerprint(model), forward_hash(model)) == before
    for again in (model, fresh):
        recording = nc.record(again, x, "linear", store=tmp_path / "a.zarr", progress=False)
        assert recording.identical(first)
    assert fresh.calls == 0


@pytest.mark.parametrize("name", MODELS)
def test_real_models_are_the_same_after_a_pass_a_copy_and_a_pickle(name):
    model, data = build(name)
    before = fingerprint(model), forward_hash(model)
    run(model, data)
    for same in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (fingerprint(same), forward_hash(same)) == before
    assert fingerprint(model.eval().requires_grad_(False)) == before[0]


def test_a_transformer_that_was_saved_and_loaded_is_the_same(tmp_path):
    model, _ = build("transformers bert")
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert fingerprint(loaded) == fingerprint(model)
    assert forward_hash(loaded) == forward_hash(model)


@pytest.mark.parametrize("compiling", ["call", "forward"])
def test_compiled_calls_are_the_same(compiling):
    model, x = settings(), torch.randn(6, 4)
    before = fingerprint(model), forward_hash(model)
    if compiling == "call":
        model.compile(backend="eager")
    else:
        model.forward = torch.compile(model.forward, backend="eager")
    model(x)
    assert (fingerprint(model), forward_hash(model)) == before


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        partial(prune.l1_unstructured, name="weight", amount=2),
        nn.utils.parametrizations.spectral_norm,
    ],
)
def test_weights_that_torch_computes_anew_in_each_pass(wrap):
    torch.manual_seed(0)
    model = nn.Sequential(wrap(nn.Linear(4, 4)), nn.ReLU()).eval()
    before = fingerprint(model)
    with torch.no_grad():
        model(torch.randn(3, 4))
    assert fingerprint(model) == before
    assert hooked_modules(model) == []


def test_a_forward_that_was_replaced_counts():
    model, other = settings(), settings()
    other.forward = lambda x: functional.relu(x)
    assert forward_hash(model) != forward_hash(other)
    assert forward_hash(model) == forward_hash(settings())


class Share:
    """A pooling or baseline that is an object."""

    def __init__(self, share):
        self.share = share

    def __call__(self, places):
        return places.quantile(self.share, 2)

    def method(self, places):
        return places.quantile(self.share, 2)


def test_objects_that_are_called_are_known_by_what_they_hold():
    for made in (Share, lambda share: Share(share).method):
        assert code_hash(made(0.5)) == code_hash(made(0.5))
        assert code_hash(made(0.5)) != code_hash(made(0.6))
    assert code_hash(Share(0.5)) != code_hash(Share(0.5).method)


SCRIPT = """
import torch
from nbcorr.recording.content import code_hash, fingerprint, forward_hash
from tests.network.real_models import build

def pooling(places):
    return places.amax(2) if places.device.type in {"cpu", "cuda", "mps", "xpu"} else None

torch.manual_seed(0)
model, _ = build("transformers bert")
print(code_hash(pooling), fingerprint(model), forward_hash(model))
"""


def test_every_process_says_the_same():
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(said) == 1


def test_a_function_that_calls_itself():
    def made(step):
        def down(x):
            return x if x < 0 else down(x - step)

        return down

    assert code_hash(made(1)) == code_hash(made(1))
    assert code_hash(made(1)) != code_hash(made(2))


def test_sparse_and_half_precision_weights_count():
    def model(value):
        net = nn.Module()
        net.register_buffer("sparse", torch.tensor([[0.0, value]]).to_sparse())
        net.half = torch.tensor([value], dtype=torch.bfloat16)
        return net

    assert fingerprint(model(1)) == fingerprint(model(1))
    assert fingerprint(model(1)) != fingerprint(model(2))
