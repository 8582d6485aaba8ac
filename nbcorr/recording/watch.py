"""What a model gives while somebody else's loop runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from nbcorr.network.hooks import captured, device_and_dtype
from nbcorr.network.layers import Choice, is_explicit, resolve_layers
from nbcorr.network.pooling import poolings
from nbcorr.network.reading import Reader
from nbcorr.network.tokens import tokens_of
from nbcorr.network.wrappers import unwrapped
from nbcorr.recording.answers import answers_of
from nbcorr.recording.content import fingerprint, provenance
from nbcorr.recording.inputs import InputPlan
from nbcorr.recording.memory import MemoryWriter
from nbcorr.recording.passes import check_dtype, layout_of, rows_of


@contextmanager
def watch(
    model: nn.Module,
    layers: Choice | Collection[Choice] = "auto",
    pool: str | Callable[..., Any] | Sequence[str | Callable[..., Any]] = "mean",
    *,
    dtype: str = "float32",
) -> Iterator[Watched]:
    """Record whatever forward passes a model makes while a ``with`` block runs.

    For a loop of one's own: training, evaluation, sampling. The model is run by nobody but the
    block, in the mode and with the gradients that the block sets.

    Parameters
    ----------
    model : torch.nn.Module
        Its own forward passes count; a part of it that is called on its own does not.
    layers, pool, dtype
        As for ``nc.record``.

    Yields
    ------
    Watched
        Its ``recording()`` is what was seen so far, at any time.

    Raises
    ------
    ValueError
        If a layer does not exist, or does not give one row per sample.

    Examples
    --------
    >>> with nc.watch(model, "features.*") as watched:  # doctest: +SKIP
    ...     for images, _ in loader:
    ...         model(images)
    >>> recording = watched.recording()  # doctest: +SKIP
    """
    model = unwrapped(model)
    names = resolve_layers(model, layers)
    explicit = frozenset(is_explicit(model, layers))
    watched = Watched(model, Reader(model, names, poolings(pool), explicit), check_dtype(dtype))
    callbacks = {name: watched._callback(name) for name in names}
    handles = [
        model.register_forward_pre_hook(watched._begin, with_kwargs=True),
        model.register_forward_hook(watched._end),
        model.register_forward_hook(watched._over, always_call=True),
    ]
    try:
        with captured(model, callbacks, watched._leave_out):
            yield watched
    finally:
        for handle in handles:
            handle.remove()


class Watched:
    """What was seen of a model while it was watched."""

    def __init__(self, model: nn.Module, reader: Reader, dtype: str):
        self._model, self._reader, self._dtype = model, reader, dtype
        self._inputs, self._writer = InputPlan(), MemoryWriter(None)
        self._before = fingerprint(model)
        self._reading: Any = None
        self._features: np.ndarray | None = None
        self._trained = False

    @property
    def count(self) -> int:
        """Samples seen so far."""
        return self._writer.count

    def recording(self) -> xr.Dataset:
        """What was seen so far, as of ``nc.record``; samples are counted from 0.

        Predictions and confidence are there for classifiers. Labels are not known: give them by
        ``recording.assign_coords(label=("sample", labels))``. ``attrs["training"]`` is 1 where a
        pass was in training mode, ``attrs["weights_changed"]`` where the weights are others than
        when the block began.

        Raises
        ------
        ValueError
            If the model has not run, or a layer that was asked for by name did not.
        """
        if self._writer.count == 0:
            raise ValueError(
                f"{type(self._model).__name__} made no forward pass in the block; expected a call "
                "of the model itself"
            )
        self._reader.check_ran()
        assert self._writer.layout is not None
        model, weights = self._model, fingerprint(self._model)
        attrs = provenance(model, weights, self._writer.layout, self._inputs.how, self._reader)
        changed = int(weights != self._before)
        attrs |= {"training": int(self._trained), "weights_changed": changed}
        return self._writer.finish({}, attrs)

    def _callback(self, name: str) -> Callable[..., None]:
        def read(output: torch.Tensor, call: int, args: tuple[Any, ...]) -> None:
            if self._reading is not None:
                with torch.no_grad():
                    self._reading.read(name, output, call, args)

        return read

    def _leave_out(self, name: str, call: int, error: Exception) -> None:
        if self._reading is not None:
            self._reading.leave_out(name, call, error)

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        # A time or a scale may come before the samples.
        given = (v for v in [*args, *kwargs.values()] if isinstance(v, torch.Tensor) and v.ndim)
        first = next(given, None)
        if first is None:
            raise TypeError(
                f"{type(module).__name__} was called without a tensor; expected one, whose rows "
                "are the samples"
            )
        if not len(first):
            return
        inputs = first if args else dict(kwargs)
        device, _ = device_and_dtype(module)
        self._trained |= module.training
        with torch.no_grad():
            # Before the model, which may work on its inputs in place.
            self._features = self._inputs.features_of(inputs)
            tokens = tokens_of(module, inputs)
            self._reading = self._reader.reading(module, len(first), device, tokens)

    def _over(self, *_: Any) -> None:
        # Also after a pass that failed: parts of the model that are called next are not of it.
        self._reading = None

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        reading = self._reading
        if reading is None:
            return
        with torch.no_grad():
            planes = self._reader.finish(reading)
            columns: dict[str, np.ndarray] = answers_of(output, None)
            start, count = self._writer.count, planes.shape[1]
            columns["sample"] = np.arange(start, start + count)
            rows = rows_of([planes], columns, self._features, self._dtype)
        self._writer.append(layout_of(self._reader, 0, self._dtype, self._inputs), rows)
