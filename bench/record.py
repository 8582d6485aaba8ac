"""Memory and time of ``nc.record`` beyond the bare forward pass, on EfficientNet-lite0.

All layers, batches of 32 images of 224 by 224, one thread. Memory is the largest resident size of
fresh processes, one that runs the bare forward and one that records the same images, in turn; the
output buffer (one float32 per sample and neuron) is taken off. Time is processor time, bare and
recording in turn within one process.

Both depend on the allocator. glibc's default keeps freed maps in its heap, whose largest size is a
matter of luck: the range over the pairs tells how much. With a fixed threshold every map goes back
to the system when it is freed, so that the resident size is what is in use. The third keeps all
that was freed, which is fastest.

    python bench/record.py [--json PATH] [--rounds R]

Needs the extra ``imagenet``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _figures import Figures, command

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH, N_BATCHES = 32, 3
PAIRS = 5
DEFAULT: dict[str, str] = {}
HANDS_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
KEEPS = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def in_fresh_process(call: str, allocator: dict[str, str]) -> Any:
    """What a function of this file gives in a new process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "LD_PRELOAD"))}
    done = subprocess.run(
        [sys.executable, "-c", f"import json, record; print(json.dumps(record.{call}))"],
        cwd=Path(__file__).resolve().parent,
        env=kept | ONE_THREAD | allocator,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def setting() -> tuple[nn.Module, torch.Tensor]:
    """The network and its images, with all that ``nc.record`` imports already loaded."""
    import torch

    import nbcorr.recording.record  # noqa: F401
    from nbcorr import zoo

    torch.set_num_threads(1)
    images = torch.rand(BATCH * N_BATCHES, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return zoo.efficientnet_lite0(), images


def bare(model: nn.Module, images: torch.Tensor) -> None:
    import torch

    with torch.inference_mode():
        for batch in images.split(BATCH):
            model(batch)


def recorded(model: nn.Module, images: torch.Tensor) -> int:
    """The number of neurons."""
    import nbcorr as nc

    recording = nc.record(model, images, "all", batch_size=BATCH, progress=False)
    return recording.sizes["neuron"]


def peak(what: str) -> dict[str, float]:
    """Largest resident size of this process, MB, and the number of neurons recorded."""
    model, images = setting()
    neurons = 0
    if what == "recorded":
        neurons = recorded(model, images)
    else:
        bare(model, images)
    # The largest size is handed down to a process from the one that starts it: bench/record.py
    # itself loads no torch, so that it stays far below what is measured here.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"mb": size / (1e6 if sys.platform == "darwin" else 1e3), "neurons": neurons}


def ratios(rounds: int) -> list[float]:
    """Processor time of recording over that of the bare forward, round by round."""
    model, images = setting()
    bare(model, images)
    recorded(model, images)
    found = []
    for _ in range(rounds):
        stops = [time.process_time()]
        for call in (bare, recorded):
            call(model, images)
            stops.append(time.process_time())
        found.append((stops[2] - stops[1]) / (stops[1] - stops[0]))
    return found


def memory(figures: Figures, name: str, allocator: dict[str, str]) -> None:
    extra = []
    for _ in range(PAIRS):
        without = in_fresh_process("peak('bare')", allocator)
        with_ = in_fresh_process("peak('recorded')", allocator)
        buffer = with_["neurons"] * BATCH * N_BATCHES * 4 / 1e6
        extra.append(with_["mb"] - without["mb"] - buffer)
    how = (
        f"largest resident size, {PAIRS} pairs from {min(extra):.0f} to {max(extra):.0f}; "
        f"bare {without['mb']:.0f}, output buffer {buffer:.0f} taken off"
    )
    figures.add(f"memory above bare, MB, {name}", statistics.median(extra), 50, how, less=True)


def overhead(figures: Figures, name: str, allocator: dict[str, str], rounds: int) -> None:
    found = in_fresh_process(f"ratios({rounds})", allocator)
    how = f"processor time, all layers, {rounds} rounds from {min(found):.2f} to {max(found):.2f}"
    figures.add(f"record / bare forward, {name}", statistics.median(found), None, how)


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    memory(figures, "allocator hands back", HANDS_BACK)
    memory(figures, "default allocator", DEFAULT)
    overhead(figures, "default allocator", DEFAULT, asked.rounds)
    overhead(figures, "allocator keeps", KEEPS, asked.rounds)


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"rounds": 5})


if __name__ == "__main__":
    main()
