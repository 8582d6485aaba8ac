"""Freed memory is kept for the next tensor while a network runs on the CPU.

glibc hands a large tensor's memory back to the system when it is freed, and a deep network frees
one per layer. The system clears and maps the same pages anew for the next, which can cost twice
what the network's own arithmetic does.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Numbers of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = -1

# glibc cannot be asked for what it had. Its thresholds follow the largest block freed so far, up to
# these, where any network with maps of some size has brought them; once set they follow no more.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}

_OWN_SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")

_lock = threading.Lock()
_inside = 0


@contextmanager
def keeping_freed_memory(device: torch.device) -> Iterator[None]:
    """Keep what is freed for the next tensor, until the last such block of the process ends.

    Does nothing where the model is not on the CPU, malloc is not glibc's (other systems, musl,
    jemalloc and the like) or the environment has settings of its own for it.

    Parameters
    ----------
    device : torch.device
        Where the model runs.

    Notes
    -----
    Blocks may be nested and run in several threads. Afterwards free memory goes back to the system
    (``malloc_trim``) and the settings are glibc's usual ones: blocks of 32 MiB and more are mapped
    on their own, and 64 MiB may lie free at the end of the heap. glibc's rule that adapts the two
    from 128 KiB upwards is then off, for this process.
    """
    library = _glibc() if device.type == "cpu" and not _has_own_settings() else None
    if library is None:
        yield
        return
    _enter(library)
    try:
        yield
    finally:
        _leave(library)


def _enter(library: ctypes.CDLL) -> None:
    global _inside
    with _lock:
        if _inside == 0:
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, _NEVER)
        _inside += 1


def _leave(library: ctypes.CDLL) -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            for setting, value in _USUAL.items():
                library.mallopt(setting, value)
            library.malloc_trim(ctypes.c_size_t(0))


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is a 64-bit glibc and the one whose malloc is used."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    process = ctypes.CDLL(None)
    if not hasattr(process, "gnu_get_libc_version"):
        return None
    library = ctypes.CDLL("libc.so.6")
    # A malloc loaded before it, jemalloc or tcmalloc, has another address.
    return library if _address(process.malloc) == _address(library.malloc) else None


def _address(function: object) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]


def _has_own_settings() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name in os.environ for name in _OWN_SETTINGS)
