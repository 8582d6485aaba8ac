"""What groups of neurons contributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr


def attribution_of_groups(data: xr.Dataset, groups: Any) -> xr.DataArray:
    """The attribution of each group of neurons of a layer.

    Parameters
    ----------
    data : xarray.Dataset
        Of ``nc.attribute`` at a layer.
    groups : Dataset of ``nc.factorize``, mapping or sequence of sequences of units
        Groups may overlap, and need not hold all units.

    Returns
    -------
    xarray.DataArray
        On ``sample`` and ``group``: of units, the sum over them; of a factorisation, see
        `attribution_of_factors`.

    Raises
    ------
    ValueError
        If they do not fit the layer or the samples.
    """
    if isinstance(groups, xr.Dataset):
        return attribution_of_factors(data, groups)
    names = list(groups) if isinstance(groups, Mapping) else list(range(len(groups)))
    members = list(groups.values()) if isinstance(groups, Mapping) else list(groups)
    if not members:
        raise ValueError("no groups were given; expected at least one list of units")
    count = data.sizes["neuron"]
    sums = [
        data["by_neuron"].isel(neuron=_units(name, units, count)).sum("neuron", skipna=False)
        for name, units in zip(names, members, strict=True)
    ]
    return xr.concat(sums, "group").assign_coords(group=names).transpose(..., "group")


def attribution_of_factors(data: xr.Dataset, groups: xr.Dataset) -> xr.DataArray:
    """What each group of a factorisation contributed.

    A group is a map times a direction, its share of the factorised matrix. Of activations that is
    multiplied by the gradient, of gradients by the activation, and attributions stand as they are;
    the sum over all places and neurons is the group's attribution.

    Raises
    ------
    ValueError
        If the factorisation is of other neurons, samples or places.
    """
    if "weights" not in groups or "map" not in groups:
        raise ValueError(
            f"groups have variables {sorted(map(str, groups.data_vars))}; expected 'weights' and "
            "'map', of nc.factorize"
        )
    for name in ("neuron", "sample"):
        if not data.indexes[name].equals(groups.indexes[name]):
            raise ValueError(
                f"the groups are of {groups.sizes[name]} {name}s, {_ends(groups, name)}, the "
                f"attribution of {data.sizes[name]}, {_ends(data, name)}; expected the same"
            )
    places = [str(d) for d in groups["map"].dims if d not in {"sample", "group"}]
    for name in places:
        if data.sizes.get(name) != groups.sizes[name]:
            raise ValueError(
                f"the groups have {groups.sizes[name]} places along {name}, the attribution "
                f"{data.sizes.get(name)}; expected the same"
            )
    of = groups.attrs.get("of", "activation")
    factors = [groups["map"], groups["weights"]]
    if of != "attribution":
        factors.append(data["gradient" if of == "activation" else "activation"])
    found = xr.dot(*(factor.astype(np.float64) for factor in factors), dim=[*places, "neuron"])
    return found.transpose(..., "sample", "group").astype(np.float32)


def _units(name: Any, units: Any, count: int) -> list[int]:
    found = np.asarray(units)
    if found.ndim != 1 or not len(found) or found.dtype.kind not in "iu":
        raise ValueError(f"group {name!r} is {units!r}; expected a list of units, for example [3]")
    if found.min() < 0 or found.max() >= count:
        raise ValueError(
            f"group {name!r} has unit {found.max() if found.min() >= 0 else found.min()}; "
            f"expected 0 to {count - 1}"
        )
    return list(dict.fromkeys(found.tolist()))


def _ends(data: xr.Dataset, name: str) -> str:
    index = data.indexes[name]
    return f"{index[0]} to {index[-1]}"
