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
    # Where one half side along x, and along y, leads to; in half sides.
    along = torch.stack([cosine, sine * width / height], dim=1)
    down = torch.stack([-sine * height / width, cosine], dim=1)
    x, y = (_centres(side, images.device)[:, None] for side in (width, height))
    rows = down[:, None] * y + shift[:, None]
    grid = (along[:, None] * x)[:, None] + rows[:, :, None]
    grid = grid.to(images.dtype)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _centres(side: int, device: torch.device) -> torch.Tensor:
    """Where pixels lie, from -1 at the one border to 1 at the other."""
    return (2 * torch.arange(side, device=device) + 1) / side - 1


def crop(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """A window of the same size at a random whole-pixel offset, up to a sixteenth of each side."""
    rows, columns = (_shifted(side, noise[:, i]) for i, side in enumerate(images.shape[2:]))
    places = rows[:, :, None] * images.shape[3] + columns[:, None, :]
    pixels = images.flatten(2)
    places = places.flatten(1)[:, None].expand_as(pixels)
    return pixels.gather(2, places).view_as(images)


def _shifted(side: int, noise: torch.Tensor) -> torch.Tensor:
    """Which pixels of a row of so many are seen, (n, side), mirrored at its ends."""
    most = max(1, round(side * SHIFT)) if side > 1 else 0
    offset = (noise * (2 * most + 1)).long().clamp(max=2 * most) - most
    places = (offset[:, None] + torch.arange(side, device=noise.device)).abs()
    return torch.where(places < side, places, 2 * (side - 1) - places)


def none(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The images as they are."""
    return images


TRANSFORMS: dict[str, Transform] = {"robust": robust, "crop": crop, "none": none}
