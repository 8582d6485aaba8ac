"""Many pictures as one compressed file, for the interfaces that show hundreds of them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image

from nbcorr.notebook.interfaces.content import sprite

#: Pictures up to this size are kept exactly, so that the page can enlarge them without blur.
EXACT = 32
QUALITY = 88


def sheet(images: Sequence[Any], side: int) -> dict[str, Any]:
    """Pictures side by side in one JPEG, or PNG where they are small or see-through.

    Parameters
    ----------
    images : sequence of arrays, shape (y, x, channel) or (y, x)
        As for ``content.sprite``.
    side : int
        Longer side of each in pixels, at most.

    Returns
    -------
    dict
        ``bytes`` and ``mime`` of the file, ``count`` pictures in ``columns``, each of ``width``
        and ``height`` (read by ``Sheet`` in sheet.ts).
    """
    strip = sprite(images, side)
    count, height, width, _ = strip["shape"]
    tiles = np.frombuffer(strip["bytes"], np.uint8).reshape(strip["shape"])
    columns = max(1, math.isqrt(max(count - 1, 0)) + 1)
    mime, encoded = _encoded(_laid(tiles, columns), exact=max(height, width) <= EXACT)
    return {
        "bytes": encoded,
        "mime": mime,
        "count": count,
        "columns": columns,
        "width": width,
        "height": height,
    }


def _laid(tiles: np.ndarray, columns: int) -> np.ndarray:
    count, height, width, _ = tiles.shape
    rows = max(1, -(-count // columns))
    full = np.full((rows * columns, height, width, 4), 255, np.uint8)
    full[:count] = tiles
    lines = full.reshape(rows, columns, height, width, 4).transpose(0, 2, 1, 3, 4)
    return lines.reshape(rows * height, columns * width, 4)


def _encoded(picture: np.ndarray, exact: bool) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    if exact or (picture[..., 3] < 255).any():
        Image.fromarray(picture, "RGBA").save(buffer, "PNG")
        return "image/png", buffer.getvalue()
    # Full colour resolution, so that neighbours do not run into each other.
    Image.fromarray(picture[..., :3]).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return "image/jpeg", buffer.getvalue()


def mosaic(found: xr.Dataset, blank: float = 0.95) -> np.ndarray:
    """The pictures of a grid or an atlas in their rows and columns, (y, x, channel) in 0..1."""
    images = found["image"].transpose("direction", "y", "x", "channel").values[..., :3]
    tiles = np.concatenate([images, np.full_like(images[:1], blank)])
    places = found["picture"].transpose("row", "column").values
    laid = tiles[places].transpose(0, 2, 1, 3, 4)
    return laid.reshape(places.shape[0] * images.shape[1], -1, images.shape[3])


def strongest(values: np.ndarray) -> tuple[int, int]:
    """Row and column of the largest number."""
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    return int(row), int(column)


def check_variables(name: str, given: Any, needed: Sequence[str], verb: str) -> None:
    """A ValueError for anything that is not what a verb gives."""
    held = sorted(map(str, given.data_vars)) if isinstance(given, xr.Dataset) else None
    missing = [each for each in needed if held is None or each not in held]
    if missing:
        found = type(given).__name__ if held is None else held
        raise ValueError(
            f"{name} is {found}; expected the Dataset that nc.{verb} gives, with {missing[0]!r}"
        )
