"""What a recording will take, said before it takes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil

from nbcorr.recording.rows import Layout

# Of what is free: the model needs some too, and a disk filled to the brim stops other programs.
_USABLE = 0.9


def in_words(layout: Layout, samples: int | None, on_disk: bool) -> str:
    """For example ``63,496 neurons x 10,000 samples, 2.5 GB on disk``."""
    neurons = f"{layout.n_neurons:,} neurons"
    if samples is None:
        return f"{neurons}, {size(layout.bytes_per_sample)} a sample"
    where = "on disk" if on_disk else "in memory"
    return f"{neurons} x {samples:,} samples, {size(layout.bytes_per_sample * samples)} {where}"


def check_fits(layout: Layout, samples: int | None, store: Path | None) -> None:
    """An error where what is to come is more than there is room for.

    Raises
    ------
    MemoryError
        If it does not fit into memory; a store is proposed.
    OSError
        If it does not fit onto the disk.
    """
    if samples is None:
        return
    needed = layout.bytes_per_sample * samples
    if store is None:
        free = psutil.virtual_memory().available
        if needed > _USABLE * free:
            raise MemoryError(
                f"{in_words(layout, samples, False)} and {size(free)} are free; "
                "store='recording.zarr' keeps it on disk, fewer layers or dtype='float16' take less"
            )
        return
    free = shutil.disk_usage(_existing(store)).free
    if needed > _USABLE * free:
        raise OSError(
            f"{in_words(layout, samples, True)} and {size(free)} are free where {str(store)!r} "
            "is to be; fewer layers or dtype='float16' take less"
        )


def size(count: float) -> str:
    """Bytes for people: ``2.5 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            break
        count, unit = count / 1000, {"bytes": "kB", "kB": "MB", "MB": "GB", "GB": "TB"}[unit]
    return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.2g} {unit}"


def _existing(path: Path) -> Path:
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
