"""Pictures once rendered are kept on disk, so that the next time they are there at once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

LIMIT_BYTES = 1 << 30
ABANDONED_SECONDS = 3600


class PictureCache:
    """A folder of pictures, the least recently used thrown away beyond a limit.

    Several processes may use one folder, and one that is killed while it writes leaves nothing
    that is ever read: a file is written beside its place and then moved there.

    Parameters
    ----------
    folder : path, optional
        Made when something is first kept. None: ``pictures`` in nbcorr's folder among the user's
        caches (``XDG_CACHE_HOME`` is respected).
    limit_bytes : int
        Of all files together.

    Raises
    ------
    ValueError
        If the limit is negative.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        if limit_bytes < 0:
            raise ValueError(f"limit_bytes is {limit_bytes}; expected at least 0")
        self.folder = _user_folder() if folder is None else Path(folder)
        self.limit_bytes = limit_bytes

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays kept under this key, or None; a file that cannot be read is removed."""
        path = self._path(key)
        try:
            # Every member has a checksum, so that a damaged file is found out here.
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            return None
        except Exception:  # a damaged file makes NumPy and zipfile raise nearly anything
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return arrays

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays under this key.

        Raises
        ------
        ValueError
            If an array holds Python objects.

        Warns
        -----
        UserWarning
            If they cannot be written (the disk is full or read-only): they are not kept.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(self._path(key), arrays)
            self._make_room()
        except OSError as error:
            warnings.warn(f"pictures are not kept in {self.folder}: {error}", stacklevel=2)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _write(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=f"{path.stem}-", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, **{k: np.asarray(arrays[k]) for k in arrays})
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _make_room(self) -> None:
        """Remove what is beyond the limit, and what processes that were killed left behind."""
        total = 0
        for used, size, path in sorted(self._files(), reverse=True):
            total += size
            abandoned = path.suffix == ".part" and used < time.time() - ABANDONED_SECONDS
            if abandoned or (path.suffix == ".npz" and total > self.limit_bytes):
                path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[float, int, Path]]:
        """When last used, how large and which; files of other kinds are not ours."""
        found = []
        for path in self.folder.iterdir():
            if path.suffix in (".npz", ".part"):
                # Another process may have removed it by now.
                with suppress(FileNotFoundError):
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
        return found


def picture_key(**what: Any) -> str:
    """One key for all that determines a picture.

    Parameters
    ----------
    **what
        Numbers, texts, arrays and tensors, devices and dtypes, and lists, tuples and mappings of
        such.

    Returns
    -------
    str
        The sha256 of a canonical text of it: the same in every process and on every machine.

    Raises
    ------
    TypeError
        If something is of another kind, whose text might not tell it from others.
    """
    text = json.dumps(what, sort_keys=True, default=_described)
    return hashlib.sha256(text.encode()).hexdigest()


def _described(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        # Half precisions that NumPy has not are exact in float32.
        wide = value.detach().cpu()
        return [str(value.dtype), (wide.float() if wide.is_floating_point() else wide).numpy()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("a picture's key holds an array of Python objects; expected numbers")
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return ["array", value.dtype.str, list(value.shape), digest]
    if isinstance(value, torch.device | torch.dtype):
        return str(value)
    raise TypeError(
        f"a picture's key holds a {type(value).__name__}; expected numbers, texts, arrays, "
        "tensors, or lists and mappings of them"
    )


def _user_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("nbcorr")) / "pictures"
