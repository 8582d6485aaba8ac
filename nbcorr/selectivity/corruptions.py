"""Common corruptions of images at five severities, by the recipe of the CIFAR-C benchmark."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from nbcorr.network.names import unknown
from nbcorr.selectivity import distortions

Distortion = Callable[..., np.ndarray]

SEVERITIES = (1, 2, 3, 4, 5)

# Of each corruption what makes it and, for severities 1 to 5, how strongly.
_KINDS: dict[str, tuple[Distortion, list[tuple[float, ...]]]] = {
    "gaussian_noise": (distortions.gaussian_noise, [(0.04,), (0.06,), (0.08,), (0.09,), (0.10,)]),
    "shot_noise": (distortions.shot_noise, [(500,), (250,), (100,), (75,), (50,)]),
    "impulse_noise": (distortions.impulse_noise, [(0.01,), (0.02,), (0.03,), (0.05,), (0.07,)]),
    "defocus_blur": (
        distortions.defocus_blur,
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    ),
    "glass_blur": (
        distortions.glass_blur,
        [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)],
    ),
    "motion_blur": (distortions.motion_blur, [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)]),
    "zoom_blur": (distortions.zoom_blur, [(1.06,), (1.11,), (1.16,), (1.21,), (1.26,)]),
    "snow": (
        distortions.snow,
        [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
    ),
    "fog": (distortions.fog, [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)]),
    "brightness": (distortions.brightness, [(0.05,), (0.1,), (0.15,), (0.2,), (0.3,)]),
    "contrast": (distortions.contrast, [(0.75,), (0.5,), (0.4,), (0.3,), (0.15,)]),
    "elastic_transform": (
        distortions.elastic_transform,
        [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
    ),
    "pixelate": (distortions.pixelate, [(0.95,), (0.9,), (0.85,), (0.75,), (0.65,)]),
    "jpeg_compression": (distortions.jpeg_compression, [(80,), (65,), (58,), (50,), (40,)]),
    "speckle_noise": (distortions.speckle_noise, [(0.06,), (0.1,), (0.12,), (0.16,), (0.2,)]),
    "gaussian_blur": (distortions.gaussian_blur, [(0.4,), (0.6,), (0.7,), (0.8,), (1,)]),
}
CORRUPTIONS = tuple(_KINDS)


def corrupt(images: np.ndarray, kind: str, severity: int, seed: int = 0) -> np.ndarray:
    """Images with one common corruption.

    Parameters
    ----------
    images : array, shape (n, channels, height, width)
        Values from 0 to 1; any number of channels.
    kind : str
        One of `CORRUPTIONS`.
    severity : int
        1 to 5.
    seed : int
        The same images, kind, severity and seed give the same result.

    Returns
    -------
    array of float32, shape (n, channels, height, width)
        Values from 0 to 1 in steps of 1/255, as the benchmark's images are.

    Raises
    ------
    ValueError
        If the corruption or the severity does not exist, or the images are not of this form.

    Notes
    -----
    Hendrycks & Dietterich, *Benchmarking neural network robustness to common corruptions and
    perturbations* (ICLR 2019), with the severities of CIFAR-10-C. The strengths are made for 32 x
    32 pixels and are used as they are, but for those that the recipe gives by the size of the
    image. Of the fifteen, frost is left out (it needs photographs of frost); speckle noise and
    gaussian blur are two of the benchmark's four for validation. Where the recipe calls OpenCV or
    ImageMagick, the same formulas are computed here; single values may differ in the last bits.
    """
    if kind not in _KINDS:
        raise ValueError(unknown("corruption", kind, CORRUPTIONS))
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity}; expected 1 to 5")
    values = np.asarray(images, dtype=np.float64)
    check_images(values)
    distort, strengths = _KINDS[kind]
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), severity])
    changed = distort(values, rng, *strengths[severity - 1])
    return (np.floor(255 * np.clip(changed, 0, 1) + distortions.EXACT) / 255).astype(np.float32)


def check_images(images: np.ndarray) -> None:
    """A ValueError where these are no images with values from 0 to 1."""
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"the images have shape {images.shape}; expected (n, channels, height, width)"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"the images have values from {low:g} to {high:g}; expected 0 to 1: put a "
            "normalisation into the model"
        )
