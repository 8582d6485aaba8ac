"""All checks that could defeat the finding of a sweep, for every network in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from nbcorr.recording.record import record
from nbcorr.selectivity.basis import cca_distance, selective_basis
from nbcorr.selectivity.index import of_layers, selectivity
from nbcorr.selectivity.sweep import swept_model
from nbcorr.selectivity.usage import ablate_selective


def sweep_checks(
    sweep: xr.Dataset,
    build_model: Callable[[], nn.Module],
    data: Any,
    *,
    shares: Sequence[float] = (0.1, 0.25, 0.5),
    draws: int = 20,
    steps: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Whether regularising moved selectivity elsewhere, and whether selective units are used.

    ``selective_basis``, ``cca_distance`` and ``ablate_selective`` for every network of a sweep.

    Parameters
    ----------
    sweep : xarray.Dataset
        Made by ``nc.selectivity_sweep`` with ``store=``.
    build_model : callable
        The one the sweep was made with.
    data : labelled images
        The sweep's test data, or others: more samples than any layer has units.
    shares : sequence of float
        Of the living units of a layer, to be switched off.
    draws : int
        Random sets of units and random bases.
    steps : int
        Of the ascent to the most selective basis.
    seed : int
    progress : bool

    Returns
    -------
    xarray.Dataset
        Over ``alpha``, ``seed`` and ``layer``: ``selectivity``, ``selectivity_rotated`` and
        ``selectivity_random`` as of ``selective_basis``, the last the mean over random bases;
        ``distance_neutral``, the mean CCA distance to the networks of alpha 0 with other seeds,
        so that neutral ones have what seeds alone make; over ``share`` too ``accuracy_random``,
        the mean, and with ``order``, most or least selective, ``accuracy_ablated`` and
        ``percentile`` as of ``ablate_selective``. NaN for a layer that is dead or diverged, and
        where ``attrs["controls_missing"]`` says why.

    Raises
    ------
    ValueError
        If the sweep was not kept, or there are not more samples than units of a layer.
    """
    names = [str(name) for name in sweep["layer"].values]
    runs = list(product(sweep["alpha"].values.tolist(), sweep["seed"].values.tolist()))
    models = {run: swept_model(sweep, build_model, *run) for run in runs}
    recordings = {run: _recorded(model, data, names) for run, model in models.items()}
    _check_samples(recordings[runs[0]])
    rows = []
    for run in tqdm(runs, unit="network", desc="checks", disable=not progress):
        recording, model = recordings[run], models[run]
        row = _bases(recording, steps, draws, seed) | _used(
            model, recording, data, shares, draws, seed
        )
        neutral = [recordings[other] for other in runs if other[0] == 0 and other[1] != run[1]]
        row["distance_neutral"] = _distance(recording, neutral)
        rows.append(row)
    missing = {} if _neutral_pairs(runs) else {"controls_missing": "no two networks of alpha 0"}
    return _dataset(rows, sweep, names, list(shares)).assign_attrs(
        n=recordings[runs[0]].sizes["sample"], draws=draws, steps=steps, **missing
    )


def _recorded(model: nn.Module, data: Any, names: list[str]) -> xr.Dataset:
    bare = list(dict.fromkeys(name.partition("#")[0] for name in names))
    return of_layers(record(model, data, bare, progress=False), names)


def _check_samples(recording: xr.Dataset) -> None:
    layers, units = np.unique(recording["layer"].values.astype(str), return_counts=True)
    widest, n = str(layers[units.argmax()]), recording.sizes["sample"]
    if n <= units.max() + 1:
        raise ValueError(
            f"there are {n} samples and layer {widest!r} has {units.max()} units; expected more "
            "samples than units of any layer"
        )


def _bases(recording: xr.Dataset, steps: int, draws: int, seed: int) -> dict[str, np.ndarray]:
    found = selective_basis(recording, steps=steps, draws=draws, seed=seed)
    random = found["selectivity_random"].mean("draw").values
    kept = {name: found[name].values for name in ("selectivity", "selectivity_rotated")}
    return {**kept, "selectivity_random": random}


def _used(
    model: nn.Module,
    recording: xr.Dataset,
    data: Any,
    shares: Sequence[float],
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Accuracies and percentiles by layer; NaN for layers that are dead or diverged."""
    names = list(dict.fromkeys(recording["layer"].values.tolist()))
    finite = np.isfinite(recording["activation"].values).all(axis=0)
    columns = {
        "accuracy_ablated": np.full((len(names), len(shares), 2), np.nan),
        "percentile": np.full((len(names), len(shares), 2), np.nan),
        "accuracy_random": np.full((len(names), len(shares)), np.nan),
    }
    if not finite.all():
        return columns
    index = selectivity(recording, n_resamples=0)
    alive = set(index["layer"].values[~index["dead"].values].tolist())
    living = [name for name in names if name in alive]
    if living:
        found = ablate_selective(
            model, data, index, shares, layers=living, draws=draws, seed=seed, progress=False
        )
        at = [names.index(name) for name in living]
        columns["accuracy_ablated"][at] = found["accuracy_ablated"].values
        columns["percentile"][at] = found["percentile"].values
        columns["accuracy_random"][at] = found["accuracy_random"].mean("draw").values
    return columns


def _distance(recording: xr.Dataset, neutral: list[xr.Dataset]) -> np.ndarray:
    distances = [cca_distance(recording, other)["distance"].values for other in neutral]
    n_layers = len(np.unique(recording["layer"].values.astype(str)))
    return np.mean(distances, axis=0) if distances else np.full(n_layers, np.nan)


def _neutral_pairs(runs: list[tuple[float, int]]) -> bool:
    return sum(alpha == 0 for alpha, _ in runs) > 1


def _dataset(
    rows: list[dict[str, np.ndarray]], sweep: xr.Dataset, names: list[str], shares: list[float]
) -> xr.Dataset:
    sizes = sweep.sizes["alpha"], sweep.sizes["seed"]
    beside = {"accuracy_random": ("share",), "accuracy_ablated": ("share", "order")}
    beside["percentile"] = beside["accuracy_ablated"]
    data = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        dims = ("alpha", "seed", "layer", *beside.get(name, ()))
        data[name] = (dims, values.reshape(*sizes, *values.shape[1:]))
    coords = {"alpha": sweep["alpha"], "seed": sweep["seed"], "layer": names}
    return xr.Dataset(data, {**coords, "share": shares, "order": ["most", "least"]})
