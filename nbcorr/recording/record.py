"""Samples through a model into a labelled recording of every neuron."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from nbcorr.network.batches import Batch, count_samples
from nbcorr.network.layers import Choice, is_explicit, resolve_layers
from nbcorr.network.pooling import Pooling, poolings
from nbcorr.network.wrappers import unwrapped
from nbcorr.recording.arrays import with_columns
from nbcorr.recording.columns import (
    as_column,
    by_sample,
    check_answered,
    check_length,
    check_names,
    table_of,
)
from nbcorr.recording.content import (
    code_hash,
    fingerprint,
    forward_hash,
    hooked_modules,
    provenance,
    same_data,
)
from nbcorr.recording.estimate import check_fits, in_words
from nbcorr.recording.local import Local, Passed
from nbcorr.recording.memory import MemoryWriter
from nbcorr.recording.partial import local_path, partial_folder
from nbcorr.recording.passes import Networks
from nbcorr.recording.rows import Writer

if TYPE_CHECKING:
    from distributed import Client

    from nbcorr.recording.distributed import Cluster
    from nbcorr.recording.store import StoreWriter


class RecordingInterrupted(KeyboardInterrupt):
    """A recording stopped half-way; ``recording`` holds the samples that were finished."""

    def __init__(self, recording: xr.Dataset, expected: int | None, store: Path | None = None):
        self.recording = recording
        of = f" of {expected}" if expected is not None else ""
        where = (
            "what was recorded is the exception's .recording"
            if store is None
            else f"they are safe in {str(store)!r}, and the same call goes on from there"
        )
        super().__init__(f"interrupted after {recording.sizes['sample']}{of} samples; {where}")


def record(
    model: nn.Module,
    data: Any,
    layers: Choice | Collection[Choice] = "auto",
    pool: str | Callable[..., Any] | Sequence[str | Callable[..., Any]] = "mean",
    baseline: Any = None,
    store: str | os.PathLike[str] | None = None,
    *,
    columns: Any = None,
    twins: int = 0,
    batch_size: int = 64,
    dtype: str = "float32",
    client: Client | None = None,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Run samples through a model and keep one number per sample and neuron.

    Parameters
    ----------
    model : torch.nn.Module
        System A. Evaluated in eval mode without gradients; its modes, hooks and weights are
        afterwards what they were. A compiled or ``DataParallel`` model is run as it was before.
    data : array, tensor, labelled images, torch Dataset, DataLoader or iterable of batches
        With labels and ids where it has them: ``(x, y)`` and ``(x, y, id)`` batches, dicts, or
        the labelled images of ``nbcorr.zoo``. What a dict has beside the model's inputs becomes
        columns on the samples.
    layers : str, module class, predicate or sequence of them
        Names, globs, kinds, ``callable(name, module)``, ``"all"`` or ``"auto"`` (the activation
        modules). They are recorded in the order they run; a module that runs several times in one
        forward pass is one layer per call: ``act``, ``act#2`` …
    pool : str, callable or sequence of them
        How a unit's map is brought to one number, computed inside the hook, so that no map is
        kept: ``"mean"``, ``"max"``, ``"quantile(0.9)"``, ``"center"``, ``"token_mean"``,
        ``"cls"``, ``"none"`` (every position is a neuron) or a callable from
        (batch, units, positions) to (batch, units). Several are recorded in one pass, along
        ``pool``. Padding that an ``attention_mask`` tells is left out.
    baseline : callable, torch.nn.Module or one answer per sample, optional
        System B: a callable from a batch of inputs to predictions (or class scores); or its
        predictions as a Series, DataArray or mapping by sample id. An array of predictions, or
        of rows of class scores, is taken where the samples have no ids but their positions.
    store : path, optional
        A Zarr store to record into, for what is larger than memory. After a crash or an interrupt
        the same call goes on where it stopped; once finished, the same call gives it back at once.
        Model, layers, poolings, data and version are compared: another recording is never taken
        for this one.
    columns : DataFrame, mapping, Dataset, name or sequence of names, optional
        Further columns on the samples (group, age, site …): by sample id, or the names of entries
        of dict batches that the model would otherwise be given.
    twins : int
        How many untrained copies of the model are recorded on the same samples, as the control
        of ``nc.correlate``.
    batch_size : int
        For data that does not come in batches.
    dtype : {"float32", "float16"}
        Of the activations as they are kept.
    client : distributed.Client, optional
        Of a Dask cluster, whose workers then run the model: each holds a copy, on its own GPU
        where it has one, runs whole batches and, with a store, writes its own part of it. The
        recording is that of a local run, bit for bit where a worker computes as this process
        does (same processor, same number of threads), else within 1e-5 of a neuron's largest
        activation. The store must lie where all workers see it. A worker that dies is survived.
    seed : int
        Seed of the twins' weights.
    progress : bool
        Whether to show a progress bar, with what the recording will take.

    Returns
    -------
    xarray.Dataset
        ``activation(sample, neuron)`` (``(pool, sample, neuron)`` with several poolings) and, with
        twins, ``activation_twin(twin, sample, neuron)``; ``nonfinite(neuron)``, how many of a
        neuron's activations were NaN or infinite; on ``sample`` the ids and, where known, label,
        prediction, confidence (largest class probability), loss (cross-entropy, nats), margin
        (score of the label's class less the highest other), baseline and relative_performance.
        ``input(sample, feature)`` float32, the control of what the raw inputs tell: pictures
        averaged to at most 16 x 16 places a channel, at most 1,024 features in all, vectors as
        they are; ``attrs["input"]`` says what was done. From a store it is lazy (Dask).

    Raises
    ------
    ValueError
        If a layer does not exist or did not run, inputs are not finite, ids repeat, a baseline or
        column does not fit the samples, the data is empty, or the store holds another recording.
        Where some batches went well before, the exception's ``recording`` has them.
    MemoryError
        If the recording does not fit into memory; said after the first batch.
    RecordingInterrupted
        On Ctrl-C; a KeyboardInterrupt that carries the recording so far.
    """
    model = unwrapped(model)
    names, explicit = resolve_layers(model, layers), frozenset(is_explicit(model, layers))
    networks = Networks(model, names, explicit, poolings(pool), twins, seed, dtype)
    table = table_of(columns)
    run = _Run(networks, data, baseline, table, batch_size, seed, progress, client)
    if store is None:
        return run.into(MemoryWriter(run.expected))
    from nbcorr.recording.store import StoreWriter

    _check_unhooked(model, local_path(store))
    slab = run.source.slab(store, run.expected)
    # Workers fill slab by slab; alone, whole neurons lie in one piece.
    expected = run.expected if client is None else None
    return run.into(StoreWriter(store, run.key(), slab, expected), Path(store))


class _Run:
    """One call of ``record``: what is asked, and how it is brought into a writer."""

    def __init__(
        self,
        networks: Networks,
        data: Any,
        baseline: Any,
        table: dict[str, Any],
        batch_size: int,
        seed: int,
        progress: bool,
        client: Client | None,
    ):
        self.networks, self.data, self.batch_size = networks, data, batch_size
        self.seed, self.progress = seed, progress
        self.answer = baseline if callable(baseline) else None
        check_names(table)
        given = {name: values for name, values in table.items() if values is not None}
        if baseline is not None and self.answer is None:
            given["baseline"] = _as_predictions(baseline)
        self.table = {name: as_column(name, values) for name, values in given.items()}
        self.named = [name for name, values in table.items() if values is None]
        self.seen: set[Any] = set()
        self.left_to_finish: set[str] = set()
        self.expected = count_samples(data)
        self._check_lengths()
        self.source = self._source(client)

    @cached_property
    def weights(self) -> str:
        """The fingerprint of the model."""
        return fingerprint(self.networks.model)

    def key(self) -> dict[str, Any]:
        """What a recording is recognised by; its data are compared batch by batch."""
        from nbcorr import __version__

        model = self.networks.model
        return {
            "weights": self.weights,
            "forward": forward_hash(model),
            "layers": self.networks.reader.names,
            "pool": [_pool_key(pool) for pool in self.networks.reader.pools],
            "twins": [len(self.networks.all) - 1, self.seed],
            "dtype": self.networks.dtype,
            "batch_size": self.batch_size,
            "columns": self.named,
            "baseline": [fingerprint(self.answer), forward_hash(self.answer)]
            if isinstance(self.answer, nn.Module)
            else None,
            "hooks": hooked_modules(model),
            "nbcorr_version": __version__,
        }

    def into(self, writer: Writer, store: Path | None = None) -> xr.Dataset:
        """Record into a writer what it does not have yet, and label it."""
        with writer:
            if store is not None and writer.finished:
                return self._again(writer, store)
            try:
                answers = self._batches(writer, store)
                recording = self._finish(writer, answers)
            except KeyboardInterrupt:
                if writer.count == 0:
                    raise
                raise RecordingInterrupted(self._partial(writer), self.expected, store) from None
            except Exception as error:
                if writer.count:
                    error.recording = self._partial(writer)  # type: ignore[attr-defined]
                    error.add_note(
                        f"the {writer.count} samples before it are in the exception's .recording"
                    )
                raise
        _say_nonfinite(recording)
        return recording

    def _finish(self, writer: Writer, answers: dict[str, np.ndarray]) -> xr.Dataset:
        if writer.count == 0:
            raise ValueError("the data is empty: no samples were found, expected at least one")
        for name, column in self.table.items():
            if isinstance(column, np.ndarray):
                check_length(name, column, writer.count)
        columns = self._aligned(writer.columns()) | answers
        return writer.finish(columns, self._provenance(writer))

    def _again(self, writer: Writer, store: Path) -> xr.Dataset:
        """The finished recording of a store, if it is of these data."""
        asked_anew = self.answer is not None and not isinstance(self.answer, nn.Module)
        same = (
            None
            if asked_anew
            else same_data(writer.digests, self.data, self.batch_size, self._sorted_out)
        )
        if same is False:
            raise ValueError(_other_data(store))
        answers = self._batches(writer, store) if same is None else {}
        from nbcorr.recording.opening import open_recording

        recording = open_recording(store)
        return with_columns(recording, self._aligned(writer.columns()) | answers)

    def _batches(self, writer: Writer, store: Path | None) -> dict[str, np.ndarray]:
        """Every batch; a baseline that is asked while they pass is given back."""
        answers: list[np.ndarray] = []
        digests = list(writer.digests)
        first = at = 0
        with tqdm(
            total=self.expected, unit="sample", disable=not self.progress, leave=False
        ) as bar:

            def announce() -> None:
                self._announce(writer, store, bar)

            known = None if writer.finished else writer.count
            with closing(self.source.passed(known, store is not None, announce)) as source:
                for passed in source:
                    stop = at + len(passed.digests)
                    if passed.rows is not None:
                        self._keep(writer, passed)
                    elif list(passed.digests) != digests[at:stop]:
                        raise ValueError(_other_data(store, at))
                    answers += [] if passed.answer is None else [passed.answer]
                    first, at = first + passed.size, stop
                    bar.update(passed.size)
        if first < writer.count:
            raise ValueError(_other_data(store))
        return {"baseline": np.concatenate(answers)} if answers else {}

    def _announce(self, writer: Writer, store: Path | None, bar: tqdm) -> None:
        """Say what the recording will take, or that it cannot be made."""
        layout = self.networks.layout
        if writer.layout is None:
            self.networks.reader.check_ran()
            check_fits(layout, self.expected, store)
        bar.set_description(in_words(layout, self.expected, store is not None))

    def _keep(self, writer: Writer, passed: Passed) -> None:
        assert passed.rows is not None
        rows = passed.rows
        self._check_samples(writer, rows.columns["sample"])
        if "baseline" in self.left_to_finish:
            columns = {name: v for name, v in rows.columns.items() if name != "baseline"}
            rows = dataclasses.replace(rows, columns=columns)
        layout = self.networks.layout
        if passed.in_place:
            cast("StoreWriter", writer).adopt(layout, rows, passed.size, passed.digests)
        else:
            writer.append(layout, rows, passed.digests)

    def _check_samples(self, writer: Writer, ids: np.ndarray) -> None:
        """That ids are new and the columns know them, before what they gave is kept."""
        if writer.count and not self.seen:
            before = writer.columns()
            self.seen.update(before["sample"].tolist())
            # A baseline that the batches before were not asked for, but are now.
            self.left_to_finish = {"baseline"} - before.keys()
        for sample in ids.tolist():
            if sample in self.seen:
                raise ValueError(f"sample id {sample!r} repeats; expected every sample id once")
            self.seen.add(sample)
        for name, column in self.table.items():
            values = by_sample(name, column, ids, writer.count)
            if name == "baseline":
                check_answered(values, ids)

    def _source(self, client: Client | None) -> Local | Cluster:
        """Who runs the batches."""
        asked = self.networks, self.data, self.batch_size, self.answer, self.named
        if client is None:
            return Local(*asked)
        from nbcorr.recording.distributed import Cluster

        return Cluster(client, *asked)

    def _sorted_out(self, batch: Batch) -> Batch:
        return batch.sorted_out(self.networks.model, self.named)

    def _aligned(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        ids = columns["sample"]
        return {name: by_sample(name, values, ids) for name, values in self.table.items()}

    def _partial(self, writer: Writer) -> xr.Dataset:
        """What was recorded before an end that came too early."""
        attrs = self._provenance(writer) | {"interrupted": 1}
        return with_columns(writer.partial(attrs), self._aligned(writer.columns()))

    def _check_lengths(self) -> None:
        if self.expected is None:
            return
        for name, column in self.table.items():
            if isinstance(column, np.ndarray):
                check_length(name, column, self.expected)

    def _provenance(self, writer: Writer) -> dict[str, Any]:
        assert writer.layout is not None
        networks, how = self.networks, self.networks.inputs.how
        if networks.inputs.features and not writer.layout.features:
            how = "not kept: inputs of different shapes"
        said = provenance(networks.model, self.weights, writer.layout, how, networks.reader)
        return said | {"seed": self.seed}


def _as_predictions(baseline: Any) -> Any:
    """Answers as they were given, an array of rows of class scores as predictions."""
    if isinstance(baseline, pd.Series | xr.DataArray | Mapping):
        return baseline
    array = np.asarray(baseline)
    if array.ndim != 2:
        return array
    check_answered(array, np.arange(len(array)))
    return array.argmax(1)


def _hashes(model: nn.Module) -> list[str]:
    return [fingerprint(model), forward_hash(model)]


def _pool_key(pool: Pooling) -> str:
    """A name, and of a function of the user's own what it does: names alone do not tell."""
    return pool.name if pool.function is None else f"{pool.name} {code_hash(pool.function)}"


def _other_data(store: Path | None, batch: int | None = None) -> str:
    which = "the data are not" if batch is None else f"batch {batch} of the data is not"
    return (
        f"{which} what is in the store {str(store)!r}; expected the same samples in the same order "
        "(no shuffling), or another store"
    )


def _check_unhooked(model: nn.Module, store: Path) -> None:
    hooked = hooked_modules(model)
    if hooked and (store.exists() or partial_folder(store).exists()):
        raise ValueError(
            f"{hooked[0]} has hooks, which may change what the model gives, and so it cannot be "
            f"told whether {str(store)!r} is of it; expected a model without hooks, or a new store"
        )


def _say_nonfinite(recording: xr.Dataset) -> None:
    counts = recording["nonfinite"].values
    if counts.any():
        warnings.warn(
            f"{int((counts > 0).sum())} of {counts.size} neurons gave NaN or infinite values on "
            "some samples; recording['nonfinite'] counts them",
            stacklevel=3,
        )
