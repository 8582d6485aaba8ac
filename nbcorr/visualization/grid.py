"""``nc.activation_grid``: every position of a layer's map as a picture of what it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from nbcorr import __version__
from nbcorr.network.wrappers import unwrapped
from nbcorr.visualization.attribute import activations
from nbcorr.visualization.factorize import factorize
from nbcorr.visualization.objectives import direction
from nbcorr.visualization.render import on_grey
from nbcorr.visualization.semantic_dictionary import layer_cube, one_image
from nbcorr.visualization.visualize import visualize

SIDE = 64
STEPS = 128
BATCH = 16


def activation_grid(
    model: nn.Module,
    image: Any,
    layer: str,
    shape: Sequence[int] | None = None,
    *,
    groups: int | None = None,
    steps: int = STEPS,
    cossim_pow: float = 1,
    seed: int = 0,
    **options: Any,
) -> xr.Dataset:
    """What a layer makes of one image: a picture of each position's whole activation vector.

    A neuron's picture shows what that one neuron stands for; these show what all neurons of the
    layer together say at a place.

    Parameters
    ----------
    model : torch.nn.Module
        Left exactly as it was.
    image : array or tensor, shape (channels, height, width) or (1, channels, height, width)
        As the model takes it.
    layer : str
        One that gives maps or patches.
    shape : (channels, height, width), optional
        Of each picture. None: the image's channels, and its size up to 64 pixels; a vision
        transformer may need the size it was made for.
    groups : int, optional
        To save work: the positions are brought to so many groups (``nc.factorize``), and each
        shows the picture of the group that has the largest part in it.
    steps : int
    cossim_pow : float
        As for ``nc.objectives.direction``.
    seed : int
    **options
        Further ones of ``nc.visualize``: ``preprocess``, ``transforms``, ``batch_size`` …

    Returns
    -------
    xarray.Dataset
        ``picture(row, column)``: which picture stands at a position of the map, by its place on
        ``direction``; -1 where all neurons are silent. ``strength(row, column)``, the length of
        the activation vector, and ``activation(neuron, row, column)``. On ``direction``, equal
        vectors being rendered once: ``vector(direction, neuron)`` of length 1;
        ``image(direction, y, x, channel)`` in 0..1; ``reached``, how far the layer goes in that
        direction in the picture, ``best_real``, how far in the image given (both the largest over
        the positions), and ``relative``, their ratio. ``input(input_y, input_x, input_channel)``,
        the image in 0..1. float32.

    Raises
    ------
    ValueError
        If the image is not one image, the layer gives no maps, all of it is silent; and what
        ``nc.visualize`` and ``nc.factorize`` raise.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018), section "What
    Does the Network See?", and the notebook ActivationGrid of its library Lucid.
    """
    model = unwrapped(model)
    batch = one_image(image)
    cube = layer_cube(model, batch, layer)["activation"].rename(y="row", x="column")
    cube = cube.transpose("neuron", "row", "column")
    vectors, picture = _directions(cube, model, batch, layer, groups, seed)
    size = picture_shape(batch, shape)
    made, kept = rendered(model, layer, vectors, size, cossim_pow, steps, seed, options)
    found = xr.Dataset(
        {
            "picture": (("row", "column"), renumbered(picture, kept)),
            "strength": (("row", "column"), np.linalg.norm(cube.values, axis=0)),
            "activation": cube,
            "vector": (("direction", "neuron"), vectors[kept]),
            "input": (("input_y", "input_x", "input_channel"), displayable(batch[0])),
        }
    )
    real = np.einsum("dn,nyx->dyx", vectors[kept], cube.values).max((1, 2))
    return found.merge(compared(made, real), combine_attrs="drop").assign_attrs(
        without_exemplars(made),
        at=cube.attrs.get("at", layer),
        groups=groups or 0,
        cossim_pow=cossim_pow,
        nbcorr_version=__version__,
    )


def rendered(
    model: nn.Module,
    layer: str,
    vectors: np.ndarray,
    shape: tuple[int, ...],
    cossim_pow: float,
    steps: int,
    seed: int,
    options: dict[str, Any],
) -> tuple[xr.Dataset, np.ndarray]:
    """Pictures of directions of a layer, and how far the layer goes in them.

    Parameters
    ----------
    vectors : array, shape (directions, units)
        All different, of length 1.

    Returns
    -------
    (xarray.Dataset, array of int)
        ``image`` and ``reached`` on ``direction``, and which of the vectors these are: some are
        missing where Ctrl-C ended the work.
    """
    wanted = [direction(layer, vector, cossim_pow) for vector in vectors]
    made = visualize(model, wanted, shape, steps=steps, seed=seed, **options)
    labels = made["objective"].values.tolist()
    kept = np.array([i for i, each in enumerate(wanted) if each.label in labels])
    order = [labels.index(wanted[i].label) for i in kept]
    made = made[["image"]].isel(objective=order).rename(objective="direction")
    made = made.drop_vars("direction")
    images = made["image"].transpose("direction", "channel", "y", "x").values
    opaque = on_grey(torch.from_numpy(images), bool(options.get("alpha")))
    reached = extents(model, layer, opaque, vectors[kept], options.get("preprocess"))
    made.attrs["objective"] = f"dot product with the direction x cosine^{cossim_pow:g}"
    return made.assign(reached=("direction", reached)), kept


def extents(
    model: nn.Module, layer: str, images: torch.Tensor, vectors: np.ndarray, preprocess: Any
) -> np.ndarray:
    """How far a layer goes in each image in its own direction, at most over the positions.

    Parameters
    ----------
    images : tensor, shape (directions, channels, height, width)
    vectors : array, shape (directions, units)

    Returns
    -------
    array of float32, shape (directions,)
    """
    preprocess = preprocess or (lambda pictures: pictures)
    parts = (preprocess(part) for part in images.split(BATCH))
    found = activations(model, parts, layer, progress=False)["activation"]
    values = found.transpose("sample", "neuron", ...).values.reshape(*vectors.shape, -1)
    return np.einsum("du,dup->dp", vectors, values).max(1)


def compared(made: xr.Dataset, real: np.ndarray) -> xr.Dataset:
    """With what the best real position reaches in each picture's direction."""
    best = real.astype(np.float32)
    ratio = np.where(best > 0, made["reached"].values / np.where(best > 0, best, 1), np.nan)
    return made.assign(
        best_real=("direction", best), relative=("direction", ratio.astype(np.float32))
    )


def without_exemplars(made: xr.Dataset) -> dict[str, Any]:
    """What made the pictures; exemplars are of neurons, not of what these are pictures of."""
    return {str(name): value for name, value in made.attrs.items() if name != "exemplars"}


def unit_vectors(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different directions among vectors, and which each of them has.

    Parameters
    ----------
    values : array, shape (vectors, units)

    Returns
    -------
    (array of float32, shape (directions, units); array of int, shape (vectors,))
        Of length 1, in order of appearance; -1 for a vector that is zero.
    """
    length = np.linalg.norm(values, axis=1, keepdims=True)
    unit = (values / np.where(length > 0, length, 1)).astype(np.float32)
    places: dict[bytes, int] = {}
    which = [
        places.setdefault(vector.tobytes(), len(places)) if alive else -1
        for vector, alive in zip(unit, length[:, 0] > 0, strict=True)
    ]
    directions = np.frombuffer(b"".join(places), np.float32).reshape(-1, values.shape[1])
    return directions.copy(), np.array(which)


def renumbered(which: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Places among all directions as places among those kept; -1 where there is none."""
    table = np.full(max(which.max(initial=0), kept.max(initial=0)) + 2, -1, np.int32)
    table[kept] = np.arange(len(kept))
    return table[which]


def picture_shape(batch: torch.Tensor, shape: Sequence[int] | None) -> tuple[int, ...]:
    """The shape asked for, or that of the images up to 64 pixels."""
    if shape is not None:
        return tuple(int(side) for side in shape)
    channels, height, width = batch.shape[1:]
    return channels, min(height, SIDE), min(width, SIDE)


def displayable(image: torch.Tensor) -> np.ndarray:
    """(channels, height, width) as (y, x, channel) in 0..1, brought there linearly."""
    array = image.detach().cpu().float().movedim(0, -1).numpy()
    low, high = float(array.min()), float(array.max())
    return array if low >= 0 and high <= 1 else (array - low) / max(high - low, 1e-12)


def _directions(
    cube: xr.DataArray,
    model: nn.Module,
    batch: torch.Tensor,
    layer: str,
    groups: int | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The directions to be rendered, and which of them each position has."""
    values = cube.values.reshape(len(cube), -1).T
    if not values.any():
        raise ValueError(f"layer {layer!r} is silent on this image; there is nothing to render")
    if groups is None:
        vectors, which = unit_vectors(values)
        return vectors, which.reshape(cube.shape[1:])
    found = factorize(model, batch, layer, groups, seed=seed, progress=False).isel(sample=0)
    maps = found["map"].transpose("group", "y", "x").values
    vectors, place = unit_vectors(found["weights"].transpose("group", "neuron").values)
    return vectors, np.where(maps.any(0), place[maps.argmax(0)], -1)
