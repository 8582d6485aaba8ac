"""A convnet in two parts that can be run by hand from the middle on, and what a twin needs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import nn

import nbcorr as nc


class Split(nn.Module):
    """A convnet in two parts, to be run by hand from the middle on; smooth, with a max-pooling."""

    def __init__(self, activation: type[nn.Module] = nn.Tanh, pool: bool = True) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), activation())
        self.second = nn.Sequential(
            nn.MaxPool2d(2) if pool else nn.AvgPool2d(2), nn.Conv2d(3, 5, 2), activation()
        )
        self.head = nn.Linear(5 * 4, 4)

    def after(self, a: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(a).flatten(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.first(x))


def split(**options) -> Split:
    torch.manual_seed(3)
    return Split(**options).double().eval()


X = torch.rand(3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def attribute(model: nn.Module, x, target, at: str, **options) -> xr.Dataset:
    return nc.attribute(model, x, target, at, progress=False, **options)


def gradient_by_hand(score: Callable[[torch.Tensor], torch.Tensor], a: torch.Tensor) -> np.ndarray:
    """Central differences, one activation at a time."""
    out = np.zeros(a.shape)
    for place in itertools.product(*map(range, a.shape)):
        up, down = a.clone(), a.clone()
        up[place] += 1e-6
        down[place] -= 1e-6
        with torch.no_grad():
            out[place] = (score(up) - score(down)).sum() / 2e-6
    return out
