"""How well a network does on clean, corrupted and attacked images, and how selective it is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import nn

from nbcorr.network.hooks import device_and_dtype, first_tensor, inference
from nbcorr.network.layers import Choice
from nbcorr.recording.record import record
from nbcorr.selectivity.attacks import fgsm, pgd
from nbcorr.selectivity.corruptions import corrupt
from nbcorr.selectivity.loss import SelectivityLoss
from nbcorr.selectivity.streaming import streamed_class_sums
from nbcorr.stats.selectivity import selectivity_index

BATCH = 256
ATTACKS = ("fgsm", "pgd")


@dataclasses.dataclass(frozen=True)
class Tests:
    """What every network of a sweep is tested by.

    Attributes
    ----------
    corruptions : tuple of str
    severities : tuple of int
    eps : tuple of float
        Of both attacks.
    pgd_steps : int
    """

    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    eps: tuple[float, ...]
    pgd_steps: int


class Corrupted:
    """Test images and, made once for all networks of a process, their corruptions in 8 bits."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self._made: dict[tuple[str, int], np.ndarray] = {}

    def __call__(self, kind: str, severity: int) -> np.ndarray:
        """As `corrupt` gives them, shape (n, channels, height, width), float32."""
        if (kind, severity) not in self._made:
            bits = np.rint(255 * corrupt(self.images, kind, severity))
            self._made[kind, severity] = bits.astype(np.uint8)
        return (self._made[kind, severity] / 255).astype(np.float32)


def tested(
    model: nn.Module,
    corrupted: Corrupted,
    labels: np.ndarray,
    layers: Choice | tuple[Choice, ...],
    tests: Tests,
) -> dict[str, Any]:
    """Every number of one network, as lists and plain numbers.

    Returns
    -------
    dict
        ``accuracy``; ``layers`` with ``selectivity`` and ``dead`` for each and ``units``, a list
        of the index of each unit; ``corrupted``, by corruption and severity; ``attacked``, by
        attack and eps.
    """
    images = corrupted.images
    found: dict[str, Any] = {"accuracy": accuracy(model, images, labels)}
    found |= _selectivity(model, images, labels, layers)
    found["corrupted"] = [
        [accuracy(model, corrupted(kind, severity), labels) for severity in tests.severities]
        for kind in tests.corruptions
    ]
    found["attacked"] = [
        [_attacked(model, images, labels, attack, eps, tests.pgd_steps) for eps in tests.eps]
        for attack in ATTACKS
    ]
    return found


def accuracy(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    device, dtype = device_and_dtype(model)
    right = 0
    with inference(model):
        for x, y in _batches(images, labels):
            answers = first_tensor(model(x.to(device, dtype))).argmax(1).cpu()
            right += int((answers == y).sum())
    return right / len(labels)


def _attacked(
    model: nn.Module, images: np.ndarray, labels: np.ndarray, attack: str, eps: float, steps: int
) -> float:
    device, dtype = device_and_dtype(model)
    changed = []
    for at, (x, y) in enumerate(_batches(images, labels)):
        x, y = x.to(device, dtype), y.to(device)
        if attack == "fgsm":
            changed.append(fgsm(model, x, y, eps).cpu())
        else:
            changed.append(pgd(model, x, y, eps, steps=steps, seed=at).cpu())
    return accuracy(model, torch.cat(changed).float().numpy(), labels)


def _batches(images: np.ndarray, labels: np.ndarray) -> Any:
    inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
    return zip(inputs.split(BATCH), targets.split(BATCH), strict=True)


def _selectivity(
    model: nn.Module, images: np.ndarray, labels: np.ndarray, layers: Choice | tuple[Choice, ...]
) -> dict[str, Any]:
    """Means over the living units of each layer; NaN where a network has diverged."""
    names = layers_that_count(model, images, layers)
    bare = list(dict.fromkeys(name.partition("#")[0] for name in names))
    recording = record(model, (images, labels), bare, progress=False)
    codes = np.unique(labels, return_inverse=True)[1]
    sums = streamed_class_sums(recording["activation"], codes, codes.max() + 1, rectify=False)
    index = selectivity_index((sums.sums / np.bincount(codes)[:, None]).T).selectivity
    of_layer = recording["layer"].values
    units = [index[of_layer == name] for name in names]
    living = [own[~np.isnan(own)] for own in units]
    return {
        "layers": names,
        "selectivity": [float(own.mean()) if len(own) else np.nan for own in living],
        "dead": [1 - len(own) / len(every) for own, every in zip(living, units, strict=True)],
        "units": [own.tolist() for own in units],
    }


def layers_that_count(
    model: nn.Module, images: np.ndarray, layers: Choice | tuple[Choice, ...]
) -> list[str]:
    """Those whose selectivity the term turns: the chosen ones without the output layer."""
    device, dtype = device_and_dtype(model)
    with inference(model), SelectivityLoss(model, layers, alpha=0) as term:
        model(torch.from_numpy(images[:1]).to(device, dtype))
        term(torch.zeros(1, dtype=torch.int64))
    return list(term.selectivity)
