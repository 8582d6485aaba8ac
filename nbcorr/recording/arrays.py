"""The recording as a Dataset: its neuron index, and recordings from arrays people already have."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.recording.columns import OWN_NAMES, check_answered, check_names
from nbcorr.recording.rows import Layout


def neuron_coords(layers: Sequence[str], units: Sequence[int] | np.ndarray) -> xr.Coordinates:
    """The ``neuron`` coordinate: a MultiIndex of layer and unit, layers in order of appearance.

    Parameters
    ----------
    layers : sequence of str, length n_neurons
    units : sequence of int, length n_neurons
    """
    codes, names = pd.factorize(np.asarray(layers, dtype=object), sort=False)
    units = np.asarray(units, dtype=np.int64)
    unit_codes, unit_values = pd.factorize(units, sort=True)
    index = pd.MultiIndex(
        levels=[pd.Index(names, dtype=object), unit_values],
        codes=[codes, unit_codes],
        names=["layer", "unit"],
    )
    return xr.Coordinates.from_pandas_multiindex(index, "neuron")


def from_arrays(
    activations: Any,
    *,
    layer: str | Sequence[str],
    unit: Sequence[int] | None = None,
    sample: Sequence[Any] | None = None,
    inputs: Any = None,
    **per_sample: Any,
) -> xr.Dataset:
    """A recording from arrays a person already has.

    Parameters
    ----------
    activations : array, shape (n_samples, n_neurons), any real dtype
        One number per sample and neuron; stored as float32 (float16 stays float16). A Dask or
        Zarr array stays on disk and is read in parts when needed.
    layer : str or sequence of str, length n_neurons
        The layer of every neuron, or of all of them.
    unit : sequence of int, length n_neurons, optional
        Index of each neuron inside its layer; counted from 0 within each layer by default.
    sample : sequence, length n_samples, optional
        Ids of the samples; 0, 1, 2 … by default.
    inputs : array, shape (n_samples, ...), optional
        The raw inputs (pictures, tables or vectors of numbers), for the control of what they tell;
        kept as ``nc.record`` does, averaged to at most 1,024 features.
    **per_sample
        Columns with one value per sample: ``label``, ``prediction``, ``baseline`` … With the
        first three, ``relative_performance`` follows.

    Returns
    -------
    xarray.Dataset
        ``activation(sample, neuron)``, ``input(sample, feature)`` where inputs were given, and
        the columns as coordinates on ``sample``.

    Raises
    ------
    ValueError
        If a shape does not fit, an id or a neuron repeats, an input is not finite, a column has a
        name of the recording's own, or there are no samples.
    """
    values = _array_or_lazy(activations)
    if values.ndim != 2:
        raise ValueError(f"activations have shape {values.shape}; expected (n_samples, n_neurons)")
    if values.dtype != np.float16:
        values = values.astype(np.float32, copy=False)
    n_samples, n_neurons = values.shape
    layers = [layer] * n_neurons if isinstance(layer, str) else [str(name) for name in layer]
    _check_length("layer", layers, n_neurons, "neurons")
    units = _units_within(layers) if unit is None else np.asarray(unit)
    _check_length("unit", units, n_neurons, "neurons")
    ids = np.arange(n_samples) if sample is None else np.asarray(sample)
    _check_length("sample", ids, n_samples, "samples")
    recording = _recording(values, layers, units, ids, per_sample)
    if inputs is None:
        return recording
    # With torch; recordings without inputs are made without it.
    from nbcorr.recording.inputs import with_inputs

    return with_inputs(recording, inputs)


def _recording(
    activation: Any,
    layers: Sequence[str],
    units: Sequence[int] | np.ndarray,
    sample: np.ndarray,
    per_sample: Mapping[str, Any],
) -> xr.Dataset:
    if len(sample) == 0:
        raise ValueError("the data is empty: no samples were found, expected at least one")
    _check_unique("sample id", sample)
    recording = xr.Dataset(
        {"activation": (("sample", "neuron"), activation)}, neuron_coords(layers, units)
    )
    if recording.indexes["neuron"].has_duplicates:
        twice = recording.indexes["neuron"][recording.indexes["neuron"].duplicated()][0]
        raise ValueError(f"neuron {twice[0]}:{twice[1]} appears twice; expected each once")
    return with_columns(recording.assign_coords(sample=("sample", sample)), per_sample)


def labelled(
    layout: Layout,
    activation: Any,
    features: Any,
    columns: Mapping[str, Any],
    nonfinite: Any = 0,
) -> xr.Dataset:
    """The recording of what batches gave; every writer ends here.

    Parameters
    ----------
    layout : Layout
    activation : array, shape (n_planes, n_samples, n_neurons)
        In memory, or a Dask array.
    features : array, shape (n_samples, n_features), or None
    columns : mapping of str to array, each of length n_samples
        With ``sample``, the ids.
    nonfinite : array, shape (n_pools, n_neurons), or 0
    """
    per_sample = dict(columns)
    sample = per_sample.pop("sample")
    _check_unique("sample id", sample)
    layers = [name for name, count in layout.units.items() for _ in range(count)]
    units = np.concatenate([np.arange(count) for count in layout.units.values()])
    pools, n = len(layout.pools), layout.n_neurons
    networks = activation.reshape((1 + layout.twins, pools, *activation.shape[1:]))
    dims: tuple[str, ...] = ("pool", "sample", "neuron")
    counts = np.broadcast_to(np.asarray(nonfinite, dtype=np.int64), (pools, n)).copy()
    if pools == 1:
        networks, dims, counts = networks[:, 0], dims[1:], counts[0]
    recording = xr.Dataset({"activation": (dims, networks[0])}, neuron_coords(layers, units))
    if layout.twins:
        recording["activation_twin"] = (("twin", *dims), networks[1:])
    recording["nonfinite"] = (tuple(d for d in dims if d != "sample"), counts)
    if pools > 1:
        recording = recording.assign_coords(pool=list(layout.pools))
    recording = with_columns(recording.assign_coords(sample=("sample", sample)), per_sample)
    return with_features(recording, features, layout.features) if layout.features else recording


def with_features(recording: xr.Dataset, rows: Any, names: Sequence[str]) -> xr.Dataset:
    """The recording with ``input(sample, feature)``, rows of shape (n_samples, n_features)."""
    named = recording.assign_coords(feature=np.array(names))
    return named.assign(input=(("sample", "feature"), rows))


def with_columns(recording: xr.Dataset, per_sample: Mapping[str, Any]) -> xr.Dataset:
    """The recording with one value per sample under each of these names, and what follows."""
    count = recording.sizes["sample"]
    for name, column in per_sample.items():
        check_names([name], OWN_NAMES)
        values = np.asarray(column)
        _check_length(name, values, count, "samples")
        recording = recording.assign_coords({name: ("sample", values)})
    return with_relative_performance(recording)


def with_relative_performance(recording: xr.Dataset) -> xr.Dataset:
    """Add the seed's signal, 1 where A is right and B is wrong, when both answers are known."""
    if not {"label", "prediction", "baseline"} <= set(recording.coords):
        return recording
    check_answered(recording["baseline"].values, recording["sample"].values)
    kinds = {name: _kind(recording[name]) for name in ("label", "prediction", "baseline")}
    for name, kind in kinds.items():
        if (kind == "text") != (kinds["label"] == "text"):
            warnings.warn(
                f"label is {kinds['label']} and {name} {kind}: text is never equal to a number, so "
                "relative_performance is left out; expected all of one kind",
                stacklevel=2,
            )
            return recording
    label = recording["label"].values
    right = recording["prediction"].values == label
    baseline_right = recording["baseline"].values == label
    signal = (right & ~baseline_right).astype(np.int8)
    return recording.assign_coords(relative_performance=("sample", signal))


def _kind(column: xr.DataArray) -> str:
    return "text" if pd.api.types.is_string_dtype(column.values) else str(column.dtype)


def over_neurons(dataset: xr.Dataset) -> xr.Dataset:
    """The same over ``neuron`` where ``.sel(layer=...)`` left only ``unit``, of one pooling.

    Raises
    ------
    ValueError
        If the dataset is not about neurons, or holds several poolings.
    """
    if "pool" in dataset.dims:
        names = [str(name) for name in dataset["pool"].values]
        raise ValueError(
            f"the recording has the poolings {', '.join(names)}; expected one of them, for "
            f"example recording.sel(pool={names[0]!r})"
        )
    if "pool" in dataset.coords:
        dataset = dataset.assign_attrs(pool=str(dataset["pool"].item())).drop_vars("pool")
    if "neuron" in dataset.dims:
        return dataset
    if "unit" in dataset.dims and dataset.coords.get("layer", xr.DataArray([0])).ndim == 0:
        units = dataset["unit"].values
        layers = [str(dataset["layer"].item())] * len(units)
        bare = dataset.drop_vars(["layer", "unit"]).rename_dims(unit="neuron")
        return bare.assign_coords(neuron_coords(layers, units))
    raise ValueError(
        f"the Dataset is over {', '.join(map(str, dataset.dims)) or 'nothing'}; expected 'neuron'"
    )


def _array_or_lazy(values: Any) -> Any:
    """A Dask array as it is, a Zarr array as one, anything else in memory."""
    values = values.data if isinstance(values, xr.DataArray) else values
    if type(values).__module__.partition(".")[0] == "zarr":
        import dask.array

        return dask.array.from_zarr(values)
    is_lazy = hasattr(values, "__dask_graph__") and hasattr(values, "rechunk")
    return values if is_lazy else np.asarray(values)


def _units_within(layers: Sequence[str]) -> np.ndarray:
    return (
        pd.Series(layers, dtype=object)
        .groupby(pd.Series(layers, dtype=object))
        .cumcount()
        .to_numpy()
    )


def _check_length(name: str, values: Any, expected: int, of: str) -> None:
    if np.ndim(values) != 1 or len(values) != expected:
        shape = np.shape(values)
        raise ValueError(
            f"{name} has shape {shape}; expected one value for each of {expected} {of}"
        )


def _check_unique(kind: str, values: np.ndarray) -> None:
    index = pd.Index(values)
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise ValueError(f"{kind} {twice!r} repeats; expected every {kind} once")
