"""Batches out of whatever people have: arrays, labelled images, Datasets, DataLoaders."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler, Subset
from torch.utils.data import Dataset as TorchDataset

from nbcorr.network.names import unknown

_LABEL_KEYS = ("label", "labels", "y", "target")
_ID_KEYS = ("id", "ids", "sample", "sample_id")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some samples on their way through a model.

    ``inputs`` is what the model is called with: a tensor, or a mapping of keyword arguments.
    ``label`` and ``sample`` (ids) are arrays with one value per sample, or None; ``columns`` are
    further ones by name.
    """

    inputs: Any
    label: np.ndarray | None = None
    sample: np.ndarray | None = None
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(_any_tensor(self.inputs))

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
        take and that have one value per sample.

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
            if name in columns or (taken is not None and name not in taken and _is_column(value))
        ]
        moved = {name: _values(f"{name!r}", self.inputs[name], len(self)) for name in out}
        inputs = {name: value for name, value in self.inputs.items() if name not in moved}
        return dataclasses.replace(self, inputs=inputs, columns={**self.columns, **moved})

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
            shape = tuple(_any_tensor(self.inputs).shape)
            error.add_note(f"while running {type(model).__name__} on a batch of shape {shape}")
            raise


def batches(data: Any, batch_size: int = 64) -> Iterator[Batch]:
    """Batches of any data a model can be asked about.

    Parameters
    ----------
    data : array, tensor, tuple, xarray.Dataset, torch Dataset, DataLoader or iterable
        An array or tensor of samples; a tuple of arrays (samples, labels) or (samples, labels,
        ids); labelled images (a Dataset with ``image`` over ``sample``); a map-style torch
        Dataset; or any iterable of batches, each a tensor, ``(x, y)``, ``(x, y, id)`` or a dict.
    batch_size : int
        For data that does not come in batches already.

    Raises
    ------
    TypeError
        If the data is none of these.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    if isinstance(data, xr.Dataset):
        return _image_batches(data, batch_size)
    if _is_array(data):
        return _array_batches((data,), batch_size)
    if _is_columns(data):
        return _array_batches(data, batch_size)
    if isinstance(data, TorchDataset):
        data = DataLoader(data, batch_size=batch_size, generator=torch.Generator())
    if isinstance(data, Mapping):
        return iter([_batch(data)])
    try:
        return (_batch(item) for item in iter(data))
    except TypeError:
        raise TypeError(
            f"data is a {type(data).__name__}; expected an array, a tensor, labelled images, "
            "a Dataset, a DataLoader or another iterable of batches"
        ) from None


def some_batches(data: Any, batch_size: int, most: int) -> dict[int, Batch] | None:
    """At most so many batches of data, by their position, evenly over it and with both ends.

    All of an array's. None where that would mean to run through the data: iterables, and loaders
    that shuffle or draw.
    """
    if isinstance(data, xr.Dataset) or _is_array(data) or _is_columns(data):
        return dict(enumerate(batches(data, batch_size)))
    if isinstance(data, TorchDataset):
        data = DataLoader(data, batch_size=batch_size, generator=torch.Generator())
    if not isinstance(data, DataLoader) or not isinstance(data.sampler, SequentialSampler):
        return None
    if data.batch_size is None or count_samples(data) is None:
        return None
    size, total = data.batch_size, len(data.dataset)  # type: ignore[arg-type]
    chosen = np.unique(np.linspace(0, -(-total // size) - 1, most).round().astype(int)).tolist()
    found = {}
    for at in chosen:
        part = Subset(data.dataset, range(at * size, min(total, (at + 1) * size)))
        loader = DataLoader(
            part, batch_size=size, collate_fn=data.collate_fn, generator=torch.Generator()
        )
        found[at] = _batch(next(iter(loader)))
    return found


def count_samples(data: Any) -> int | None:
    """How many samples there are, where that is known without running through them."""
    if isinstance(data, xr.Dataset):
        return int(data.sizes.get("sample", 0))
    if _is_array(data):
        return len(data)
    if _is_columns(data):
        return len(data[0])
    try:
        if isinstance(data, DataLoader):
            whole = data.batch_sampler is not None and not data.drop_last
            return len(data.dataset) if whole else None  # type: ignore[arg-type]
        return len(data) if isinstance(data, TorchDataset) else None  # type: ignore[arg-type]
    except TypeError:
        return None


def _image_batches(images: xr.Dataset, batch_size: int) -> Iterator[Batch]:
    if "image" not in images or "sample" not in images["image"].dims:
        raise ValueError(
            f"the Dataset has variables {sorted(map(str, images.data_vars))}; "
            "expected labelled images: 'image' over 'sample', 'channel', 'y' and 'x'"
        )
    pictures = images["image"].transpose("sample", ...)
    columns = {
        str(name): coord.values
        for name, coord in images.coords.items()
        if coord.dims == ("sample",) and name not in {"sample", "label"}
    }
    ids = images["sample"].values if "sample" in images.coords else None
    label = images["label"].values if "label" in images else None
    for start in range(0, images.sizes["sample"], batch_size):
        part = slice(start, start + batch_size)
        yield Batch(
            torch.as_tensor(np.ascontiguousarray(pictures[part].values)),
            None if label is None else label[part],
            None if ids is None else ids[part],
            {name: values[part] for name, values in columns.items()},
        )


def _array_batches(columns: tuple[Any, ...], batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(columns[0]), batch_size):
        yield _batch(tuple(column[start : start + batch_size] for column in columns))


def _batch(item: Any) -> Batch:
    if isinstance(item, Mapping):
        inputs = {key: _tensor_or_value(value) for key, value in item.items()}
        label = next((inputs.pop(key) for key in _LABEL_KEYS if key in inputs), None)
        sample = next(
            (inputs.pop(key) for key in _ID_KEYS if np.ndim(inputs.get(key, 0)) == 1), None
        )
        return _checked(inputs, label, sample)
    if isinstance(item, tuple | list):
        if not 1 <= len(item) <= 3:
            raise ValueError(f"a batch has {len(item)} parts; expected x, (x, y) or (x, y, id)")
        parts = [*item, None, None][:3]
        return _checked(_as_tensor(parts[0]), parts[1], parts[2])
    return _checked(_as_tensor(item), None, None)


def _checked(inputs: Any, label: Any, sample: Any) -> Batch:
    count = len(_any_tensor(inputs))
    return Batch(inputs, _column("labels", label, count), _column("ids", sample, count))


def _column(name: str, values: Any, count: int) -> np.ndarray | None:
    return None if values is None else _values(name, values, count)


def _values(name: str, values: Any, count: int) -> np.ndarray:
    array = (
        values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    )
    if array.shape != (count,):
        raise ValueError(
            f"a batch of {count} samples has {name} of shape {array.shape}; expected ({count},)"
        )
    return array


def _as_tensor(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, xr.DataArray):
        value = value.values
    array = np.asarray(value)
    if array.ndim and (min(array.strides) < 0 or not array.flags.writeable):
        # What torch takes no view of: reversed arrays, those mapped read-only.
        array = array.copy()
    try:
        return torch.as_tensor(array)
    except TypeError:
        raise TypeError(
            f"a batch holds {type(value).__name__} that is no array; expected numbers"
        ) from None


def _parameters(model: nn.Module) -> set[str] | None:
    """The names that a model's forward takes; None where it takes any."""
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters}


def _is_column(value: Any) -> bool:
    return np.ndim(value) == 1


def _bytes_of(value: Any) -> np.ndarray:
    """Any value as an array of fixed-size items; objects by their text."""
    if isinstance(value, torch.Tensor):
        value = value.view(torch.uint16) if value.dtype is torch.bfloat16 else value
        value = value.numpy()
    array = np.atleast_1d(np.asarray(value))
    return array.astype(str) if array.dtype.hasobject else array


def _tensor_or_value(value: Any) -> Any:
    numeric = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return torch.as_tensor(value) if numeric else value


def _any_tensor(inputs: Any) -> torch.Tensor:
    if isinstance(inputs, Mapping):
        for value in inputs.values():
            if isinstance(value, torch.Tensor):
                return value
        raise TypeError("a dict batch holds no tensor; expected at least one")
    return inputs


def _is_array(data: Any) -> bool:
    return isinstance(data, np.ndarray | torch.Tensor | xr.DataArray)


def _is_columns(data: Any) -> bool:
    """Whether data is (samples, labels[, ids]) rather than a sequence of batches."""
    if not isinstance(data, tuple):
        return False
    if not 2 <= len(data) <= 3 or not _is_array(data[0]):
        return False
    same_length = all(np.ndim(c) == 1 and len(c) == len(data[0]) for c in data[1:])
    return data[0].ndim > 1 and same_length
