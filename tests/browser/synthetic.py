"""A recording, correlates, exemplars and visualisations made by hand: something is known of each.

A few units of the last two layers carry the signal, some hold under every control and some do not.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from nbcorr.correlation.correlate import correlate
from nbcorr.recording.arrays import from_arrays, neuron_coords

LAYERS = ("features.0", "features.3", "features.6", "classifier.1")


def recording(
    n: int = 600, units: int = 40, layers: tuple[str, ...] = LAYERS, twins: int = 0
) -> xr.Dataset:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 10, n)
    prediction = np.where(rng.random(n) < 0.97, label, (label + 1) % 10)
    baseline = np.where(rng.random(n) < 0.86, label, (label + 3) % 10)
    only_a = (prediction == label) & (baseline != label)
    names = [layer for layer in layers for _ in range(units)]
    strength = np.abs(rng.normal(0, 0.12, len(names)))
    strength[-units : -units + 7] = [0.95, 0.8, -0.8, 0.65, -0.6, 0.5, 0.45]
    if len(layers) > 1:
        strength[-2 * units : -2 * units + 4] = [0.7, -0.6, 0.5, 0.4]
    values = rng.normal(0, 1, (n, len(names))) + only_a[:, None] * strength
    values += np.outer(label - 4.5, rng.normal(0, 0.05, len(names)))
    values = np.maximum(values + 0.3, 0).astype(np.float32)
    values[:, 3] = 0
    made = from_arrays(
        values,
        layer=names,
        sample=[f"digit-{i}" for i in range(n)],
        label=label,
        prediction=prediction,
        baseline=baseline,
        inputs=np.random.default_rng(3).normal(size=(len(values), 8)),
    )
    if twins:
        noise = rng.normal(0, 1, (twins, *values.shape)) + only_a[:, None] * strength * 0.15
        made["activation_twin"] = (("twin", "sample", "neuron"), noise.astype(np.float32))
    return made.assign_attrs(model="SmallNet", pool="mean", nbcorr_version="0.1.0")


def correlates(recorded: xr.Dataset, *, controls: bool = True) -> xr.Dataset:
    """What `nc.correlate` says of it, with every control or with none."""
    chosen = ("untrained", "input", "replication") if controls else ("untrained",)
    return correlate(recorded, controls=chosen)


def exemplars(
    neurons: list[tuple[str, int]], ranks: int = 9, side: int = 12, channels: int = 1
) -> xr.Dataset:
    """Rings and strokes with a mark in the corner, and the mask on the mark."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:side, :side] / (side - 1)
    images = np.zeros((len(neurons), ranks, side, side, channels), dtype=np.float32)
    masks = np.zeros((len(neurons), ranks, side, side), dtype=bool)
    for index in np.ndindex(len(neurons), ranks):
        centre, radius = rng.uniform(0.4, 0.6, 2), rng.uniform(0.18, 0.32)
        ring = np.exp(-(((np.hypot(y - centre[0], x - centre[1]) - radius) / 0.08) ** 2))
        images[index] = (ring[..., None] * rng.uniform(0.6, 1, channels)).clip(0, 1)
        corner = rng.integers(0, max(1, side // 4), 2)
        spot = np.s_[corner[0] : corner[0] + side // 4, corner[1] : corner[1] + side // 4]
        images[index][spot] = 1
        masks[index][spot] = True
    activation = -np.sort(-rng.gamma(4, 0.5, (len(neurons), ranks)), axis=1).astype(np.float32)
    sample = rng.integers(0, 600, (len(neurons), ranks)).astype(str)
    layers, units = zip(*neurons, strict=True)
    return xr.Dataset(
        {
            "sample": (("neuron", "rank"), sample),
            "activation": (("neuron", "rank"), activation),
            "mask": (("neuron", "rank", "y", "x"), masks),
            "image": (("neuron", "rank", "y", "x", "channel"), images),
        },
        coords=neuron_coords(layers, units),
    )


def visualizations(neurons: list[tuple[str, int]], side: int = 12, channels: int = 1) -> xr.Dataset:
    rng = np.random.default_rng(3)
    waves = rng.normal(0, 1, (len(neurons), 3, channels))
    y, x = np.mgrid[:side, :side] / side * 6
    image = np.stack(
        [0.5 + 0.5 * np.sin(w[0] * y[..., None] + w[1] * x[..., None] + 3 * w[2]) for w in waves]
    )
    layers, units = zip(*neurons, strict=True)
    reached = rng.uniform(3, 6, len(neurons)).astype(np.float32)
    return xr.Dataset(
        {
            "image": (("neuron", "y", "x", "channel"), image.astype(np.float32)),
            "reached": ("neuron", reached),
            "reached_fresh": ("neuron", reached * 0.9),
            "best_exemplar": ("neuron", reached * 1.1),
        },
        coords=neuron_coords(layers, units),
    )


def strongest(correlated: xr.Dataset, n: int) -> list[tuple[str, int]]:
    order = np.argsort(-np.nan_to_num(np.abs(correlated["auc"].values - 0.5), nan=-1))
    return [(str(layer), int(unit)) for layer, unit in correlated["neuron"].values[order[:n]]]
