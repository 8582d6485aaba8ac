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

BATCH, N_BATCHES = 32, 2
PAIRS = 2
DEFAULT: dict[str, str] = {}
HANDS_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
KEEPS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
POOLS = {"mean": "mean", "mean and max": ["mean", "max"]}
POOLING_PEERS = ("torchextractor", "nnsight")
MAP_PEERS = ("captum", "torchvision", "clones")

Seconds = dict[str, list[float]]


def in_fresh_process(call: str, allocator: dict[str, str]) -> Any:
    """What a function of this file gives in a new process."""
    others = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    done = subprocess.run(
        [sys.executable, "-c", f"import json, record; print(json.dumps(record.{call}))"],
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


def times(rounds: int, peers: Sequence[str]) -> Seconds:
    """Of the bare forward, of recording, and of the peers of these names that are installed."""
    import _recorders

    model, images = setting(3)
    calls: dict[str, Callable[[torch.Tensor], object]] = {"bare": partial(bare, model)}
    for name, pool in POOLS.items():
        calls[name] = partial(recorded, model, pool=pool)
    order = calls_of(recorded(model, images[:BATCH]))
    for peer in _recorders.PEERS:
        if peer.__name__ in peers and _recorders.installed(peer.__name__):
            calls[peer.__name__] = partial(recorded_by, peer(model, order))
    return seconds_of(calls, images, rounds)


def calls_of(recording: Any) -> list[tuple[str, int]]:
    """Module and number of the call of every layer; ``act#2`` is the second of ``act``."""
    labels = (label.partition("#") for label in recording.attrs["layers"])
    return [(name, int(number or 1) - 1) for name, _, number in labels]


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
    for pools, goal in {"mean": 1.12, "mean and max": 1.25}.items():
        found = ratios(seconds[pools], seconds["bare"])
        how = f"processor time, {len(found)} rounds from {min(found):.2f} to {max(found):.2f}"
        label = f"record / bare, {pools}, {name}"
        figures.add(label, statistics.median(found), goal, how, less=True)


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
    kept = in_fresh_process(f"times({rounds}, {POOLING_PEERS})", KEEPS)
    overhead(figures, "kept", kept)
    # By themselves, for they fill the heap with gigabytes.
    maps = in_fresh_process(f"times({few}, {MAP_PEERS})", KEEPS)
    against_peers(figures, "kept", kept, POOLING_PEERS)
    against_peers(figures, "kept, full maps", maps, MAP_PEERS)
    default = in_fresh_process(f"times({few}, {POOLING_PEERS})", DEFAULT)
    overhead(figures, "default", default)
    against_peers(figures, "default", default, POOLING_PEERS)
    huge = in_fresh_process(f"times({few}, ())", HUGE_PAGES)
    overhead(figures, "huge pages", huge)
    for name, seconds in {"kept": kept, "default": default, "huge pages": huge}.items():
        milliseconds = statistics.median(seconds["bare"]) / (3 * BATCH) * 1e3
        how = "processor time per image, a process each, not in turn"
        figures.add(f"bare forward, ms, {name}", milliseconds, None, how)


# Correctness


def wrong_values() -> dict[str, int]:
    """How many of the five values of a small net each tool gives wrong or does not give."""
    import _recorders
    import torch
    from torch import nn

    class Net(nn.Module):
        """Batch normalisation changed in place by a ReLU that is called twice."""

        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
            self.norm, self.act = nn.BatchNorm2d(8), nn.ReLU(inplace=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.conv2(self.act(self.norm(self.conv1(x)))))

    torch.manual_seed(0)
    model, images = Net().eval(), torch.randn(16, 3, 12, 12)
    model.norm.running_mean.uniform_(-0.5, 0.5)
    truth = {}
    with torch.inference_mode():
        truth["conv1", 0] = value = model.conv1(images)
        truth["norm", 0] = value = model.norm(value)
        truth["act", 0] = value = value.clamp(min=0)
        truth["conv2", 0] = value = model.conv2(value)
        truth["act", 1] = value.clamp(min=0)
    expected = {call: value.mean((2, 3)) for call, value in truth.items()}

    ours = recorded(model, images)
    given = {
        call: torch.from_numpy(ours["activation"].sel(layer=label).values)
        for call, label in zip(calls_of(ours), ours.attrs["layers"], strict=True)
    }
    found = {"ours": _count_wrong(given, expected)}
    readers = {peer.__name__: peer for peer in _recorders.PEERS}
    for name in POOLING_PEERS:
        readers[f"{name}, maps"] = lambda m, c, f=readers[name]: f(m, c, pooling=False)
    for name, reader in readers.items():
        if _recorders.installed(name.partition(",")[0]):
            with torch.inference_mode():
                found[name] = _count_wrong(reader(model, list(expected))(images), expected)
    return found


def _count_wrong(given: Any, expected: Any) -> int:
    import torch

    return sum(
        call not in given or not torch.allclose(given[call], value, atol=1e-5)
        for call, value in expected.items()
    )


def correctness(figures: Figures) -> None:
    how = "conv, batch norm, in-place ReLU called twice; wrong or missing"
    for name, wrong in in_fresh_process("wrong_values()", DEFAULT).items():
        goal = 0 if name == "ours" else None
        figures.add(f"wrong values of 5, {name}", wrong, goal, how, less=True)


# Memory


def peak(what: str) -> dict[str, float]:
    """Largest resident size of this process, MB, and the number of neurons recorded."""
    model, images = setting()
    neurons = 0
    if what == "recorded":
        neurons = recorded(model, images).sizes["neuron"]
    else:
        bare(model, images)
    return {"mb": largest_size(), "neurons": neurons}


def largest_size() -> float:
    """Of this process so far, MB."""
    # It is handed down to a process from the one that starts it: bench/record.py itself loads
    # no torch, so that it stays far below what is measured here.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1e6 if sys.platform == "darwin" else 1e3)


def memory(figures: Figures, name: str, allocator: dict[str, str], pairs: int) -> None:
    shares = []
    for _ in range(pairs):
        without = in_fresh_process("peak('bare')", allocator)["mb"]
        with_ = in_fresh_process("peak('recorded')", allocator)
        buffer = with_["neurons"] * BATCH * N_BATCHES * 4 / 1e6
        shares.append((with_["mb"] - without - buffer) / without * 100)
    how = (
        f"largest resident size, {pairs} pairs from {min(shares):.1f} to {max(shares):.1f}; "
        f"bare {without:.0f} MB, output buffer {buffer:.0f} MB taken off"
    )
    figures.add(f"memory above bare, %, {name}", statistics.median(shares), 5, how, less=True)


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
    seconds = in_fresh_process(f"store_times({rounds})", KEEPS)
    found = ratios(seconds["store"], seconds["memory"])
    how = f"processor time, {4 * BATCH} images, from {min(found):.2f} to {max(found):.2f}"
    figures.add("record to Zarr / in memory, kept", statistics.median(found), 1.05, how, less=True)
    few, many = (in_fresh_process(f"peak_with_store({n})", DEFAULT) for n in (1_000, 50_000))
    how = f"largest resident size, small net; {few:.0f} and {many:.0f} MB"
    figures.add("memory of 50,000 / 1,000 samples, store", many / few, 1.05, how, less=True)


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    correctness(figures)
    speed(figures, asked.rounds)
    memory(figures, "handed back", HANDS_BACK, 1)
    memory(figures, "default", DEFAULT, PAIRS)
    memory(figures, "kept", KEEPS, PAIRS)
    memory(figures, "huge pages", HUGE_PAGES, 1)
    stores(figures, asked.rounds)


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"rounds": 5})


if __name__ == "__main__":
    main()
