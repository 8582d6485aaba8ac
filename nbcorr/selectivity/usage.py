"""Whether a network uses its selective units: switching them off, against random ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from nbcorr.network.ablation import ablate
from nbcorr.network.batches import batches
from nbcorr.network.hooks import device_and_dtype, first_tensor, inference
from nbcorr.network.names import unknown

ORDERS = ("most", "least")


def ablate_selective(
    model: nn.Module,
    data: Any,
    selectivity: xr.Dataset,
    shares: Sequence[float] = (0.1, 0.25, 0.5),
    *,
    layers: str | Sequence[str] | None = None,
    draws: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """What switching off the most selective units of a layer costs, against as many random ones.

    Were selective units what a network works with, it should cost more (Morcos et al. 2018;
    Leavitt & Morcos 2020, arXiv 2003.01262).

    Parameters
    ----------
    model : torch.nn.Module
        Gives logits, one column a class; left as it was.
    data : labelled samples, as for ``nc.record``
        Labels are the places of the classes among the logits.
    selectivity : xarray.Dataset
        As ``nc.selectivity`` gives it, better of other samples. Dead units are never switched off.
    shares : sequence of float
        Of the living units of a layer.
    layers : str or sequence of str, optional
        Names; all that are in ``selectivity`` by default.
    draws : int
        Random sets, from the living units of the same layer.
    seed : int
    progress : bool

    Returns
    -------
    xarray.Dataset
        ``accuracy`` with nothing off. Over ``layer`` and ``share``: ``accuracy_ablated(order)``
        with the most and the least selective off, ``accuracy_random(draw)``, and
        ``percentile(order)``, the share of random sets that cost less, ties half: about .5 where
        selectivity says nothing about use. ``units``, how many were off.

    Raises
    ------
    ValueError
        If there are no labels, a layer is not there or has no living unit, or an argument is out
        of range.
    """
    if draws < 1 or not shares or not all(0 < share < 1 for share in shares):
        raise ValueError(
            f"shares are {list(shares)} and draws {draws}; expected shares between 0 and 1 and at "
            "least one draw"
        )
    living = _living(selectivity, layers)
    parts = [part.sorted_out(model) for part in batches(data)]
    if any(part.label is None for part in parts):
        raise ValueError("the data has no labels; expected one for each sample")
    rng = np.random.default_rng(seed)
    shape = (len(living), len(shares))
    ordered, random = np.empty((*shape, 2)), np.empty((*shape, draws))
    off = np.empty(shape, dtype=np.int64)
    total = shape[0] * shape[1]
    with tqdm(total=total, unit="set", desc="ablation", disable=not progress) as bar:
        for i, (layer, units) in enumerate(living.items()):
            for j, share in enumerate(shares):
                off[i, j] = k = max(1, round(share * len(units)))
                sets = [rng.choice(units, k, replace=False) for _ in range(draws)]
                reached = [
                    _accuracy_without(model, parts, layer, chosen)
                    for chosen in (units[:k], units[-k:], *sets)
                ]
                ordered[i, j], random[i, j] = reached[:2], reached[2:]
                bar.update()
    above = random[..., None, :] > ordered[..., None]
    ties = random[..., None, :] == ordered[..., None]
    over = ("layer", "share")
    return xr.Dataset(
        {
            "accuracy": ((), _accuracy(model, parts)),
            "accuracy_ablated": ((*over, "order"), ordered),
            "accuracy_random": ((*over, "draw"), random),
            "percentile": ((*over, "order"), (above + ties / 2).mean(axis=-1)),
            "units": (over, off),
        },
        {"layer": list(living), "share": list(shares), "order": list(ORDERS)},
        {"n": sum(len(part) for part in parts), "draws": draws, "seed": seed, "how": "zero"},
    )


def _living(selectivity: xr.Dataset, layers: str | Sequence[str] | None) -> dict[str, np.ndarray]:
    """The living units of each layer, the most selective first."""
    index = selectivity["selectivity"].values
    of_layer, unit = selectivity["layer"].values, selectivity["unit"].values
    names = list(dict.fromkeys(of_layer.tolist()))
    chosen = names if layers is None else [layers] if isinstance(layers, str) else list(layers)
    found = {}
    for name in chosen:
        if name not in names:
            raise ValueError(unknown("layer", name, names))
        own = np.flatnonzero((of_layer == name) & ~np.isnan(index))
        if not len(own):
            raise ValueError(f"layer {name!r} has no living unit; leave it out by layers=")
        found[name] = unit[own[np.argsort(-index[own], kind="stable")]]
    return found


def _accuracy_without(model: nn.Module, parts: list[Any], layer: str, units: np.ndarray) -> float:
    with ablate(model, [(layer, int(unit)) for unit in units]):
        return _accuracy(model, parts)


def _accuracy(model: nn.Module, parts: list[Any]) -> float:
    device, dtype = device_and_dtype(model)
    right = total = 0
    with inference(model):
        for part in parts:
            logits = first_tensor(part.to(device, dtype).run(model))
            answers = logits.argmax(1).cpu()
            right += int((answers == torch.as_tensor(part.label)).sum())
            total += len(part)
    return right / total
