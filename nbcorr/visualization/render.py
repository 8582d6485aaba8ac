"""Gradient ascent on pictures, each with an objective of its own, many at once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import nn

from nbcorr.visualization.forward import Network
from nbcorr.visualization.jobs import Job
from nbcorr.visualization.objective import Objective, OtherLayer, Outputs
from nbcorr.visualization.parametrization import Parametrization
from nbcorr.visualization.redirect import redirected_relus
from nbcorr.visualization.transforms import NOISE, TRANSFORMS, Transform
from nbcorr.visualization.watch import Watch, first_not_finite

FRESH = 8
GREY = 0.5


class Pictures(NamedTuple):
    """The pictures of one job, on the CPU.

    Attributes
    ----------
    images : tensor, shape (count, channels, height, width) or (count, features)
    reached, reached_fresh : tensor, shape (count,)
        What the measure of the job says of them, and the mean over fresh transforms.
    sound : bool
        Nothing had to be said of them.
    """

    images: torch.Tensor
    reached: torch.Tensor
    reached_fresh: torch.Tensor
    sound: bool


@dataclasses.dataclass(frozen=True)
class Networks:
    """The networks that objectives read, by the model people know them as; None is the main one."""

    by_model: dict[nn.Module | None, Network]

    def outputs(self, inputs: Any, objectives: Sequence[Objective], count: int) -> Outputs:
        """The outputs of all layers that these objectives read."""
        found: dict[Any, torch.Tensor] = {}
        for model, network in self.by_model.items():
            layers = layers_in(model, objectives)
            for layer, output in network.outputs(inputs, layers, count).items():
                found[layer if model is None else OtherLayer(model, layer)] = output
        return found


@dataclasses.dataclass(frozen=True)
class Renderer:
    """How pictures are made: everything but the objectives.

    ``preprocess`` maps images (n, channels, height, width) in 0..1 to what the models are given.
    """

    networks: Networks
    parametrization: Parametrization
    preprocess: Callable[[torch.Tensor], Any]
    transform: str
    steps: int
    learning_rate: float
    seed: int

    def start(self, labels: Sequence[str]) -> torch.Tensor:
        """The numbers that the pictures of these names start from."""
        generators = [generator(self.seed, "start", label) for label in labels]
        return torch.stack([self.parametrization.start(g) for g in generators])

    def render(
        self, jobs: Sequence[Job], advance: Callable[[], Any]
    ) -> tuple[list[Pictures], bool]:
        """The pictures of each job, and whether all steps were made.

        ``advance`` is called after every step. A picture whose gradient is not finite stays as it
        last was with a finite one. Ctrl-C ends the ascent with the pictures so far, unless no step
        was made yet.
        """
        labels = [label for job in jobs for label in job.labels()]
        views = Views(self, labels, "transform", self.steps, TRANSFORMS[self.transform])
        numbers = self.start(labels).requires_grad_()
        adam = torch.optim.Adam([numbers], lr=self.learning_rate)
        watch = Watch(numbers)
        try:
            for step in range(self.steps):
                found = self._gradient(numbers, jobs, views, step, watch.redirected)
                numbers.grad = watch.checked(numbers, *found)
                adam.step()
                advance()
        except KeyboardInterrupt:
            if watch.steps == 0:
                raise
        with torch.no_grad():
            images = self.parametrization.image(watch.last_good(numbers))
            reached, fresh = self.reached(images, jobs)
        # Nothing is what an image that minimises is to bring about.
        quiet = [job.kind == "negative" for job in jobs for _ in range(job.size)]
        sound = watch.report(labels, (reached > 0) | torch.tensor(quiet, device=reached.device))
        counts = [job.size for job in jobs]
        columns = [part.cpu().split(counts) for part in (images, reached, fresh, sound)]
        made = [
            Pictures(image, value, anew, bool(silence.all()))
            for image, value, anew, silence in zip(*columns, strict=True)
        ]
        return made, watch.steps == self.steps

    def _gradient(
        self,
        numbers: torch.Tensor,
        jobs: Sequence[Job],
        views: Views,
        step: int,
        redirected: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, Callable[[int], str]]:
        """The objectives, the gradient of minus them, and what finds where one was lost."""

        def descent() -> tuple[torch.Tensor, torch.Tensor]:
            pictures = self.parametrization.image(numbers)
            inputs = views(pictures, step)
            values = self._values(inputs, pictures, jobs, [job.objective for job in jobs])
            return values.detach(), torch.autograd.grad(-values.sum(), numbers)[0]

        def where(row: int) -> str:
            return first_not_finite(self.networks.by_model[None].model, row, descent)

        with ExitStack() as stack:
            if redirected.any():
                for network in self.networks.by_model.values():
                    stack.enter_context(redirected_relus(network.model, redirected))
            return *descent(), where

    def _values(
        self,
        inputs: torch.Tensor,
        pictures: torch.Tensor,
        jobs: Sequence[Job],
        objectives: Sequence[Objective],
    ) -> torch.Tensor:
        """What each job's objective says of its pictures, float32, shape (n,)."""
        counts = [job.size for job in jobs]
        given = self.preprocess(inputs)
        outputs = self.networks.outputs(given, objectives, len(pictures))
        parts = {layer: output.split(counts) for layer, output in outputs.items()}
        values = [
            objective.value({layer: parts[layer][i] for layer in objective.layers}, own)
            for i, (objective, own) in enumerate(
                zip(objectives, pictures.split(counts), strict=True)
            )
        ]
        return torch.cat(values)

    def reached(
        self, images: torch.Tensor, jobs: Sequence[Job]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The measure of the clean pictures, and its mean over fresh robust transforms."""
        measures = [job.measure for job in jobs]
        labels = [label for job in jobs for label in job.labels()]
        views = Views(self, labels, "fresh", FRESH, TRANSFORMS["robust"])
        fresh = [self._values(views(images, i), images, jobs, measures) for i in range(FRESH)]
        clean = self._values(on_grey(images, self.parametrization.alpha), images, jobs, measures)
        return clean, torch.stack(fresh).mean(0)


class Views:
    """What the model sees of pictures at each step: transformed, and on backgrounds of noise."""

    def __init__(
        self,
        renderer: Renderer,
        labels: Sequence[str],
        purpose: str,
        count: int,
        transform: Transform,
    ) -> None:
        parametrization = renderer.parametrization
        self._seed, self._purpose, self._labels = renderer.seed, purpose, labels
        generators = [generator(renderer.seed, purpose, label) for label in labels]
        noise = torch.stack([torch.rand(count, NOISE, generator=g) for g in generators])
        self._noise = noise.to(parametrization.device)
        self._transform = transform if len(parametrization.shape) == 3 else TRANSFORMS["none"]
        self._shape, self._alpha = parametrization.shape, parametrization.alpha

    def __call__(self, pictures: torch.Tensor, step: int) -> torch.Tensor:
        """Pictures as the model sees them at this step."""
        if self._alpha:
            opacity = pictures[:, -1:]
            pictures = torch.lerp(self._grounds(step), pictures[:, :-1], opacity)
        return self._transform(pictures, self._noise[:, step])

    def _grounds(self, step: int) -> torch.Tensor:
        """A random colour with noise upon it for every picture, in 0..1."""
        purpose = f"{self._purpose} ground {step}"
        generators = [generator(self._seed, purpose, label) for label in self._labels]
        grounds = [
            torch.rand(self._shape[0], 1, 1, generator=g) + torch.rand(self._shape, generator=g)
            for g in generators
        ]
        return (torch.stack(grounds) / 2).to(self._noise.device)


def on_grey(pictures: torch.Tensor, alpha: bool) -> torch.Tensor:
    """Pictures with opacity as they look on grey; others as they are."""
    if not alpha:
        return pictures
    colours, opacity = pictures[:, :-1], pictures[:, -1:]
    return torch.lerp(torch.full_like(colours, GREY), colours, opacity)


def layers_in(model: nn.Module | None, objectives: Sequence[Objective]) -> list[str]:
    """The layers of a model, None for the main one, that objectives read."""
    layers = dict.fromkeys(layer for objective in objectives for layer in objective.layers)
    if model is None:
        return [layer for layer in layers if isinstance(layer, str)]
    return [x.layer for x in layers if isinstance(x, OtherLayer) and x.model is model]


def generator(seed: int, purpose: str, label: str) -> torch.Generator:
    """Random numbers that depend on these three alone, the same on every machine."""
    key = repr((seed, purpose, label)).encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
