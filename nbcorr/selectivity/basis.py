"""Whether selectivity hides in another basis: linear combinations of units, and CCA."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr

from nbcorr.recording.arrays import over_neurons
from nbcorr.recording.blocks import neuron_blocks
from nbcorr.selectivity.index import classes_of, of_layers
from nbcorr.selectivity.loss import batch_selectivity
from nbcorr.stats.cca import pwcca_distance
from nbcorr.stats.split import stratified_halves

LEARNING_RATE = 0.02


def selective_basis(
    recording: xr.Dataset,
    *,
    layers: str | Sequence[str] | None = None,
    steps: int = 200,
    draws: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """How selective the units of a layer could be, were they linear combinations of themselves.

    Regularising against selectivity might only turn it into another basis, where the index does
    not see it (Leavitt & Morcos 2020, arXiv 2003.01262, section 4.2). For each layer this looks
    for the orthogonal basis whose rectified coordinates are the most selective.

    Parameters
    ----------
    recording : xarray.Dataset
        Mean-pooled, with ``label``.
    layers : str or sequence of str, optional
        Names or globs; all by default.
    steps : int
        Of the ascent, by Adam.
    draws : int
        Random orthogonal bases beside it.
    seed : int
        Of the halves and the random bases.

    Returns
    -------
    xarray.Dataset
        Over ``layer``, means over units or coordinates, a dead one 0: ``bound``, of the basis found
        on the half of the samples it was sought in; and on the other half ``selectivity`` of the
        units themselves, ``selectivity_rotated`` of that basis and ``selectivity_random(draw)``
        of random ones. Units that are NaN, infinite or never active are left out, ``units`` remain.

    Raises
    ------
    ValueError
        If labels are missing or there are fewer than two classes with two samples, or an argument
        is out of range.

    Notes
    -----
    Ascent finds a local optimum: the true bound may be higher. Compare ``selectivity_rotated`` of
    a regularised network with that of a neutral one: where the first is as high, selectivity has
    only moved.
    """
    for name, value in (("steps", steps), ("draws", draws)):
        if value < 1:
            raise ValueError(f"{name} is {value}; expected 1 or more")
    recording = of_layers(over_neurons(recording), layers)
    codes, _ = classes_of(recording)
    half = stratified_halves(codes, codes, seed=seed)
    if min(len(np.unique(codes[part])) for part in (half, ~half)) < 2:
        raise ValueError(
            "half of the samples hold fewer than two classes; expected two samples of two or more"
        )
    names = list(dict.fromkeys(recording["layer"].values.tolist()))
    rows = [_layer(_rows(recording, name), codes, half, steps, draws, seed) for name in names]
    columns = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    over = {key: ("layer", values) for key, values in columns.items() if values.ndim == 1}
    return xr.Dataset(
        {**over, "selectivity_random": (("layer", "draw"), columns["selectivity_random"])},
        {"layer": names},
        {"steps": steps, "seed": seed, "n": len(codes), "n_sought": int(half.sum())},
    )


def _rows(recording: xr.Dataset, layer: str) -> np.ndarray:
    """Living units of a layer, shape (samples, units)."""
    own = recording["activation"].isel(neuron=recording["layer"].values == layer)
    rows = np.concatenate(list(neuron_blocks(own))).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)]
    return rows.T


def _layer(
    rows: np.ndarray, codes: np.ndarray, half: np.ndarray, steps: int, draws: int, seed: int
) -> dict[str, object]:
    x, labels = torch.from_numpy(rows), torch.from_numpy(codes)
    units, kept = rows.shape[1], torch.from_numpy(half)

    def index(turn: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        return batch_selectivity(torch.relu(x[part] @ turn), labels[part]).mean()

    if not units:
        nothing = dict.fromkeys(("bound", "selectivity", "selectivity_rotated"), np.nan)
        return {**nothing, "selectivity_random": np.full(draws, np.nan), "units": 0}
    bound, turn = _most_selective(lambda turn: index(turn, kept), units, steps)
    rng = np.random.default_rng(seed)
    random = [_orthogonal(torch.from_numpy(rng.normal(size=(units, units)))) for _ in range(draws)]
    return {
        "bound": bound,
        "selectivity": float(index(torch.eye(units, dtype=x.dtype), ~kept)),
        "selectivity_rotated": float(index(turn, ~kept)),
        "selectivity_random": np.array([float(index(other, ~kept)) for other in random]),
        "units": units,
    }


def _most_selective(
    index: Callable[[torch.Tensor], torch.Tensor], units: int, steps: int
) -> tuple[float, torch.Tensor]:
    """The best basis on the way up from the units' own, and how selective it is."""
    free = torch.eye(units, dtype=torch.float64).requires_grad_(True)
    optimizer = torch.optim.Adam([free], lr=LEARNING_RATE)
    best, best_turn = -np.inf, torch.eye(units, dtype=torch.float64)
    with torch.enable_grad():
        for step in range(steps + 1):
            turn = _orthogonal(free)
            reached = index(turn)
            if float(reached.detach()) > best:
                best, best_turn = float(reached.detach()), turn.detach()
            if step < steps:
                optimizer.zero_grad()
                (-reached).backward()
                optimizer.step()
    return best, best_turn


def _orthogonal(free: torch.Tensor) -> torch.Tensor:
    """The orthogonal factor of a matrix; the identity of the identity."""
    q, r = torch.linalg.qr(free)
    return q * torch.sign(torch.diagonal(r))


def cca_distance(recording: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """How differently the layers of two networks represent the same samples.

    Projection-weighted CCA (Morcos, Raghu & Bengio 2018): what a change of basis makes of a layer
    is at distance 0. A network regularised against selectivity that only hides it would be as near
    to the neutral one as neutral ones of other seeds are to each other.

    Parameters
    ----------
    recording, other : xarray.Dataset
        Of the same samples, matched by their ids; layers by their names.

    Returns
    -------
    xarray.Dataset
        Over ``layer``: ``distance``, 0 to 1, of what the first represents from the second; NaN
        where a layer of one is constant.

    Raises
    ------
    ValueError
        If they share no samples or no layers, or a layer has not more samples than neurons.
    """
    first, second = over_neurons(recording), over_neurons(other)
    shared = first.indexes["sample"].intersection(second.indexes["sample"])
    names = [n for n in dict.fromkeys(first["layer"].values) if n in set(second["layer"].values)]
    if not len(shared) or not names:
        raise ValueError(
            f"the recordings share {len(shared)} samples and {len(names)} layers; expected the "
            "same samples through networks with layers of the same names"
        )
    first, second = first.sel(sample=shared), second.sel(sample=shared)
    distances = []
    for name in names:
        rows = [
            np.concatenate(
                list(neuron_blocks(each["activation"].isel(neuron=each["layer"].values == name)))
            )
            for each in (first, second)
        ]
        distances.append(pwcca_distance(*rows))
    return xr.Dataset({"distance": ("layer", distances)}, {"layer": names}, {"n": len(shared)})
