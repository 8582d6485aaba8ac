"""Some samples on their way through a model, with what is known of each."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from nbcorr.network.names import unknown


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some samples on their way through a model.

    ``inputs`` is what the model is called with: a tensor, or a mapping of keyword arguments.
    ``label`` and ``sample`` (ids) are arrays with one value per sample, or None; ``columns`` are
    further ones by name. ``label_key`` is what a mapping called the labels.
    """

    inputs: Any
    label: np.ndarray | None = None
    sample: np.ndarray | None = None
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    label_key: str | None = None

    def __len__(self) -> int:
        return len(any_tensor(self.inputs))

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """A copy where the model is, which may work on it in place; floats in the model's dtype."""

        def move(tensor: torch.Tensor) -> torch.Tensor:
            kind = dtype if tensor.is_floating_point() else tensor.dtype
            return tensor.to(device, kind, copy=True)

        if isinstance(self.inputs, Mapping):
            moved: Any = {
                key: move(value) if isinstance(value, torch.Tensor) else value
                for key, value in self.inputs.items()
            }
        else:
            moved = move(self.inputs)
        return dataclasses.replace(self, inputs=moved)

    def sorted_out(self, model: nn.Module, columns: Collection[str] = ()) -> Batch:
        """A mapping's entries brought to their places: the model's inputs, or columns of samples.

        Those named in ``columns`` are columns, as are those that the model's ``forward`` does not
        take and that have one value per sample. Labels are inputs too where ``forward`` cannot do
        without: the classes that a conditional generator is asked for.

        Raises
        ------
        ValueError
            If a column does not exist or has not one value per sample.
        """
        if not isinstance(self.inputs, Mapping):
            if missing := set(columns) - self.columns.keys():
                raise ValueError(unknown("column", min(missing), self.columns))
            return self
        known = {**self.inputs, **self.columns}
        for name in columns:
            if name not in known:
                raise ValueError(unknown("column", name, known))
        taken = _parameters(model)
        out = [
            name
            for name, value in self.inputs.items()
            if name in columns or (np.ndim(value) == 1 and not _is_input(name, value, taken))
        ]
        moved = {name: column_values(f"{name!r}", self.inputs[name], len(self)) for name in out}
        inputs = {name: value for name, value in self.inputs.items() if name not in moved}
        if self.label_key is not None and _needs(model, self.label_key):
            inputs[self.label_key] = torch.as_tensor(self.label)
        return dataclasses.replace(self, inputs=inputs, columns={**self.columns, **moved})

    def head(self, count: int) -> Batch:
        """The inputs of its first samples alone."""
        whole = len(self)

        def first(value: Any) -> Any:
            return value[:count] if np.shape(value)[:1] == (whole,) else value

        if isinstance(self.inputs, Mapping):
            return Batch({name: first(value) for name, value in self.inputs.items()})
        return Batch(first(self.inputs))

    def digest(self) -> str:
        """A short hash of everything in it: equal contents, equal digest."""
        hashed = hashlib.sha256()  # which processors do in hardware
        inputs = self.inputs if isinstance(self.inputs, Mapping) else {"": self.inputs}
        parts = {**inputs, "label": self.label, "id": self.sample, **self.columns}
        for name, value in parts.items():
            array = value.detach().cpu() if isinstance(value, torch.Tensor) else value
            array = _bytes_of(array)
            hashed.update(f"{name}{array.dtype}{array.shape}".encode())
            hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
        return hashed.hexdigest()[:16]

    def check_finite(self, first: int = 0) -> None:
        """A ValueError that names the sample with a NaN or an infinite input.

        ``first`` is the position of the batch's first sample, its name where there are no ids.
        """
        inputs = self.inputs.values() if isinstance(self.inputs, Mapping) else [self.inputs]
        for tensor in inputs:
            if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
                continue
            # A finite sum needs finite terms, and costs a tenth of looking at each.
            if bool(tensor.sum().isfinite()):
                continue
            finite = tensor.isfinite()
            finite = finite.flatten(1).all(1) if tensor.ndim > 1 else finite
            if not finite.all():
                row = int((~finite).nonzero()[0])
                name = first + row if self.sample is None else self.sample[row]
                raise ValueError(
                    f"sample {name!s} has NaN or infinite values in its input; "
                    "expected finite numbers"
                )

    def run(self, model: nn.Module) -> Any:
        """What the model gives for this batch; its own error, with the batch's shape noted."""
        try:
            if isinstance(self.inputs, Mapping):
                return model(**self.inputs)
            return model(self.inputs)
        except (RuntimeError, TypeError, ValueError) as error:
            shape = tuple(any_tensor(self.inputs).shape)
            error.add_note(f"while running {type(model).__name__} on a batch of shape {shape}")
            raise


def any_tensor(inputs: Any) -> torch.Tensor:
    """A tensor with one row per sample: the inputs themselves, or the first among them."""
    if isinstance(inputs, Mapping):
        for value in inputs.values():
            if isinstance(value, torch.Tensor) and value.ndim:
                return value
        raise TypeError("a dict batch holds no tensor; expected at least one")
    return inputs


def column_values(name: str, values: Any, count: int) -> np.ndarray:
    """Values as an array, one per sample, or a ValueError."""
    array = (
        values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    )
    if array.shape != (count,):
        raise ValueError(
            f"a batch of {count} samples has {name} of shape {array.shape}; expected ({count},)"
        )
    return array


def _parameters(model: nn.Module) -> set[str] | None:
    """The names that a model's forward takes; None where it takes any."""
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters}


def _is_input(name: str, value: Any, taken: set[str] | None) -> bool:
    # Who takes any keyword may take a tensor, but nobody runs on text.
    return isinstance(value, torch.Tensor) if taken is None else name in taken


def _needs(model: nn.Module, name: str) -> bool:
    """Whether a model's ``forward`` cannot be called without an argument of this name."""
    parameter = inspect.signature(model.forward).parameters.get(name)
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if parameter is None or parameter.kind not in kinds:
        return False
    return parameter.default is parameter.empty


def _bytes_of(value: Any) -> np.ndarray:
    """Any value as an array of fixed-size items; objects by their text."""
    if isinstance(value, torch.Tensor):
        value = value.view(torch.uint16) if value.dtype is torch.bfloat16 else value
        value = value.numpy()
    array = np.atleast_1d(np.asarray(value))
    return array.astype(str) if array.dtype.hasobject else array
