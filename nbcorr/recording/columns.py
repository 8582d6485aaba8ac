"""Columns a person brings for the samples, laid beside them by the samples' ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.network.names import unknown


def by_sample(name: str, values: Any, ids: np.ndarray) -> np.ndarray:
    """One value per sample, in the order of ``ids``.

    Parameters
    ----------
    name : str
        What the column is called, for errors.
    values : pandas.Series, xarray.DataArray over ``sample``, mapping of id to value, or array
        The first three say which value belongs to which sample; ids of other samples may be among
        them. An array is taken only where the samples' ids are their positions 0, 1, 2 …
    ids : array, shape (n_samples,)

    Raises
    ------
    ValueError
        If a sample has no value, an id has two, or an array has another length or nothing to be
        aligned by.
    """
    labelled = _as_series(name, values)
    if labelled is None:
        return _by_position(name, np.asarray(values), ids)
    if not labelled.index.is_unique:
        twice = labelled.index[labelled.index.duplicated()][0]
        raise ValueError(f"{name} has two values for sample {twice!r}; expected one")
    at = labelled.index.get_indexer(pd.Index(ids))
    if (at < 0).any():
        missing = ids[at < 0].tolist()
        raise ValueError(
            f"{name} has no value for {len(missing)} of {len(ids)} samples, first {missing[0]!r}; "
            f"{unknown('sample', missing[0], labelled.index[:1000])}"
        )
    return labelled.to_numpy()[at]


def check_length(name: str, values: np.ndarray, count: int) -> None:
    """A ValueError where a column has not one value for each of ``count`` samples."""
    if values.ndim != 1 or len(values) != count:
        raise ValueError(
            f"{name} has shape {values.shape}; expected one value for each of {count} samples"
        )


def table_of(columns: Any) -> dict[str, Any]:
    """A table of columns, or the names of some, as a mapping of name to values (None: in the data).

    Parameters
    ----------
    columns : mapping of name to column, pandas.DataFrame (ids in the index), xarray.Dataset (ids
        in ``sample``), str, sequence of str, or None

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if columns is None:
        return {}
    if isinstance(columns, str):
        return {columns: None}
    if isinstance(columns, pd.DataFrame):
        return {str(name): columns[name] for name in columns}
    if isinstance(columns, xr.Dataset):
        return {str(name): columns[name] for name in columns.data_vars}
    if isinstance(columns, Mapping):
        return {str(name): values for name, values in columns.items()}
    if isinstance(columns, list | tuple) and all(isinstance(name, str) for name in columns):
        return dict.fromkeys(columns)
    raise TypeError(
        f"columns is a {type(columns).__name__}; expected a DataFrame with the samples' ids as its "
        "index, a mapping of name to column, or names of what stands in the data"
    )


def _as_series(name: str, values: Any) -> pd.Series | None:
    if isinstance(values, pd.Series):
        return values
    if isinstance(values, xr.DataArray) and "sample" in values.coords:
        if values.dims != ("sample",):
            raise ValueError(f"{name} is over {values.dims}; expected one value per 'sample'")
        return pd.Series(values.values, index=values["sample"].values)
    if isinstance(values, Mapping):
        return pd.Series(list(values.values()), index=pd.Index(list(values)))
    return None


def _by_position(name: str, values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    check_length(name, values, len(ids))
    if not np.array_equal(ids, np.arange(len(ids))):
        raise ValueError(
            f"the samples have ids of their own ({ids.tolist()[0]!r} …) and {name} has none to be "
            f"matched by; expected pandas.Series({name}, index=ids)"
        )
    return values
