"""The batches of a recording, run by the workers of a Dask cluster."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data import Dataset as TorchDataset

from nbcorr.network.batches import Batch, batches
from nbcorr.recording.group import SLAB
from nbcorr.recording.local import Passed
from nbcorr.recording.partial import Partial, local_path, partial_folder
from nbcorr.recording.passes import Networks
from nbcorr.recording.worker import Given, Item, Part, Replica, packed, read, run_part, sendable

if TYPE_CHECKING:
    from distributed import Client, Future

# What the samples of one task take on a worker, and on their way to it, in bytes.
_TASK_BYTES = 1 << 28
# Tasks of one worker at a time: while one runs the next is on its way.
_TASKS_PER_WORKER = 2
# Tasks per worker of a whole recording, so that all are busy until it ends.
_SHARES = 4


class Cluster:
    """Runs batches on a cluster; the same methods as `local.Local`.

    The first batch is run in this process too: it tells the layout, and gives the twins their
    statistics, so that all workers begin with the same.

    Parameters
    ----------
    client : distributed.Client
    networks, data, batch_size, answer, named
        As for `local.Local`.

    Raises
    ------
    ImportError
        If dask.distributed is not installed.
    TypeError
        If the client is none, or an asynchronous one.
    ValueError
        If it is closed.
    """

    def __init__(
        self,
        client: Client,
        networks: Networks,
        data: Any,
        batch_size: int,
        answer: Callable[..., Any] | None,
        named: Sequence[str],
    ):
        _check_client(client)
        self._client, self._networks = client, networks
        self._answer, self._named = answer, named
        self._loader = _indexed(data, batch_size)
        self._items: Iterator[Item] = (
            batches(data, batch_size) if self._loader is None else _places(self._loader)
        )
        self._first: Batch | None = None
        self._length, self._store = SLAB, Path()
        # A store that a local run began in wider pieces than slabs is filled by its writer alone.
        self._in_place = True

    def slab(self, store: str | os.PathLike[str], expected: int | None) -> int:
        """Samples per chunk of a store: whole batches, which a worker holds at a time."""
        self._store = local_path(store)
        if not self._store.exists():
            begun = Partial(partial_folder(self._store))
            self._in_place = begun.width == begun.slab
            self._length = begun.slab or self._new_slab(expected)
        return self._length

    def passed(
        self, known: int | None, on_disk: bool, announce: Callable[[], None]
    ) -> Generator[Passed, None, None]:
        """Every batch, in order, those of one task together; see `local.Local.passed`."""
        if known is not None and self._start() is not None:
            announce()
        parts = self._parts(known, on_disk)
        replica = self._submit(
            Replica, *packed(self._networks, self._answer, self._named, self._loader)
        )
        waiting: deque[tuple[Part, Future]] = deque()
        try:
            while True:
                room = _TASKS_PER_WORKER * self._workers() - len(waiting)
                for part in itertools.islice(parts, max(0, room)):
                    task = self._submit(run_part, replica, part, self._networks.layout)
                    waiting.append((part, task))
                if not waiting:
                    return
                part, given = waiting[0][0], _result(*waiting[0])
                waiting.popleft()
                yield self._passed(part, given)
        finally:
            # After an error or an interrupt; a client that was closed has cancelled them.
            if self._client.status == "running":
                self._client.cancel([replica, *(task for _, task in waiting)])

    def _start(self) -> Batch | None:
        """The first batch, which is run here once."""
        item = None if self._first is not None else next(self._items, None)
        if item is not None:
            self._items = itertools.chain([item], self._items)
            how = None if self._loader is None else (self._loader.dataset, self._loader.collate_fn)
            batch = read(how, item).sorted_out(self._networks.model, self._named)
            self._networks.start(batch)
            self._networks.rows(batch, None, 0)
            self._first = batch
        return self._first

    def _new_slab(self, expected: int | None) -> int:
        first = self._start()
        if first is None:
            return SLAB
        needed = self._networks.layout.bytes_per_sample
        if self._loader is None:
            needed += _input_bytes(first) // len(first)
        most = min(SLAB, _TASK_BYTES // max(1, needed))
        if expected is not None:
            most = min(most, expected // (_SHARES * self._workers()))
        return len(first) * max(1, most // len(first))

    def _parts(self, known: int | None, on_disk: bool) -> Iterator[Part]:
        """The tasks: one batch each, or the batches that fill one slab of the store exactly.

        The rest at the end comes back as batches too, so that a store can be gone on with.
        """
        held: list[Item] = []
        start = stop = 0
        for item in self._items:
            held.append(sendable(item))
            stop += len(item)
            new = known is not None and start >= known
            slab = self._length if on_disk and self._in_place and start % self._length == 0 else 0
            slab = slab if new else 0
            if stop - start < slab:
                continue
            if stop - start == slab:
                yield Part(start, held, True, True, self._store)
            else:
                yield from _one_by_one(start, held, new, on_disk)
            start, held = stop, []
        yield from _one_by_one(start, held, True, on_disk)

    def _passed(self, part: Part, given: Given) -> Passed:
        rows, inputs = given.rows, self._networks.inputs
        if given.inputs is not None and inputs.features:
            self._networks.inputs = inputs = given.inputs
        if rows is not None and not inputs.features:
            rows = dataclasses.replace(rows, features=None)
        return Passed(len(part), given.digests, rows, given.answer, part.store is not None)

    def _workers(self) -> int:
        # A cluster that grows by demand may have none yet.
        return max(1, len(self._client.nthreads()))

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        import dask

        # What a task needs goes with it, and not ahead to a worker that may die with it. Dask
        # warns of that above 10 MB.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
            return self._client.submit(function, *arguments, pure=False)


def _one_by_one(start: int, items: list[Item], new: bool, on_disk: bool) -> Iterator[Part]:
    for item in items:
        yield Part(start, [item], new, on_disk)
        start += len(item)


def _result(part: Part, task: Future) -> Given:
    """What a task gave; its own error, or one that says what became of the worker."""
    from distributed import KilledWorker

    where = f"samples {part.first} to {part.first + len(part) - 1}"
    try:
        return task.result()
    except KilledWorker as error:
        raise RuntimeError(
            f"{error.allowed_failures + 1} workers died over {where}, most likely of too little "
            "memory; expected workers with more of it, or a smaller batch_size"
        ) from error
    except CancelledError as error:
        raise RuntimeError(
            f"the cluster gave up {where} ({error}); expected a scheduler and a client that stay "
            "until the recording is finished"
        ) from error


def _check_client(client: Any) -> None:
    try:
        from distributed import Client
    except ImportError:
        raise ImportError(
            "client= needs dask.distributed; expected pip install 'nbcorr[distributed]'"
        ) from None
    if not isinstance(client, Client) or client.asynchronous:
        found = "an asynchronous one" if isinstance(client, Client) else type(client).__name__
        raise TypeError(
            f"client is {found}; expected a dask.distributed.Client, as Client(cluster) gives"
        )
    if client.status != "running":
        raise ValueError(f"client is {client.status}; expected one that runs")


def _indexed(data: Any, batch_size: int) -> DataLoader | None:
    """A loader whose batches any process can read by their places; None for other data."""
    if isinstance(data, TorchDataset) and hasattr(data, "__len__") and batch_size > 0:
        data = DataLoader(data, batch_size=batch_size)
    if not isinstance(data, DataLoader) or type(data).__iter__ is not DataLoader.__iter__:
        return None
    in_order = type(data.sampler) is SequentialSampler and data.batch_size is not None
    return data if in_order and hasattr(data.dataset, "__len__") else None


def _places(loader: DataLoader) -> Iterator[range]:
    total, size = len(loader.dataset), loader.batch_size  # type: ignore[arg-type]
    assert size is not None
    whole = total - total % size
    yield from (range(at, at + size) for at in range(0, whole, size))
    if whole < total and not loader.drop_last:
        yield range(whole, total)


def _input_bytes(batch: Batch) -> int:
    inputs = batch.inputs.values() if isinstance(batch.inputs, dict) else [batch.inputs]
    return sum(value.nbytes for value in inputs if isinstance(value, torch.Tensor))
