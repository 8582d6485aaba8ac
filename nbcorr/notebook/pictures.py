"""Pictures for people: arrays of any channel count as crisp PNGs, and exemplars with their masks.

An image is an array (y, x, channel) or (y, x), floating 0..1 or uint8. A mask is shown as MILAN
shows it (Hernandez et al. 2022, section 3): darker outside, here at half its brightness and with a
thin outline as well, so that it reads on dark images too.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

#: Orange of the Okabe-Ito palette, told apart under every common colour blindness.
OUTLINE = (230, 159, 0)
#: Brightness left outside a mask.
OUTSIDE = 0.5
#: Images smaller than this are enlarged by whole pixels until their longer side reaches it.
LEGIBLE_SIDE = 96


def to_uint8(image: Any) -> np.ndarray:
    """An image as bytes a screen can show.

    Parameters
    ----------
    image : array, shape (y, x, channel) or (y, x)
        Floating values in 0..1 (clipped; NaN is drawn black) or uint8.

    Returns
    -------
    numpy.ndarray of uint8
        (y, x) for one channel, (y, x, 3) for three; any other number of channels becomes grey
        tiles side by side, (rows, columns), a mid-grey pixel between them.

    Raises
    ------
    ValueError
        If the array has another number of dimensions or is empty.
    """
    return _arrange(_tiles(image))


def png_bytes(image: Any, scale: int | None = None) -> bytes:
    """An image as a PNG file.

    Parameters
    ----------
    image : array, shape (y, x, channel) or (y, x)
    scale : int, optional
        Every pixel becomes ``scale`` x ``scale`` pixels. By default tiny images are enlarged
        until their longer side reaches 96 pixels, others are left as they are.
    """
    tiles = _tiles(image)
    factor = legible_scale(tiles[0].shape) if scale is None else scale
    return _encode(Image.fromarray(_arrange([_enlarge(tile, factor) for tile in tiles])), "PNG")


def data_uri(image: Any, scale: int | None = None) -> str:
    """An image as ``data:image/png;base64,…``, to stand in HTML without a file beside it."""
    return _uri(png_bytes(image, scale), "png")


def thumbnail_uri(image: Any, side: int) -> str:
    """An image whose longer side (of one tile) is at most ``side`` pixels, as a data URI.

    For pages that carry many: small images stay as they are, lossless (let the page enlarge
    them with ``image-rendering: pixelated``); larger ones are scaled down and stored as JPEG.
    """
    tiles = _tiles(image)
    if len(tiles) == 1 and max(tiles[0].shape[:2]) <= LEGIBLE_SIDE // 2:
        return _uri(_encode(Image.fromarray(tiles[0]), "PNG"), "png")
    if len(tiles) > 1 or max(tiles[0].shape[:2]) > side:
        tiles = [_fit(tile, side) for tile in tiles]
    kind = "JPEG" if len(tiles) == 1 else "PNG"
    return _uri(_encode(Image.fromarray(_arrange(tiles)), kind), kind.lower())


def with_mask(image: Any, mask: Any, scale: int | None = None) -> np.ndarray:
    """An exemplar with its mask: dark outside it, a thin orange line around it.

    Parameters
    ----------
    image : array, shape (y, x, channel) or (y, x)
    mask : array of bool, shape (y, x)
    scale : int, optional
        As for `png_bytes`; the line is drawn after enlarging, so that it stays thin.

    Returns
    -------
    numpy.ndarray of uint8, shape (rows, columns, 3)

    Raises
    ------
    ValueError
        If the mask's shape is not the image's.
    """
    tiles = _tiles(image)
    inside = _as_mask(mask, tiles[0].shape[:2])
    factor = legible_scale(inside.shape) if scale is None else scale
    inside = _enlarge(inside, factor)
    return _arrange([_masked(_enlarge(tile, factor), inside) for tile in tiles])


def mask_overlay_uri(mask: Any, side: int, channels: int = 3) -> str:
    """A mask alone as a see-through PNG, to lay over its image in a page.

    Parameters
    ----------
    mask : array of bool, shape (y, x)
    side : int
        Length of the longer side of one tile in pixels.
    channels : int
        Channels of the image beneath: where `to_uint8` tiles it, the mask is tiled alike.
    """
    picture = Image.fromarray(np.asarray(mask, dtype=np.uint8) * 255)
    width, height = _size(picture.size, side)
    inside = np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)) > 0
    colours = np.where(inside, 0, 1).astype(np.uint8)
    colours[_outline(inside)] = 2
    tiles = 1 if channels in (1, 3) else channels
    picture = Image.fromarray(_arrange([colours] * tiles, between=0))
    picture.putpalette([0, 0, 0, 0, 0, 0, *OUTLINE])
    buffer = io.BytesIO()
    shade = round(255 * (1 - OUTSIDE))
    picture.save(buffer, "PNG", optimize=True, transparency=bytes([0, shade, 255]))
    return _uri(buffer.getvalue(), "png")


def legible_scale(shape: tuple[int, ...]) -> int:
    """The smallest whole enlargement that brings the longer side of (y, x) to 96 pixels."""
    return max(1, -(-LEGIBLE_SIDE // max(shape[:2])))


def _tiles(image: Any) -> list[np.ndarray]:
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.size == 0:
        raise ValueError(
            f"the image has shape {array.shape}; expected (y, x, channel) or (y, x), not empty"
        )
    if array.dtype != np.uint8:
        clipped = np.clip(np.nan_to_num(array.astype(np.float32), nan=0.0), 0, 1)
        array = np.round(clipped * 255).astype(np.uint8)
    if array.shape[2] == 3:
        return [array]
    return [array[..., channel] for channel in range(array.shape[2])]


def _arrange(tiles: list[np.ndarray], between: int = 128) -> np.ndarray:
    """Tiles on a grid as square as their number allows, one line between them."""
    if len(tiles) == 1:
        return tiles[0]
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    height, width = tiles[0].shape[:2]
    shape = (rows * (height + 1) - 1, columns * (width + 1) - 1, *tiles[0].shape[2:])
    sheet = np.full(shape, between, dtype=np.uint8)
    for position, tile in enumerate(tiles):
        y, x = (position // columns) * (height + 1), (position % columns) * (width + 1)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def _enlarge(array: np.ndarray, factor: int) -> np.ndarray:
    return array if factor == 1 else array.repeat(factor, axis=0).repeat(factor, axis=1)


def _fit(tile: np.ndarray, side: int) -> np.ndarray:
    picture = Image.fromarray(tile)
    shrinks = max(picture.size) > side
    method = Image.Resampling.LANCZOS if shrinks else Image.Resampling.NEAREST
    return np.asarray(picture.resize(_size(picture.size, side), method))


def _size(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = (max(1, round(length * side / max(size))) for length in size)
    return width, height


def _masked(tile: np.ndarray, inside: np.ndarray) -> np.ndarray:
    rgb = tile if tile.ndim == 3 else np.repeat(tile[..., None], 3, axis=2)
    shown = np.where(inside[..., None], rgb, np.round(rgb * OUTSIDE)).astype(np.uint8)
    shown[_outline(inside)] = OUTLINE
    return shown


def _outline(inside: np.ndarray) -> np.ndarray:
    """The rim of a mask, inside it: one pixel wide, two from 128 pixels up."""
    core = inside
    for _ in range(2 if max(inside.shape) >= 128 else 1):
        padded = np.pad(core, 1)
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core


def _as_mask(mask: Any, shape: tuple[int, ...]) -> np.ndarray:
    inside = np.asarray(mask, dtype=bool)
    if inside.shape != shape:
        raise ValueError(f"the mask has shape {inside.shape}; expected the image's, {shape}")
    return inside


def _encode(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": 88} if kind == "JPEG" else {"optimize": True}
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
