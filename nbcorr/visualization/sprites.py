"""``nc.sprites``: the pictures of a whole layer, made in the background."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import xarray as xr
from torch import nn

from nbcorr.network.hooks import device_and_dtype, inference
from nbcorr.network.layers import module_and_call
from nbcorr.network.names import unknown
from nbcorr.network.neurons import parse_neurons
from nbcorr.network.units import governor, unit_axis
from nbcorr.network.wrappers import named_modules, unwrapped
from nbcorr.visualization.forward import read
from nbcorr.visualization.visualize import visualize

Neuron = tuple[str, int]


class Sprites:
    """Pictures of many neurons, made in a thread of their own while other work goes on.

    They are made of a copy of the model, so that all of them show one state of it and whatever is
    done with the model meanwhile, training included, disturbs neither.

    Parameters
    ----------
    model : torch.nn.Module or None
        Left exactly as it was. None where all pictures are there already.
    neurons : sequence of (layer, unit)
        In the order in which the pictures are to be made.
    shape : tuple of int
        As for ``nc.visualize``.
    batch_size : int
        Pictures made together.
    options : dict
        Further ones of ``nc.visualize``.

    Attributes
    ----------
    neurons : list of (layer, unit)
    error : Exception or None
        What ended the work, unless it was finished or stopped.
    """

    def __init__(
        self,
        model: nn.Module | None,
        neurons: Sequence[Neuron],
        shape: tuple[int, ...],
        batch_size: int,
        options: dict[str, Any],
    ) -> None:
        self.neurons = list(neurons)
        self.error: Exception | None = None
        # A copy made in inference mode could not be looked into with gradients.
        with torch.inference_mode(False):
            self._model = copy.deepcopy(model)
        self._shape, self._batch_size, self._options = shape, batch_size, options
        self._made: dict[Neuron, xr.Dataset] = {}
        self._listeners: list[Callable[[], Any]] = []
        # Guards what follows; never held while pictures are made or listeners are called.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def total(self) -> int:
        """How many pictures there will be."""
        return len(self.neurons)

    @property
    def done(self) -> int:
        """How many pictures there are."""
        return len(self._made)

    @property
    def running(self) -> bool:
        """Whether pictures are being made."""
        return self._thread is not None

    @property
    def pictures(self) -> xr.Dataset | None:
        """Those made so far, as ``nc.visualize`` gives them, in the order of ``neurons``."""
        with self._lock:
            made = dict(self._made)
        parts = [made[neuron] for neuron in self.neurons if neuron in made]
        return joined(parts) if parts else None

    def start(self) -> None:
        """Begin, or go on where it was stopped or failed; nothing where it runs or is finished."""
        with self._lock:
            self._stopping = False
            if self._thread is not None or not self._missing():
                return
            self.error = None
            self._thread = threading.Thread(target=self._run, name="nbcorr-sprites", daemon=True)
            self._thread.start()
        self._tell()

    def stop(self) -> None:
        """End after the pictures that are being made now; ``start`` goes on from there."""
        with self._lock:
            self._stopping = True

    def wait(self, timeout: float | None = None) -> xr.Dataset:
        """Wait for the work to end.

        Parameters
        ----------
        timeout : float, optional
            At most so many seconds.

        Returns
        -------
        xarray.Dataset
            The pictures made so far.

        Raises
        ------
        Exception
            What ended the work.
        TimeoutError
            If no picture has been made by then.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        if self.error is not None:
            raise self.error
        made = self.pictures
        if made is None:
            raise TimeoutError(f"none of the {self.total} pictures has been made")
        return made

    def keep(self, made: xr.Dataset) -> None:
        """Take in pictures of ``nc.visualize`` that need not be made any more."""
        with self._lock:
            for place, neuron in enumerate(made.indexes["neuron"]):
                self._made[neuron] = made.isel(neuron=[place])
        self._tell()

    def on_change(self, listener: Callable[[], Any]) -> None:
        """Call back, from the working thread, when pictures were added or the work ended."""
        self._listeners.append(listener)

    def __repr__(self) -> str:
        state = "running" if self.running else "finished" if self.done == self.total else "stopped"
        if self.error is not None:
            state = f"{type(self.error).__name__}: {self.error}"
        return f"Sprites: {self.done} of {self.total} pictures, {state}"

    def _run(self) -> None:
        try:
            while batch := self._next():
                assert self._model is not None
                made = visualize(self._model, batch, self._shape, progress=False, **self._options)
                self.keep(made)
        except Exception as error:
            with self._lock:
                self.error, self._thread = error, None
        self._tell()

    def _next(self) -> list[Neuron]:
        """The neurons to go on with; none where the work ends here."""
        with self._lock:
            batch = [] if self._stopping else self._missing()[: self._batch_size]
            if not batch:
                # Decided together, so that a start from now on begins another thread.
                self._thread = None
            return batch

    def _missing(self) -> list[Neuron]:
        return [neuron for neuron in self.neurons if neuron not in self._made]

    def _tell(self) -> None:
        for listener in list(self._listeners):
            try:
                listener()
            except Exception as error:
                self.error, self._stopping = error, True


def sprites(
    model: nn.Module,
    neurons: Any,
    shape: Sequence[int] = (3, 64, 64),
    *,
    batch_size: int = 4,
    **options: Any,
) -> Sprites:
    """The pictures of a whole layer, made in the background from now on.

    Parameters
    ----------
    model : torch.nn.Module
        Copied, and left exactly as it was.
    neurons : str, iterable, dict or Dataset over ``neuron``
        A layer's name, for all of its units in order, or neurons in the order in which their
        pictures are to be made: the strongest correlates first, for example.
    shape : as for ``nc.visualize``
    batch_size : int
        Pictures made together: so many are finished, at most, after it was stopped.
    **options
        Further ones of ``nc.visualize``: ``steps``, ``preprocess``, ``exemplars`` …

    Returns
    -------
    Sprites
        Working already: ``pictures`` are those made so far, ``wait()`` waits for the last;
        ``stop()``, and ``start()`` to go on; ``done`` of ``total``, ``running``, ``error``. A
        picture that is in the cache is not made again, so that a later session goes on there too.

    Raises
    ------
    ValueError
        If the layer does not exist or does not run, or batch_size is below 1. What fails later
        is in ``error``, and raised by ``wait()``.
    """
    model = unwrapped(model)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    size = tuple(int(side) for side in shape)
    wanted = _wanted(model, neurons, size, options.get("preprocess"))
    work = Sprites(model, wanted, size, batch_size, options)
    work.start()
    return work


def _wanted(
    model: nn.Module, neurons: Any, shape: tuple[int, ...], preprocess: Any
) -> list[Neuron]:
    if not isinstance(neurons, str):
        return parse_neurons(neurons)
    modules = dict(named_modules(model))
    if module_and_call(neurons)[0] not in modules:
        if neurons.rpartition(":")[2].isdigit():
            return parse_neurons(neurons)
        raise ValueError(unknown("layer", neurons, [name for name in modules if name]))
    grey = torch.full((1, *shape), 0.5, device=device_and_dtype(model)[0])
    units = count_units(model, neurons, grey if preprocess is None else preprocess(grey))
    return [(neurons, unit) for unit in range(units)]


def count_units(model: nn.Module, layer: str, inputs: Any) -> int:
    """How many units a layer has for these inputs.

    Raises
    ------
    ValueError
        If it does not run.
    """
    ruler = governor(model, module_and_call(layer)[0])
    with inference(model):
        found = read(model, inputs, {layer: lambda output: output.shape[unit_axis(ruler, output)]})
    if layer not in found:
        raise ValueError(f"layer {layer!r} did not run in the forward pass")
    return int(found[layer])


def joined(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    """Pictures of ``nc.visualize`` made at different times, as one Dataset."""
    return xr.concat(list(parts), "neuron", combine_attrs="override", data_vars="minimal")
