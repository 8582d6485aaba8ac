"""A recording, correlates, exemplars and visualisations made by hand: something is known of each.

A few units of the last two layers carry the signal, some hold under every control and some do not.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import false_discovery_control, norm, rankdata

from nbcorr.recording.arrays import from_arrays, neuron_coords

LAYERS = ("features.0", "features.3", "features.6", "classifier.1")


def recording(
    n: int = 600, units: int = 40, layers: tuple[str, ...] = LAYERS, seed: int = 0
) -> xr.Dataset:
    rng = np.random.default_rng(seed)
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
    )
    return made.assign_attrs(model="SmallNet", pool="mean", seed=seed, nbcorr_version="0.1.0")


def correlates(recorded: xr.Dataset, *, controls: bool = True) -> xr.Dataset:
    """Rank statistics as `nbcorr.correlate` names them, without its care."""
    signal = recorded["relative_performance"].values.astype(bool)
    values = recorded["activation"].values
    n, positive = len(signal), int(signal.sum())
    rng = np.random.default_rng(1)
    ranks = rankdata(values, axis=0)
    dead = np.ptp(values, axis=0) == 0
    auc = (ranks[signal].mean(axis=0) - (positive + 1) / 2) / (n - positive)
    auc[dead] = np.nan
    error = np.sqrt(1 / (12 * positive) + 1 / (12 * (n - positive)))
    share = positive / n
    rho_max = np.full(auc.shape, np.sqrt(3 * share * (1 - share)))
    p = 2 * norm.sf(np.abs(auc - 0.5) / error)
    q = np.full(auc.shape, np.nan)
    q[~dead] = false_discovery_control(p[~dead])
    untrained = np.repeat([[0.58], [0.6], [0.66], [0.63]], -(-len(auc) // 4), axis=1).ravel()[
        : len(auc)
    ]
    heldout = np.clip(auc + rng.normal(0, error, auc.shape), 0, 1)
    columns = {
        "auc": auc,
        "auc_low": np.clip(auc - 1.96 * error, 0, 1),
        "auc_high": np.clip(auc + 1.96 * error, 0, 1),
        "rank_biserial": 2 * auc - 1,
        "rho": (2 * auc - 1) * rho_max,
        "rho_max": np.where(dead, np.nan, rho_max),
        "p": p,
        "q": q,
        "zeros": (values == 0).mean(axis=0),
        "dead": dead,
    }
    attrs = {
        "model": "SmallNet",
        "signal": "relative_performance",
        "n": n,
        "n_positive": positive,
        "strata": "label",
        "controls": [],
        "controls_missing": ["untrained: the recording has no twins (nc.record(..., twins=5))"],
        "seed": 0,
    }
    if controls:
        columns["auc_heldout"] = heldout
        columns["replicated"] = ((heldout - 0.5) * (auc - 0.5) > 0.012) & (q < 0.05)
        columns["auc_untrained"] = np.where(dead, np.nan, untrained)
        columns["excess"] = np.abs(auc - 0.5) + 0.5 - columns["auc_untrained"]
        attrs |= {"controls": ["untrained", "replication"], "controls_missing": []}
    found = int(np.nansum(q < 0.05))
    attrs["sentence"] = (
        f"{found} of {len(auc)} neurons are associated within label at q ≤ .05 with the "
        f"{positive} of {n} samples that only A gets right; association is not cause."
    )
    names, units = zip(*recorded["neuron"].values, strict=True)
    variables = {name: ("neuron", column) for name, column in columns.items()}
    return xr.Dataset(variables, coords=neuron_coords(names, units), attrs=attrs)


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
