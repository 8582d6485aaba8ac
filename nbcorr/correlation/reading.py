"""Reading correlates, whether of one signal or of several."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr


def count_of(correlates: xr.Dataset, name: str) -> Any:
    """A count of ``nc.correlate``, wherever it stands; None where there is none."""
    if name in correlates.attrs:
        return correlates.attrs[name]
    value = correlates[name].item() if name in correlates else None
    return None if value is None or np.isnan(value) else value


def signal_of(correlates: xr.Dataset) -> str:
    """The name of the one signal the correlates are of.

    Raises
    ------
    ValueError
        If they are of several.
    """
    if "signal" not in correlates.coords:
        return str(correlates.attrs.get("signal", "relative_performance"))
    if "signal" not in correlates.dims:
        return str(correlates["signal"].item())
    names = [str(name) for name in correlates["signal"].values]
    raise ValueError(
        f"the correlates are of several signals ({', '.join(names)}); expected one, "
        f"for example correlates.sel(signal={names[0]!r})"
    )
