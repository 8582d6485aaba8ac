"""Batches through a model and its untrained twins: what one of them adds to a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn

from nbcorr.network.batches import Batch
from nbcorr.network.hooks import captured, device_and_dtype, inference
from nbcorr.network.layers import module_and_call
from nbcorr.network.pooling import Pooling
from nbcorr.network.reading import Reader
from nbcorr.network.tokens import tokens_of
from nbcorr.network.twins import calibrate_normalization, untrained_twin
from nbcorr.recording.answers import answers_of, baseline_answers
from nbcorr.recording.columns import check_names
from nbcorr.recording.inputs import InputPlan
from nbcorr.recording.rows import Layout, Rows

DTYPES = ("float32", "float16")


class Networks:
    """The model and its twins, ready to be asked batch by batch; can be sent to another process.

    Parameters
    ----------
    model : torch.nn.Module
    names : sequence of str
        Modules to record.
    explicit : frozenset of str
        Those that were asked for by their own name.
    pools : sequence of Pooling
    twins : int
    seed : int
        Of the twins' weights.
    dtype : {"float32", "float16"}
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        explicit: frozenset[str],
        pools: Sequence[Pooling],
        twins: int,
        seed: int,
        dtype: str,
    ):
        if twins < 0:
            raise ValueError(f"twins is {twins}; expected 0 or more")
        self.all = [model] + [untrained_twin(model, seed + i) for i in range(twins)]
        self.reader = Reader(model, names, pools, explicit)
        self.inputs = InputPlan()
        self.dtype = check_dtype(dtype)

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.all[0]

    @property
    def layout(self) -> Layout:
        """What the numbers stand for; empty before the first batch."""
        return layout_of(self.reader, len(self.all) - 1, self.dtype, self.inputs)

    @property
    def _place(self) -> tuple[torch.device, torch.dtype]:
        return device_and_dtype(self.model)

    def start(self, batch: Batch) -> None:
        """Give the twins' batch normalisations the statistics of the first batch."""
        for twin in self.all[1:]:
            calibrate_normalization(twin, batch.to(*self._place))

    def rows(self, batch: Batch, baseline: Callable[..., Any] | None, first: int) -> Rows:
        """What a batch gives; ``first`` is the position of its first sample, for errors.

        Raises
        ------
        ValueError
            If an input is not finite, or a layer gives not one row per sample.
        """
        own = batch.to(*self._place)
        own.check_finite(first)
        # Before the model, which may work on its inputs in place.
        features = self.inputs.features_of(own.inputs)
        if not self.reader.units and _as_many_steps(own):
            self._leave_out_steps(own)
        planes, outputs = zip(
            self._forward(self.model, own),
            *(self._forward(twin, batch.to(*self._place)) for twin in self.all[1:]),
            strict=True,
        )
        columns = answers_of(outputs[0], batch.label)
        if baseline is not None:
            columns["baseline"] = baseline_answers(baseline, batch.to(*self._place), first)
        return rows_of(planes, columns | columns_of(batch, first), features, self.dtype)

    def _leave_out_steps(self, batch: Batch) -> None:
        """Leave out what only seems to have a row per sample: in a pass of one fewer it has not.

        Positions that are embedded once for all samples, and layers that put time first.
        """
        fewer, reader = batch.head(len(batch) - 1).to(*self._place), self.reader
        probe = Reader(self.model, reader.names, reader.pools)
        tokens = tokens_of(self.model, fewer.inputs)
        reading = probe.reading(self.model, len(fewer), self._place[0], tokens)
        hooks = captured(self.model, reading.callbacks, reading.leave_out)
        # A model that is made for one size of batch cannot be asked.
        with suppress(Exception), inference(self.model), hooks:
            fewer.run(self.model)
        for label, why in probe.left_out.items():
            if module_and_call(label)[0] in reader.explicit:
                raise ValueError(why)
            reader.left_out[label] = why

    def _forward(self, network: nn.Module, batch: Batch) -> tuple[torch.Tensor, Any]:
        tokens = tokens_of(network, batch.inputs)
        reading = self.reader.reading(network, len(batch), self._place[0], tokens)
        with inference(network), captured(network, reading.callbacks, reading.leave_out):
            output = batch.run(network)
        return self.reader.finish(reading), output


def _as_many_steps(batch: Batch) -> bool:
    inputs = batch.inputs.values() if isinstance(batch.inputs, Mapping) else [batch.inputs]
    shapes = [tuple(part.shape) for part in inputs if isinstance(part, torch.Tensor)]
    sequences = [shape for shape in shapes if len(shape) in (2, 3)]
    return len(batch) > 1 and any(shape[1] == len(batch) for shape in sequences)


def check_dtype(dtype: str) -> str:
    """The dtype activations are kept in, or a ValueError that says which there are."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; expected {' or '.join(map(repr, DTYPES))}")
    return dtype


def layout_of(reader: Reader, twins: int, dtype: str, inputs: InputPlan) -> Layout:
    """What the numbers of a pass stand for; empty before the first one."""
    pools = tuple(pool.name for pool in reader.pools)
    return Layout(reader.units, pools, twins, dtype, tuple(inputs.features))


def rows_of(
    planes: Sequence[torch.Tensor],
    columns: dict[str, np.ndarray],
    features: np.ndarray | None,
    dtype: str,
) -> Rows:
    """One batch's rows; ``planes`` of the model and its twins, each (pools, batch, neurons)."""
    kept = torch.cat(tuple(planes)).cpu().to(getattr(torch, dtype))
    # Of what is kept: half precision ends at 65,504.
    return Rows(kept.numpy(), columns, features, _count_nonfinite(kept[: len(planes[0])]))


def columns_of(batch: Batch, first: int) -> dict[str, np.ndarray]:
    """What a batch says of its samples: their ids (positions where it has none), label, columns.

    Raises
    ------
    ValueError
        If a column is called like something of the recording.
    """
    check_names(batch.columns)
    ids = np.arange(first, first + len(batch)) if batch.sample is None else batch.sample
    labels = {} if batch.label is None else {"label": batch.label}
    return batch.columns | labels | {"sample": ids}


def _count_nonfinite(planes: torch.Tensor) -> np.ndarray | None:
    """NaN and infinite values of each neuron over a batch, shape (pools, neurons)."""
    # A finite sum needs finite terms, and costs a tenth of looking at each.
    if bool(planes.sum(dtype=torch.float32).isfinite()):
        return None
    broken = (~planes.isfinite()).sum(1)
    return broken.cpu().numpy() if bool(broken.any()) else None
