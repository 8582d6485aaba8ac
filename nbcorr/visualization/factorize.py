"""``nc.factorize``: a layer's neurons in a few groups that are active together."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from nbcorr import __version__
from nbcorr.network.names import unknown
from nbcorr.visualization.attribute import activations, attribute
from nbcorr.visualization.groups import attribution_of_factors
from nbcorr.visualization.nmf import Factors, factors, places_and_neurons

KINDS = ("activation", "gradient", "attribution")
NEGATIVES = ("refuse", "split")
K = 6


def factorize(
    source: Any,
    inputs: Any = None,
    at: str | None = None,
    k: int | Iterable[int] = K,
    *,
    of: str = "activation",
    target: Any = None,
    across: bool = False,
    negative: str | None = None,
    seed: int = 0,
    batch_size: int = 16,
    progress: bool = True,
) -> xr.Dataset:
    """Groups of neurons of a layer, by non-negative matrix factorisation.

    The matrix of positions and neurons is brought to a sum of k maps times k directions: where
    each group is active, and which neurons it consists of.

    Parameters
    ----------
    source : torch.nn.Module, xarray.Dataset or xarray.DataArray
        A model, with ``inputs`` and ``at``; what ``nc.attribute`` gave, a recording, or an array
        on ``sample`` and ``neuron`` with any positions.
    inputs : as for ``nc.record``
    at : str
        The layer.
    k : int or several
        Groups; several numbers give the curve of reconstruction errors to choose one from.
    of : {"activation", "gradient", "attribution"}
        What is factorised: what the layer detected, what would change the target, what caused it.
    target : as for ``nc.attribute``, optional
        For gradients, attributions, and the groups' own attributions.
    across : bool
        Whether the groups are those of all samples together. Else every sample has its own.
    negative : {"refuse", "split"}, optional
        What becomes of negative numbers. By default activations with any are refused (name the
        layer after the nonlinearity), and gradients and attributions are split into their positive
        and negative parts; a group's weights then have both signs.
    seed : int
    batch_size : int
    progress : bool

    Returns
    -------
    xarray.Dataset
        On ``group``, those that explain most first: ``weights(group, neuron)``, of length 1 and
        on ``sample`` too where every sample has its own; ``map(sample, group, y, x)``, never
        negative and in the units of what was factorised, so that their product summed over
        groups is its reconstruction; ``explained``, the share of the sum of squares that is lost
        without the group; ``error``, the relative length of what is not reconstructed;
        ``converged``; ``dead(neuron)``, those that were zero throughout and have weight 0;
        with a target ``attribution(sample, group)``. float32. Samples that are zero throughout
        have NaN and are counted in ``attrs["silent_samples"]``. For several k: ``error`` on
        ``k``, and ``sample`` where every sample has its own groups.

    Raises
    ------
    ValueError
        If k is more than there are positions or neurons that are not dead; a number is not
        finite, or negative where that is refused; all are zero; or arguments do not fit.
    TypeError
        If the source is none of these.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018), section "Making
    Things Human-Scale", and the notebook NeuronGroups of its library Lucid: 6 groups of an image,
    whose attribution is the sum of map times weights times gradient. Groups of one image tell
    little of another.
    """
    if of not in KINDS:
        raise ValueError(unknown("matrix", of, KINDS))
    if negative is not None and negative not in NEGATIVES:
        raise ValueError(unknown("way with negative numbers", negative, NEGATIVES))
    data = _data(source, inputs, at, of, target, batch_size, progress)
    values = _values(data, of)
    refused = (negative or ("refuse" if of == "activation" else "split")) == "refuse"
    _check_numbers(values, of, refused)
    matrices = _matrices(values, across)
    if isinstance(k, Iterable):
        return _curve(values, matrices, list(k), across, seed)
    count = _checked_k(k, matrices, across)
    found = _groups(values, [factors(matrix, count, seed) for matrix in matrices], across)
    found = found.assign_attrs(
        {name: data.attrs[name] for name in ("model", "fingerprint", "at") if name in data.attrs},
        of=of,
        k=count,
        across=int(across),
        silent_samples=int((values == 0).all([d for d in values.dims if d != "sample"]).sum()),
        seed=seed,
        nbcorr_version=__version__,
    )
    factor = {"activation": "gradient", "gradient": "activation"}.get(of, of)
    if factor not in data:
        return found
    found["attribution"] = attribution_of_factors(data, found)
    return found.assign_attrs(target=data.attrs.get("target", ""))


def _data(
    source: Any, inputs: Any, at: str | None, of: str, target: Any, batch_size: int, progress: bool
) -> xr.Dataset:
    """Activations, and gradients and attributions where there is a target."""
    if isinstance(source, xr.DataArray):
        return source.to_dataset(name=of).assign_attrs(source.attrs)
    if isinstance(source, xr.Dataset):
        if of not in source:
            held = sorted(map(str, source.data_vars))
            raise ValueError(f"the Dataset has {held}; expected {of!r}, as nc.attribute gives it")
        return source
    if not isinstance(source, nn.Module):
        raise TypeError(
            f"source is a {type(source).__name__}; expected a torch.nn.Module, what nc.attribute "
            "gave, or a DataArray on 'sample' and 'neuron'"
        )
    if inputs is None or at is None:
        raise ValueError("a model is factorised with inputs and at=, the layer; one is missing")
    if target is not None:
        return attribute(source, inputs, target, at, batch_size=batch_size, progress=progress)
    if of != "activation":
        raise ValueError(f"of={of!r} needs target=, for example the index of a class")
    return activations(source, inputs, at, batch_size=batch_size, progress=progress)


def _values(data: xr.Dataset, of: str) -> xr.DataArray:
    values = data[of]
    if not {"sample", "neuron"} <= set(values.dims):
        raise ValueError(f"{of} is on {values.dims}; expected 'sample' and 'neuron'")
    several = [d for d in values.dims if str(d).startswith("target")]
    if several:
        raise ValueError(f"{of} is on {several[0]!r}; expected that of one target")
    if 0 in values.shape:
        raise ValueError(f"{of} has sizes {dict(values.sizes)}; expected at least one of each")
    return values.transpose("sample", ..., "neuron")


def _check_numbers(values: xr.DataArray, of: str, refused: bool) -> None:
    array = values.values
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        name = values["sample"].values[int(np.argmin(finite))]
        raise ValueError(f"{of} has NaN or infinite values at sample {name!s}; expected numbers")
    if refused and array.min() < 0:
        share = (array < 0).mean()
        raise ValueError(
            f"{share:.1%} of {of} is negative, the least {array.min():.3g}; expected none, as "
            "after a ReLU: name the layer after the nonlinearity, or split them: negative='split'"
        )
    if not array.any():
        raise ValueError(f"{of} is zero everywhere; there is nothing to factorise")


def _matrices(values: xr.DataArray, across: bool) -> list[np.ndarray]:
    """Positions by neurons, one of each sample or one of all."""
    array = values.values.astype(np.float64)
    neurons = array.shape[-1]
    if across:
        return [array.reshape(-1, neurons)]
    return list(array.reshape(len(array), -1, neurons))


def _checked_k(k: Any, matrices: list[np.ndarray], across: bool) -> int:
    try:
        count = operator.index(k)
    except TypeError:
        kind = type(k).__name__
        raise TypeError(f"k is a {kind}; expected a whole number or several") from None
    if count < 1:
        raise ValueError(f"k is {count}; expected at least 1")
    sizes = [places_and_neurons(matrix) for matrix in matrices if matrix.any()]
    positions, neurons = min(sizes, key=min)
    most = min(positions, neurons)
    if count > most:
        hint = "" if across or len(matrices) == 1 else ", or across=True for groups of all samples"
        raise ValueError(
            f"k is {count}; {positions} positions and {neurons} neurons that are not dead can be "
            f"at most {most} groups: expected 1 to {most}{hint}"
        )
    return count


def _groups(values: xr.DataArray, found: list[Factors], across: bool) -> xr.Dataset:
    places = {str(d): n for d, n in values.sizes.items() if d not in {"sample", "neuron"}}
    own = () if across else ("sample",)

    def stacked(name: str) -> np.ndarray:
        parts = np.stack([getattr(each, name) for each in found])
        return parts[0] if across else parts

    maps = np.stack([each.maps for each in found]).reshape(
        values.sizes["sample"], *places.values(), -1
    )
    within = range(0 if across else 1, values.ndim - 1)
    return xr.Dataset(
        {
            "weights": ((*own, "group", "neuron"), stacked("weights").astype(np.float32)),
            "map": (("sample", "group", *places), np.moveaxis(maps, -1, 1).astype(np.float32)),
            "explained": ((*own, "group"), stacked("explained").astype(np.float32)),
            "error": (own, stacked("error").astype(np.float32)),
            "converged": (own, stacked("converged")),
            "dead": ((*own, "neuron"), (values.values == 0).all(axis=tuple(within))),
        },
        coords={"group": np.arange(maps.shape[-1])},
    ).assign_coords(values.coords)


def _curve(
    values: xr.DataArray, matrices: list[np.ndarray], several: list[int], across: bool, seed: int
) -> xr.Dataset:
    """The reconstruction error by the number of groups."""
    if not several:
        raise ValueError("k is empty; expected numbers of groups, for example range(1, 11)")
    counts = [_checked_k(k, matrices, across) for k in several]
    error = np.array([[factors(matrix, k, seed).error for matrix in matrices] for k in counts])
    own = () if across else ("sample",)
    return xr.Dataset(
        {"error": (("k", *own), (error[:, 0] if across else error).astype(np.float32))},
        coords={"k": counts, **({} if across else {"sample": values["sample"].values})},
    )
