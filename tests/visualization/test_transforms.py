"""Transforms: the identity, the borders, and one set of random numbers per image."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch

from nbcorr.visualization.transforms import TRANSFORMS, affine, crop, robust

MIDDLE = 0.5
SIZES = [(3, 8, 8), (1, 12, 12), (6, 9, 20), (3, 64, 48), (1, 1, 1), (2, 1, 5)]


def pictures(count: int, shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_middle_of_the_noise_changes_nothing(name: str, shape: tuple[int, int, int]) -> None:
    images = pictures(2, shape)
    same = TRANSFORMS[name](images, torch.full((2, 4), MIDDLE))
    torch.testing.assert_close(same, images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_no_foreign_values_come_in_at_the_borders(name: str, shape: tuple[int, int, int]) -> None:
    noise = torch.rand(16, 4, generator=torch.Generator().manual_seed(1))
    images = 0.6 + 0.2 * pictures(16, shape)
    changed = TRANSFORMS[name](images, noise)
    assert changed.shape == images.shape
    assert changed.min() >= 0.6 - 1e-5
    assert changed.max() <= 0.8 + 1e-5


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_image_has_its_own_numbers(name: str) -> None:
    noise = torch.rand(4, 4, generator=torch.Generator().manual_seed(2))
    images = pictures(4, (3, 10, 14))
    together = TRANSFORMS[name](images, noise)
    alone = torch.cat([TRANSFORMS[name](images[i : i + 1], noise[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone)
    if name != "none":
        repeated = TRANSFORMS[name](images[:1].expand(4, -1, -1, -1), noise)
        assert not torch.allclose(repeated[0], repeated[1])


def test_affine_turns_a_wide_image_as_a_square_one() -> None:
    """A quarter turn must move a dot by its distance in pixels, whatever the sides."""
    image = torch.zeros(1, 1, 9, 15)
    image[0, 0, 4, 10] = 1
    quarter = affine(image, torch.ones(1), torch.tensor([math.pi / 2]), torch.zeros(1, 2))
    row, column = divmod(int(quarter.argmax()), 15)
    assert (abs(row - 4), column) == (3, 7)


def test_affine_shift_is_in_half_sides() -> None:
    image = pictures(1, (1, 8, 8))
    moved = affine(image, torch.ones(1), torch.zeros(1), torch.tensor([[2 / 4, 0.0]]))
    torch.testing.assert_close(moved[..., :6], image[..., 2:])


def test_crop_moves_by_whole_pixels() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8)
    moved = crop(image, torch.tensor([[1.0, 0.0, 0, 0]]))
    torch.testing.assert_close(moved[0, 0, :7, 1:], image[0, 0, 1:, :7])


def test_small_images_are_changed_mildly() -> None:
    """The largest displacement of any pixel of an 8x8 image stays around one pixel."""
    column = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    row = column.transpose(2, 3)
    position = torch.cat([column, row], dim=1)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    moved = robust(position.expand(16, -1, -1, -1), corners)[:, :, 2:6, 2:6]
    assert (moved - position[:, :, 2:6, 2:6]).abs().max() < 0.75


@pytest.mark.parametrize("shape", SIZES)
def test_affine_samples_where_its_formula_says(shape: tuple[int, int, int]) -> None:
    """Of a picture of coordinates, away from the borders, each pixel shows where it was taken."""
    _, height, width = shape
    zoom, angle = torch.tensor([0.9, 1.05]), torch.tensor([0.1, -0.17])
    shift = torch.tensor([[0.1, -0.05], [0.0, 0.12]])
    x, y = ((torch.arange(side) + 0.5 - side / 2) for side in (width, height))
    picture = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
    seen = affine(picture.expand(2, -1, -1, -1), zoom, angle, shift)
    for n in range(2):
        for row in range(height):
            for column in range(width):
                turned = cmath.rect(float(zoom[n]), float(angle[n])) * complex(x[column], y[row])
                place = turned + complex(shift[n, 0] * width / 2, shift[n, 1] * height / 2)
                if abs(place.real) <= (width - 1) / 2 and abs(place.imag) <= (height - 1) / 2:
                    found = complex(*seen[n, :, row, column].tolist())
                    assert abs(found - place) < 1e-4


@pytest.mark.parametrize("shape", SIZES)
def test_crop_is_a_window_of_the_mirrored_image(shape: tuple[int, int, int]) -> None:
    noise = torch.rand(40, 4, generator=torch.Generator().manual_seed(3))
    noise[0], noise[1] = 0, 1
    images = pictures(40, shape)
    seen = crop(images, noise)
    margins = [max(1, round(side / 16)) if side > 1 else 0 for side in shape[1:]]
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), *((m, m) for m in margins)], "reflect")
    for n in range(40):
        places = zip(margins, noise[n].tolist(), strict=False)
        top, left = (min(2 * margin, int(u * (2 * margin + 1))) for margin, u in places)
        window = padded[n, :, top : top + shape[1], left : left + shape[2]]
        np.testing.assert_array_equal(seen[n], window)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_gradients_come_back_to_the_pixels_they_are_of(name: str) -> None:
    images = pictures(2, (2, 5, 6)).double().requires_grad_()
    noise = torch.rand(2, 4, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: TRANSFORMS[name](x, noise), images)
