"""Class selectivity against reading the array once, and a training step with the knob.

One thread, processor time, candidates in turn within one process, medians of the ratios of each
round. The index: 10,000 samples, 8,192 neurons after a ReLU, float32 in memory, ten classes. The
knob: a ResNet-20 for 32 x 32 pixels, batches of 128, forward, backward and step.

    python bench/selectivity.py [--json PATH] [--neurons N] [--rounds R] [--batch B]
"""

# ruff: noqa: E402 -- the libraries below read these variables when they load
from __future__ import annotations

import os

for _library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "NUMBA_NUM"):
    os.environ.setdefault(f"{_library}_THREADS", "1")

import argparse
import contextlib
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise

import dask
import dask.array
import numpy as np
import torch
from _figures import Figures, command
from torch import nn
from torch.nn.functional import cross_entropy, pad

import nbcorr as nc
from nbcorr.selectivity.loss import SelectivityLoss
from nbcorr.stats.sorting import numba_available

N_SAMPLES, N_CLASSES = 10_000, 10


def processor_time(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def in_turn(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call, round by round; one more round before, which does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            taken = processor_time(call)
            if turn:
                seconds[name].append(taken)
    return seconds


def ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def index(figures: Figures, n_neurons: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((N_SAMPLES, n_neurons), dtype=np.float32), 0)
    recording = nc.from_arrays(x, layer="a", label=rng.integers(0, N_CLASSES, N_SAMPLES))
    calls: dict[str, Callable[[], object]] = {
        "sum": lambda: x.sum(),
        "index": lambda: nc.selectivity(recording, n_resamples=0),
    }
    slower: dict[str, Callable[[], object]] = {
        "intervals": lambda: nc.selectivity(recording, progress=False),
        "auroc": lambda: nc.selectivity(recording, "auroc", n_resamples=0, progress=False),
        "information": lambda: nc.selectivity(
            recording, "mutual_information", n_resamples=0, progress=False
        ),
    }
    seconds = in_turn(calls, 3 * rounds)
    nanoseconds = statistics.median(seconds["sum"]) / x.size * 1e9
    figures.add("x.sum(), ns per value", nanoseconds, None, "processor time")
    found = ratio(seconds["index"], seconds["sum"])
    figures.add("index / x.sum()", found, 1.5, "nc.selectivity(n_resamples=0)", less=True)
    seconds |= in_turn(slower, max(2, rounds // 3))
    for name in slower:
        taken = statistics.median(seconds[name]) / x.size * 1e9
        figures.add(f"with {name}, ns per value", taken, None, "200 resamples, if intervals")


def memory(figures: Figures) -> None:
    """Peak of the index above the start, and of four times the samples in as large blocks."""
    peaks = []
    for n in (20_000, 80_000):
        lazy = dask.array.random.default_rng(0).random((n, 4096), chunks=(1000, 1024))
        recording = nc.from_arrays(lazy.astype(np.float32), layer="a", label=np.arange(n) % 10)
        with dask.config.set(scheduler="synchronous"):
            nc.selectivity(recording.isel(neuron=slice(1024)), n_resamples=0)
            tracemalloc.start()
            nc.selectivity(recording, n_resamples=0)
            peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
            tracemalloc.stop()
    figures.add("peak on 80,000 x 4,096, MB", peaks[1], None, "Dask blocks of 4 MB, 1,300 MB whole")
    more = peaks[1] - peaks[0]
    figures.add("more for 4 times the samples, MB", more, 5, "labels and graph alone", less=True)


class Block(nn.Module):
    """Two convolutions and a shortcut, as ResNets for CIFAR have it (option A)."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        self.step, self.more = 1 + (before != channels), channels - before
        self.conv1 = nn.Conv2d(before, channels, 3, self.step, 1, bias=False)
        self.norm1, self.relu1 = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        shortcut = x[:, :, :: self.step, :: self.step]
        return self.relu2(out + pad(shortcut, (0, 0, 0, 0, 0, self.more)))


def resnet20() -> nn.Module:
    sizes = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
    blocks = [Block(*pair) for pair in pairwise(sizes)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, N_CLASSES)]
    return nn.Sequential(*stem, *blocks, *head)


def knob(figures: Figures, batch: int, rounds: int) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = torch.rand(batch, 3, 32, 32), torch.arange(batch) % N_CLASSES
    model = resnet20()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(alpha: float | None) -> None:
        attached = (
            contextlib.nullcontext() if alpha is None else SelectivityLoss(model, alpha=alpha)
        )
        with attached as term:
            optimizer.zero_grad()
            loss = cross_entropy(model(images), labels)
            (loss if term is None else loss + term(labels)).backward()
            optimizer.step()

    calls = {"plain": lambda: step(None), "knob": lambda: step(-1.0), "neutral": lambda: step(0.0)}
    seconds = in_turn(calls, rounds)
    figures.add(
        "training step, s", statistics.median(seconds["plain"]), None, f"ResNet-20, batch {batch}"
    )
    for name in ("knob", "neutral"):
        found = ratio(seconds[name], seconds["plain"])
        goal = 1.25 if name == "knob" else None
        how = "all 19 ReLUs, hooks put on and taken off each step"
        figures.add(f"step with the {name} / without", found, goal, how, less=True)


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    if not numba_available():
        figures.leave_out("numba", "not to be had: these are the figures of plain NumPy")
    index(figures, asked.neurons, asked.rounds)
    memory(figures)
    knob(figures, asked.batch, asked.rounds)


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"neurons": 8192, "rounds": 9, "batch": 128})


if __name__ == "__main__":
    main()
