"""The Fourier parametrisation against its definition written out."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch

from nbcorr.visualization.parametrization import Fourier


def literal_waves(spectrum: np.ndarray, height: int, width: int) -> np.ndarray:
    """One channel before colours and sigmoid, as a sum over all frequencies of the half plane.

    A real image's spectrum is Hermitian: every column but the first and, at even widths, the last
    stands for itself and its mirror image, and so counts twice.
    """
    image = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            total = 0.0
            for row in range(height):
                for column in range(width // 2 + 1):
                    fy = (row if row < (height + 1) // 2 else row - height) / height
                    fx = column / width
                    scale = math.sqrt(height * width) / max(
                        math.sqrt(fx**2 + fy**2), 1 / max(height, width)
                    )
                    wave = cmath.exp(2j * math.pi * (fy * y + fx * x))
                    alone = column == 0 or (width % 2 == 0 and column == width // 2)
                    coefficient = complex(*spectrum[row, column])
                    total += (1 if alone else 2) * (scale * coefficient * wave).real
            image[y, x] = total / (height * width) / 4
    return image


def literal_image(spectrum: np.ndarray, height: int, width: int) -> np.ndarray:
    waves = np.stack([literal_waves(channel, height, width) for channel in spectrum])
    if len(waves) == 3:
        root = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
        root /= max(math.sqrt(sum(value**2 for value in column)) for column in root.T)
        waves = np.stack([sum(root[d, c] * waves[c] for c in range(3)) for d in range(3)])
    return 1 / (1 + np.exp(-waves))


@pytest.mark.parametrize("shape", [(3, 6, 8), (1, 5, 7), (6, 4, 5), (2, 7, 4), (3, 1, 1)])
def test_image_is_the_inverse_transform_written_out(shape: tuple[int, int, int]) -> None:
    parametrization = Fourier(shape, torch.device("cpu"))
    spectrum = 50 * parametrization.start(torch.Generator().manual_seed(1))
    ours = parametrization.image(spectrum[None])[0].numpy()
    np.testing.assert_allclose(ours, literal_image(spectrum.numpy(), *shape[1:]), atol=2e-6)


def test_start_is_nearly_grey_and_seeded() -> None:
    parametrization = Fourier((3, 32, 32), torch.device("cpu"))
    first, again, other = (
        parametrization.image(parametrization.start(torch.Generator().manual_seed(s))[None])
        for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(first - 0.5).max() < 0.1


def test_images_of_a_stack_are_those_of_its_spectra() -> None:
    parametrization = Fourier((3, 8, 9), torch.device("cpu"))
    spectra = torch.stack([parametrization.start(torch.Generator().manual_seed(s)) for s in (1, 2)])
    alone = torch.cat([parametrization.image(spectrum[None]) for spectrum in spectra])
    torch.testing.assert_close(parametrization.image(spectra), alone)
