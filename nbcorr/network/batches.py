"""Batches out of whatever people have: arrays, labelled images, Datasets, DataLoaders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

_LABEL_KEYS = ("label", "labels", "y", "target")
_ID_KEYS = ("id", "ids", "sample", "sample_id")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some samples on their way through a model.

    ``inputs`` is what the model is called with: a tensor, or a mapping of keyword arguments.
    ``label`` and ``sample`` (ids) are arrays with one value per sample, or None.
    """

    inputs: Any
    label: np.ndarray | None = None
    sample: np.ndarray | None = None
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(_any_tensor(self.inputs))

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """The same batch where the model is; floating-point inputs in the model's dtype."""

        def move(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)

        if isinstance(self.inputs, Mapping):
            moved: Any = {
                key: move(value) if isinstance(value, torch.Tensor) else value
                for key, value in self.inputs.items()
            }
        else:
            moved = move(self.inputs)
        return dataclasses.replace(self, inputs=moved)

    def check_finite(self, first: int = 0) -> None:
        """A ValueError that names the sample with a NaN or an infinite input.

        ``first`` is the position of the batch's first sample, its name where there are no ids.
        """
        inputs = self.inputs.values() if isinstance(self.inputs, Mapping) else [self.inputs]
        for tensor in inputs:
            if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
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
    if isinstance(data, tuple) and _are_columns(data):
        return _array_batches(data, batch_size)
    if isinstance(data, TorchDataset):
        data = DataLoader(data, batch_size=batch_size)
    if isinstance(data, Mapping):
        return iter([_batch(data)])
    try:
        return (_batch(item) for item in iter(data))
    except TypeError:
        raise TypeError(
            f"data is a {type(data).__name__}; expected an array, a tensor, labelled images, "
            "a Dataset, a DataLoader or another iterable of batches"
        ) from None


def count_samples(data: Any) -> int | None:
    """How many samples there are, where that is known without running through them."""
    if isinstance(data, xr.Dataset):
        return int(data.sizes.get("sample", 0))
    if _is_array(data):
        return len(data)
    if isinstance(data, tuple) and _are_columns(data):
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
    if values is None:
        return None
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
    try:
        return torch.as_tensor(np.asarray(value))
    except TypeError:
        raise TypeError(
            f"a batch holds {type(value).__name__} that is no array; expected numbers"
        ) from None


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


def _are_columns(data: tuple[Any, ...]) -> bool:
    """Whether a tuple is (samples, labels[, ids]) rather than a sequence of batches."""
    if not 2 <= len(data) <= 3 or not _is_array(data[0]):
        return False
    same_length = all(np.ndim(c) == 1 and len(c) == len(data[0]) for c in data[1:])
    return data[0].ndim > 1 and same_length
