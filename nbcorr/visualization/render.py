"""Gradient ascent on images, many neurons at once."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

from nbcorr.network.layers import module_and_call
from nbcorr.network.neurons import neuron_label
from nbcorr.network.units import governor
from nbcorr.visualization.forward import read, unit_reader
from nbcorr.visualization.parametrization import Fourier
from nbcorr.visualization.redirect import redirected_relus
from nbcorr.visualization.transforms import NOISE, TRANSFORMS

Neurons = Sequence[tuple[str, int]]

REDIRECTED_STEPS = 16
FRESH = 8


class Pictures(NamedTuple):
    """Images (n, channels, height, width), the activations they reach, and if all steps ran."""

    images: torch.Tensor
    reached: torch.Tensor
    reached_fresh: torch.Tensor
    complete: bool


@dataclasses.dataclass(frozen=True)
class Renderer:
    """How pictures are made: everything but the neurons.

    ``preprocess`` maps images (n, channels, height, width) in 0..1 to what the model is given.
    """

    model: nn.Module
    parametrization: Fourier
    preprocess: Callable[[torch.Tensor], Any]
    transform: str
    steps: int
    learning_rate: float
    seed: int

    def start(self, neurons: Neurons) -> torch.Tensor:
        """The spectra the neurons' pictures start from."""
        generators = [generator(self.seed, "start", *neuron) for neuron in neurons]
        return torch.stack([self.parametrization.start(g) for g in generators])

    def render(self, neurons: Neurons, advance: Callable[[], Any]) -> Pictures:
        """The neurons' pictures; ``advance`` is called after every step.

        A neuron whose gradient is not finite keeps the last image that had a finite one. Ctrl-C
        ends the ascent with the images so far, unless no step was made yet.
        """
        transform = TRANSFORMS[self.transform]
        noise = self._noise("transform", neurons, self.steps)
        spectra = self.start(neurons).requires_grad_()
        adam = torch.optim.Adam([spectra], lr=self.learning_rate)
        watch = Watch(spectra)
        try:
            for step in range(self.steps):
                rows = watch.redirected
                with redirected_relus(self.model, rows) if rows.any() else nullcontext():
                    images = transform(self.parametrization.image(spectra), noise[:, step])
                    activation = self.activation(images, neurons, "mean")
                    (gradient,) = torch.autograd.grad(-activation.sum(), spectra)
                spectra.grad = watch.checked(spectra, gradient)
                adam.step()
                advance()
        except KeyboardInterrupt:
            if watch.steps == 0:
                raise
        with torch.no_grad():
            images = self.parametrization.image(watch.last_good(spectra))
            reached, fresh = self._reached(images, neurons)
        watch.report(neurons, reached)
        return Pictures(images, reached, fresh, complete=watch.steps == self.steps)

    def _reached(self, images: torch.Tensor, neurons: Neurons) -> tuple[torch.Tensor, torch.Tensor]:
        """The activation on the clean images, and its mean over fresh robust transforms.

        Both are the largest over the positions, as exemplars are ranked by; shape (n,).
        """
        noise = self._noise("fresh", neurons, FRESH)
        fresh = [TRANSFORMS["robust"](images, noise[:, i]) for i in range(FRESH)]
        values = [self.activation(views, neurons, "max") for views in fresh]
        return self.activation(images, neurons, "max"), torch.stack(values).mean(0)

    def activation(self, images: torch.Tensor, neurons: Neurons, pool: str) -> torch.Tensor:
        """The activation of the i-th neuron on the i-th image, pooled over positions."""
        rows: dict[str, list[int]] = {}
        for row, (layer, _) in enumerate(neurons):
            rows.setdefault(layer, []).append(row)
        readers = {
            layer: unit_reader(
                governor(self.model, module_and_call(layer)[0]),
                rows[layer],
                [neurons[row][1] for row in rows[layer]],
                len(images),
                pool,
            )
            for layer in rows
        }
        found = read(self.model, self.preprocess(images), readers)
        for layer, values in found.items():
            if torch.is_grad_enabled() and not values.requires_grad:
                raise ValueError(f"layer {layer!r} has no gradient to the image; expected one")
        order = [row for layer in found for row in rows[layer]]
        return torch.cat(list(found.values()))[torch.tensor(order, device=images.device).argsort()]

    def _noise(self, purpose: str, neurons: Neurons, count: int) -> torch.Tensor:
        generators = [generator(self.seed, purpose, *neuron) for neuron in neurons]
        noise = torch.stack([torch.rand(count, NOISE, generator=g) for g in generators])
        return noise.to(self.parametrization.device)


class Watch:
    """Follows which of the images optimised together still have a usable gradient.

    ``redirected`` says whose gradient the ReLUs redirect at the next step: everyone's at first,
    later those whose last gradient was zero.
    """

    def __init__(self, spectra: torch.Tensor) -> None:
        self.steps = 0
        self.redirected = torch.ones(len(spectra), dtype=torch.bool, device=spectra.device)
        self._healthy = self.redirected
        self._healthy_steps = torch.zeros_like(self._healthy, dtype=torch.long)
        self._silent = ~self._healthy
        self._good = spectra.detach().clone()

    def checked(self, spectra: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient with zeros for the images that have, or ever had, a non-finite one."""
        rows = gradient.flatten(1)
        zero = (rows == 0).all(1)
        self._silent = torch.where(self.redirected, self._silent | zero, zero)
        self._healthy = self._healthy & rows.isfinite().all(1)
        self._healthy_steps += self._healthy
        self._good = torch.where(_like(self._healthy, spectra), spectra.detach(), self._good)
        self.steps += 1
        self.redirected = zero | (self.steps < REDIRECTED_STEPS)
        return torch.where(_like(self._healthy, gradient), gradient, 0)

    def last_good(self, spectra: torch.Tensor) -> torch.Tensor:
        """The spectra, those of images that lost their gradient as they last were with one."""
        return torch.where(_like(self._healthy, spectra), spectra.detach(), self._good)

    def report(self, neurons: Neurons, reached: torch.Tensor) -> None:
        """Warn of neurons that were stopped, and of silent ones: no gradient and no activation."""
        silent = self._silent & (reached <= 0)
        rows = zip(neurons, self._healthy_steps.tolist(), silent.tolist(), strict=True)
        for neuron, step, unmoved in rows:
            if step < self.steps:
                _warn(
                    f"{neuron_label(*neuron)} stopped at step {step}: its gradient is not finite; "
                    "the last good image is kept"
                )
            elif unmoved:
                _warn(
                    f"{neuron_label(*neuron)} did not respond to any image in {step} steps: "
                    "its gradient is zero; it may be dead"
                )


def generator(seed: int, purpose: str, layer: str, unit: int) -> torch.Generator:
    """Random numbers that depend on these four alone, the same on every machine."""
    key = repr((seed, purpose, layer, unit)).encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No weight asks for a gradient inside this context; every flag comes back afterwards."""
    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    try:
        for weight, _ in flags:
            weight.requires_grad_(False)
        yield
    finally:
        for weight, flag in flags:
            weight.requires_grad_(flag)


def _like(rows: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    return rows.view(-1, *[1] * (tensor.ndim - 1))


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=6)
