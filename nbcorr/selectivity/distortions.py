"""What single corruptions do to images: arrays (n, channels, height, width) from 0 to 1.

Each takes the images, a random generator and its strengths, and gives images that may yet leave
0 to 1. Recipes: Hendrycks & Dietterich 2019; see `corruptions`.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

from nbcorr.selectivity.plasma import plasma

Rng = np.random.Generator
# What is 8-bit stays so when rounded down: 255 * (29 / 255) is a little less than 29.
EXACT = 1e-6


def gaussian_noise(x: np.ndarray, rng: Rng, scale: float) -> np.ndarray:
    """Normal noise of one standard deviation."""
    return x + rng.normal(scale=scale, size=x.shape)


def shot_noise(x: np.ndarray, rng: Rng, photons: float) -> np.ndarray:
    """Poisson counts of so many photons at full light."""
    return rng.poisson(x * photons) / photons


def impulse_noise(x: np.ndarray, rng: Rng, share: float) -> np.ndarray:
    """Salt and pepper, alike often, on a share of the values."""
    hit, salt = rng.random(x.shape) <= share, rng.random(x.shape) <= 0.5
    return np.where(hit, salt, x)


def speckle_noise(x: np.ndarray, rng: Rng, scale: float) -> np.ndarray:
    """Normal noise in proportion to the value."""
    return x + x * rng.normal(scale=scale, size=x.shape)


def gaussian_blur(x: np.ndarray, rng: Rng, sigma: float) -> np.ndarray:
    """A Gaussian of so many pixels."""
    return np.asarray(ndimage.gaussian_filter(x, (0, 0, sigma, sigma), mode="nearest"))


def defocus_blur(x: np.ndarray, rng: Rng, radius: float, alias: float) -> np.ndarray:
    """A disk, its edge softened by a Gaussian of three taps."""
    at = np.arange(-8, 9)
    disk = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float64)
    taps = np.exp(-(np.array([-1.0, 0, 1]) ** 2) / (2 * alias**2))
    soft = ndimage.convolve(disk / disk.sum(), np.outer(taps, taps) / taps.sum() ** 2)
    return np.asarray(ndimage.correlate(x, soft[None, None], mode="mirror"))


def glass_blur(x: np.ndarray, rng: Rng, sigma: float, rounds: float) -> np.ndarray:
    """Pixels that take the value of one above, left, or both, or stay, between two blurs.

    The recipe speaks of swapping pixels. The code that made the benchmark's images exchanges two
    views of one array, so only the first changes; so it is here. (Swapped in that order, pixels
    would be carried along over many places.)
    """
    blurred = np.floor(255 * gaussian_blur(x, rng, sigma) + EXACT) / 255
    n, _, height, width = x.shape
    rows, columns = np.arange(2, height), np.arange(2, width)
    every = np.arange(n)[:, None, None]
    for _ in range(int(rounds)):
        dx, dy = rng.integers(-1, 1, (2, n, len(rows), len(columns)))
        taken = blurred[every, :, rows[:, None] + dy, columns + dx]
        blurred[:, :, 2:, 2:] = taken.transpose(0, 3, 1, 2)
    return gaussian_blur(blurred, rng, sigma)


def motion_blur(x: np.ndarray, rng: Rng, radius: float, sigma: float) -> np.ndarray:
    """A one-sided Gaussian along a line, each image in a direction of its own."""
    return smeared(x, rng.uniform(-45, 45, len(x)), radius, sigma)


def smeared(x: np.ndarray, angles: np.ndarray, radius: float, sigma: float) -> np.ndarray:
    """Half a Gaussian along lines of these angles in degrees, as ImageMagick's motion blur."""
    steps = np.arange(2 * int(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    turned = np.deg2rad(angles)[:, None]
    right = np.ceil(steps * np.cos(turned) - 0.5).astype(int)
    down = np.ceil(steps * np.sin(turned) - 0.5).astype(int)
    every = np.arange(len(x))[:, None, None]
    out = np.zeros_like(x)
    for step, weight in enumerate(weights):
        rows = np.clip(np.arange(x.shape[2]) + down[:, step, None], 0, x.shape[2] - 1)
        columns = np.clip(np.arange(x.shape[3]) + right[:, step, None], 0, x.shape[3] - 1)
        moved = x.transpose(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None, :]]
        out += weight * moved.transpose(0, 3, 1, 2)
    return out


def zoom_blur(x: np.ndarray, rng: Rng, largest: float) -> np.ndarray:
    """The mean of the image and its enlargements, in steps of a hundredth."""
    factors = np.arange(1, largest, 0.01)
    return (x + sum(enlarged(x, factor) for factor in factors)) / (len(factors) + 1)


def enlarged(x: np.ndarray, factor: float) -> np.ndarray:
    """The middle of each image, enlarged to its size by linear interpolation."""
    down, across = (_enlarging(size, factor) for size in x.shape[2:])
    return np.asarray(down @ x @ across.T)


def _enlarging(size: int, factor: float) -> np.ndarray:
    """What each place of the middle adds to each place after, shape (size, size).

    The first and last places of the middle become those of the enlarged image, whose own middle
    is kept.
    """
    kept = int(np.ceil(size / factor))
    large = round(kept * factor)
    at = np.arange(size) + (large - size) // 2
    source = at * (kept - 1) / max(1, large - 1)
    left = np.minimum(source.astype(int), max(0, kept - 2))
    right = np.minimum(left + 1, kept - 1)
    weights = np.zeros((size, size))
    start, rows = (size - kept) // 2, np.arange(size)
    np.add.at(weights, (rows, start + left), 1 - (source - left))
    np.add.at(weights, (rows, start + right), source - left)
    return weights


def snow(
    x: np.ndarray,
    rng: Rng,
    mean: float,
    spread: float,
    size: float,
    least: float,
    radius: float,
    sigma: float,
    clear: float,
) -> np.ndarray:
    """Driven flakes before a whitened image."""
    flakes = enlarged(rng.normal(mean, spread, (len(x), 1, *x.shape[2:])), size)
    flakes = np.where(flakes < least, 0, np.clip(flakes, 0, 1))
    flakes = np.floor(255 * flakes + EXACT) / 255
    flakes = smeared(flakes, rng.uniform(-135, -45, len(x)), radius, sigma)
    white = clear * x + (1 - clear) * np.maximum(x, 1.5 * _grey(x) + 0.5)
    return white + flakes + flakes[:, :, ::-1, ::-1]


def _grey(x: np.ndarray) -> np.ndarray:
    """Luma of colour images; the mean of other channels."""
    weights = [0.299, 0.587, 0.114] if x.shape[1] == 3 else np.full(x.shape[1], 1 / x.shape[1])
    return np.tensordot(weights, x, (0, 1))[:, None]


def fog(x: np.ndarray, rng: Rng, thickness: float, decay: float) -> np.ndarray:
    """A fractal cloud before each image, of its brightest light."""
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    size = 1 << (max(x.shape[2:]) - 1).bit_length()
    cloud = plasma(len(x), size, decay, rng)[:, None, : x.shape[2], : x.shape[3]]
    return (x + thickness * cloud) * brightest / (brightest + thickness)


def brightness(x: np.ndarray, rng: Rng, more: float) -> np.ndarray:
    """More value (of hue, saturation, value); black becomes grey."""
    value = x.max(axis=1, keepdims=True)
    lighter = np.minimum(value + more, 1)
    return np.where(value > 0, x * lighter / np.where(value > 0, value, 1), lighter)


def contrast(x: np.ndarray, rng: Rng, share: float) -> np.ndarray:
    """Nearer to the mean of each channel."""
    means = x.mean(axis=(2, 3), keepdims=True)
    return (x - means) * share + means


def elastic_transform(
    x: np.ndarray, rng: Rng, strength: float, smooth: float, skew: float
) -> np.ndarray:
    """A random affine map, then every pixel moved a little; strengths by the image's size."""
    size = min(x.shape[2:])
    moved = [_bent(image, rng, strength * size, smooth * size, skew * size) for image in x]
    return np.stack(moved)


def _bent(image: np.ndarray, rng: Rng, strength: float, smooth: float, skew: float) -> np.ndarray:
    height, width = image.shape[1:]
    middle, side = np.array([width // 2, height // 2]), min(height, width) // 3
    corners = middle + side * np.array([[1, 1], [1, -1], [-1, -1]])
    targets = corners + rng.uniform(-skew, skew, (3, 2))
    # Where each pixel comes from: the affine map of the moved corners to where they were.
    back = np.linalg.solve(np.column_stack([targets, np.ones(3)]), corners)
    y, x = np.mgrid[:height, :width]
    from_x, from_y = np.moveaxis(np.stack([x, y, np.ones_like(x)], -1) @ back, -1, 0)
    skewed = [ndimage.map_coordinates(c, [from_y, from_x], order=1, mode="mirror") for c in image]
    dx, dy = (
        strength * ndimage.gaussian_filter(noise, smooth, mode="reflect", truncate=3)
        for noise in rng.uniform(-1, 1, (2, height, width))
    )
    return np.stack(
        [ndimage.map_coordinates(c, [y + dy, x + dx], order=1, mode="reflect") for c in skewed]
    )


def pixelate(x: np.ndarray, rng: Rng, share: float) -> np.ndarray:
    """Made smaller and large again, by the mean over boxes."""
    height, width = x.shape[2:]
    small = (max(1, int(width * share)), max(1, int(height * share)))

    def coarse(picture: Image.Image) -> Image.Image:
        box = Image.Resampling.BOX
        return picture.resize(small, box).resize((width, height), box)

    return _by_pictures(x, coarse, together=1)


def jpeg_compression(x: np.ndarray, rng: Rng, quality: float) -> np.ndarray:
    """Stored as JPEG of this quality; colour images as such, others channel by channel."""

    def stored(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _by_pictures(x, stored, together=3 if x.shape[1] == 3 else 1)


def _by_pictures(
    x: np.ndarray, change: Callable[[Image.Image], Image.Image], together: int
) -> np.ndarray:
    """Each image, of so many channels, as an 8-bit picture through a function and back."""
    n, channels, height, width = x.shape
    bits = np.rint(255 * x).astype(np.uint8).reshape(-1, together, height, width)
    pictures = bits[:, 0] if together == 1 else bits.transpose(0, 2, 3, 1)
    changed = np.stack(
        [np.asarray(change(Image.fromarray(np.ascontiguousarray(own)))) for own in pictures]
    )
    changed = changed.reshape(-1, height, width, together).transpose(0, 3, 1, 2)
    return changed.reshape(n, channels, height, width) / 255
