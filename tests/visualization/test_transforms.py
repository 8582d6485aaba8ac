"""Transforms: the identity, the borders, and one set of random numbers per image."""

from __future__ import annotations

import math

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
