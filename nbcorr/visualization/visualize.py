"""``nc.visualize``: the image each neuron responds to most."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
import xarray as xr
from torch import nn

from nbcorr import __version__
from nbcorr.network.allocator import keeping_freed_memory
from nbcorr.network.hooks import device_and_dtype
from nbcorr.network.names import unknown
from nbcorr.network.wrappers import unwrapped
from nbcorr.recording.content import code_hash, fingerprint, forward_hash, hooked_modules
from nbcorr.visualization.engines import ENGINES, Engine, at_once, chunked, lucents_engine, rendered
from nbcorr.visualization.parametrization import parametrization as parametrization_of
from nbcorr.visualization.prepare import prepared
from nbcorr.visualization.render import Renderer, on_grey
from nbcorr.visualization.results import labelled
from nbcorr.visualization.shelf import Shelf, cache_of
from nbcorr.visualization.transforms import TRANSFORMS

OBJECTIVE = "mean activation over positions"
SPECTRAL = ("fourier", "maco")
KEPT = "none: all pictures were kept"


def visualize(
    model: nn.Module,
    neurons: Any,
    shape: Sequence[int] = (3, 128, 128),
    *,
    steps: int = 256,
    parametrization: str = "fourier",
    alpha: bool = False,
    statistics: xr.Dataset | None = None,
    bounds: Any = None,
    negative: bool = False,
    diverse: int = 1,
    preprocess: Callable[[torch.Tensor], Any] | None = None,
    transforms: str = "robust",
    exemplars: xr.Dataset | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    cache: Any = None,
    engine: str = "nbcorr",
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Images that maximise neurons, found by gradient ascent (feature visualisation).

    Parameters
    ----------
    model : torch.nn.Module
        Left exactly as it was: hooks, gradients, modes, statistics.
    neurons : str, tuple, iterable, dict, Dataset over ``neuron``, or objectives
        Any mix of layers. ``layer`` is a module's name, its first call where it is used several
        times in one forward pass; ``layer#2`` is the second call. Or an objective of
        ``nc.objectives`` or a list with at least one; objectives of the library Lucent are taken
        too, and its names of layers, with ``_`` for every dot.
    shape : (channels, height, width) or (features,)
        Of the image, of any channel count, or the vector that is optimised.
    steps : int
        Steps of Adam.
    parametrization : {"fourier", "pixel", "maco", "cppn"}
        What numbers stand for an image; vectors have their own.
    alpha : bool
        A further channel of opacity: transparent where the image does not matter. At every step
        the image lies on other noise, and opacity costs something (Lucid's ``alpha`` images).
    statistics : xarray.Dataset, optional
        Of ``nc.image_statistics``: colours and spectrum of the user's own images.
    bounds : (lowest, highest), optional
        Of the features of a vector, numbers or one per feature. None: 0 and 1.
    negative : bool
        Also the images that minimise.
    diverse : int
        Also so many images each that differ from one another.
    preprocess : callable, optional
        Maps images in 0..1, a tensor (n, channels, height, width), to what the model is called
        with. None: the images as they are.
    transforms : {"robust", "crop", "none"}
        What the image must survive at every step: small shifts, zooms and turns; whole-pixel
        shifts only (faster, and the result is less robust); nothing. Vectors are not transformed.
    exemplars : xarray.Dataset, optional
        Of ``nc.exemplars``, to stand beside the images.
    learning_rate : float, optional
        None: what suits the parametrisation.
    batch_size : int, optional
        Images optimised at once. A picture does not depend on the others beyond rounding. None: by
        the size of the image.
    cache : None, False, path or PictureCache
        Pictures made before are taken from here and new ones kept: None, in the user's folder of
        caches; False, nowhere. A model with hooks on it, and pictures there was a warning of, are
        left out.
    engine : {"nbcorr", "lucent"}
        What makes the pictures; ``"lucent"``, from the extra of this name, is the library.
    seed : int
    progress : bool
        Show a bar. Ctrl-C ends the work with the pictures so far.

    Returns
    -------
    xarray.Dataset
        ``image(neuron, y, x, channel)`` float32 in 0..1, or ``image(neuron, feature)``;
        ``reached(neuron)``, the activation on the clean image (largest over positions, as for
        exemplars); ``reached_fresh(neuron)``, its mean over 8 robust transforms not used before;
        ``best_exemplar(neuron)``, the activation of the best real sample, NaN where unknown;
        ``relative``, the first divided by the last where that is positive. With ``exemplars``
        also ``exemplar(neuron, rank)`` (sample ids), ``exemplar_activation(neuron, rank)`` and
        ``mask(neuron, rank, y, x)`` (over ``exemplar_y`` and ``exemplar_x`` where samples are of
        another size); ``attrs["exemplars"]`` says whether they are there. With ``negative``
        ``image_negative`` and ``reached_negative`` (smallest over positions); with ``diverse``
        ``image_diverse(neuron, variant, ...)`` and ``reached_diverse``. Objectives stand in the
        place of neurons, over ``objective`` (their labels), and what they reach is their value.
        After Ctrl-C ``attrs["interrupted"]`` is 1 and what was not yet started is left out.
        ``attrs["runs_on"]`` says whether the pictures were made with a copy of the model.

    Raises
    ------
    ValueError
        If a neuron does not exist or its layer does not run, has no gradient to the image or
        cannot take images of this shape; or an argument is out of range.

    Warns
    -----
    UserWarning
        Naming a neuron (and step and layer) whose gradient stopped being finite, whose last good
        image is kept; or one that does not respond to its image (gradient zero: it may be dead).

    Notes
    -----
    Source: Olah, Mordvintsev, Schubert, "Feature visualization" (Distill 2017) and its library
    Lucid: 1/f Fourier parametrisation with decorrelated colours, transformation robustness, and
    ReLU gradients redirected for the first 16 steps, and longer for neurons that are silent
    (``nn.ReLU`` and ``nn.ReLU6`` modules; a functional relu cannot be reached). The objective is
    the mean activation over the positions: in a layer before its nonlinearity, positive and
    negative places cancel in it, so name the activation module rather than the convolution.

    The work is done on a deep copy whose convolutions have taken over the batch normalisations
    behind them; a model that cannot be copied is used itself, and left as it was.
    """
    model = unwrapped(model)
    size = _checked_shape(shape)
    _check_arguments(transforms, engine, steps=steps, batch_size=batch_size, diverse=diverse)
    if engine == "lucent":
        _check_lucents(size, alpha, statistics)
    device, _ = device_and_dtype(model)
    known = fingerprint(model)
    learnt = _learnt(statistics, parametrization)
    given = preprocess or (lambda images: images)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(keeping_freed_memory(device))
        numbers = parametrization_of(
            parametrization, size, device, alpha=alpha, bounds=bounds, **learnt
        )
        start = numbers.start(torch.Generator().manual_seed(0))[None].requires_grad_()
        ready = prepared(stack, model, neurons, on_grey(numbers.image(start), alpha), given)
        rate = numbers.learning_rate if learning_rate is None else learning_rate
        shelf = Shelf(
            None if hooked_modules(model) else cache_of(cache),
            ready.behaviour(),
            model=[known, forward_hash(model)],
            input=[*size, alpha, str(device), parametrization, _arrays(learnt), _arrays(bounds)],
            way=[engine, steps, transforms, rate, seed, code_hash(preprocess), __version__],
        )
        jobs = ready.wanted.jobs(negative=negative, diverse=diverse, alpha=alpha)
        made, left = shelf.sorted(jobs)
        asked, order = ready.wanted, ready.order()
        complete, runs_on = True, KEPT
        if left:
            networks, runs_on = ready.networks(quick=engine == "nbcorr")
            renderer = Renderer(networks, numbers, given, transforms, steps, rate, seed)
            render: Engine = renderer.render
            room = batch_size or at_once(size, device)
            if engine == "lucent":
                render, room = lucents_engine(model, renderer, parametrization), 1
            # A copy that was made quicker is not needed any more.
            del ready
            chunks = chunked(left, order, room)
            complete = rendered(render, chunks, steps, made, shelf, progress)
    attrs = {
        "model": type(model).__name__,
        "fingerprint": known,
        "objective": OBJECTIVE,
        "steps": steps,
        "parametrization": parametrization if len(size) == 3 else "vector",
        "transforms": transforms if len(size) == 3 else "none",
        "learning_rate": rate,
        "seed": seed,
        "engine": engine,
        "runs_on": runs_on,
        "interrupted": int(not complete),
        "nbcorr_version": __version__,
    }
    return labelled(asked, made, exemplars, attrs)


def _arrays(values: Any) -> Any:
    """Whatever numbers were given, as what a key can be made of."""
    if isinstance(values, dict):
        return {name: _arrays(value) for name, value in values.items()}
    if isinstance(values, xr.DataArray):
        return [values.values, *(coord.values for coord in values.coords.values())]
    if isinstance(values, tuple | list):
        return [_arrays(value) for value in values]
    return values


def _learnt(statistics: xr.Dataset | None, parametrization: str) -> dict[str, Any]:
    """What of the statistics the parametrisation takes."""
    if statistics is None:
        return {}
    if "colours" not in statistics or "magnitude" not in statistics:
        raise ValueError(
            f"statistics= has {sorted(map(str, statistics.data_vars))}; expected the Dataset that "
            "nc.image_statistics gives, with 'colours' and 'magnitude'"
        )
    spectral = {"magnitude": statistics["magnitude"]} if parametrization in SPECTRAL else {}
    return {"colours": statistics["colours"].values, **spectral}


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(side) for side in shape)
    except TypeError:
        sizes = ()
    if len(sizes) not in (1, 3):
        raise ValueError(
            f"shape is {shape!r}; expected (channels, height, width), or (features,) for vectors"
        )
    if min(sizes) < 1:
        raise ValueError(f"shape is {shape!r}; expected sizes of at least 1")
    return sizes


def _check_lucents(shape: tuple[int, ...], alpha: bool, statistics: xr.Dataset | None) -> None:
    """That the library has what was asked for."""
    for asked, what in ((alpha, "alpha"), (statistics is not None, "statistics")):
        if asked:
            raise ValueError(f"engine='lucent' has no {what}=; expected engine='nbcorr'")
    if len(shape) == 1:
        raise ValueError(f"engine='lucent' makes images; shape is {shape}, that of a vector")


def _check_arguments(transforms: str, engine: str, **counts: int | None) -> None:
    if engine not in ENGINES:
        raise ValueError(unknown("engine", engine, ENGINES))
    if transforms not in TRANSFORMS:
        raise ValueError(unknown("transforms", transforms, TRANSFORMS))
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; expected at least 1")
