"""What a worker of a cluster does for a recording: its copy of the networks, and one task."""

from __future__ import annotations

import copy
import dataclasses
import io
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from nbcorr.network.batches import Batch, batches
from nbcorr.network.hooks import device_and_dtype
from nbcorr.recording.answers import baseline_answers
from nbcorr.recording.inputs import InputPlan
from nbcorr.recording.memory import joined
from nbcorr.recording.partial import partial_folder
from nbcorr.recording.passes import Networks
from nbcorr.recording.rows import Layout, Rows
from nbcorr.recording.store import write_samples

# A batch itself, or the places of its samples in the dataset that the worker has.
Item = Batch | range


@dataclasses.dataclass(frozen=True)
class Part:
    """One task: some batches, one after the other in the data.

    Attributes
    ----------
    first : int
        Position of their first sample.
    items : sequence of Batch or range
    new : bool
        Whether they are to be run; others were recorded before and are only looked at.
    on_disk : bool
        Whether their digests are wanted.
    store : Path or None
        Where the worker puts the numbers itself, then a whole slab; None to send them back.
    """

    first: int
    items: Sequence[Item]
    new: bool
    on_disk: bool
    store: Path | None = None

    def __len__(self) -> int:
        return sum(map(len, self.items))


@dataclasses.dataclass(frozen=True)
class Given:
    """What a task gave: see `local.Passed`; ``inputs`` where the plan for them has changed."""

    digests: list[str]
    rows: Rows | None
    answer: np.ndarray | None
    inputs: InputPlan | None = None


class Replica:
    """A worker's copy of the networks, the baseline and the data's loader.

    Sent as bytes, and unpacked once in every process that runs a task: on the worker's own device.
    """

    def __init__(self, networks: bytes, loader: bytes):
        self._bytes = networks, loader
        # Hooks on a model are seen by all threads, so one of them runs it at a time.
        self.lock = threading.Lock()
        self._contents: tuple[Any, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Replica, self._bytes

    def contents(self) -> tuple[Networks, Callable[..., Any] | None, Sequence[str], Any]:
        """The networks, the baseline, the names of columns in the data, and the loader."""
        with self.lock:
            if self._contents is None:
                self._contents = _unpacked(*self._bytes)
            return self._contents


def packed(
    networks: Networks,
    answer: Callable[..., Any] | None,
    named: Sequence[str],
    loader: DataLoader | None,
) -> tuple[bytes, bytes]:
    """The arguments of a `Replica`.

    Raises
    ------
    TypeError
        If something of it cannot be sent to another process.
    """
    file = io.BytesIO()
    try:
        # As torch saves: what lies on a device of this machine is brought to one of the worker's.
        torch.save((networks, answer, named), file, pickle_module=cloudpickle)
    except Exception as error:
        raise TypeError(
            f"{type(networks.model).__name__} or the baseline cannot be sent to the workers "
            f"({error}); expected what pickle or cloudpickle can take, or no client"
        ) from error
    how = None if loader is None else (loader.dataset, loader.collate_fn)
    try:
        return file.getvalue(), cloudpickle.dumps(how)
    except Exception as error:
        raise TypeError(
            f"the dataset cannot be sent to the workers ({error}); expected one that pickle or "
            "cloudpickle can take, or an iterable of batches, which this process then reads"
        ) from error


def _unpacked(networks: bytes, loader: bytes) -> tuple[Any, ...]:
    file = io.BytesIO(networks)
    try:
        # The file is our own: it holds the classes of the model, not weights alone.
        unpacked = torch.load(file, map_location=own_device(), weights_only=False)
        return (*unpacked, cloudpickle.loads(loader))
    except ModuleNotFoundError as error:
        error.add_note(
            "the workers lack a module that the model, the baseline or the dataset is defined in; "
            f"client.upload_file('{error.name}.py') gives them one of your own"
        )
        raise


def run_part(replica: Replica, part: Part, layout: Layout) -> Given:
    """One task; the networks are those of the worker that runs it."""
    if part.store is not None:
        _check_seen(part.store)
    networks, answer, named, how = replica.contents()
    task = _Task(networks, answer, part, layout)
    for item in part.items:
        batch = read(how, item).sorted_out(networks.model, named)
        with replica.lock:
            task.add(batch)
    return task.given()


def read(how: tuple[Any, Any] | None, item: Item) -> Batch:
    """A batch that was sent, or that is read from its places in a dataset."""
    if isinstance(item, Batch):
        return item
    assert how is not None
    dataset, collate = how
    loader = DataLoader(Subset(dataset, item), batch_size=len(item), collate_fn=collate)
    return next(batches(loader))


def sendable(item: Item) -> Item:
    """A batch with memory of its own: what is pickled of a tensor's part is the whole tensor."""
    if isinstance(item, range):
        return item

    def own(value: Any) -> Any:
        return value.detach().cpu().clone() if isinstance(value, torch.Tensor) else value

    inputs = item.inputs
    if isinstance(inputs, Mapping):
        return dataclasses.replace(item, inputs={name: own(v) for name, v in inputs.items()})
    return dataclasses.replace(item, inputs=own(inputs))


class _Task:
    """Batches that pass one after the other, and what they gave together."""

    def __init__(
        self, networks: Networks, answer: Callable[..., Any] | None, part: Part, layout: Layout
    ):
        # What becomes of the inputs is decided anew in every task, whatever a worker has seen.
        self._networks = copy.copy(networks)
        self._networks.inputs = copy.copy(networks.inputs)
        self._how = networks.inputs.how
        self._answer, self._part, self._layout = answer, part, layout
        shape = layout.n_planes, len(part), layout.n_neurons
        self._activation = np.empty(shape if part.new else 0, layout.dtype)
        self._features: list[np.ndarray] = []
        self._columns: list[dict[str, np.ndarray]] = []
        self._answers: list[np.ndarray] = []
        self._nonfinite: Any = None
        self._digests: list[str] = []
        self._done = 0

    def add(self, batch: Batch) -> None:
        self._digests.append(batch.digest() if self._part.on_disk else "")
        if self._part.new:
            self._run(batch)
        elif self._answer is not None:
            own = batch.to(*device_and_dtype(self._networks.model))
            self._answers.append(baseline_answers(self._answer, own))
        self._done += len(batch)

    def given(self) -> Given:
        answer = np.concatenate(self._answers) if self._answers else None
        if not self._part.new:
            return Given(self._digests, None, answer)
        activation, features = self._activation, None
        if self._networks.inputs.features:
            features = np.concatenate(self._features)
        if self._part.store is not None:
            _write(self._part, self._layout, activation, features)
            activation, features = activation[..., :0].copy(), None
        columns = joined(self._columns, self._done)
        rows = Rows(activation, columns, features, self._nonfinite)
        changed = self._networks.inputs.how != self._how
        return Given(self._digests, rows, answer, self._networks.inputs if changed else None)

    def _run(self, batch: Batch) -> None:
        rows = self._networks.rows(batch, self._answer, self._part.first + self._done)
        self._activation[:, self._done : self._done + len(batch)] = rows.activation
        if rows.features is not None:
            self._features.append(rows.features)
        if rows.nonfinite is not None:
            before = 0 if self._nonfinite is None else self._nonfinite
            self._nonfinite = before + rows.nonfinite
        self._columns.append(rows.columns)
        if self._answer is not None:
            self._answers.append(rows.columns["baseline"])


def _write(part: Part, layout: Layout, activation: np.ndarray, features: np.ndarray | None) -> None:
    """Put a slab into its store, each file at once: a task may run twice, even at the same time."""
    assert part.store is not None
    folder = partial_folder(part.store) / "store"
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".task-", dir=folder) as name:
            staged = Path(name) / "part.zarr"
            write_samples(staged, layout, part.first, activation, features, len(part))
            source = partial_folder(staged) / "store"
            for file in [path for path in source.rglob("*") if path.is_file()]:
                place = folder / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, place)
    except OSError as error:
        raise OSError(
            error.errno,
            f"a worker cannot write to the store {part.store}: {error.strerror or error}; what "
            "was recorded before is safe. Expected a folder with room that all workers may write "
            "to: with that, the same call goes on where this one stopped",
        ) from error


def _check_seen(store: Path) -> None:
    if not partial_folder(store).is_dir():
        raise FileNotFoundError(
            f"a worker does not see the store {store}; expected a folder that this process and "
            "all workers share, or no store"
        )


def own_device() -> torch.device:
    """The GPU of this worker, or the CPU.

    Where CUDA_VISIBLE_DEVICES is set, as dask-cuda does, the first that is visible; otherwise
    workers that are numbered take one each.
    """
    from distributed import get_worker

    if not torch.cuda.is_available():
        return torch.device("cpu")
    number = get_worker().name
    if "CUDA_VISIBLE_DEVICES" in os.environ or not isinstance(number, int):
        return torch.device("cuda:0")
    return torch.device(f"cuda:{number % torch.cuda.device_count()}")
