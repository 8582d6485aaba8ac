"""Pictures: any channel count becomes something a screen shows, masks stay thin and exact."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nbcorr.notebook import pictures


def opened(data: bytes | str) -> Image.Image:
    if isinstance(data, str):
        data = base64.b64decode(data.split(",", 1)[1])
    return Image.open(io.BytesIO(data))


def ramp(*shape: int) -> np.ndarray:
    return np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((8, 8), (8, 8)),
        ((8, 8, 1), (8, 8)),
        ((5, 9, 3), (5, 9, 3)),
        ((4, 6, 2), (4, 13)),
        ((4, 6, 4), (9, 13)),
        ((4, 6, 6), (9, 20)),
    ],
)
def test_every_channel_count_is_shown(shape: tuple[int, ...], shown: tuple[int, ...]) -> None:
    picture = pictures.to_uint8(ramp(*shape))
    assert picture.shape == shown
    assert picture.dtype == np.uint8


@given(channels=st.integers(1, 13), height=st.integers(1, 9), width=st.integers(1, 9))
def test_tiles_keep_every_value(channels: int, height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    shown = np.bincount(pictures.to_uint8(image).ravel(), minlength=256)
    there = np.bincount(image.ravel(), minlength=256)
    assert (shown >= there).all()


def test_values_are_clipped_and_nan_is_black() -> None:
    picture = pictures.to_uint8(np.array([[-1.0, 0.5, 2.0, np.nan]]))
    assert picture.tolist() == [[0, 128, 255, 0]]


def test_bytes_pass_unchanged() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert (pictures.to_uint8(image) == image).all()


@pytest.mark.parametrize("shape", [(3,), (2, 2, 3, 1), (0, 4, 3), (4, 4, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(y, x, channel\)"):
        pictures.to_uint8(np.zeros(shape))


@pytest.mark.parametrize(("side", "size"), [(8, 96), (12, 96), (28, 112), (96, 96), (224, 224)])
def test_tiny_images_grow_by_whole_pixels(side: int, size: int) -> None:
    image = ramp(side, side, 3)
    png = opened(pictures.png_bytes(image))
    assert png.size == (size, size)
    step = size // side
    assert (np.asarray(png)[::step, ::step] == pictures.to_uint8(image)).all()


def test_scale_is_obeyed() -> None:
    assert opened(pictures.png_bytes(ramp(8, 6), scale=3)).size == (18, 24)


def test_data_uri_is_a_png() -> None:
    uri = pictures.data_uri(ramp(8, 8))
    assert uri.startswith("data:image/png;base64,")
    assert opened(uri).format == "PNG"


def test_mask_darkens_outside_and_outlines() -> None:
    image = np.full((8, 8, 1), 200, dtype=np.uint8)
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:6, 2:6] = True
    shown = pictures.with_mask(image, mask)
    assert shown.shape == (96, 96, 3)
    assert shown[0, 0].tolist() == [100, 100, 100]
    assert shown[48, 48].tolist() == [200, 200, 200]
    assert tuple(shown[24, 24]) == pictures.OUTLINE
    outlined = (shown == pictures.OUTLINE).all(axis=2)
    assert outlined.sum() == 4 * 47


def test_mask_of_tiles_stands_on_each() -> None:
    mask = np.zeros((4, 4), dtype=bool)
    mask[1:3, 1:3] = True
    shown = pictures.with_mask(ramp(4, 4, 2), mask, scale=4)
    assert shown.shape == (16, 33, 3)
    assert (shown[:, :16] == pictures.OUTLINE).all(axis=2).sum() == 28
    assert (shown[:, 17:] == pictures.OUTLINE).all(axis=2).sum() == 28


def test_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"mask has shape \(3, 3\); expected the image's, \(4, 4\)"
    ):
        pictures.with_mask(ramp(4, 4, 3), np.ones((3, 3)))


def test_thumbnails_are_small_and_faithful() -> None:
    tiny = opened(pictures.thumbnail_uri(ramp(8, 8), 112))
    assert (tiny.format, tiny.size) == ("PNG", (8, 8))
    large = opened(pictures.thumbnail_uri(ramp(300, 200, 3), 112))
    assert (large.format, large.size) == ("JPEG", (75, 112))


@pytest.mark.parametrize(("channels", "size"), [(1, (96, 96)), (3, (96, 96)), (6, (290, 193))])
def test_overlay_matches_its_image(channels: int, size: tuple[int, int]) -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4] = True
    overlay = np.asarray(opened(pictures.mask_overlay_uri(mask, 96, channels)).convert("RGBA"))
    assert overlay.shape[1::-1] == size
    assert overlay[20, 20, 3] == 0
    assert overlay[90, 20].tolist() == [0, 0, 0, 128]
    assert overlay[0, 0].tolist() == [*pictures.OUTLINE, 255]


@pytest.mark.parametrize("side", [8, 200])
def test_tiled_thumbnails_and_overlays_have_one_size(side: int) -> None:
    thumbnail = opened(pictures.thumbnail_uri(ramp(side, side, 6), 96))
    overlay = opened(pictures.mask_overlay_uri(np.ones((side, side)), 96, 6))
    assert thumbnail.size == overlay.size == (290, 193)
