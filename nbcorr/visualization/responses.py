"""``nc.responses``: which neurons respond most to one picture, and how unusual that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from nbcorr import __version__
from nbcorr.network.layers import module_and_call
from nbcorr.recording.content import fingerprint
from nbcorr.recording.record import record

# Neurons whose recorded activations are in memory at once.
NEURONS = 2048
# Below this share of the sum of squares, what is left without one sample is rounding.
ROUNDING = 1e-10


def responses(
    model: nn.Module,
    picture: Any,
    layers: Any = "auto",
    *,
    recording: xr.Dataset | None = None,
    pool: Any = None,
) -> xr.Dataset:
    """The neurons that respond most to one picture (reverse look-up).

    Activations of different neurons are no more comparable than metres and seconds: a neuron may
    be near the top of such a list for every picture. With a recording the list is ordered by what
    is unusual instead, each neuron against its own activations on the recorded samples.

    Parameters
    ----------
    model : torch.nn.Module
        Left exactly as it was.
    picture : array or tensor
        One sample as the model takes it, with or without the axis of the batch.
    layers : as for ``nc.record``
        ``"auto"``: those of the recording where there is one, else the activation modules.
    recording : xarray.Dataset, optional
        Of ``nc.record`` with this model: what the neurons do otherwise. The picture should not be
        one of its samples.
    pool : str or callable, optional
        As for ``nc.record``. None: that of the recording, else ``"mean"``.

    Returns
    -------
    xarray.Dataset
        Over ``neuron``, the strongest response first: ``activation``. With a recording, ordered
        by ``z``, the distance from the mean of the recorded samples in their standard deviations;
        ``percentile``, how many percent of the samples it exceeds (ties count half); and
        ``p_familywise``, the share of samples, this one included, on which any of all these
        neurons is at least that unusual. ``z`` is NaN where all recorded samples have the same
        activation, and ``attrs["constant"]`` counts these neurons. float32. ``attrs["control"]``
        names what is missing without a recording.

    Raises
    ------
    ValueError
        If the picture is not one sample, the recording is of another model, has several poolings
        or fewer than 3 samples, or lacks the layers asked for; and what ``nc.record`` raises.

    Notes
    -----
    The familywise control is the permutation distribution of the largest statistic (Westfall and
    Young, "Resampling-based multiple testing", 1993), the picture and the samples being exchanged:
    every sample is compared with all others as the picture is.
    """
    sample = one_sample(picture)
    pool = pool or _pool(recording)
    if recording is not None:
        _check(recording, model)
        layers = _recorded_layers(recording) if layers == "auto" else layers
    found = record(model, sample, layers, pool, progress=False)
    found = found[["activation"]].isel(sample=0, drop=True)
    attrs = {name: found.attrs[name] for name in ("model", "fingerprint", "layers", "pool")}
    attrs["nbcorr_version"] = __version__
    if recording is None:
        control = "missing: without recording= it is not known what is unusual for a neuron"
        return _sorted(found, "activation").assign_attrs(attrs, control=control)
    found = _known(found, recording)
    unusual = _unusual(found, recording)
    columns = {name: ("neuron", values) for name, values in unusual._asdict().items()}
    return _sorted(found.assign(columns), "z").assign_attrs(
        attrs,
        control=f"{recording.sizes['sample']} recorded samples",
        constant=int(np.isnan(unusual.z).sum()),
    )


def one_sample(picture: Any) -> torch.Tensor:
    """One sample as a batch of one.

    Raises
    ------
    ValueError
        If there is not exactly one.
    """
    batch = torch.as_tensor(picture)
    batch = batch[None] if batch.ndim in (1, 3) else batch
    if batch.ndim < 2 or len(batch) != 1:
        raise ValueError(
            f"the picture has shape {tuple(batch.shape)}; expected one sample as the model takes "
            "it, for example (channels, height, width)"
        )
    return batch


class Unusual(NamedTuple):
    """How one response compares with those to the recorded samples; each of shape (neurons,)."""

    z: np.ndarray
    percentile: np.ndarray
    p_familywise: np.ndarray


def _unusual(found: xr.Dataset, recording: xr.Dataset) -> Unusual:
    largest = np.full(recording.sizes["sample"], -np.inf)
    z, percentile = [], []
    for here, there in _columns(found, recording):
        together = np.concatenate([here[None], there]).astype(np.float64)
        others = left_out_z(together)
        z.append(others[0])
        largest = np.fmax(largest, np.fmax.reduce(others[1:], axis=1, initial=-np.inf))
        percentile.append(100 * ((there < here).mean(0) + (there == here).mean(0) / 2))
    values = np.concatenate(z)
    order = np.sort(largest)
    as_unusual = len(order) - np.searchsorted(order, values, side="left")
    p = np.where(np.isnan(values), np.nan, (1 + as_unusual) / (1 + len(order)))
    columns = values, np.concatenate(percentile), p
    return Unusual(*(column.astype(np.float32) for column in columns))


def left_out_z(values: np.ndarray) -> np.ndarray:
    """How many standard deviations each row lies above the mean of all other rows.

    Parameters
    ----------
    values : array of float64, shape (rows, columns), at least 3 rows

    Returns
    -------
    array, shape (rows, columns)
        NaN where the other rows are all alike.
    """
    rows = len(values)
    away = values - values.mean(0)
    squares = (away**2).sum(0)
    rest = squares - away**2 * rows / (rows - 1)
    spread = np.sqrt(np.where(rest > ROUNDING * squares, rest, np.nan) / (rows - 2))
    return away * rows / (rows - 1) / spread


def _columns(found: xr.Dataset, recording: xr.Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The response (neurons,) and the recorded activations (samples, neurons), some at a time."""
    places = recording.indexes["neuron"].get_indexer(found.indexes["neuron"])
    recorded = recording["activation"].transpose("sample", "neuron")
    for first in range(0, len(places), NEURONS):
        some = slice(first, first + NEURONS)
        yield found["activation"].values[some], recorded.isel(neuron=places[some]).values


def _known(found: xr.Dataset, recording: xr.Dataset) -> xr.Dataset:
    """The neurons that were recorded too."""
    held = found.indexes["neuron"].isin(recording.indexes["neuron"])
    if not held.any():
        raise ValueError(
            f"the recording has none of the layers {found.attrs['layers']}; it has "
            f"{_recorded_layers(recording)}"
        )
    return found.isel(neuron=np.flatnonzero(held))


def _sorted(found: xr.Dataset, by: str) -> xr.Dataset:
    # NaN last.
    return found.isel(neuron=np.argsort(-found[by].values, kind="stable"))


def _recorded_layers(recording: xr.Dataset) -> list[str]:
    names = recording.indexes["neuron"].get_level_values("layer").unique()
    return list(dict.fromkeys(module_and_call(str(name))[0] for name in names))


def _pool(recording: xr.Dataset | None) -> str:
    if recording is None:
        return "mean"
    if "pool" in recording.dims:
        held = recording["pool"].values.tolist()
        raise ValueError(
            f"the recording has the poolings {held}; expected one: recording.sel(pool={held[0]!r})"
        )
    if "pool" in recording.coords:
        return str(recording["pool"].values)
    return str(recording.attrs.get("pool", "mean"))


def _check(recording: xr.Dataset, model: nn.Module) -> None:
    made_by = recording.attrs.get("fingerprint")
    if made_by is not None and made_by != fingerprint(model):
        raise ValueError(
            f"the recording is of another model, {recording.attrs.get('model')} with fingerprint "
            f"{made_by}; expected this {type(model).__name__}, {fingerprint(model)}"
        )
    if recording.sizes["sample"] < 3:
        raise ValueError(
            f"the recording has {recording.sizes['sample']} samples; expected at least 3"
        )
