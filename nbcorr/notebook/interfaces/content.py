"""What the widgets send to the page: compact arrays and strips of equally large pictures.

Arrays travel as binary buffers (a dict with ``bytes`` in a synced ``Dict``), not as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from nbcorr.notebook import pictures

#: Longer side in pixels of a neuron's picture, of an exemplar, and of the image under the map.
ICON, EXEMPLAR, SUBSTRATE = 80, 40, 256

_KINDS = {"float32", "int32", "uint8"}


def packed(array: Any) -> dict[str, Any]:
    """An array as its shape, kind of number and bytes (read by ``unpacked`` in arrays.ts).

    Raises
    ------
    TypeError
        If it is not of float32, int32 or uint8, the kinds that pages have.
    """
    array = np.ascontiguousarray(array)
    if array.dtype.name not in _KINDS:
        raise TypeError(f"the array is {array.dtype}; expected one of {sorted(_KINDS)}")
    return {"shape": list(array.shape), "kind": array.dtype.name, "bytes": array.tobytes()}


def quantized(maps: Any) -> dict[str, Any]:
    """Maps (n, y, x) as signed steps of 1/127 of each one's largest size, and those sizes.

    To be drawn, not to be computed with: four times smaller than float32.
    """
    maps = np.asarray(maps, dtype=np.float32)
    largest = np.abs(maps).max(axis=(1, 2), initial=0)
    steps = np.round(maps / np.where(largest > 0, largest, 1)[:, None, None] * 127)
    return {
        "steps": packed((steps + 128).astype(np.uint8)),
        "largest": packed(largest.astype(np.float32)),
    }


def sprite(images: Sequence[Any], side: int) -> dict[str, Any]:
    """Pictures as one strip of RGBA bytes, (n, height, width, 4).

    Parameters
    ----------
    images : sequence of arrays, shape (y, x, channel) or (y, x)
        Floating 0..1 or uint8; four channels are colours and opacity. Other numbers of channels
        are shown side by side.
    side : int
        Longer side of each in pixels. Smaller pictures are left as they are, where all are of one
        size, so that the page can enlarge them without blur.
    """
    tiles = [rgba(image) for image in images]
    if not tiles:
        return packed(np.zeros((0, 1, 1, 4), np.uint8))
    sizes = {tile.shape[:2] for tile in tiles}
    if len(sizes) > 1 or max(max(size) for size in sizes) > side:
        tiles = [_fitted(tile, side) for tile in tiles]
        tiles = [_centred(tile, side) for tile in tiles] if len(sizes) > 1 else tiles
    return packed(np.stack(tiles))


def displayable(image: Any) -> np.ndarray:
    """An input (channels, height, width) as (y, x, channel) in 0..1, brought there linearly."""
    array = np.moveaxis(torch.as_tensor(image).detach().cpu().float().numpy(), 0, -1)
    low, high = float(array.min()), float(array.max())
    if low >= 0 and high <= 1:
        return array
    return (array - low) / max(high - low, 1e-12)


def rgba(image: Any) -> np.ndarray:
    """A picture of any number of channels as (rows, columns, 4) uint8."""
    array = np.asarray(image)
    opacity = array[..., 3:] if array.ndim == 3 and array.shape[2] == 4 else None
    shown = pictures.to_uint8(array if opacity is None else array[..., :3])
    shown = np.repeat(shown[..., None], 3, axis=2) if shown.ndim == 2 else shown
    if opacity is None:
        alpha = np.full((*shown.shape[:2], 1), 255, np.uint8)
    else:
        alpha = pictures.to_uint8(opacity)[..., None]
    return np.concatenate([shown, alpha], axis=2)


def _fitted(tile: np.ndarray, side: int) -> np.ndarray:
    height, width = tile.shape[:2]
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    method = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(tile, "RGBA").resize(size, method))


def _centred(tile: np.ndarray, side: int) -> np.ndarray:
    """On a see-through square."""
    square = np.zeros((side, side, 4), np.uint8)
    height, width = tile.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = tile
    return square
