"""The library Lucent as an engine of ``visualize``, inside a guard that cleans up after it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from nbcorr.network.hooks import device_and_dtype, evaluating
from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label, parse_neurons
from nbcorr.visualization.objective import Objective
from nbcorr.visualization.private import frozen
from nbcorr.visualization.torchvision_import import import_torchvision

INSTALL_COMMAND = 'pip install "nbcorr[lucent]"'
JITTER = 8  # pixels; the first of its standard transforms


class LucentPictures(NamedTuple):
    """Images (batch, height, width, channels) float32 in 0..1, and the steps that were made."""

    images: np.ndarray
    steps: int


def render_lucent(
    model: nn.Module,
    objective: Any,
    *,
    shape: tuple[int, int, int] = (3, 128, 128),
    steps: int = 512,
    transforms: str | Sequence[Callable[[torch.Tensor], torch.Tensor]] = "robust",
    parametrization: str = "fourier",
    learning_rate: float = 0.05,
    seed: int = 0,
    preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
    batch: int = 1,
    advance: Callable[[], Any] | None = None,
) -> LucentPictures:
    """Pictures made by Lucent, and a model as if nothing had happened to it.

    Hooks, gradients, modes and statistics of the model and the states of all random numbers are
    as they were, after success, error and Ctrl-C; no window is opened; the model stays on its
    device. Lucent is told the size of the picture, so that it does not enlarge it to 224.

    Parameters
    ----------
    model : torch.nn.Module
    objective : str, (layer, unit), Objective, Lucent's Objective or callable
        ``"layer:unit"`` with torch's names (``"features.3:17"``) or Lucent's
        (``"features_3:17"``), or one of ``nc.objectives``. A callable gets Lucent's function from
        a layer to its output and returns what is to be minimised.
    shape : (channels, height, width)
    steps : int
        Of Adam.
    transforms : {"robust", "crop", "none"} or sequence of callables
        Lucent's standard transforms, its shifts alone, none, or others of its kind.
    parametrization : {"fourier", "pixel", "cppn"}
    learning_rate : float
    seed : int
        Of torch, NumPy and Python while it runs.
    preprocess : callable, optional
        Maps images in 0..1 to the tensor that the model is given. None: as they are.
    batch : int
        Pictures optimised together, for objectives that compare them.
    advance : callable, optional
        Called after every step.

    Returns
    -------
    LucentPictures
        After Ctrl-C with fewer steps than asked for.

    Raises
    ------
    ModuleNotFoundError
        If Lucent is not installed.
    ValueError
        If a layer does not exist or does not run, Lucent has no such parametrisation or
        transforms, or a picture is no longer finite.
    KeyboardInterrupt
        If no step was made yet.
    """
    lucent = imported()
    device, dtype = device_and_dtype(model)
    done: list[None] = []

    def stepped(*_: Any) -> None:
        done.append(None)
        if advance is not None:
            advance()

    def optimizer(numbers: Any) -> torch.optim.Optimizer:
        adam = torch.optim.Adam(numbers, lr=learning_rate)
        adam.register_step_post_hook(stepped)
        return adam

    def given(images: torch.Tensor) -> torch.Tensor:
        found = images if preprocess is None else preprocess(images)
        if not isinstance(found, torch.Tensor):
            raise ValueError(
                f"preprocess gave {type(found).__name__}; expected a tensor, all that Lucent gives "
                "to a model"
            )
        return found.to(device, dtype)

    chain = [*_transforms(lucent, transforms), given]
    start = _start(lucent, parametrization, shape, batch)
    wanted = _objective(lucent, model, objective)
    with _guarded(lucent, model, seed) as caught:
        try:
            *_, images = lucent.render.render_vis(
                model,
                wanted,
                param_f=start,
                optimizer=optimizer,
                transforms=chain,
                thresholds=(steps,),
                preprocess=False,
                progress=False,
                show_image=False,
                fixed_image_size=shape[1:],
            )
        except (AssertionError, IndexError, RuntimeError) as error:
            # It turns an error of the model into a warning, and then misses the layer's output.
            why = "; ".join([str(error), *(str(warning.message) for warning in caught)])
            raise ValueError(f"Lucent fails on {_label(objective)}: {why}") from error
    if not done:
        raise KeyboardInterrupt
    if not np.isfinite(images).all():
        raise ValueError(
            f"Lucent's picture of {_label(objective)} is not finite after {len(done)} steps"
        )
    return LucentPictures(images.astype(np.float32), len(done))


class Lucent(NamedTuple):
    """The parts of the library that are used."""

    render: Any
    objectives: Any
    param: Any
    transform: Any
    of_one_device: list[Any]


def imported() -> Lucent:
    """The library.

    Raises
    ------
    ModuleNotFoundError
        If it, or something it needs, is not installed; the message says how to get it.
    """
    try:
        import_torchvision()
        with warnings.catch_warnings():
            # Those of what it imports, about nothing the user can change.
            warnings.simplefilter("ignore")
            from lucent.optvis import objectives, param, render, transform
            from lucent.optvis.param import color, cppn, lowres, spatial
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"engine='lucent' needs the package {error.name}: {INSTALL_COMMAND}", name=error.name
        ) from error
    return Lucent(
        render, objectives, param, transform, [objectives, transform, spatial, color, cppn, lowres]
    )


# What it is told


def _transforms(lucent: Lucent, transforms: Any) -> list[Any]:
    known = {
        "robust": lucent.transform.standard_transforms,
        "crop": [lucent.transform.jitter(JITTER)],
        "none": [],
    }
    if not isinstance(transforms, str):
        return list(transforms)
    if transforms not in known:
        raise ValueError(unknown("transforms", transforms, known))
    return list(known[transforms])


def _start(
    lucent: Lucent, parametrization: str, shape: tuple[int, int, int], batch: int
) -> Callable[[], Any]:
    """What gives the numbers to optimise and a function to the images."""
    channels, height, width = shape
    own = None if channels == 3 else channels

    def image(fft: bool) -> Any:
        return lucent.param.image(width, height, batch=batch, channels=own, fft=fft)

    known = {
        "fourier": lambda: image(True),
        "pixel": lambda: image(False),
        "cppn": lambda: lucent.param.cppn(width, num_output_channels=channels),
    }
    if parametrization not in known:
        raise ValueError(unknown("parametrization of Lucent", parametrization, known))
    if parametrization == "cppn" and (height != width or batch != 1):
        raise ValueError(
            f"Lucent's 'cppn' gives one square picture; shape is {shape}, {batch} pictures"
        )
    return known[parametrization]


def _objective(lucent: Lucent, model: nn.Module, objective: Any) -> Any:
    """An objective that the library understands: its loss, or a function that gives one."""
    if isinstance(objective, Objective):
        return _loss_of(objective)
    if callable(objective):
        return objective
    ((layer, unit),) = parse_neurons([objective])
    modules = [name for name, _ in model.named_modules() if name]
    if layer not in modules and layer not in map(_lucent_name, modules):
        raise ValueError(unknown("layer", layer, modules))
    return lucent.objectives.channel(_lucent_name(layer), unit)


def _loss_of(objective: Objective) -> Callable[[Callable[[str], torch.Tensor]], torch.Tensor]:
    """One of ``nc.objectives``, as the library has them."""
    foreign = [layer for layer in objective.layers if "#" in layer or not isinstance(layer, str)]
    if foreign:
        raise ValueError(
            f"{objective.label} reads {foreign[0]!r}; Lucent sees the last call of the modules of "
            "one model"
        )

    def loss(output: Callable[[str], torch.Tensor]) -> torch.Tensor:
        outputs = {layer: output(_lucent_name(str(layer))) for layer in objective.layers}
        return -objective.value(outputs, output("input")).mean()

    return loss


def _lucent_name(layer: str) -> str:
    return layer.replace(".", "_")


def _label(objective: Any) -> str:
    if isinstance(objective, str):
        return objective
    if isinstance(objective, tuple):
        return neuron_label(*objective)
    return str(getattr(objective, "label", None) or getattr(objective, "description", objective))


# What it leaves behind, and what it takes for granted


@contextmanager
def _guarded(
    lucent: Lucent, model: nn.Module, seed: int
) -> Iterator[list[warnings.WarningMessage]]:
    """Model and random states come back; gives the warnings so far, which follow on success."""
    device, _ = device_and_dtype(model)
    with ExitStack() as stack:
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        stack.enter_context(evaluating(model))
        stack.enter_context(frozen(model))
        stack.enter_context(_hooks_taken_away(model))
        stack.enter_context(_seeded(seed))
        stack.enter_context(_on_device(lucent.of_one_device, device))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield caught
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@contextmanager
def _hooks_taken_away(model: nn.Module) -> Iterator[None]:
    """Forward hooks that were registered inside this context are gone after it."""
    before = [(module._forward_hooks, set(module._forward_hooks)) for module in model.modules()]
    try:
        yield
    finally:
        for hooks, kept in before:
            for number in set(hooks) - kept:
                del hooks[number]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch (on the CPU), NumPy and Python from a seed; the states come back."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


class _TorchOn:
    """The module torch to one who asks for the first GPU: every device is the model's."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def device(self, *_: Any) -> torch.device:
        return self._device

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextmanager
def _on_device(modules: Sequence[Any], device: torch.device) -> Iterator[None]:
    """The library's modules work on this device, which they otherwise choose themselves."""
    given = {"torch": _TorchOn(device), "device": device}
    before = [
        (module, name, getattr(module, name))
        for module in modules
        for name in given
        if hasattr(module, name)
    ]
    try:
        for module, name, _ in before:
            setattr(module, name, given[name])
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
