"""Speed and activation of ``nc.visualize`` against Lucent and against the floor.

EfficientNet-lite0 and a small convnet that is not trained, an early, a middle and a late layer,
pictures of 128 and 224 pixels, eight channels each, one thread. Ours and Lucent run in turn within
one process; times are processor time of 256 steps a picture, worked out from the steps that were
run: ours with its start, its first 16 steps (which redirect gradients) and the measuring of what
was reached, Lucent by its steps alone, on a fresh copy of the model each time. The floor is a step
of forward and backward pass to the input on a network cut off after the layer, with folded batch
norm and channels-last weights, four pictures at a time.

Activation: at equal steps, size and kind of transforms, the mean over positions on 16 views that
neither was optimised for, in standard deviations over crops of photographs.

    python bench/visualize.py [--json PATH] [--rounds R] [--pictures N]
                              [--channels N] [--steps S] [--size PX]

About five minutes. ``--pictures 16`` is what the goals of speed are about (twice as long; both are
made four to twelve at a time), ``--channels 32 --steps 128 --size 128`` those of activation (half
an hour). Needs the extras ``imagenet`` and ``lucent``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _figures import Figures, command

SIZES = (128, 224)
STEPS = 256
REDIRECTED = 16
RUN = REDIRECTED + 3
LUCENT_PICTURES, LUCENT_STEPS = 2, 4
FLOOR_BATCH, FLOOR_STEPS = 4, 4
VIEWS = 16
GOALS = {("robust", 128): 4.0, ("robust", 224): 3.0, ("crop", 128): 6.0, ("crop", 224): 4.0}
DEFAULT_GOAL, FLOOR_GOAL = 8.0, 1.5

Times = dict[str, list[float]]


# Time


def seconds_of_ours(
    model: Any, layer: str, size: int, pictures: int, transforms: str
) -> tuple[float, float]:
    """Of one picture of 256 steps, in all and per late step."""
    import _visualizers as v
    import torch

    begins: list[tuple[float, int]] = []

    def told(images: torch.Tensor) -> torch.Tensor:
        if images.requires_grad:
            begins.append((time.process_time(), len(images)))
        return images

    started = time.process_time()
    v.ours(model, layer, range(pictures), size, steps=RUN, transforms=transforms, preprocess=told)
    whole = time.process_time() - started
    # What comes first is a look whether the network works at all.
    begins = begins[len(begins) % RUN :]
    starts = list(range(0, len(begins), RUN))
    if sum(begins[at][1] for at in starts) != pictures:
        raise RuntimeError(f"the steps of {pictures} pictures are not {RUN} a batch: {begins}")
    late, early = [], 0.0
    for at in starts:
        times = [moment for moment, _ in begins[at : at + RUN]]
        early += times[REDIRECTED] - times[0]
        steps = [b - a for a, b in itertools.pairwise(times[REDIRECTED:])]
        late.append((statistics.median(steps), begins[at][1]))
    per_step = sum(seconds for seconds, _ in late)
    rest = whole - early - per_step * (RUN - REDIRECTED)
    return (rest + early + per_step * (STEPS - REDIRECTED)) / pictures, per_step / pictures


def seconds_of_lucent(lucent: Any, layer: str, size: int, **options: Any) -> float:
    """Of one picture of 256 steps."""
    import _visualizers as v

    steps = []
    for unit in range(LUCENT_PICTURES):
        watch = v.Stopwatch()
        # The first step is told twice: it measures an image before it starts.
        lucent.picture(layer, unit, size, LUCENT_STEPS + 1, tell=watch, **options)
        steps += watch.seconds()[-LUCENT_STEPS:]
    return STEPS * statistics.median(steps)


def seconds_of_floor(run: Callable[[Any], Any], size: int) -> float:
    """Of one picture's step."""
    import torch

    from nbcorr.network.allocator import keeping_freed_memory

    shape = (FLOOR_BATCH, 3, size, size)
    images = torch.rand(shape).to(memory_format=torch.channels_last).requires_grad_()
    found = []
    with keeping_freed_memory(torch.device("cpu")):
        for _ in range(FLOOR_STEPS + 1):
            started = time.process_time()
            torch.autograd.grad(run(images)[:, 0].mean(), images)
            found.append(time.process_time() - started)
    return statistics.median(found[1:]) / FLOOR_BATCH


def times(network: Any, layer: str, size: int, pictures: int, rounds: int) -> Times:
    """Seconds of everything, round by round, each round in another order."""
    import _visualizers as v

    lucent, floor = v.Lucent(network.model), v.floor(network, layer)
    found: Times = defaultdict(list)

    def measure_ours(transforms: str) -> None:
        whole, step = seconds_of_ours(network.model, layer, size, pictures, transforms)
        found[f"ours {transforms}"].append(whole)
        found[f"step {transforms}"].append(step)

    def measure_lucent(name: str, **options: Any) -> None:
        found[f"lucent {name}"].append(seconds_of_lucent(lucent, layer, size, **options))

    calls: list[Callable[[], object]] = [
        lambda: measure_ours("robust"),
        lambda: measure_ours("crop"),
        lambda: measure_lucent("robust"),
        lambda: measure_lucent("crop", transforms=lucent.crop),
        lambda: found["floor"].append(seconds_of_floor(floor, size)),
    ]
    if size < 224:
        calls.append(lambda: measure_lucent("default", enlarging=True))
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(calls)
        for call in calls:
            call()
    return found


def told(found: Sequence[float]) -> str:
    return f"{len(found)} rounds from {min(found):.2f} to {max(found):.2f}"


def speed(figures: Figures, pictures: int, rounds: int) -> None:
    import _visualizers as v

    for name, network in v.networks().items():
        for place, layer in network.layers.items():
            for size in SIZES:
                found = times(network, layer, size, pictures, rounds)
                speed_of(figures, f"{name} {place} {size} px", size, found)


def speed_of(figures: Figures, where: str, size: int, found: Times) -> None:
    def add(name: str, above: str, below: str, goal: float | None, less: bool = False) -> None:
        ratios = [a / b for a, b in zip(found[above], found[below], strict=True)]
        figures.add(f"{name}, {where}", statistics.median(ratios), goal, told(ratios), less=less)

    for transforms in ("robust", "crop"):
        goal = GOALS[transforms, size]
        add(f"lucent / ours, {transforms}", f"lucent {transforms}", f"ours {transforms}", goal)
    add("lucent robust / ours crop", "lucent robust", "ours crop", None)
    if "lucent default" in found:
        add("lucent's default / ours", "lucent default", "ours robust", DEFAULT_GOAL)
        add("lucent's default / ours crop", "lucent default", "ours crop", None)
    for transforms in ("robust", "crop"):
        goal = FLOOR_GOAL if transforms == "crop" else None
        add(f"step, {transforms} / floor", f"step {transforms}", "floor", goal, less=True)
    for transforms in ("robust", "crop"):
        # How many times faster than Lucent anything could be.
        steps = [seconds / STEPS for seconds in found[f"lucent {transforms}"]]
        found[f"lucent step {transforms}"] = steps
        add(f"lucent / floor, {transforms}", f"lucent step {transforms}", "floor", None)
    milliseconds = statistics.median(found["step robust"]) * 1e3
    figures.add(f"ms a step, {where}", milliseconds, None, "processor time, robust, late steps")


# Activation


def activation(figures: Figures, channels: int, steps: int, size: int) -> None:
    """Ours against Lucent on views nobody was optimised for, in deviations over photographs."""
    import _visualizers as v
    import numpy as np
    import torch

    from nbcorr import zoo

    photos = torch.as_tensor(zoo.photos(128, size)["image"].values)
    network = v.networks()["lite0"]
    lucent = v.Lucent(network.model)
    for place, layer in network.layers.items():
        usual = v.activations(network, layer, photos)
        n_units = usual.shape[1]
        units = np.random.default_rng(0).choice(n_units, min(channels, n_units), replace=False)
        seen = v.ours(network.model, layer, units, size, steps=steps)
        pictures = {
            "ours": v.as_tensor(seen["image"].sel(neuron=[(layer, int(u)) for u in units])),
            "lucent": torch.stack([lucent.picture(layer, int(u), size, steps) for u in units]),
        }
        z = {}
        for name, images in pictures.items():
            views = [v.activations(network, layer, x) for x in v.fresh_views(images, VIEWS)]
            reached = torch.stack(views).mean(0)[torch.arange(len(units)), torch.as_tensor(units)]
            z[name] = ((reached - usual.mean(0)[units]) / usual.std(0)[units]).numpy()
        better = z["ours"] - z["lucent"]
        low, high = v.interval(better)
        how = (
            f"{len(units)} channels, {steps} steps, {size} px, 95 % interval {low:.2f} to "
            f"{high:.2f}; ours {z['ours'].mean():.2f}, lucent {z['lucent'].mean():.2f}"
        )
        figures.add(
            f"activation, ours - lucent, deviations, {place}", float(better.mean()), 0.0, how
        )


# Memory


def peak(n_neurons: int) -> float:
    """Largest resident size of this process, MB, after pictures of so many neurons."""
    import _visualizers as v
    import torch

    torch.set_num_threads(1)
    network = v.networks()["lite0"]
    v.ours(network.model, network.layers["middle"], range(n_neurons), 128, steps=2)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1e6 if sys.platform == "darwin" else 1e3)


def peak_of_process(n_neurons: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", f"import json, visualize; print(visualize.peak({n_neurons}))"],
        cwd=Path(__file__).resolve().parent,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def memory(figures: Figures) -> None:
    few, many = peak_of_process(16), peak_of_process(64)
    how = f"largest resident size, lite0 middle 128 px; {few:.0f} and {many:.0f} MB"
    figures.add("memory of 64 / 16 neurons", many / few, 1.1, how, less=True)


# Where there is one


def on_gpu(figures: Figures) -> None:
    import _visualizers as v
    import torch

    if not torch.cuda.is_available():
        figures.leave_out("pictures a second on a GPU", "there is none")
        return
    network = v.networks()["lite0"]
    model = network.model.cuda()
    for size in SIZES:
        for transforms in ("robust", "crop"):
            seconds = []
            for _ in range(2):  # the first warms up
                started = time.perf_counter()
                v.ours(
                    model,
                    network.layers["middle"],
                    range(64),
                    size,
                    steps=64,
                    transforms=transforms,
                    batch_size=64,
                )
                seconds.append(time.perf_counter() - started)
            how = f"{torch.cuda.get_device_name()}, wall time, 64 at once, start and end included"
            name = f"ms a step and picture on a GPU, {transforms}, {size} px"
            figures.add(name, min(seconds) / 64 / 64 * 1e3, None, how)


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    import torch

    memory(figures)
    torch.set_num_threads(1)
    speed(figures, asked.pictures, asked.rounds)
    activation(figures, asked.channels, asked.steps, asked.size)
    on_gpu(figures)


def main(argv: Sequence[str] | None = None) -> None:
    options = {"rounds": 1, "pictures": 8, "channels": 16, "steps": 32, "size": 64}
    command(__doc__, measure, argv, options)


if __name__ == "__main__":
    main()
