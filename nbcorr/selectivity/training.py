"""Training one network of a sweep, so that it can be killed at any time and gone on with."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nbcorr.network.hooks import device_and_dtype, first_tensor
from nbcorr.network.layers import Choice
from nbcorr.selectivity.loss import SelectivityLoss


@dataclasses.dataclass(frozen=True)
class Plan:
    """How every network of a sweep is trained.

    Attributes
    ----------
    layers : choice of layers
        Whose selectivity is turned.
    epochs, batch_size : int
    learning_rate : float
        The highest of a one-cycle schedule.
    weight_decay : float
    """

    layers: Choice | tuple[Choice, ...] = "auto"
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 1e-4


def trained(
    build_model: Callable[[], nn.Module],
    images: np.ndarray,
    labels: np.ndarray,
    alpha: float,
    seed: int,
    plan: Plan,
    folder: Path | None = None,
) -> nn.Module:
    """A network trained with the selectivity term: the same one every time.

    SGD with momentum .9 and a one-cycle learning rate, on one thread. In a folder every finished
    epoch is kept: cut short anywhere and called again, the weights are bit for bit those of a
    training that ran through.

    Parameters
    ----------
    build_model : callable
        Gives a model with fresh weights, drawn from torch's random state.
    images : array, shape (n, ...), float32
    labels : array of int64, shape (n,)
    alpha : float
    seed : int
        Of the first weights, the order of the samples and what the model draws.
    plan : Plan
    folder : path, optional

    Returns
    -------
    torch.nn.Module
        In eval mode.
    """
    with seeded(seed):
        model = build_model()
        inputs, targets = torch.from_numpy(images), torch.from_numpy(labels)
        optimizer = torch.optim.SGD(
            model.parameters(), plan.learning_rate, 0.9, weight_decay=plan.weight_decay
        )
        steps = plan.epochs * -(-len(inputs) // plan.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, plan.learning_rate, total_steps=steps
        )
        held: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule}
        kept = None if folder is None else folder / "training.pt"
        done = _restored(held, kept)
        with SelectivityLoss(model, plan.layers, alpha=alpha) as term, torch.enable_grad():
            for epoch in range(done, plan.epochs):
                # What is drawn in an epoch hangs on nothing drawn before it.
                torch.manual_seed(_mixed(seed, epoch))
                _run_epoch(model.train(), inputs, targets, term, optimizer, schedule, plan)
                if kept is not None:
                    state = {name: own.state_dict() for name, own in held.items()}
                    state["done"] = epoch + 1
                    write_whole(kept, partial(torch.save, state))
    return model.eval()


def _run_epoch(
    model: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    term: SelectivityLoss,
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    plan: Plan,
) -> None:
    device, dtype = device_and_dtype(model)
    for batch in torch.randperm(len(inputs)).split(plan.batch_size):
        own = targets[batch].to(device)
        optimizer.zero_grad()
        logits = first_tensor(model(inputs[batch].to(device, dtype)))
        (cross_entropy(logits, own) + term(own)).backward()
        optimizer.step()
        schedule.step()


def _restored(held: dict[str, Any], path: Path | None) -> int:
    """How many epochs are done; the model and what trains it are as they were after them."""
    if path is None or not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, own in held.items():
        own.load_state_dict(state[name])
    return int(state["done"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """One thread and a seeded generator inside; all as it was afterwards.

    Sums over several threads are added up in another order: with one, runs side by side give what
    runs one after another give.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        try:
            torch.manual_seed(_mixed(seed, -1))
            yield
        finally:
            torch.set_num_threads(threads)


def _mixed(seed: int, epoch: int) -> int:
    state = np.random.SeedSequence([seed, epoch + 1]).generate_state(1, np.uint64)
    return int(state[0] >> 1)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there whole or not at all, whoever is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
