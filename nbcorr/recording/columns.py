"""Columns a person brings for the samples, laid beside them by the samples' ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.network.names import unknown

# What a recording's own arrays and indexes are called …
OWN_NAMES = (
    "activation",
    "activation_twin",
    "nonfinite",
    "input",
    "feature",
    "neuron",
    "layer",
    "unit",
    "pool",
    "twin",
)
# … and what it says of the samples itself.
ANSWERS = ("sample", "prediction", "confidence", "loss", "margin", "relative_performance")


def as_column(name: str, values: Any) -> pd.Series | np.ndarray:
    """Values by sample id, or an array that goes by position.

    Parameters
    ----------
    name : str
        What the column is called, for errors.
    values : pandas.Series, xarray.DataArray over ``sample``, mapping of id to value, or array
        The first three say which value belongs to which sample.

    Raises
    ------
    ValueError
        If there is not one value per sample, or an id has two.
    """
    if isinstance(values, xr.DataArray) and "sample" in values.coords:
        if values.dims != ("sample",):
            raise ValueError(f"{name} is over {values.dims}; expected one value per 'sample'")
        values = pd.Series(values.values, index=values["sample"].values)
    elif isinstance(values, Mapping):
        values = pd.Series(list(values.values()), index=pd.Index(list(values)))
    if not isinstance(values, pd.Series):
        array = np.asarray(values)
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}; expected one value per sample")
        return array
    if not values.index.is_unique:
        twice = values.index[values.index.duplicated()][0]
        raise ValueError(f"{name} has two values for sample {twice!r}; expected one")
    return values


def by_sample(
    name: str, column: pd.Series | np.ndarray, ids: np.ndarray, first: int = 0
) -> np.ndarray:
    """The values of some samples, in the order of their ids.

    Parameters
    ----------
    name : str
        What the column is called, for errors.
    column : Series or array, as `as_column` gives it
        Ids of other samples may be among a Series'. An array is taken only where the samples' ids
        are their positions.
    ids : array, shape (n_samples,)
    first : int
        Position of the first of them among all samples.

    Raises
    ------
    ValueError
        If a sample has no value, or an array has nothing to be aligned by.
    """
    if not isinstance(column, pd.Series):
        return _by_position(name, column, ids, first)
    at = column.index.get_indexer(pd.Index(ids))
    if (at < 0).any():
        missing = ids[at < 0].tolist()
        raise ValueError(
            f"{name} has no value for {len(missing)} of {len(ids)} samples, first {missing[0]!r}; "
            f"{unknown('sample', missing[0], column.index[:1000])}"
        )
    return column.to_numpy()[at]


def check_names(names: Iterable[str], taken: Sequence[str] = (*OWN_NAMES, *ANSWERS)) -> None:
    """A ValueError where a column on the samples is called like something of the recording."""
    for name in names:
        if name in taken:
            raise ValueError(
                f"a column is called {name!r}, a name of the recording's own "
                f"({', '.join(taken)}); expected another name"
            )


def check_answered(answers: np.ndarray, ids: np.ndarray) -> None:
    """A ValueError where a baseline left samples out, which is not a wrong answer.

    Parameters
    ----------
    answers : array, shape (n_samples,) or, class scores, (n_samples, n_classes)
    ids : array, shape (n_samples,)
    """
    without = pd.isna(answers).reshape(len(ids), -1).any(1)
    if without.any():
        raise ValueError(
            f"the baseline has no answer (NaN or None) for {without.sum()} of {len(ids)} samples, "
            f"first {ids[without].tolist()[0]!r}; expected one for every sample"
        )


def check_length(name: str, values: np.ndarray, count: int) -> None:
    """A ValueError where a column has not one value for each of ``count`` samples."""
    if len(values) != count:
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


def _by_position(name: str, values: np.ndarray, ids: np.ndarray, first: int) -> np.ndarray:
    end = first + len(ids)
    if not np.array_equal(ids, np.arange(first, end)):
        raise ValueError(
            f"the samples have ids of their own ({ids.tolist()[0]!r} …) and {name} has none to be "
            f"matched by; expected pandas.Series({name}, index=ids)"
        )
    if len(values) < end:
        raise ValueError(
            f"{name} has shape {values.shape}; expected one value for each of {end} samples or more"
        )
    return values[first:end]
