"""A small convnet that is trained in about two seconds, the same one every time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nbcorr.zoo.digit_images import digits

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = 64
PEAK_LEARNING_RATE = 8e-3


def digit_convnet(seed: int = 0) -> nn.Module:
    """The small convnet, trained on the 1,200 training images of :func:`digits`.

    Right on 99.2, 99.2 and 99.0 % of the 597 test images with seeds 0, 1 and 2, measured once.
    About two seconds on one thread.

    Parameters
    ----------
    seed : int

    Returns
    -------
    torch.nn.Module
        As :func:`train_convnet` gives it; 38,282 parameters.
    """
    return train_convnet(digits("train"), seed=seed)


def train_convnet(data: xr.Dataset, *, epochs: int = 20, seed: int = 0) -> nn.Module:
    """Train the small convnet on labelled images.

    Two convolutions (16 and 32 channels) and a max-pooling in ``features``, a hidden layer of 64
    units and the logits in ``classifier``; each ReLU is its own module, so ``features.1``,
    ``features.3`` and ``classifier.1`` are the layers to look at.

    Parameters
    ----------
    data : xarray.Dataset
        Labelled images, as :func:`digits` gives them: ``image`` and ``label``.
    epochs : int
    seed : int
        The same seed and data give the same weights on the same machine.

    Returns
    -------
    torch.nn.Module
        In eval mode, on the CPU. Torch's random state and thread count are as they were.

    Raises
    ------
    ValueError
        If the data have no labels, or the images are smaller than 2 by 2.
    """
    import torch

    if "label" not in data.coords:
        raise ValueError("these images have no coordinate 'label'; training needs one per sample")
    images = torch.from_numpy(np.array(data["image"].values, dtype=np.float32))
    labels = torch.from_numpy(np.array(data["label"].values, dtype=np.int64))
    n_classes = len(data.attrs.get("classes", ())) or int(labels.max()) + 1
    with seeded(seed, threads=1), torch.enable_grad():
        model = small_convnet(tuple(images.shape[1:]), n_classes)
        fit(model, images, labels, epochs)
    return model.eval()


def small_convnet(shape: tuple[int, ...], n_classes: int) -> nn.Sequential:
    """The architecture, with fresh weights, for images of ``shape`` (channels, height, width)."""
    from torch import nn

    channels, height, width = shape
    if min(height, width) < 2:
        raise ValueError(f"images of {height} x {width} pixels; expected at least 2 x 2")
    features = nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    hidden = nn.Linear(32 * (height // 2) * (width // 2), 64)
    classifier = nn.Sequential(hidden, nn.ReLU(), nn.Linear(64, n_classes))
    return nn.Sequential(
        OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier)
    )


def fit(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    """Adam with a one-cycle learning rate on the cross-entropy, in place."""
    import torch
    from torch.nn.functional import cross_entropy

    n_steps = epochs * -(-len(images) // BATCH)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, total_steps=n_steps
    )
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()


@contextmanager
def seeded(seed: int, threads: int | None = None) -> Iterator[None]:
    """A seeded CPU generator (and so many threads) inside; all as it was afterwards."""
    import torch

    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(threads or before)
        try:
            torch.default_generator.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(before)
