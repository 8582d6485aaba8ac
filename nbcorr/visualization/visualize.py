"""``nc.visualize``: the image each neuron responds to most."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from nbcorr import __version__
from nbcorr.network.hooks import device_and_dtype, evaluating
from nbcorr.network.names import unknown
from nbcorr.network.neurons import parse_neurons
from nbcorr.network.wrappers import unwrapped
from nbcorr.recording.arrays import neuron_coords
from nbcorr.recording.record import fingerprint
from nbcorr.visualization.forward import order_of_layers
from nbcorr.visualization.parametrization import Fourier
from nbcorr.visualization.render import Neurons, Renderer, frozen
from nbcorr.visualization.transforms import TRANSFORMS

OBJECTIVE = "mean activation over positions"


class Picture(NamedTuple):
    """One neuron's image (channels, height, width) and the activation it reaches."""

    image: np.ndarray
    reached: np.ndarray
    reached_fresh: np.ndarray


def visualize(
    model: nn.Module,
    neurons: Any,
    shape: Sequence[int] = (3, 128, 128),
    *,
    steps: int = 256,
    preprocess: Callable[[torch.Tensor], Any] | None = None,
    transforms: str = "robust",
    exemplars: xr.Dataset | None = None,
    learning_rate: float = 0.05,
    batch_size: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Images that maximise neurons, found by gradient ascent (feature visualisation).

    Parameters
    ----------
    model : torch.nn.Module
        Left exactly as it was: hooks, gradients, modes, statistics.
    neurons : str, tuple, iterable, dict or Dataset over ``neuron``
        Any mix of layers. ``layer`` is a module's name, its first call where it is used several
        times in one forward pass; ``layer#2`` is the second call.
    shape : (channels, height, width)
        Of the image that is optimised; any channel count.
    steps : int
        Steps of Adam.
    preprocess : callable, optional
        Maps images in 0..1, a tensor (n, channels, height, width), to what the model is called
        with. None: the images as they are.
    transforms : {"robust", "crop", "none"}
        What the image must survive at every step: small shifts, zooms and turns; whole-pixel
        shifts only (faster, and the result is less robust); nothing.
    exemplars : xarray.Dataset, optional
        Of ``nc.exemplars``; gives ``best_exemplar``.
    learning_rate : float
    batch_size : int
        Neurons optimised at once. A picture does not depend on the others beyond rounding. On a
        CPU, 4 can be faster than 16 for large images.
    seed : int
    progress : bool
        Show a bar. Ctrl-C ends the work with the pictures so far.

    Returns
    -------
    xarray.Dataset
        ``image(neuron, y, x, channel)`` float32 in 0..1; ``reached(neuron)``, the activation on
        the clean image (largest over positions, as for exemplars); ``reached_fresh(neuron)``, its
        mean over 8 robust transforms not used before; ``best_exemplar(neuron)``, the activation
        of the best real sample, NaN where unknown. After Ctrl-C ``attrs["interrupted"]`` is 1 and
        neurons not yet started are left out.

    Raises
    ------
    ValueError
        If a neuron does not exist or its layer does not run, has no gradient to the image or
        cannot take images of this shape; or an argument is out of range.

    Warns
    -----
    UserWarning
        Naming a neuron (and step) whose gradient stopped being finite, whose last good image is
        kept; or one that does not respond to its image (gradient zero: it may be dead).

    Notes
    -----
    Source: Olah, Mordvintsev, Schubert, "Feature visualization" (Distill 2017) and its library
    Lucid: 1/f Fourier parametrisation with decorrelated colours, transformation robustness, and
    ReLU gradients redirected for the first 16 steps, and longer for neurons that are silent
    (``nn.ReLU`` and ``nn.ReLU6`` modules; a functional relu cannot be reached). The objective is
    the mean activation over the positions: in a layer before its nonlinearity, positive and
    negative places cancel in it, so name the activation module rather than the convolution.
    """
    model = unwrapped(model)
    size = _checked_shape(shape)
    _check_arguments(transforms, steps=steps, batch_size=batch_size)
    wanted = parse_neurons(neurons)
    renderer = Renderer(
        model=model,
        parametrization=Fourier(size, device_and_dtype(model)[0]),
        preprocess=preprocess or (lambda images: images),
        transform=transforms,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
    )
    with evaluating(model), frozen(model), torch.inference_mode(False), torch.enable_grad():
        chunks = _chunks(renderer, wanted, batch_size)
        pictures, complete = _render(renderer, chunks, progress)
    kept = [neuron for neuron in wanted if neuron in pictures]
    columns = zip(*(pictures[neuron] for neuron in kept), strict=True)
    image, reached, fresh = (np.stack(column) for column in columns)
    return xr.Dataset(
        {
            "image": (("neuron", "y", "x", "channel"), image.transpose(0, 2, 3, 1)),
            "reached": ("neuron", reached),
            "reached_fresh": ("neuron", fresh),
            "best_exemplar": ("neuron", _best(exemplars, kept)),
        },
        coords=neuron_coords([layer for layer, _ in kept], [unit for _, unit in kept]),
        attrs={
            "model": type(model).__name__,
            "fingerprint": fingerprint(model),
            "objective": OBJECTIVE,
            "steps": steps,
            "transforms": transforms,
            "learning_rate": learning_rate,
            "seed": seed,
            "interrupted": int(not complete),
            "nbcorr_version": __version__,
        },
    )


def _render(
    renderer: Renderer, chunks: Sequence[Neurons], progress: bool
) -> tuple[dict[tuple[str, int], Picture], bool]:
    """The pictures that were made, and whether all were made to the end."""
    pictures: dict[tuple[str, int], Picture] = {}
    total = renderer.steps * sum(map(len, chunks))
    with tqdm(total=total, desc="visualize", leave=False, disable=not progress) as bar:
        for chunk in chunks:
            try:
                *columns, complete = renderer.render(chunk, partial(bar.update, len(chunk)))
            except KeyboardInterrupt:
                if not pictures:
                    raise
                return pictures, False
            parts = zip(*(tensor.cpu().numpy() for tensor in columns), strict=True)
            pictures.update(zip(chunk, itertools.starmap(Picture, parts), strict=True))
            if not complete:
                return pictures, False
    return pictures, True


def _chunks(renderer: Renderer, neurons: Neurons, batch_size: int) -> list[Neurons]:
    """The neurons in batches, those of early layers together: their forward passes end early."""
    with torch.no_grad():
        start = renderer.parametrization.image(renderer.start(neurons[:1]))
        inputs = renderer.preprocess(start)
        shape = renderer.parametrization.shape
        order = order_of_layers(renderer.model, inputs, neurons, shape)
    ordered = sorted(neurons, key=lambda neuron: order.index(neuron[0]))
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]


def _best(exemplars: xr.Dataset | None, neurons: Neurons) -> np.ndarray:
    if exemplars is None:
        return np.full(len(neurons), np.nan, dtype=np.float32)
    best = exemplars["activation"].isel(rank=0).to_series()
    return best.reindex(list(neurons)).to_numpy(dtype=np.float32)


def _checked_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    try:
        channels, height, width = (operator.index(side) for side in shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape is {shape!r}; expected (channels, height, width)") from None
    if min(channels, height, width) < 1:
        raise ValueError(f"shape is {shape!r}; expected three sizes of at least 1")
    return channels, height, width


def _check_arguments(transforms: str, **counts: int) -> None:
    if transforms not in TRANSFORMS:
        raise ValueError(unknown("transforms", transforms, TRANSFORMS))
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; expected at least 1")
