"""Switching neurons off, and exactly on again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from nbcorr.network.hooks import Callback, captured
from nbcorr.network.layers import call_label, module_and_call, resolve_layers
from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label, parse_neurons
from nbcorr.network.units import governor, unit_axis

WAYS = ("zero", "mean")


@contextmanager
def ablate(
    model: nn.Module, neurons: Any, how: str = "zero", *, recording: Any = None
) -> Iterator[nn.Module]:
    """The model with some neurons switched off, for the length of a ``with`` block.

    Parameters
    ----------
    model : torch.nn.Module
        Changed by hooks only, which are gone when the block ends, however it ends. Gradients flow
        through as through any other operation, except through what was switched off.
    neurons : ``"layer:unit"``, an iterable of them, or any Dataset over ``neuron``
    how : {"zero", "mean"}
        What their output becomes: zero, or each neuron's mean activation in ``recording``, at
        every place. A mean keeps what follows closer to what it is used to.
    recording : xarray.Dataset, optional
        Needed for ``how="mean"``; mean-pooled.

    Yields
    ------
    torch.nn.Module
        The same model.

    Raises
    ------
    ValueError
        If a neuron does not exist, the means are missing, or the model ran in the block without
        running a layer that was to be switched off.

    Examples
    --------
    >>> with nc.ablate(model, ["features.3:17"]):  # doctest: +SKIP
    ...     accuracy_without = evaluate(model)
    """
    if how not in WAYS:
        raise ValueError(unknown("way of switching off", how, WAYS))
    chosen = parse_neurons(neurons)
    values = _means(chosen, recording) if how == "mean" else dict.fromkeys(chosen, 0.0)
    off: dict[tuple[str, int], dict[int, float]] = {}
    for (layer, unit), value in values.items():
        off.setdefault(module_and_call(layer), {})[unit] = value
    for name, _ in off:
        resolve_layers(model, name)
    ran: set[tuple[str, int]] = set()
    forwards: list[int] = []
    callbacks = {name: _switch(model, name, off, ran) for name, _ in off}
    counter = model.register_forward_hook(lambda *_: forwards.append(1))
    try:
        with captured(model, callbacks):
            yield model
    finally:
        counter.remove()
    # Said after the block, and only if all went well in it: nothing was switched off there.
    missed = [call_label(*place) for place in off if place not in ran]
    if forwards and missed:
        raise ValueError(f"layer {missed[0]!r} did not run, so nothing was switched off in it")


def _switch(
    model: nn.Module,
    name: str,
    off: dict[tuple[str, int], dict[int, float]],
    ran: set[tuple[str, int]],
) -> Callback:
    module = governor(model, name)

    def switch(output: torch.Tensor, call: int, _: Any) -> torch.Tensor | None:
        ran.add((name, call))
        values = off.get((name, call))
        if values is None:
            return None
        axis = unit_axis(module, output)
        if max(values) >= output.shape[axis]:
            raise ValueError(
                f"no neuron {neuron_label(name, max(values))!r}: layer {name!r} has "
                f"{output.shape[axis]} units, 0 to {output.shape[axis] - 1}"
            )
        index = torch.tensor(list(values), device=output.device)
        level = torch.tensor(list(values.values()), device=output.device, dtype=output.dtype)
        level = level.reshape([-1] + [1] * (output.ndim - 1 - axis % output.ndim))
        shape = list(output.shape)
        shape[axis] = len(values)
        return output.index_copy(axis, index, level.expand(shape))

    return switch


def _means(neurons: list[tuple[str, int]], recording: Any) -> dict[tuple[str, int], float]:
    if recording is None:
        raise ValueError("how='mean' needs recording=, the activations the means are taken from")
    # Of several poolings the one that was selected.
    selected = recording.coords.get("pool")
    pool = recording.attrs.get("pool", "mean") if selected is None else selected.values.tolist()
    if pool != "mean":
        raise ValueError(f"the recording is pooled by {pool!r}; how='mean' expects 'mean'")
    index = recording.indexes["neuron"]
    missing = [neuron for neuron in neurons if neuron not in index]
    if missing:
        raise ValueError(f"neuron {neuron_label(*missing[0])!r} is not in the recording")
    chosen = recording["activation"].isel(neuron=index.get_indexer(neurons))
    # Half precision cannot hold the sums.
    means = chosen.astype(np.float64).mean("sample")
    return dict(zip(neurons, means.values.tolist(), strict=True))
