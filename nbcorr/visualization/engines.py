"""Many jobs, batch after batch: what is done so far can be had at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from nbcorr.visualization.jobs import Job
from nbcorr.visualization.render import Pictures, Renderer
from nbcorr.visualization.shelf import Made, Numbered, Shelf

# Pixels of the pictures optimised together on a CPU: beyond, memory costs more than is gained.
PIXELS_AT_ONCE = 4 * 224 * 224
MOST_AT_ONCE = 64

ENGINES = ("nbcorr", "lucent")

Engine = Callable[[Sequence[Job], Callable[[], Any]], tuple[list[Pictures], bool]]


def rendered(
    engine: Engine,
    chunks: Sequence[Sequence[Numbered]],
    steps: int,
    made: Made,
    shelf: Shelf,
    progress: bool,
) -> bool:
    """Add the pictures of all chunks to those made; returns whether all were made to the end.

    Raises
    ------
    KeyboardInterrupt
        If there is no picture at all.
    """
    total = steps * sum(job.size for chunk in chunks for _, job in chunk)
    with tqdm(total=total, desc="visualize", leave=False, disable=not progress) as bar:
        for chunk in chunks:
            jobs = [job for _, job in chunk]
            advance = partial(bar.update, sum(job.size for job in jobs))
            try:
                pictures, complete = engine(jobs, advance)
            except KeyboardInterrupt:
                if not made:
                    raise
                return False
            for (place, job), some in zip(chunk, pictures, strict=True):
                made[place, job.kind] = some
                if complete:
                    shelf.put(job, some)
            if not complete:
                return False
    return True


def chunked(jobs: Sequence[Numbered], order: Sequence[str], at_once: int) -> list[list[Numbered]]:
    """The jobs in batches, those of early layers together: their forward passes end early.

    The pictures of one job stay together, and so do those of one objective where they fit.
    """
    depth = {layer: place for place, layer in enumerate(order)}

    def deepest(numbered: Numbered) -> int:
        layers = numbered[1].objective.layers
        return max((depth.get(layer, -1) for layer in layers if isinstance(layer, str)), default=-1)

    chunks: list[list[Numbered]] = []
    room = 0
    for numbered in sorted(jobs, key=deepest):
        size = numbered[1].size
        if size > room:
            chunks.append([])
            room = at_once
        chunks[-1].append(numbered)
        room -= size
    return chunks


def at_once(shape: tuple[int, ...], device: torch.device) -> int:
    """How many pictures of a shape are best optimised together."""
    if device.type != "cpu" or len(shape) == 1:
        return MOST_AT_ONCE
    return max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // (shape[1] * shape[2])))


def lucents_engine(model: nn.Module, renderer: Renderer, parametrization: str) -> Engine:
    """The library Lucent in the place of the renderer, which measures what it made.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    from nbcorr.visualization.lucent import render_lucent

    def engine(jobs: Sequence[Job], advance: Callable[[], Any]) -> tuple[list[Pictures], bool]:
        (job,) = jobs
        made = render_lucent(
            model,
            job.objective,
            shape=renderer.parametrization.shape,
            steps=renderer.steps,
            transforms=renderer.transform,
            parametrization=parametrization,
            learning_rate=renderer.learning_rate,
            seed=renderer.seed,
            preprocess=renderer.preprocess,
            batch=job.size,
            advance=advance,
        )
        images = torch.from_numpy(made.images).movedim(-1, 1)
        with torch.no_grad():
            reached, fresh = renderer.reached(images.to(renderer.parametrization.device), jobs)
        pictures = Pictures(images, reached.cpu(), fresh.cpu(), sound=True)
        return [pictures], made.steps == renderer.steps

    return engine
