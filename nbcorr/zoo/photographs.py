"""Photographs that come inside scikit-image's wheel, and random crops of them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nbcorr.zoo.extras import missing
from nbcorr.zoo.images import labelled_images

# Bundled in the wheel (never downloaded) and free: see licenses/photos.txt.
PHOTOS = (
    "astronaut",
    "brick",
    "camera",
    "cell",
    "chelsea",
    "clock",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
)


def photos(n_crops: int = 200, size: int = 224, seed: int = 0) -> xr.Dataset:
    """Random square crops of scikit-image's free photographs, without labels.

    The photographs take turns. A crop's side is drawn between ``size`` and the photograph's
    shorter side, and it is scaled to ``size``.

    Parameters
    ----------
    n_crops : int
    size : int
        Height and width in pixels.
    seed : int

    Returns
    -------
    xarray.Dataset
        ``image(sample, channel, y, x)`` float32 from 0 to 1, red, green, blue (grey photographs
        have three equal channels); ``photo(sample)``, the name; ids "chelsea-crop-003".

    Raises
    ------
    ModuleNotFoundError
        If scikit-image is not installed; the message says how to.
    ValueError
        If ``n_crops`` or ``size`` is not positive.
    """
    if n_crops < 1 or size < 1:
        raise ValueError(f"n_crops={n_crops} and size={size}; expected at least 1 of each")
    originals = [photograph(name) for name in PHOTOS[:n_crops]]
    rng = np.random.default_rng(seed)
    turns = np.arange(n_crops) % len(PHOTOS)
    names = np.array(PHOTOS)[turns]
    return labelled_images(
        np.stack([_crop(originals[turn], size, rng) for turn in turns]),
        [f"{name}-crop-{i // len(PHOTOS):03d}" for i, name in enumerate(names)],
        source="scikit-image (skimage.data): photographs bundled in its wheel",
        license="CC0 or public domain, each as nbcorr/zoo/licenses/photos.txt says",
        provenance=f"random square crops scaled to {size} pixels, seed {seed}",
        photo=names,
    )


def photograph(name: str) -> np.ndarray:
    """One whole photograph as (height, width, 3) uint8."""
    try:
        from skimage import data
    except ModuleNotFoundError as error:
        raise missing("zoo.photos", error) from error

    image = np.asarray(getattr(data, name)())
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]


def _crop(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random square crop as (3, size, size) in 0..1."""
    from PIL import Image

    short = min(image.shape[:2])
    side = int(rng.integers(min(size, short), short + 1))
    top = int(rng.integers(image.shape[0] - side + 1))
    left = int(rng.integers(image.shape[1] - side + 1))
    crop = Image.fromarray(image[top : top + side, left : left + side])
    scaled = crop.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(scaled, dtype=np.float32).transpose(2, 0, 1) / 255
