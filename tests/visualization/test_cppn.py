"""The painting network against one written with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nbcorr.visualization import cppn
from nbcorr.visualization.cppn import CPPN

CPU = torch.device("cpu")


def literal_pixel(numbers: np.ndarray, x: float, y: float, outputs: int) -> np.ndarray:
    """Eight layers of 24 units and one of the outputs, unit by unit."""
    values, place = [x, y], 0
    for layer in range(9):
        if layer > 0:
            arcs = [math.atan(value) for value in values]
            values = [arc / 0.67 for arc in arcs] + [(arc * arc - 0.45) / 0.396 for arc in arcs]
        units, inputs = (outputs if layer == 8 else 24), len(values)
        weights = numbers[place : place + units * inputs].reshape(units, inputs)
        place += units * inputs
        biases = numbers[place : place + units]
        place += units
        values = [
            biases[u] + sum(weights[u, i] * values[i] for i in range(inputs)) for u in range(units)
        ]
    assert place == len(numbers)
    return np.array(values)


@pytest.mark.parametrize(
    ("shape", "alpha"), [((2, 3, 4), False), ((1, 4, 1), True), ((6, 1, 2), False), ((2, 1, 1), 0)]
)
def test_the_image_is_painted_pixel_by_pixel(shape, alpha):
    of = CPPN(shape, CPU, alpha=bool(alpha))
    numbers = of.start(torch.Generator().manual_seed(0))
    numbers = numbers + 0.1 * torch.randn(numbers.shape, generator=torch.Generator().manual_seed(1))
    image = of.image(numbers[None])[0].numpy()
    _, height, width = shape
    unit = 2 * math.sqrt(3) / max(height - 1, width - 1, 1)
    for row, column in np.ndindex(height, width):
        x, y = (column - (width - 1) / 2) * unit, (row - (height - 1) / 2) * unit
        expected = literal_pixel(numbers.double().numpy(), x, y, len(image))
        np.testing.assert_allclose(image[:, row, column], 1 / (1 + np.exp(-expected)), atol=1e-4)


def test_the_activation_keeps_mean_0_and_variance_1():
    """Of what is normal; the constants are those of Lucid, to two digits."""
    values = torch.randn(1, 1, 1_000_000, generator=torch.Generator().manual_seed(0))
    arc, square = cppn._activation(values)[0]
    for part in (arc, square):
        assert abs(part.mean()) < 0.02
        assert abs(part.std() - 1) < 0.02


def test_the_start_is_grey_and_its_layers_are_of_variance_1():
    of = CPPN((3, 32, 32), CPU)
    numbers = of.start(torch.Generator().manual_seed(0))
    assert torch.equal(of.image(numbers[None]), torch.full((1, 3, 32, 32), 0.5))
    louder = numbers.clone()
    last = louder[-3 * 49 :]
    last[: 3 * 48] = torch.randn(144, generator=torch.Generator().manual_seed(1)) / math.sqrt(48)
    components = CPPN((3, 32, 32), CPU, colours=np.eye(3)).image(louder[None]).logit()
    assert 0.3 < components.std() < 3


def test_a_picture_can_be_painted_larger():
    numbers = CPPN((3, 9, 9), CPU).start(torch.Generator().manual_seed(0))
    numbers[-100:] += 0.2
    small, large = (CPPN((3, side, side), CPU).image(numbers[None]) for side in (9, 17))
    torch.testing.assert_close(large[..., ::2, ::2], small, atol=1e-4, rtol=1e-4)
