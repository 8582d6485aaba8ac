"""Where the zoo keeps what it fetched and trained, and how it writes there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def cache_dir() -> Path:
    """The user's cache folder of nbcorr (``XDG_CACHE_HOME`` is respected); it may not exist."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("nbcorr"))


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Its folder is made if need be.
    write : callable
        Given a binary file beside ``path``, which then takes its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
