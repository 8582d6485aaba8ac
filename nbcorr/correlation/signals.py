"""Signals, strata, groups and covariates by name or by value, one number or code per sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.correlation.outcomes import relative_performance
from nbcorr.network.names import unknown


def find_signals(recording: xr.Dataset, signal: Any) -> tuple[dict[str, np.ndarray], bool]:
    """The signals by name, and whether several were asked for (be it a list of one)."""
    if isinstance(signal, Mapping):
        asked = [_named(name, values) for name, values in signal.items()]
    elif _are_names(signal):
        asked = list(signal)
    elif isinstance(signal, xr.DataArray) and signal.ndim == 2 and "signal" in signal.dims:
        names = signal["signal"].values if "signal" in signal.coords else range(len(signal))
        rows = signal.transpose("signal", ...).drop_vars("signal", errors="ignore")
        asked = [_named(name, row) for name, row in zip(names, rows, strict=True)]
    else:
        return dict([find_signal(recording, signal)]), False
    if not asked:
        raise ValueError("no signal was given; expected at least one")
    found = [find_signal(recording, one) for one in asked]
    twice = [name for i, (name, _) in enumerate(found) if name in dict(found[:i])]
    if twice:
        raise ValueError(f"signal {twice[0]!r} was given twice; expected every signal once")
    return dict(found), True


def find_signal(recording: xr.Dataset, signal: Any) -> tuple[str, np.ndarray]:
    """The signal's name and its values, shape (n_samples,), bool, integer or float."""
    if isinstance(signal, str) and signal == "relative_performance":
        column = recording[signal] if signal in recording.coords else None
        if column is None or (column.dtype.kind in "biuf" and not column.any()):
            column = relative_performance(recording)
        if not np.isin(column.values, (0, 1)).all():
            raise ValueError(
                f"relative_performance holds {np.unique(column.values)[:5].tolist()}; expected 1 "
                "where only the model is right and 0 elsewhere (another name for another signal)"
            )
        return signal, column.values.astype(bool)
    name, values = _column(recording, signal, "signal")
    values = _numbers("signal", name, values)
    kinds = np.unique(values)
    # Of two values the larger is the positive one.
    return name, values == kinds[1] if len(kinds) == 2 else values


def find_strata(recording: xr.Dataset, strata: Any) -> tuple[str, np.ndarray | None]:
    """The strata's name ("none" without) and an integer code per sample."""
    if isinstance(strata, str) and strata == "auto":
        strata = "label" if "label" in recording.coords else None
    return _codes(recording, strata, "strata")


def find_groups(recording: xr.Dataset, groups: Any) -> tuple[str, np.ndarray | None]:
    """The groups' name ("none" without) and an integer code per sample."""
    name, codes = _codes(recording, groups, "groups")
    if codes is not None and codes.max() < 1:
        raise ValueError(f"all samples are in one group of {name!r}; expected at least two groups")
    return name, codes


def find_covariates(recording: xr.Dataset, covariates: Any) -> tuple[list[str], np.ndarray | None]:
    """The covariates' names and their values, (n_covariates, n_samples); None without any."""
    if covariates is None:
        return [], None
    if isinstance(covariates, Mapping):
        asked = [_named(name, values) for name, values in covariates.items()]
    else:
        asked = list(covariates) if _are_names(covariates) else [covariates]
    if not asked:
        return [], None
    found = [_column(recording, one, "covariate") for one in asked]
    rows = [_numbers("covariate", name, values) for name, values in found]
    return [name for name, _ in found], np.array(rows, dtype=np.float64)


def _are_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)


def _named(name: Any, values: Any) -> xr.DataArray:
    if isinstance(values, xr.DataArray):
        return values.rename(str(name))
    values = np.asarray(values)
    return xr.DataArray(values, dims=["sample", *"abc"][: values.ndim], name=str(name))


def _numbers(kind: str, name: str, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        hint = "; strata= takes categories" if kind == "covariate" else ""
        raise ValueError(
            f"{kind} {name!r} holds {values.dtype}; expected numbers or booleans{hint}"
        )
    if np.issubdtype(values.dtype, np.floating) and np.isnan(values).any():
        count = int(np.isnan(values).sum())
        raise ValueError(f"{kind} {name!r} is NaN for {count} samples; expected a number for each")
    return values


def _codes(recording: xr.Dataset, column: Any, kind: str) -> tuple[str, np.ndarray | None]:
    if column is None:
        return "none", None
    name, values = _column(recording, column, kind)
    codes, _ = pd.factorize(values)
    if (codes < 0).any():
        raise ValueError(
            f"{kind} {name!r} are missing for {int((codes < 0).sum())} samples; "
            "expected one for each"
        )
    return name, codes


def _column(recording: xr.Dataset, column: Any, kind: str) -> tuple[str, np.ndarray]:
    if isinstance(column, str):
        columns = [str(k) for k, v in recording.variables.items() if v.dims == ("sample",)]
        if kind == "strata" and column == "label" and column not in columns:
            raise ValueError(
                "no strata 'label': the samples have no labels; strata=None compares all with all"
            )
        if column not in columns:
            raise ValueError(unknown(kind, column, columns))
        return column, recording[column].values
    name = str(getattr(column, "name", None) or kind)
    if isinstance(column, pd.Series) and not column.index.equals(pd.RangeIndex(len(column))):
        column = xr.DataArray(column.values, coords={"sample": column.index}, dims="sample")
    if isinstance(column, xr.DataArray) and "sample" in column.coords:
        column = _aligned(recording, column, name)
    values = np.asarray(column.detach().cpu() if hasattr(column, "detach") else column)
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
            f"the first of them {absent.tolist()[0]!r}"
        )
    repeated = column.indexes["sample"].duplicated()
    if repeated.any():
        twice = column.indexes["sample"][repeated].tolist()[0]
        raise ValueError(f"{name!r} has several values for sample {twice!r}; expected one")
    return column.sel(sample=recording["sample"].values)
