"""Small random changes of the image at every step, so that what is found survives them.

A transform takes images (n, channels, height, width) and one row of uniform numbers in 0..1 per
image, ``noise`` (n, 4), and gives images of the same shape. Every image has its own numbers, so
that it does not depend on which others share its batch. What leaves the frame is mirrored in, so
no border of a foreign colour ever appears.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

Transform = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

NOISE = 4
SHIFT = 1 / 16
SCALE = 0.1
ROTATION = math.radians(10)
FULL_STRENGTH = 128


def robust(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Shift, zoom and turn every image at random, in one resampling.

    The shift is up to a sixteenth of each side. Zoom (10 %) and rotation (10 degrees) are those
    of Lucid for sides from 128 pixels on and fall with the square root of the side below: 8x8
    images are moved by half a pixel, zoomed by 2.5 % and turned by 2.5 degrees.

    Notes
    -----
    Source: transformation robustness, Olah et al. (Distill 2017); Lucid's ``optvis/transform``
    chains five transforms, here they are a single affine ``grid_sample``.
    """
    height, width = images.shape[2:]
    strength = min(1.0, math.sqrt(min(height, width) / FULL_STRENGTH))
    centred = 2 * noise - 1
    zoom = 1 + SCALE * strength * centred[:, 0]
    angle = ROTATION * strength * centred[:, 1]
    shift = 2 * SHIFT * centred[:, 2:4]
    return affine(images, zoom, angle, shift)


def affine(
    images: torch.Tensor, zoom: torch.Tensor, angle: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """Resample images at ``zoom * R(angle) position + shift``, mirrored at the borders.

    Parameters
    ----------
    images : (n, channels, height, width)
    zoom, angle : (n,), angle in radians
    shift : (n, 2), along x and y, in half sides of the image
    """
    height, width = images.shape[2:]
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    theta = torch.stack(
        [cosine, -sine * height / width, shift[:, 0], sine * width / height, cosine, shift[:, 1]],
        dim=1,
    )
    grid = functional.affine_grid(theta.view(-1, 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def crop(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """A window of the same size at a random whole-pixel offset, up to a sixteenth of each side."""
    height, width = images.shape[2:]
    margins = [max(1, round(side * SHIFT)) if side > 1 else 0 for side in (height, width)]
    top, left = margins
    padded = functional.pad(images, (left, left, top, top), mode="reflect")
    spans = torch.tensor([2 * top + 1, 2 * left + 1], device=noise.device)
    offsets = (noise[:, :2] * spans).long().minimum(spans - 1).tolist()
    windows = [padded[i, :, y : y + height, x : x + width] for i, (y, x) in enumerate(offsets)]
    return torch.stack(windows)


def none(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The images as they are."""
    return images


TRANSFORMS: dict[str, Transform] = {"robust": robust, "crop": crop, "none": none}
