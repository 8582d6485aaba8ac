"""A small sweep that several test files make."""

from __future__ import annotations

import xarray as xr
from torch import nn

from nbcorr.zoo import digits

FEW = {
    "batch_size": 16,
    "corruptions": ("contrast", "fog"),
    "severities": (1, 5),
    "eps": (0.1,),
    "pgd_steps": 2,
}


def build():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(96, 16),
        nn.ReLU(),
        nn.Linear(16, 10),
    )


def small_data():
    train, test = digits("train"), digits("test")
    return train.isel(sample=slice(400)), test.isel(sample=slice(150))


def same(one, other):
    xr.testing.assert_identical(one.drop_attrs(), other.drop_attrs())
