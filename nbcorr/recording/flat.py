"""A Dataset as plain arrays and JSON, and back: what Zarr and netCDF can both hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

# What is written; stores of later formats are refused.
FORMAT = 1


def flatten(dataset: xr.Dataset) -> tuple[dict[str, xr.Variable], dict[str, Any]]:
    """Plain variables under storable names, and what else it takes to restore the Dataset.

    Activations become neuron-major, a MultiIndex becomes codes and level values, objects become
    text and times whole numbers.

    Returns
    -------
    variables : dict of str to xarray.Variable
        Of numbers, truth values or text; lazy ones stay lazy.
    description : dict
        For JSON.

    Raises
    ------
    ValueError
        If a name is no text, or an attribute is nothing that JSON holds.
    """
    described: dict[str, Any] = {}
    plain: dict[str, xr.Variable] = {}
    indexes = _flatten_indexes(dataset, plain)
    inside = {name for index in indexes.values() for name in index["attrs"]}
    for name, variable in dataset.variables.items():
        if name in inside:
            continue
        stored = _storable_name(name)
        described[stored] = {
            "name": name,
            "dims": list(variable.dims),
            "coord": name in dataset.coords,
            "attrs": as_json(variable.attrs, f"{name}.attrs"),
        }
        plain[stored], described[stored]["dtype"] = _plain(variable)
    description = {
        "format": FORMAT,
        "attrs": as_json(dataset.attrs, "attrs"),
        "variables": described,
        "indexes": indexes,
    }
    return plain, description


def restore(plain: Mapping[str, xr.Variable], description: Mapping[str, Any]) -> xr.Dataset:
    """The Dataset that `flatten` was given."""
    variables: dict[str, xr.Variable] = {}
    coords: dict[str, xr.Variable] = {}
    for stored, said in description["variables"].items():
        values = _with_dtype(plain[stored].transpose(*said["dims"]), np.dtype(said["dtype"]))
        values.attrs = said["attrs"]
        (coords if said["coord"] else variables)[said["name"]] = values
    dataset = xr.Dataset(variables, coords, description["attrs"])
    for dim, said in description["indexes"].items():
        index = pd.MultiIndex(
            levels=[_level(plain[f"{level}_values"].values) for level in said["levels"]],
            codes=[plain[level].values for level in said["levels"]],
            names=said["levels"],
        )
        dataset = dataset.assign_coords(xr.Coordinates.from_pandas_multiindex(index, dim))
        for name, attrs in said["attrs"].items():
            dataset[name].attrs = attrs
    return dataset


def as_json(value: Any, where: str) -> Any:
    """The same in lists, dicts, text and numbers, as JSON gives it back.

    Raises
    ------
    ValueError
        If something is none of these.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(part, f"{where}[{key!r}]") for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part, f"{where}[{at}]") for at, part in enumerate(value)]
    raise ValueError(
        f"{where} is a {type(value).__name__}, which cannot be stored; expected text, numbers, "
        "lists or dicts of them"
    )


def as_text_or_numbers(values: Any) -> np.ndarray:
    """An array without objects: these become text, so that nothing needs a pickle."""
    values = np.asarray(values)
    return values.astype(str) if values.dtype.kind in "OT" else values


def check_format(path: Any, version: int) -> None:
    """Refuse what a later nbcorr wrote.

    Raises
    ------
    ValueError
        If the version is later than `FORMAT`.
    """
    if version > FORMAT:
        raise ValueError(
            f"{path} is of format {version}; this nbcorr reads up to {FORMAT}: expected a newer "
            "nbcorr"
        )


def is_large(dims: Sequence[Any], size: int) -> bool:
    """Whether an array is better read when it is needed: a matrix over samples, or 4 MB and up."""
    return ("sample" in dims and len(dims) > 1) or size > 1 << 20


def _flatten_indexes(dataset: xr.Dataset, plain: dict[str, xr.Variable]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for dim in map(str, dataset.dims):
        index = dataset.indexes.get(dim)
        if not isinstance(index, pd.MultiIndex):
            continue
        for level, codes, values in zip(index.names, index.codes, index.levels, strict=True):
            plain[level] = xr.Variable(dim, np.asarray(codes, dtype=np.int32))
            own = f"{level}_values"
            plain[own] = xr.Variable(own, as_text_or_numbers(values))
        names = [dim, *index.names]
        attrs = {name: as_json(dataset[name].attrs, f"{name}.attrs") for name in names}
        found[dim] = {"levels": list(index.names), "attrs": attrs}
    return found


def _plain(variable: xr.Variable) -> tuple[xr.Variable, str]:
    """The variable to store, and the dtype it has when it is restored."""
    if {"neuron", "sample"} <= set(variable.dims):
        variable = variable.transpose(..., "neuron", "sample")
    if variable.dtype.kind not in "biufcUS":
        values = np.asarray(variable.values)
        dtype = values.dtype
        values = values.view(np.int64) if dtype.kind in "mM" else as_text_or_numbers(values)
        variable = xr.Variable(variable.dims, values)
        return variable, (dtype if dtype.kind in "mM" else values.dtype).str
    return variable, variable.dtype.str


def _with_dtype(variable: xr.Variable, dtype: np.dtype) -> xr.Variable:
    if variable.dtype == dtype:
        return variable.copy(deep=False)
    if dtype.kind in "mM":
        return xr.Variable(variable.dims, variable.values.view(dtype))
    return variable.astype(dtype)


def _level(values: np.ndarray) -> pd.Index:
    # As the index of a new recording has them.
    return pd.Index(values, dtype=object) if values.dtype.kind in "UO" else pd.Index(values)


def _storable_name(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"a variable is called {name!r}; expected text")
    return name.replace("%", "%25").replace("/", "%2F")
