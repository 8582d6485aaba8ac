"""The tools that record activations, each by its own documented call, under one face.

Each is made from a model and the calls of its modules in the order they run, and gives a function
from a batch to ``{(module, call): numbers (batch, units)}``, maps averaged over their positions.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from nbcorr.visualization.torchvision_import import import_torchvision

Call = tuple[str, int]
Reader = Callable[[torch.Tensor], dict[Call, torch.Tensor]]


def pooled(output: torch.Tensor) -> torch.Tensor:
    return output.mean((2, 3)) if output.ndim == 4 else output.clone()


def calls_of(recording: Any) -> list[Call]:
    """Of the layers of a recording; ``act#2`` is the second call of ``act``."""
    labels = (label.partition("#") for label in recording.attrs["layers"])
    return [(name, int(number or 1) - 1) for name, _, number in labels]


def ours(model: nn.Module, calls: list[Call]) -> Reader:
    import nbcorr as nc

    def read(batch: torch.Tensor) -> dict[Call, torch.Tensor]:
        recording = nc.record(model, batch, "all", progress=False)
        layers = zip(calls_of(recording), recording.attrs["layers"], strict=True)
        activation = recording["activation"]
        return {call: torch.from_numpy(activation.sel(layer=name).values) for call, name in layers}

    return read


def torchextractor(model: nn.Module, calls: list[Call], pooling: bool = True) -> Reader:
    """With a capture function that pools, or its own, which keeps the maps."""
    import torchextractor as tx

    def capture(module: nn.Module, given: Any, output: Any, name: str, maps: dict) -> None:
        maps.setdefault(name, []).append(pooled(output))

    # It leaves names and hooks in the model it is given.
    names = list(dict.fromkeys(name for name, _ in calls))
    extractor = tx.Extractor(copy.deepcopy(model), names, capture_fn=capture if pooling else None)

    def read(batch: torch.Tensor) -> dict[Call, torch.Tensor]:
        extractor.clear_placeholder()
        maps = extractor(batch)[1]
        if pooling:
            return {call: maps[call[0]][call[1]] for call in calls}
        return {call: pooled(maps[call[0]]) for call in _last(calls)}

    return read


def nnsight(model: nn.Module, calls: list[Call], pooling: bool = True) -> Reader:
    """Pooled in the trace, or saved there and pooled afterwards."""
    import nnsight as ns

    # It puts its own forward into the modules.
    sight = ns.NNsight(copy.deepcopy(model))
    envoys = {name: sight.get(name) for name, _ in calls}
    taken = pooled if pooling else _as_it_is

    def read(batch: torch.Tensor) -> dict[Call, torch.Tensor]:
        with sight.trace(batch) as tracer:
            found = ns.save({})
            for name, at in calls:
                for _ in tracer.iter[at : at + 1]:
                    found[name, at] = taken(envoys[name].output)
        return dict(found) if pooling else {call: pooled(value) for call, value in found.items()}

    return read


def captum(model: nn.Module, calls: list[Call]) -> Reader:
    from captum.attr import LayerActivation

    last = _last(calls)
    activation = LayerActivation(model, [model.get_submodule(name) for name, _ in last])

    def read(batch: torch.Tensor) -> dict[Call, torch.Tensor]:
        return dict(zip(last, map(pooled, activation.attribute(batch)), strict=True))

    return read


def torchvision(model: nn.Module, calls: list[Call]) -> Reader:
    import_torchvision()
    from torchvision.models import feature_extraction

    # Modules that are no plain layers of torch's would be traced through and have no node.
    leaves = list({type(model.get_submodule(name)) for name, _ in calls})
    nodes = {call: call[0] + (f"_{call[1]}" if call[1] else "") for call in calls}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nodes in training may be others
        extractor = feature_extraction.create_feature_extractor(
            model, list(nodes.values()), tracer_kwargs={"leaf_modules": leaves}
        ).eval()

    def read(batch: torch.Tensor) -> dict[Call, torch.Tensor]:
        maps = extractor(batch)
        return {call: pooled(maps[node]) for call, node in nodes.items()}

    return read


def clones(model: nn.Module, calls: list[Call]) -> Reader:
    """THINGSvision's way: a hook keeps a copy of the map; the package itself needs TensorFlow."""
    names = list(dict.fromkeys(name for name, _ in calls))
    wanted = _last(calls)

    def read(batch: torch.Tensor) -> dict[Call, torch.Tensor]:
        maps: dict[str, torch.Tensor] = {}

        def keeper(name: str) -> Callable[..., None]:
            return lambda module, given, output: maps.update({name: output.clone().detach()})

        hooks = [model.get_submodule(n).register_forward_hook(keeper(n)) for n in names]
        model(batch)
        for hook in hooks:
            hook.remove()
        return {call: pooled(maps[call[0]]) for call in wanted}

    return read


def _as_it_is(output: torch.Tensor) -> torch.Tensor:
    return output


def _last(calls: list[Call]) -> list[Call]:
    """The last call of every module, for tools that have one value a module."""
    return list(dict(calls).items())


PEERS = (torchextractor, nnsight, captum, torchvision, clones)


def installed(name: str) -> bool:
    return name == clones.__name__ or importlib.util.find_spec(name) is not None


class InPlace(nn.Module):
    """Batch normalisation changed in place by a ReLU that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.norm, self.act = nn.BatchNorm2d(8), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.conv2(self.act(self.norm(self.conv1(x)))))

    def truth(self, x: torch.Tensor) -> dict[Call, torch.Tensor]:
        """What each module gives, nothing of it changed."""
        maps = {}
        maps["conv1", 0] = x = self.conv1(x)
        maps["norm", 0] = x = self.norm(x)
        maps["act", 0] = x = x.clamp(min=0)
        maps["conv2", 0] = x = self.conv2(x)
        maps["act", 1] = x.clamp(min=0)
        return {call: pooled(values) for call, values in maps.items()}


def wrong_values() -> dict[str, int]:
    """How many of the five values each tool gives wrong or does not give."""
    torch.manual_seed(0)
    model, images = InPlace().eval(), torch.randn(16, 3, 12, 12)
    model.norm.running_mean.uniform_(-0.5, 0.5)
    makers: dict[str, Callable[..., Reader]] = {"ours": ours}
    for peer in PEERS:
        if installed(peer.__name__):
            makers[peer.__name__] = peer
    for peer in (torchextractor, nnsight):
        if installed(peer.__name__):
            makers[f"{peer.__name__}, maps"] = partial(peer, pooling=False)
    found = {}
    with torch.inference_mode():
        truth = model.truth(images)
        for name, maker in makers.items():
            given = maker(model, list(truth))(images)
            found[name] = sum(
                call not in given or not torch.allclose(given[call], value, atol=1e-5)
                for call, value in truth.items()
            )
    return found
