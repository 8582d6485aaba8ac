"""Corruptions against their formulas, one image at a time, and against Pillow and SciPy."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage import color, filters, util

from nbcorr.selectivity.corruptions import CORRUPTIONS, corrupt
from nbcorr.selectivity.distortions import enlarged, smeared
from nbcorr.selectivity.plasma import plasma


@pytest.fixture(scope="module")
def photos():
    """Smooth coloured pictures of 32 x 32 pixels in 8 bits."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((6, 3, 32, 32)), (0, 0, 2, 2), mode="wrap")
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return (np.floor(255 * smooth) / 255).astype(np.float32)


def eight_bit(x):
    return np.floor(255 * np.clip(x, 0, 1) + 1e-6) / 255


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_kind_is_seeded_bounded_and_grows_with_severity(photos, kind):
    changed = [corrupt(photos, kind, severity, seed=1) for severity in (1, 2, 3, 4, 5)]
    for images in changed:
        assert images.shape == photos.shape
        assert images.dtype == np.float32
        assert 0 <= images.min() <= images.max() <= 1
    assert np.array_equal(changed[2], corrupt(photos, kind, 3, seed=1))
    distance = [float(np.abs(images - photos).mean()) for images in changed]
    # By the recipe an elastic transform skews less, and ripples more, the more severe it is.
    assert distance[4] > distance[0] or kind == "elastic_transform"
    assert distance[4] > 0.005


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 20, 33), (1, 6, 16, 16)])
def test_any_number_of_channels_and_any_size(kind, shape):
    images = np.random.default_rng(0).random(shape)
    assert corrupt(images, kind, 5).shape == shape


def test_contrast_and_brightness_are_their_formulas(photos):
    found = corrupt(photos, "contrast", 3)
    for image, own in zip(found, photos.astype(float), strict=True):
        for channel, values in zip(image, own, strict=True):
            expected = (values - values.mean()) * 0.4 + values.mean()
            np.testing.assert_allclose(channel, eight_bit(expected), atol=1 / 255 + 1e-6)
    found = corrupt(photos, "brightness", 4)
    for image, own in zip(found, photos, strict=True):
        hsv = color.rgb2hsv(own.transpose(1, 2, 0).astype(float))
        hsv[..., 2] = np.clip(hsv[..., 2] + 0.2, 0, 1)
        expected = color.hsv2rgb(hsv).transpose(2, 0, 1)
        np.testing.assert_allclose(image, eight_bit(expected), atol=1 / 255 + 1e-6)


def test_noises_have_the_moments_of_their_recipes():
    grey = np.full((40, 3, 32, 32), 0.4)
    for kind, severity, spread in (
        ("gaussian_noise", 2, 0.06),
        ("shot_noise", 3, math.sqrt(0.4 / 100)),
        ("speckle_noise", 4, 0.4 * 0.16),
    ):
        found = corrupt(grey, kind, severity)
        assert found.std() == pytest.approx(spread, rel=0.02)
        assert found.mean() == pytest.approx(0.4 - 0.5 / 255, abs=1e-3)
    found = corrupt(grey, "impulse_noise", 5)
    reference = util.random_noise(grey, mode="s&p", amount=0.07, rng=1)
    for value in (0, 1):
        assert np.mean(found == value) == pytest.approx(np.mean(reference == value), abs=0.002)


def test_blurs_are_those_of_scikit_image_and_of_a_plain_sum(photos):
    found = corrupt(photos, "gaussian_blur", 5)
    for image, own in zip(found, photos.astype(float), strict=True):
        expected = filters.gaussian(own, sigma=1, channel_axis=0)
        np.testing.assert_allclose(image, eight_bit(expected), atol=1 / 255 + 1e-6)
    weight = math.exp(-1 / (2 * 0.4**2))
    taps = np.array([weight, 1, weight]) / (1 + 2 * weight)
    own = np.pad(photos[0, 0].astype(float), 1, mode="reflect")
    around = [taps[a] * taps[b] * own[a : a + 32, b : b + 32] for a in range(3) for b in range(3)]
    found = corrupt(photos, "defocus_blur", 1)[0, 0]
    np.testing.assert_allclose(found, eight_bit(sum(around)), atol=1 / 255 + 1e-6)


def literal_smear(image, angle, radius, sigma):
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    out = np.zeros_like(image)
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            for i, weight in enumerate(weights):
                dx = math.ceil(i * math.cos(math.radians(angle)) - 0.5)
                dy = math.ceil(i * math.sin(math.radians(angle)) - 0.5)
                at = image[min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)]
                out[y, x] += weight / sum(weights) * at
    return out


def test_motion_blur_is_half_a_gaussian_along_a_line(photos):
    own = photos[:2, :1].astype(float)
    found = smeared(own, np.array([20.0, -120.0]), 6, 2)
    for i, angle in enumerate((20, -120)):
        expected = literal_smear(own[i, 0], angle, 6, 2)
        np.testing.assert_allclose(found[i, 0], expected, rtol=1e-12)


def test_pixelate_and_jpeg_are_pillows(photos):
    def by_pillow(image, change):
        picture = Image.fromarray(np.rint(255 * image.transpose(1, 2, 0)).astype(np.uint8))
        return np.asarray(change(picture)).transpose(2, 0, 1) / 255

    def stored(picture):
        file = BytesIO()
        picture.save(file, "JPEG", quality=58)
        return Image.open(file)

    def coarse(picture):
        return picture.resize((27, 27), Image.BOX).resize((32, 32), Image.BOX)

    for kind, change in (("jpeg_compression", stored), ("pixelate", coarse)):
        found = corrupt(photos, kind, 3)
        for image, own in zip(found, photos, strict=True):
            np.testing.assert_allclose(image, by_pillow(own, change), atol=1e-6)


def test_zoom_is_the_mean_of_enlargements(photos):
    own = photos.astype(float)
    # The recipe's own steps, rounding and all: the last is 1.11 or not.
    factors = np.arange(1, 1.11, 0.01)
    expected = (own + sum(enlarged(own, factor) for factor in factors)) / (len(factors) + 1)
    np.testing.assert_allclose(
        corrupt(photos, "zoom_blur", 2), eight_bit(expected), atol=1 / 255 + 1e-6
    )


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.13, 1.75, 2.25])
def test_an_enlargement_is_the_middle_of_scipys_zoom(photos, factor):
    own = photos[:2, :, :, :29].astype(float)
    rows, columns = (math.ceil(size / factor) for size in (32, 29))
    top, left = (32 - rows) // 2, (29 - columns) // 2
    middle = own[:, :, top : top + rows, left : left + columns]
    large = ndimage.zoom(middle, (1, 1, factor, factor), order=1, mode="nearest")
    top, left = (large.shape[2] - 32) // 2, (large.shape[3] - 29) // 2
    expected = large[:, :, top : top + 32, left : left + 29]
    np.testing.assert_allclose(enlarged(own, factor), expected, atol=1e-9)


def test_glass_gives_each_pixel_the_value_of_a_neighbour(photos):
    found = corrupt(photos, "glass_blur", 1)
    np.testing.assert_allclose(found[:, :, :2], photos[:, :, :2], atol=1e-6)
    np.testing.assert_allclose(found[:, :, :, :2], photos[:, :, :, :2], atol=1e-6)
    places = set()
    for image, own in zip(found, photos, strict=True):
        for y in range(2, 32):
            for x in range(2, 32):
                around = {(dy, dx): own[:, y + dy, x + dx] for dy in (-1, 0) for dx in (-1, 0)}
                same = [at for at, v in around.items() if np.allclose(image[:, y, x], v, atol=1e-6)]
                assert same
                places.update(same if len(same) == 1 else ())
    assert places == {(-1, -1), (-1, 0), (0, -1), (0, 0)}


def test_fog_veils_and_a_plasma_is_a_fractal():
    black = np.zeros((2, 3, 32, 32))
    assert corrupt(black, "fog", 5).max() == 0
    clouds = plasma(3, 32, 3.0, np.random.default_rng(0))
    assert clouds.shape == (3, 32, 32)
    assert clouds.min(axis=(1, 2)).tolist() == [0, 0, 0]
    assert clouds.max(axis=(1, 2)).tolist() == [1, 1, 1]
    smooth, rough = (plasma(20, 32, d, np.random.default_rng(1)) for d in (3.0, 1.5))
    assert np.abs(np.diff(smooth)).mean() < np.abs(np.diff(rough)).mean() / 2


def test_elastic_leaves_what_is_even():
    even = np.full((2, 3, 16, 16), 0.6)
    assert np.allclose(corrupt(even, "elastic_transform", 3), 0.6, atol=1 / 255)


@pytest.mark.parametrize(
    ("images", "kind", "severity", "message"),
    [
        (np.zeros((1, 1, 8, 8)), "fogg", 1, "no corruption 'fogg'; did you mean 'fog'"),
        (np.zeros((1, 1, 8, 8)), "fog", 6, "severity is 6; expected 1 to 5"),
        (np.zeros((8, 8)), "fog", 1, r"shape \(8, 8\); expected \(n, channels"),
        (np.full((1, 1, 8, 8), 2), "fog", 1, "values from 2 to 2; expected 0 to 1"),
        (np.full((1, 1, 8, 8), np.nan), "fog", 1, "expected 0 to 1"),
    ],
)
def test_refuses(images, kind, severity, message):
    with pytest.raises(ValueError, match=message):
        corrupt(images, kind, severity)
