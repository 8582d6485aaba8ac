"""A real cluster of processes, and data that its workers read; some of it is trouble."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
import numpy as np
import torch
import xarray as xr
from distributed import Client, LocalCluster
from torch import nn
from torch.utils.data import Dataset


@contextmanager
def two_workers() -> Iterator[Client]:
    # The workers cannot import the tests: their classes travel whole, as those of a notebook.
    tests = sys.modules["tests"]
    cloudpickle.register_pickle_by_value(tests)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            yield client
    cloudpickle.unregister_pickle_by_value(tests)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def numbers(n: int) -> np.ndarray:
    return np.random.default_rng(n).random((n, 1, 8, 8)).astype(np.float32)


class Pictures(Dataset):
    """Pictures made where they are read; one of them can be trouble."""

    def __init__(self, n: int, trouble=None, at: int = -1, wait: float = 0) -> None:
        self.n, self.trouble, self.at, self.wait = n, trouble, at, wait

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, at: int):
        # Not in the process that made it: there only the first batch is read.
        if at == self.at:
            self.trouble()
        time.sleep(self.wait)
        picture = np.random.default_rng(at).random((1, 8, 8)).astype(np.float32)
        return torch.tensor(picture), at % 3, f"picture-{at}"


class Dying:
    """Kills the process that calls it; only the first, where there is a file to remember it."""

    def __init__(self, remembered: Path | None) -> None:
        self.remembered = remembered

    def __call__(self) -> None:
        if self.remembered is not None:
            if self.remembered.exists():
                return
            self.remembered.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class Interrupting:
    """Ctrl-C for another process."""

    def __init__(self, process: int) -> None:
        self.process = process

    def __call__(self) -> None:
        os.kill(self.process, signal.SIGINT)
        # On a busy machine it takes a while until it is heard.
        time.sleep(1)


def assert_same(found: xr.Dataset, expected: xr.Dataset) -> None:
    xr.testing.assert_identical(found.load(), expected.load())


def brightness(x: torch.Tensor) -> torch.Tensor:
    return x.mean((1, 2, 3)) > 0.5


def tasks(client: Client) -> int:
    return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
