"""Time, memory and correctness of ``nc.record`` against the bare forward pass and its peers.

EfficientNet-lite0, batches of 32 images of 224 by 224, every leaf module, mean pooling, one thread.
Time is processor time, the candidates called in turn within one process; ratios are medians over
the rounds. Memory is the largest resident size of fresh processes, the output buffer (one float32
per sample and neuron) taken off, in percent of what the bare pass takes.

Both depend on the allocator, so each figure names it. By default glibc hands freed maps back to the
system, which clears and maps their pages again: most of the time that a bare pass takes. Kept
(``MALLOC_MMAP_MAX_=0``, ``MALLOC_TRIM_THRESHOLD_=100000000000``) they are used again; with huge
pages (``GLIBC_TUNABLES=glibc.malloc.hugetlb=1``, glibc 2.35) there are fewer pages to map.

    python bench/record.py [--json PATH] [--rounds R]

Needs the extras ``imagenet`` and ``bench``; a peer that is missing is named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _figures import Figures, command

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH, N_BATCHES = 32, 4
DEFAULT: dict[str, str] = {}
HANDS_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
KEEPS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
POOLS = {"mean": "mean", "mean and max": ["mean", "max"]}
GOALS = {"mean": 1.12, "mean and max": 1.25}
POOLING_PEERS = ("torchextractor", "nnsight")
MAP_PEERS = ("captum", "torchvision", "clones")

Seconds = dict[str, list[float]]


def in_fresh_process(call: str, allocator: dict[str, str]) -> Any:
    """What a call of a function of this folder gives in a new process."""
    others = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    done = subprocess.run(
        [sys.executable, "-c", f"import json, _recorders, record; print(json.dumps({call}))"],
        cwd=Path(__file__).resolve().parent,
        env=kept | ONE_THREAD | allocator,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def setting(n_batches: int = N_BATCHES) -> tuple[nn.Module, torch.Tensor]:
    """The network and its images, with all that ``nc.record`` imports already loaded."""
    import torch

    import nbcorr.recording.record  # noqa: F401
    from nbcorr import zoo

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH * n_batches, 3, 224, 224, generator=generator)
    return zoo.efficientnet_lite0(), images


def bare(model: nn.Module, images: torch.Tensor) -> None:
    import torch

    with torch.inference_mode():
        for batch in images.split(BATCH):
            model(batch)


def recorded(model: nn.Module, images: torch.Tensor, pool: Any = "mean", store: Any = None) -> Any:
    import nbcorr as nc

    return nc.record(model, images, "all", pool, store=store, batch_size=BATCH, progress=False)


# Time


def seconds_of(
    calls: dict[str, Callable[[torch.Tensor], object]], images: torch.Tensor, rounds: int
) -> Seconds:
    """Processor time of each call, round by round, after one of a single batch to warm up.

    In another order each round: what ran before leaves its traces in the caches and the heap.
    """
    for call in calls.values():
        call(images[:BATCH])
    seconds: Seconds = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            started = time.process_time()
            calls[name](images)
            seconds[name].append(time.process_time() - started)
    return seconds


def times(rounds: int, pools: Sequence[str], peers: Sequence[str]) -> Seconds:
    """Of the bare forward, of recording, and of the peers of these names that are installed."""
    import _recorders

    model, images = setting()
    calls: dict[str, Callable[[torch.Tensor], object]] = {"bare": partial(bare, model)}
    for name in pools:
        calls[name] = partial(recorded, model, pool=POOLS[name])
    order = _recorders.calls_of(recorded(model, images[:BATCH]))
    for peer in _recorders.PEERS:
        if peer.__name__ in peers and _recorders.installed(peer.__name__):
            calls[peer.__name__] = partial(recorded_by, peer(model, order))
    return seconds_of(calls, images, rounds)


def times_of_the_cure(rounds: int) -> Seconds:
    """Recording without and inside ``keeping_freed_memory``."""
    model, images = setting()
    calls: dict[str, Callable[[torch.Tensor], object]] = {
        "without": partial(recorded, model),
        "inside": lambda images: recorded_inside(model, images),
    }
    return seconds_of(calls, images, rounds)


def recorded_inside(model: nn.Module, images: torch.Tensor) -> Any:
    import torch

    from nbcorr.network.allocator import keeping_freed_memory

    with keeping_freed_memory(torch.device("cpu")):
        return recorded(model, images)


def recorded_by(read: Any, images: torch.Tensor) -> torch.Tensor:
    """A peer's numbers of all images, (samples, neurons)."""
    import torch

    rows = []
    with torch.inference_mode():
        for batch in images.split(BATCH):
            rows.append(torch.cat([part.flatten(1) for part in read(batch).values()], dim=1))
    return torch.cat(rows)


def ratios(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def overhead(figures: Figures, name: str, seconds: Seconds) -> None:
    for pools in (name for name in POOLS if name in seconds):
        found = ratios(seconds[pools], seconds["bare"])
        how = f"processor time, {len(found)} rounds from {min(found):.2f} to {max(found):.2f}"
        label = f"record / bare, {pools}, {name}"
        figures.add(label, statistics.median(found), GOALS[pools], how, less=True)


def against_peers(figures: Figures, name: str, seconds: Seconds, peers: Sequence[str]) -> None:
    medians = {}
    for peer in peers:
        if peer in seconds:
            found = ratios(seconds[peer], seconds["mean"])
            medians[peer] = statistics.median(found)
            how = f"mean pooling, from {min(found):.2f} to {max(found):.2f}"
            figures.add(f"{peer} / ours, {name}", medians[peer], None, how)
        else:
            figures.leave_out(f"{peer} / ours, {name}", "not installed, left out")
    if medians:
        fastest = min(medians, key=lambda peer: medians[peer])
        how = f"{fastest} is the fastest"
        figures.add(f"fastest peer / ours, {name}", medians[fastest], 1.0, how)


def speed(figures: Figures, rounds: int) -> None:
    few = max(2, rounds // 2)
    kept = in_fresh_process(f"record.times({rounds}, {tuple(POOLS)}, {POOLING_PEERS})", KEEPS)
    overhead(figures, "kept", kept)
    against_peers(figures, "kept", kept, POOLING_PEERS)
    # By themselves, for they fill the heap with gigabytes.
    maps = in_fresh_process(f"record.times({few}, ['mean'], {MAP_PEERS})", KEEPS)
    against_peers(figures, "kept, full maps", maps, MAP_PEERS)
    default = in_fresh_process(f"record.times({few}, ['mean'], {POOLING_PEERS})", DEFAULT)
    overhead(figures, "default", default)
    against_peers(figures, "default", default, POOLING_PEERS)
    huge = in_fresh_process(f"record.times({few}, ['mean'], ())", HUGE_PAGES)
    overhead(figures, "huge pages", huge)
    cure = in_fresh_process(f"record.times_of_the_cure({few})", DEFAULT)
    gain = statistics.median(ratios(cure["without"], cure["inside"]))
    how = "record(), default allocator, in turn"
    figures.add("default / keeping_freed_memory()", gain, None, how)
    for name, seconds in {"kept": kept, "default": default, "huge pages": huge}.items():
        milliseconds = statistics.median(seconds["bare"]) / (N_BATCHES * BATCH) * 1e3
        how = "processor time per image, a process each, not in turn"
        figures.add(f"bare forward, ms, {name}", milliseconds, None, how)


# Correctness


def correctness(figures: Figures) -> None:
    how = "conv, batch norm, in-place ReLU called twice; wrong or missing"
    for name, wrong in in_fresh_process("_recorders.wrong_values()", DEFAULT).items():
        goal = 0 if name == "ours" else None
        figures.add(f"wrong values of 5, {name}", wrong, goal, how, less=True)


# Memory


def peak(how: str) -> dict[str, float]:
    """Largest resident size of this process, MB, and the number of neurons recorded."""
    model, images = setting()
    recording = globals()[how](model, images)
    neurons = 0 if recording is None else recording.sizes["neuron"]
    return {"mb": largest_size(), "neurons": neurons}


def largest_size() -> float:
    """Of this process so far, MB."""
    # It is handed down to a process from the one that starts it: bench/record.py itself loads
    # no torch, so that it stays far below what is measured here.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1e6 if sys.platform == "darwin" else 1e3)


def memory(
    figures: Figures, name: str, allocator: dict[str, str], pairs: int, how: str = "recorded"
) -> None:
    shares = []
    for _ in range(pairs):
        without = in_fresh_process("record.peak('bare')", allocator)["mb"]
        with_ = in_fresh_process(f"record.peak({how!r})", allocator)
        buffer = with_["neurons"] * BATCH * N_BATCHES * 4 / 1e6
        shares.append((with_["mb"] - without - buffer) / without * 100)
    measured = (
        f"largest resident size, {pairs} pairs from {min(shares):.1f} to {max(shares):.1f}; "
        f"bare {without:.0f} MB, output buffer {buffer:.0f} MB taken off"
    )
    # Where freed memory stays in the heap, its size is partly luck: told, not judged.
    goal = 5 if allocator == HANDS_BACK else None
    figures.add(
        f"memory above bare, %, {name}", statistics.median(shares), goal, measured, less=True
    )


# Stores


def peak_with_store(count: int) -> float:
    """Largest resident size, MB, of recording so many small pictures to disk."""
    import torch
    from torch import nn

    import nbcorr as nc

    class Pictures(torch.utils.data.Dataset):
        """Made when asked for, so that they take no memory."""

        def __len__(self) -> int:
            return count

        def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
            return torch.full((1, 8, 8), at % 97 / 97), at % 10

    torch.set_num_threads(1)
    layers = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 1000), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(1000, 10))
    with tempfile.TemporaryDirectory() as folder:
        nc.record(model, Pictures(), "all", store=f"{folder}/small.zarr", progress=False)
    return largest_size()


def store_times(rounds: int) -> Seconds:
    model, images = setting(4)
    with tempfile.TemporaryDirectory() as folder:
        paths = (f"{folder}/{number}.zarr" for number in range(rounds + 1))
        calls: dict[str, Callable[[torch.Tensor], object]] = {
            "memory": partial(recorded, model),
            "store": lambda images: recorded(model, images, store=next(paths)),
        }
        return seconds_of(calls, images, rounds)


def stores(figures: Figures, rounds: int) -> None:
    seconds = in_fresh_process(f"record.store_times({rounds})", KEEPS)
    found = ratios(seconds["store"], seconds["memory"])
    how = f"processor time, {4 * BATCH} images, from {min(found):.2f} to {max(found):.2f}"
    figures.add("record to Zarr / in memory, kept", statistics.median(found), 1.05, how, less=True)
    few, many = (in_fresh_process(f"record.peak_with_store({n})", DEFAULT) for n in (1_000, 50_000))
    how = f"largest resident size, small net; {few:.0f} and {many:.0f} MB"
    figures.add("memory of 50,000 / 1,000 samples, store", many / few, 1.05, how, less=True)


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    correctness(figures)
    speed(figures, asked.rounds)
    memory(figures, "handed back", HANDS_BACK, 1)
    memory(figures, "default", DEFAULT, 3)
    memory(figures, "kept", KEEPS, 1)
    memory(figures, "keeping_freed_memory()", DEFAULT, 2, "recorded_inside")
    stores(figures, max(2, asked.rounds // 2))


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"rounds": 5})


if __name__ == "__main__":
    main()
