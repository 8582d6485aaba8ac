"""The semantic dictionary: which neurons of a layer answer most at each place of one image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from nbcorr import __version__
from nbcorr.network.names import unknown
from nbcorr.visualization.attribute import activations, attribute

CONTENTS = ("activation", "attribution")


def semantic_dictionary(
    model: nn.Module,
    image: Any,
    layer: str,
    k: int = 4,
    *,
    of: str = "activation",
    target: Any = None,
) -> xr.Dataset:
    """The neurons that answer most at every position of a layer, for one image.

    Parameters
    ----------
    model : torch.nn.Module
        Left exactly as it was.
    image : array or tensor, shape (channels, height, width) or (1, channels, height, width)
        As the model takes it.
    layer : str
        One that gives maps or patches.
    k : int
        Neurons at each position; all of them where the layer has fewer.
    of : {"activation", "attribution"}
        What they are ranked by: how strongly they answer, or what they contribute to ``target``.
    target : as for ``nc.attribute``
        For attributions.

    Returns
    -------
    xarray.Dataset
        ``top_unit(y, x, rank)`` and its ``top_value(y, x, rank)``, the largest first;
        ``strength(y, x)``, the length of the activation vector there, or the sum of the
        attributions; and all that it was taken from, ``activation`` or
        ``attribution(neuron, y, x)``. float32.

    Raises
    ------
    ValueError
        If the image is not one image, the layer gives no maps, k is below 1, or attributions are
        asked for without a target; and what ``nc.attribute`` raises.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018), section "What
    Does the Network See?", and the notebook SemanticDictionary of its library Lucid.
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    cube = layer_cube(model, image, layer, of=of, target=target)
    values = cube[of].values
    units = np.argsort(-values, axis=0, kind="stable")[:k]
    places = ("rank", "y", "x")
    found = {
        "top_unit": (places, units.astype(np.int32)),
        "top_value": (places, np.take_along_axis(values, units, axis=0)),
        "strength": (("y", "x"), _strength(values, of)),
    }
    return cube[[of]].assign(found).transpose("neuron", "y", "x", "rank").assign_attrs(k=len(units))


def layer_cube(
    model: nn.Module, image: Any, layer: str, *, of: str = "activation", target: Any = None
) -> xr.Dataset:
    """Everything a layer says of one image: ``activation`` or ``attribution(neuron, y, x)``.

    Raises
    ------
    ValueError
        If the image is not one image, the layer gives no maps, or attributions are asked for
        without a target; and what ``nc.attribute`` raises.
    """
    if of not in CONTENTS:
        raise ValueError(unknown("content", of, CONTENTS))
    batch = one_image(image)
    if target is not None:
        data = attribute(model, batch, target, layer, progress=False)
    elif of == "attribution":
        raise ValueError("of='attribution' needs target=, for example the index of a class")
    else:
        data = activations(model, batch, layer, progress=False)
    data = data.isel(sample=0, drop=True)
    if not {"y", "x"} <= set(data["activation"].dims):
        raise ValueError(
            f"layer {layer!r} gives {_counted(data)} and no maps; expected a layer with positions, "
            "as a convolution or the blocks of a vision transformer have them"
        )
    several = [str(d) for d in data[of].dims if str(d).startswith("target")]
    if several:
        raise ValueError("several targets were given; expected one")
    return data.assign_attrs(of=of, nbcorr_version=__version__)


def one_image(image: Any) -> torch.Tensor:
    """An image as a batch of one, (1, channels, height, width).

    Raises
    ------
    ValueError
        If it has another shape.
    """
    batch = torch.as_tensor(image)
    batch = batch[None] if batch.ndim == 3 else batch
    if batch.ndim != 4 or len(batch) != 1:
        raise ValueError(
            f"the image has shape {tuple(batch.shape)}; expected one image as the model takes it, "
            "(channels, height, width)"
        )
    return batch


def _strength(values: np.ndarray, of: str) -> np.ndarray:
    return np.linalg.norm(values, axis=0) if of == "activation" else values.sum(axis=0)


def _counted(data: xr.Dataset) -> str:
    return f"{data.sizes['neuron']} numbers per image"
