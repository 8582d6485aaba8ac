"""Samples through a model into a labelled recording of every neuron."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from nbcorr.network.batches import Batch, batches, count_samples
from nbcorr.network.hooks import Callback, captured, device_and_dtype, inference
from nbcorr.network.layers import call_label, is_explicit, resolve_layers
from nbcorr.network.pooling import check_pool, governor, pool_units, unit_axis
from nbcorr.network.twins import calibrate_normalization, untrained_twin
from nbcorr.recording.answers import answers_of, baseline_answers
from nbcorr.recording.arrays import build_recording
from nbcorr.recording.growing import BatchRows, GrowingArray
from nbcorr.recording.inputs import InputRows


class RecordingInterrupted(KeyboardInterrupt):
    """A recording stopped half-way; ``recording`` holds the samples that were finished."""

    def __init__(self, recording: xr.Dataset, expected: int | None):
        self.recording = recording
        of = f" of {expected}" if expected is not None else ""
        super().__init__(
            f"interrupted after {recording.sizes['sample']}{of} samples; "
            "what was recorded is the exception's .recording"
        )


def record(
    model: nn.Module,
    data: Any,
    layers: str | Sequence[str] = "auto",
    pool: str = "mean",
    baseline: Callable[..., Any] | Any = None,
    *,
    twins: int = 0,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Run samples through a model and keep one number per sample and neuron.

    Parameters
    ----------
    model : torch.nn.Module
        System A. Evaluated in eval mode without gradients; its modes, hooks and weights are
        afterwards what they were.
    data : array, tensor, labelled images, torch Dataset, DataLoader or iterable of batches
        With labels and ids where it has them: ``(x, y)`` and ``(x, y, id)`` batches, dicts, or
        the labelled images of ``nbcorr.zoo``.
    layers : str or sequence of str
        Names, globs, kinds, ``"all"`` or ``"auto"`` (the activation modules).
        They are recorded in the order they run; a module that runs several times in one forward
        pass is one layer per call: ``act``, ``act#2`` …
    pool : {"mean", "max"}
        How a unit's map is brought to one number. Computed inside the hook: no map is kept.
    baseline : callable or array, optional
        System B: a callable from a batch of inputs to predictions (or class scores), or an array
        with one prediction, or one row of class scores, per sample.
    twins : int
        How many untrained copies of the model are recorded on the same samples, as the control
        of ``nc.correlate``.
    batch_size : int
        For data that does not come in batches.
    seed : int
        Seed of the twins' weights.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        ``activation(sample, neuron)`` float32 and, with twins,
        ``activation_twin(twin, sample, neuron)``; on ``sample`` the ids and, where known, label,
        prediction, confidence (largest class probability), loss (cross-entropy, nats), baseline
        and relative_performance. ``input(sample, feature)`` float32, the control of what the raw
        inputs tell: pictures averaged to at most 16 x 16 places a channel, at most 1,024 features
        in all, vectors as they are; ``attrs["input"]`` says what was done.

    Raises
    ------
    ValueError
        If a layer does not exist or did not run, inputs are not finite, a baseline has another
        length, or the data is empty.
    RecordingInterrupted
        On Ctrl-C; a KeyboardInterrupt that carries the recording so far.
    """
    run = _Run(model, resolve_layers(model, layers), check_pool(pool), twins, seed)
    expected = count_samples(data)
    if baseline is not None and not callable(baseline) and np.ndim(baseline) == 2:
        baseline = np.asarray(baseline).argmax(1)
    if baseline is not None and not callable(baseline) and expected is not None:
        _check_baseline_length(np.asarray(baseline), expected)
    interrupted = False
    try:
        with tqdm(total=expected, unit="sample", disable=not progress, leave=False) as bar:
            for batch in batches(data, batch_size):
                run.add(batch, baseline if callable(baseline) else None, expected)
                bar.update(len(batch))
    except KeyboardInterrupt:
        if run.count == 0:
            raise
        interrupted = True
    run.check_layers_ran(is_explicit(model, layers))
    recording = run.finish(None if callable(baseline) else baseline, interrupted)
    if interrupted:
        raise RecordingInterrupted(recording.assign_attrs(interrupted=1), expected)
    return recording


class _Run:
    """The state of one recording: where the numbers go while batches pass."""

    def __init__(self, model: nn.Module, names: list[str], pool: str, twins: int, seed: int):
        if twins < 0:
            raise ValueError(f"twins is {twins}; expected 0 or more")
        self.names, self.pool, self.seed = names, pool, seed
        self.governors = {name: governor(model, name) for name in names}
        self.networks = [model] + [untrained_twin(model, seed + i) for i in range(twins)]
        self.activations = [GrowingArray() for _ in self.networks]
        self.inputs = InputRows()
        self.columns: dict[str, list[np.ndarray]] = {}
        self.units: dict[str, int] = {}
        self.count = 0
        self.device, self.dtype = device_and_dtype(model)

    def add(self, batch: Batch, baseline: Callable[..., Any] | None, expected: int | None) -> None:
        """Run one batch through the model and its twins; all of it is kept or none."""
        batch = batch.to(self.device, self.dtype)
        batch.check_finite(self.count)
        # Before the model, which may work on them in place.
        self.inputs.extend(batch.inputs, expected)
        if self.count == 0:
            for twin in self.networks[1:]:
                calibrate_normalization(twin, batch)
        rows, outputs = zip(*(self._forward(net, batch) for net in self.networks), strict=True)
        columns = answers_of(outputs[0], batch.label)
        if baseline is not None:
            columns["baseline"] = baseline_answers(baseline, batch)
        columns |= batch.columns
        if batch.label is not None:
            columns["label"] = batch.label
        if batch.sample is not None:
            columns["sample"] = batch.sample
        for array, row in zip(self.activations, rows, strict=True):
            array.extend(row, expected)
        for name, values in columns.items():
            self.columns.setdefault(name, []).append(values)
        self.count += len(batch)

    def _forward(self, network: nn.Module, batch: Batch) -> tuple[np.ndarray, Any]:
        rows = BatchRows(self.units, len(batch), self.device)

        def keep(name: str) -> Callback:
            def pool(output: torch.Tensor, call: int, _: Any) -> None:
                axis = unit_axis(self.governors[name], output)
                rows.put(call_label(name, call), pool_units(output, axis, self.pool))

            return pool

        with inference(network), captured(network, {name: keep(name) for name in self.names}):
            output = batch.run(network)
        self._check_units(rows.units)
        return rows.array(), output

    def _check_units(self, units: dict[str, int]) -> None:
        if not self.units:
            # In the order they ran, so that depth in the network can be read off.
            self.units = units
        elif units != self.units:
            name = next(n for n in {**self.units, **units} if self.units.get(n) != units.get(n))
            raise ValueError(
                f"layer {name!r} gave {units.get(name)} units in one batch "
                f"and {self.units.get(name)} in the first"
            )

    def check_layers_ran(self, explicit: set[str]) -> None:
        """A layer asked for by name that did not run is an error."""
        ran = {name.split("#")[0] for name in self.units}
        missing = [name for name in self.names if name in explicit and name not in ran]
        if self.count and (missing or not ran):
            shown = ", ".join(missing or self.names)
            raise ValueError(
                f"layer {shown} did not run in the forward pass; those that did: "
                f"{', '.join(sorted(ran)) or 'none of the chosen'}"
            )

    def finish(self, baseline: Any, partial: bool = False) -> xr.Dataset:
        """The labelled recording of all batches so far; ``partial`` after an interrupt."""
        columns = {n: np.concatenate(parts)[: self.count] for n, parts in self.columns.items()}
        sample = columns.pop("sample", np.arange(self.count))
        if baseline is not None:
            columns["baseline"] = np.asarray(baseline)[: self.count if partial else None]
            _check_baseline_length(columns["baseline"], self.count)
        layers = [name for name, count in self.units.items() for _ in range(count)]
        units = np.concatenate([np.arange(c) for c in self.units.values()] or [np.arange(0)])
        # An interrupt between two arrays leaves some with a batch more than was counted.
        model, *twins = [array.array()[: self.count] for array in self.activations]
        recording = build_recording(model, layers, units, sample, columns)
        if twins:
            recording["activation_twin"] = (("twin", "sample", "neuron"), np.stack(twins))
        return self.inputs.add_to(recording).assign_attrs(self._provenance())

    def _provenance(self) -> dict[str, Any]:
        from nbcorr import __version__

        model = self.networks[0]
        return {
            "model": type(model).__name__,
            "fingerprint": fingerprint(model),
            "layers": list(self.units),
            "pool": self.pool,
            "seed": self.seed,
            "nbcorr_version": __version__,
            "torch_version": torch.__version__,
        }


def fingerprint(model: nn.Module) -> str:
    """A short hash of a model's class and weights: equal weights, equal fingerprint."""
    digest = hashlib.sha256(type(model).__qualname__.encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _check_baseline_length(baseline: np.ndarray, expected: int) -> None:
    if baseline.ndim != 1 or len(baseline) != expected:
        raise ValueError(
            f"baseline has shape {baseline.shape}; expected one answer for each of "
            f"{expected} samples"
        )
