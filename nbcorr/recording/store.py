"""A recording that grows on disk, batch by batch, and outlives the process that makes it.

While it grows it lies in ``<name>.zarr.partial``: a journal of the batches, the numbers that do
not fill a chunk yet (``raw``), and the Zarr group to be (``store``). What is in the journal is
recorded; all else can be done again. The last step of all renames the group.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.recording.group import CHUNK_VALUES, SLAB, read_facts, read_group, write_group
from nbcorr.recording.partial import Partial, layout_of, local_path, partial_folder
from nbcorr.recording.rows import Layout, Rows
from nbcorr.recording.slabs import Slabs

# What a partial recording's folder holds.
_OWN_FILES = {"lock", "journal", "raw", "store"}


class StoreWriter:
    """A recording on disk, to be made or gone on with; a context manager that holds its lock.

    Parameters
    ----------
    path : path
        Of the Zarr store, ending in ``.zarr``.
    key : dict
        What makes the recording this one and no other (weights, layers, data …), for JSON.
    slab : int
        Samples that move into chunks at a time; of a store gone on with, what it has.
    expected : int, optional
        How many samples there will be, for a store that no workers write to: each neuron's then
        lie in one piece, which is read twice as fast. It may turn out wrong.

    Attributes
    ----------
    finished : bool
        Whether the store holds the whole recording of this very key.
    count : int
        Samples on disk, whole batches.
    layout : Layout or None
        Of what is on disk.
    digests : list of str
        One per batch on disk, as `append` and `adopt` were given them.

    Raises
    ------
    ValueError
        If the path is no local ``.zarr``, or what is there is no recording, a damaged one, or one
        of another key.
    RuntimeError
        On entering, if another process writes to the store.
    OSError
        On entering, if the folder cannot be written to.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        key: dict[str, Any],
        slab: int = SLAB,
        expected: int | None = None,
    ) -> None:
        self.path = local_path(path)
        if self.path.suffix != ".zarr":
            raise ValueError(f"the store is {self.path}; expected a path ending in .zarr")
        self.finished = False
        self.layout: Layout | None = None
        self.digests: list[str] = []
        self.count = 0
        self._key = json.loads(json.dumps(key))
        self._slab, self._width = slab, max(slab, min(expected or 0, CHUNK_VALUES))
        self._folder = partial_folder(self.path)
        self._lock: Any = None

    def __enter__(self) -> StoreWriter:
        if self._is_finished():
            self._sweep()
            return self
        with self._explained():
            _check_own(self._folder)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        try:
            # Another process may have finished it before the lock was ours.
            if not self._is_finished():
                self._go_on()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            if self.finished or not self.count:
                _clear(self._folder)
            self._release()

    def append(self, layout: Layout, rows: Rows, digests: Sequence[str] = ()) -> None:
        """Add a batch, or several; when this returns they outlive a killed process. All or nothing.

        Raises
        ------
        ValueError
            If the batch is of another layout, or has other columns, than those before it.
        OSError
            If the disk is full; what was recorded before is still there.
        """
        size = len(rows)
        if self.layout is not None and not self.layout.features:
            # Dropped for good, before this process was asked to go on.
            layout = dataclasses.replace(layout, features=())
            rows = dataclasses.replace(rows, features=None)
        _check_rows(layout, rows)
        with self._explained():
            self._begin(layout, rows, size)
            self._move_full_slabs()
            slabs = self._partial.slabs
            slabs.put(self.count, rows.activation)
            if rows.features is not None:
                slabs.put_features(self.count, rows.features)
            self._commit(rows, size, digests, self._partial.chunked)

    def adopt(self, layout: Layout, rows: Rows, size: int, digests: Sequence[str] = ()) -> None:
        """Add samples whose numbers `write_samples` has put in place; in order, like batches.

        Parameters
        ----------
        layout : Layout
        rows : Rows
            Its columns and counts are kept; its activation and features are not looked at.
        size : int
            Samples: whole slabs, but for the recording's last.
        digests : sequence of str
            One per batch.

        Raises
        ------
        ValueError
            If they do not begin where a slab does, or slabs have no files of their own.
        """
        with self._explained():
            self._begin(layout, rows, size)
            self._move_full_slabs()
            slab = self._partial.slab
            if self._partial.width != slab:
                raise ValueError(
                    f"{self._folder} was begun by one process, with chunks of "
                    f"{self._partial.width} samples; expected chunks of {slab}, which workers can "
                    "write to"
                )
            if self._partial.chunked != self.count or self.count % slab:
                raise ValueError(
                    f"the samples start at {self.count}; expected a multiple of {slab}"
                )
            self._commit(rows, size, digests, self.count + size)

    def columns(self) -> dict[str, np.ndarray]:
        """The per-sample columns of all samples on disk."""
        if self.finished:
            coords = read_group(self.path).coords.items()
            return {str(n): c.values for n, c in coords if c.dims == ("sample",)}
        return self._partial.columns()

    def describe(self, attrs: dict[str, Any]) -> None:
        """What the recording says of itself, should it be opened before it is finished."""
        with self._explained():
            self._partial.describe(attrs)

    def partial(self, attrs: dict[str, Any]) -> xr.Dataset:
        """What there is so far, opened lazily; it can be gone on with later.

        Raises
        ------
        ValueError
            If there is no batch.
        """
        self.describe(attrs)
        return read_partial(self.path)

    def finish(self, columns: dict[str, np.ndarray], attrs: dict[str, Any]) -> xr.Dataset:
        """Make the store complete and open it lazily; nothing can be added to it any more.

        Parameters
        ----------
        columns : dict of str to array, each of length n_samples
            Added to those of the batches, or in their place.
        attrs : dict
            What the recording says of itself.
        """
        if not self.finished:
            with self._explained():
                self._finish(columns, attrs)
            self.finished = True
        return read_group(self.path)

    def _finish(self, columns: dict[str, np.ndarray], attrs: dict[str, Any]) -> None:
        dataset = self._partial.dataset(columns, attrs)
        slabs, count = self._partial.slabs, self.count
        self._move_full_slabs()
        if self._partial.chunked < count:
            slabs.move(count // self._partial.slab, self._partial.sizes)
        slabs.close_features(count)
        chunk = slabs.chunk(count)
        in_place = {name: (*(1 for _ in lead), *chunk) for name, lead in slabs.leads.items()}
        if slabs.layout.features:
            in_place["input"] = (min(slabs.length, count), len(slabs.layout.features))
        _remove_all_but(slabs.store, in_place)
        facts = {"layout": dataclasses.asdict(slabs.layout), "digests": self.digests}
        write_group(slabs.store, dataset, {"key": self._key, "count": count, **facts}, in_place)
        slabs.store.rename(self.path)

    def _is_finished(self) -> bool:
        if self.path.exists():
            facts = read_facts(self.path)
            _check_key(self.path, facts.get("key"), self._key)
            self.layout = layout_of(facts["layout"])
            self.digests, self.count = facts["digests"], facts["count"]
            self.finished = True
        return self.finished

    def _go_on(self) -> None:
        self._partial = Partial(self._folder)
        if self._partial.key is None and (self._folder / "raw").exists():
            raise ValueError(
                f"the journal in {self._folder} is damaged: what is there cannot be gone on with; "
                "expected another path, or that you delete that folder first"
            )
        if self._partial.key is not None:
            _check_key(self._folder, self._partial.key, self._key)
            self._note()
            for slab in range(self._partial.chunked // self._partial.slab):
                self._partial.slabs.drop(slab)

    def _begin(self, layout: Layout, rows: Rows, size: int) -> None:
        """See that the batch fits what is there, before anything of it is written."""
        if self._partial.layout is None:
            self._partial.begin(self._key, self._slab, self._width, layout)
        known = self._partial.layout
        if known is not None and layout != known:
            if layout != dataclasses.replace(known, features=()):
                raise ValueError(_difference(known, layout))
            # The inputs have changed their shape on the way.
            self._partial.change_layout(layout)
        self._partial.check_columns(size, rows.columns)

    def _commit(self, rows: Rows, size: int, digests: Sequence[str], chunked: int) -> None:
        self._partial.add_batch(size, rows, digests, chunked)
        self._note()

    def _note(self) -> None:
        now = self._partial
        self.layout, self.digests, self.count = now.layout, now.digests, now.count

    def _move_full_slabs(self) -> None:
        now = self._partial
        while now.chunked + now.slab <= now.count:
            slab = now.chunked // now.slab
            now.slabs.move(slab, now.sizes)
            now.add_slab()
            now.slabs.drop(slab)

    def _take_lock(self) -> None:
        import filelock

        lock = filelock.FileLock(self._folder / "lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RuntimeError(
                f"another process records into {self.path}; expected to be the only one: wait "
                "until it ends, or name another store"
            ) from None
        self._lock = lock

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            if [path.name for path in self._folder.iterdir()] == ["lock"]:
                # While it is held: who holds a lock that was taken away could not be seen.
                (self._folder / "lock").unlink()
                self._folder.rmdir()
        self._lock.release()
        self._lock = None

    def _sweep(self) -> None:
        """What a process left that was killed between the last two steps."""
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            if self._folder.is_dir():
                _check_own(self._folder)
                self._take_lock()
                self.__exit__()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What the disk refuses, said with the store's name and what is safe."""
        try:
            yield
        except OSError as error:
            kept = f"its {self.count} samples so far are safe" if self.count else "it is empty"
            raise OSError(
                error.errno,
                f"the store {self.path} cannot be written: {error.strerror or error}; {kept}. "
                "Expected a folder with room that may be written to: with that, the same call "
                "goes on where this one stopped",
            ) from error


def write_samples(
    path: str | os.PathLike[str],
    layout: Layout,
    start: int,
    activation: np.ndarray,
    features: np.ndarray | None = None,
    slab: int = SLAB,
) -> None:
    """Put samples of whole slabs into a store that another process holds, which then adopts them.

    Safe from many processes at once, each with its own slabs, and as often as is wanted.

    Parameters
    ----------
    path : path
        Of the Zarr store.
    layout : Layout
    start : int
        The first sample, a multiple of `slab`.
    activation : array, shape (n_planes, samples, n_neurons)
        Of whole slabs, but for the recording's last.
    features : array, shape (samples, n_features), optional
    slab : int
        As the store's writer was given it.

    Raises
    ------
    ValueError
        If the start is no multiple of `slab`.
    """
    folder = partial_folder(local_path(path))
    Slabs(folder, layout, slab, slab).write(start, activation, features)


def read_partial(path: Path) -> xr.Dataset:
    """The recording at `path` as far as it came, lazily, with ``attrs["interrupted"]`` 1.

    Raises
    ------
    ValueError
        If there is no batch.
    """
    partial = Partial(partial_folder(path))
    return partial.dataset({}, {**partial.attrs, "interrupted": 1})


def _check_rows(layout: Layout, rows: Rows) -> None:
    found = rows.activation.dtype, rows.activation.shape
    shape = (layout.n_planes, len(rows), layout.n_neurons)
    if found != (np.dtype(layout.dtype), shape):
        raise ValueError(
            f"the activations are {found[0]} of shape {found[1]}; expected {layout.dtype} of "
            f"shape {shape}"
        )
    features = None if rows.features is None else rows.features.shape
    expected = (len(rows), len(layout.features)) if layout.features else None
    if features != expected:
        raise ValueError(f"the input features have shape {features}; expected {expected}")


def _check_own(folder: Path) -> None:
    """Refuse to write among files that are not ours."""
    if folder.is_dir():
        foreign = sorted({path.name for path in folder.iterdir()} - _OWN_FILES)
        if foreign:
            raise ValueError(
                f"{folder} holds {foreign[0]!r}, which nbcorr did not write; expected another "
                "path, or a folder of nbcorr alone"
            )


def _check_key(folder: Path, found: dict[str, Any] | None, asked: dict[str, Any]) -> None:
    if found is None:
        raise ValueError(
            f"{folder} was saved by nc.save_recording; expected a store of nc.record, or a new path"
        )
    other = [name for name in {**found, **asked} if found.get(name) != asked.get(name)]
    if other:
        parts = "; ".join(f"{n}: {_short(found.get(n))}, not {_short(asked.get(n))}" for n in other)
        raise ValueError(
            f"{folder} holds another recording ({parts}); expected the same, another path, or "
            "that you delete that folder first"
        )


def _difference(known: Layout, layout: Layout) -> str:
    name = next(
        field.name
        for field in dataclasses.fields(Layout)
        if getattr(known, field.name) != getattr(layout, field.name)
    )
    return (
        f"a batch has the {name} {_short(getattr(layout, name))}; expected "
        f"{_short(getattr(known, name))}, as the batches before"
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]} … {text[-15:]}"


def _remove_all_but(store: Path, in_place: Collection[str]) -> None:
    """Leave only the chunks that are in place: a try to finish that was cut short wrote more."""
    kept = {store / name / "c" for name in in_place}
    for path in [*store.glob("*/*"), *store.glob("*")]:
        if path.is_file():
            path.unlink()
        elif path.exists() and path not in kept and path not in {own.parent for own in kept}:
            shutil.rmtree(path)


def _clear(folder: Path) -> None:
    """Take away all that is ours but the lock."""
    for name in ("store", "raw"):
        shutil.rmtree(folder / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        (folder / "journal").unlink()
