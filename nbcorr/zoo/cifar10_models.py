"""Two convnets for CIFAR-10, trained on request and kept in the user's cache."""

from __future__ import annotations

import json
import platform
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbcorr.zoo.cache import cache_dir, write_atomically
from nbcorr.zoo.cifar10_images import CLASSES, cifar10
from nbcorr.zoo.convnet import seeded

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = 128
PEAK_LEARNING_RATE = 4e-3
EPOCHS = {"cifar10-convnet": 4, "cifar10-weaker": 1}
TRAIN_COMMAND = "python -m nbcorr.zoo train cifar10"


def cifar10_convnet() -> nn.Module:
    """A convnet of 394,026 parameters trained on CIFAR-10 for four epochs: about 82 % right.

    Four convolutions with batch normalisation in ``features``, a hidden layer of 128 units in
    ``classifier``, each ReLU its own module. It takes images of 0 to 1, as
    :func:`nbcorr.zoo.cifar10` gives them.

    Returns
    -------
    torch.nn.Module
        In eval mode, on the CPU, from the cache.

    Raises
    ------
    FileNotFoundError
        If it has not been trained; the message names the command that does it.
    """
    return _load("cifar10-convnet")


def cifar10_weaker() -> nn.Module:
    """A baseline: 38,618 parameters, one epoch on CIFAR-10, about 63 % right.

    Returns
    -------
    torch.nn.Module
        In eval mode, on the CPU, from the cache.

    Raises
    ------
    FileNotFoundError
        If it has not been trained; the message names the command that does it.
    """
    return _load("cifar10-weaker")


def train_cifar10(seed: int = 0, say: Callable[[str], object] = print) -> dict[str, float]:
    """Train both networks and keep their weights and a note on each in the cache.

    Takes minutes; the data set must have been fetched.

    Parameters
    ----------
    seed : int
    say : callable
        Told in a sentence what was reached.

    Returns
    -------
    dict
        Accuracy on the 10,000 test images by name.
    """
    import torch

    train, test = cifar10("train"), cifar10("test")
    images, labels = _tensors(train)
    reached = {}
    for name, epochs in EPOCHS.items():
        with seeded(seed), torch.enable_grad():
            model = architecture(name)
            _fit(model, images, labels, epochs, name)
        reached[name] = accuracy(model.eval(), *_tensors(test))
        _save(name, model, {"accuracy": reached[name], "seed": seed, "epochs": epochs})
        say(f"{name}: {reached[name]:.1%} of the test images, kept in {weights_path(name)}")
    return reached


def architecture(name: str) -> nn.Sequential:
    """One of the two architectures with fresh weights."""
    from torch import nn

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]

    if name == "cifar10-convnet":
        layers = [*block(3, 32), nn.MaxPool2d(2)]
        layers += [*block(32, 64), *block(64, 64), nn.MaxPool2d(2)]
        layers += [*block(64, 128), nn.MaxPool2d(2)]
        flat, hidden = 128 * 4 * 4, 128
    else:
        layers = [*block(3, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2)]
        layers += [nn.MaxPool2d(2)]
        flat, hidden = 32 * 4 * 4, 64
    classifier = nn.Sequential(nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, len(CLASSES)))
    return nn.Sequential(
        OrderedDict(features=nn.Sequential(*layers), flatten=nn.Flatten(), classifier=classifier)
    )


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images that a model in eval mode gets right."""
    import torch

    with torch.inference_mode():
        right = [
            (model(batch).argmax(1) == truth).sum().item()
            for batch, truth in zip(images.split(500), labels.split(500), strict=True)
        ]
    return sum(right) / len(labels)


def weights_path(name: str) -> Path:
    """Where the weights of a trained network are kept, whether they are there or not."""
    return cache_dir() / f"{name}.pt"


def _tensors(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    return torch.from_numpy(data["image"].values), torch.from_numpy(
        data["label"].values.astype(np.int64)
    )


def _fit(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int, name: str
) -> None:
    import torch
    from torch.nn.functional import cross_entropy
    from tqdm.auto import tqdm

    images = images.contiguous(memory_format=torch.channels_last)  # a third faster on CPUs
    n_steps = epochs * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=n_steps
    )
    with tqdm(total=n_steps, desc=name, leave=False) as bar:
        for _ in range(epochs):
            for batch in torch.randperm(len(images)).split(BATCH):
                optimizer.zero_grad()
                flipped = torch.rand(len(batch), 1, 1, 1) < 0.5
                seen = torch.where(flipped, images[batch].flip(3), images[batch])
                cross_entropy(model(seen), labels[batch]).backward()
                optimizer.step()
                schedule.step()
                bar.update()


def _save(name: str, model: nn.Module, note: dict[str, Any]) -> None:
    import torch

    import nbcorr

    note |= {
        "name": name,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "nbcorr": nbcorr.__version__,
    }
    text = json.dumps(note, indent=2).encode()
    write_atomically(weights_path(name), lambda file: torch.save(model.state_dict(), file))
    write_atomically(weights_path(name).with_suffix(".json"), lambda file: file.write(text))


def _load(name: str) -> nn.Module:
    import torch

    path = weights_path(name)
    if not path.exists():
        raise FileNotFoundError(f"{name} is not in the cache; `{TRAIN_COMMAND}` trains it")
    model = architecture(name)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()
