"""Signals and strata by name or by value, one number or code per sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.correlation.outcomes import relative_performance
from nbcorr.network.names import unknown


def find_signal(recording: xr.Dataset, signal: Any) -> tuple[str, np.ndarray]:
    """The signal's name and its values, shape (n_samples,), bool, integer or float."""
    if isinstance(signal, str) and signal == "relative_performance":
        if signal in recording.coords and recording[signal].any():
            return signal, recording[signal].values.astype(bool)
        return signal, relative_performance(recording).values.astype(bool)
    name, values = _column(recording, signal, "signal")
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool):
        raise ValueError(f"signal {name!r} holds {values.dtype}; expected numbers or booleans")
    if values.dtype != bool and np.isin(values, (0, 1)).all():
        values = values.astype(bool)
    if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
        count = int(np.isnan(values).sum())
        raise ValueError(f"signal {name!r} is NaN for {count} samples; expected a number for each")
    return name, values


def find_strata(recording: xr.Dataset, strata: Any) -> tuple[str, np.ndarray | None]:
    """The strata's name ("none" without) and an integer code per sample."""
    if isinstance(strata, str) and strata == "auto":
        strata = "label" if "label" in recording.coords else None
    if strata is None:
        return "none", None
    name, values = _column(recording, strata, "strata")
    codes, _ = pd.factorize(values)
    if (codes < 0).any():
        raise ValueError(
            f"strata {name!r} are missing for {int((codes < 0).sum())} samples; "
            "expected one for each"
        )
    return name, codes


def _column(recording: xr.Dataset, column: Any, kind: str) -> tuple[str, np.ndarray]:
    if isinstance(column, str):
        columns = [str(k) for k, v in recording.variables.items() if v.dims == ("sample",)]
        if column not in columns:
            raise ValueError(unknown(kind, column, columns))
        return column, recording[column].values
    name = str(getattr(column, "name", None) or kind)
    if isinstance(column, xr.DataArray) and "sample" in column.coords:
        column = _aligned(recording, column, name)
    values = np.asarray(column)
    if values.shape != (recording.sizes["sample"],):
        raise ValueError(
            f"{kind} {name!r} has shape {values.shape}; expected one value for each of "
            f"{recording.sizes['sample']} samples"
        )
    return name, values


def _aligned(recording: xr.Dataset, column: xr.DataArray, name: str) -> xr.DataArray:
    ids = pd.Index(recording["sample"].values)
    absent = ids.difference(pd.Index(column["sample"].values))
    if len(absent):
        raise ValueError(
            f"{name!r} has no value for {len(absent)} of {len(ids)} samples, "
            f"the first of them {absent[0]!r}"
        )
    return column.sel(sample=recording["sample"].values)
