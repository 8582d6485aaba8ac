"""Batches out of whatever people have: arrays, labelled images, Datasets, DataLoaders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.utils.data import DataLoader, SequentialSampler, Subset
from torch.utils.data import Dataset as TorchDataset

from nbcorr.network.batch import Batch, any_tensor, column_values

_LABEL_KEYS = ("label", "labels", "y", "target")
_IN_MEMORY = np.ndarray | torch.Tensor | xr.DataArray
_ID_KEYS = ("id", "ids", "sample", "sample_id")


def batches(data: Any, batch_size: int = 64) -> Iterator[Batch]:
    """Batches of any data a model can be asked about.

    Parameters
    ----------
    data : array, tensor, tuple, xarray.Dataset, torch Dataset, DataLoader or iterable
        An array or tensor of samples, also one on disk (HDF5, Zarr, Dask), which is read batch by
        batch; a tuple of arrays (samples, labels) or (samples, labels, ids); labelled images (a
        Dataset with ``image`` over ``sample``); a map-style torch Dataset; or any iterable of
        batches, each a tensor, ``(x, y)``, ``(x, y, id)`` or a dict. Batches without a sample are
        passed over.
    batch_size : int
        For data that does not come in batches already.

    Raises
    ------
    TypeError
        If the data is none of these.
    ValueError
        If it is a tuple of arrays that are not one label, and one id, for each sample.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1")
    if isinstance(data, xr.Dataset):
        return _image_batches(data, batch_size)
    if _is_array(data):
        return _array_batches((data,), batch_size)
    if _is_columns(data):
        return _array_batches(data, batch_size)
    _check_no_columns(data)
    if isinstance(data, TorchDataset):
        data = DataLoader(data, batch_size=batch_size, generator=torch.Generator())
    if isinstance(data, Mapping):
        return iter([_batch(data)])
    try:
        # A filter may have left nothing of a batch.
        return (batch for batch in map(_batch, iter(data)) if len(batch))
    except TypeError:
        raise TypeError(
            f"data is a {type(data).__name__}; expected an array, a tensor, labelled images, "
            "a Dataset, a DataLoader or another iterable of batches"
        ) from None


def some_batches(
    data: Any, batch_size: int, most: int
) -> tuple[int, Iterator[tuple[int, Batch]]] | None:
    """How many batches data has, and at most so many by position, evenly and with both ends.

    All of an array's in memory. None where that would mean to run through the data: iterables, and
    loaders that shuffle or draw.
    """
    if isinstance(data, xr.Dataset) or _is_array(data) or _is_columns(data):
        columns = data if isinstance(data, tuple) else (data,)
        total = -(-(count_samples(data) or 0) // batch_size)
        if isinstance(columns[0], xr.Dataset | _IN_MEMORY):
            return total, enumerate(batches(data, batch_size))
        parts = ((at, _cut(columns, at * batch_size, batch_size)) for at in _evenly(total, most))
        return total, parts
    if isinstance(data, TorchDataset):
        data = DataLoader(data, batch_size=batch_size, generator=torch.Generator())
    if not isinstance(data, DataLoader) or not isinstance(data.sampler, SequentialSampler):
        return None
    if data.batch_size is None or count_samples(data) is None:
        return None
    total = -(-len(data.dataset) // data.batch_size)  # type: ignore[arg-type]
    return total, ((at, _loaded(data, at)) for at in _evenly(total, most))


def count_samples(data: Any) -> int | None:
    """How many samples there are, where that is known without running through them."""
    if isinstance(data, xr.Dataset):
        return int(data.sizes.get("sample", 0))
    if _is_array(data):
        return int(data.shape[0])
    if _is_columns(data):
        return int(data[0].shape[0])
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
    for start in range(0, columns[0].shape[0], batch_size):
        yield _cut(columns, start, batch_size)


def _cut(columns: tuple[Any, ...], start: int, size: int) -> Batch:
    return _batch(tuple(column[start : start + size] for column in columns))


def _loaded(data: DataLoader, at: int) -> Batch:
    """One batch of a loader, its datasets' others untouched."""
    size, total = data.batch_size or 1, len(data.dataset)  # type: ignore[arg-type]
    part = Subset(data.dataset, range(at * size, min(total, (at + 1) * size)))
    loader = DataLoader(
        part, batch_size=size, collate_fn=data.collate_fn, generator=torch.Generator()
    )
    return _batch(next(iter(loader)))


def _evenly(total: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, total - 1, most).round().astype(int)).tolist()


def _batch(item: Any) -> Batch:
    if isinstance(item, Mapping):
        inputs = {key: _tensor_or_value(value) for key, value in item.items()}
        label_key = next((key for key in _LABEL_KEYS if key in inputs), None)
        label = None if label_key is None else inputs.pop(label_key)
        sample = next(
            (inputs.pop(key) for key in _ID_KEYS if np.ndim(inputs.get(key, 0)) == 1), None
        )
        return dataclasses.replace(_checked(inputs, label, sample), label_key=label_key)
    if isinstance(item, tuple | list):
        if not 1 <= len(item) <= 3:
            raise ValueError(f"a batch has {len(item)} parts; expected x, (x, y) or (x, y, id)")
        parts = [*item, None, None][:3]
        return _checked(_as_tensor(parts[0]), parts[1], parts[2])
    return _checked(_as_tensor(item), None, None)


def _checked(inputs: Any, label: Any, sample: Any) -> Batch:
    count = len(any_tensor(inputs))
    return Batch(inputs, _column("labels", label, count), _column("ids", sample, count))


def _column(name: str, values: Any, count: int) -> np.ndarray | None:
    return None if values is None else column_values(name, values, count)


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


def _tensor_or_value(value: Any) -> Any:
    numeric = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    return torch.as_tensor(value) if numeric else value


def _is_array(data: Any) -> bool:
    # Those on disk (h5py, Zarr, Dask) are of no common class.
    like = all(hasattr(data, name) for name in ("shape", "dtype", "ndim", "__getitem__"))
    return isinstance(data, _IN_MEMORY) or like


def _check_no_columns(data: Any) -> None:
    """A ValueError for (samples, labels) that do not fit each other, which are no two batches."""
    if not isinstance(data, tuple) or not 2 <= len(data) <= 3:
        return
    if _is_array(data[0]) and data[0].ndim > 1:
        shapes = ", ".join(str(tuple(np.shape(part))) for part in data)
        raise ValueError(
            f"data is a tuple of shapes {shapes}; expected samples with one label, and one id, "
            "for each, or batches in a list"
        )


def _is_columns(data: Any) -> bool:
    """Whether data is (samples, labels[, ids]) rather than a sequence of batches."""
    if not isinstance(data, tuple):
        return False
    if not 2 <= len(data) <= 3 or not _is_array(data[0]):
        return False
    same_length = all(np.shape(column) == tuple(data[0].shape[:1]) for column in data[1:])
    return data[0].ndim > 1 and same_length
