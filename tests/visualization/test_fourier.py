"""The Fourier parametrisation against its definition written out."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
import xarray as xr

from nbcorr.visualization.fourier import Fourier, falling, resampled


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


def test_learnt_magnitudes_take_the_place_of_falling_ones() -> None:
    """With twice the amplitudes 1/f nothing changes; with others only their shape counts."""
    shape = (2, 6, 7)
    numbers = 50 * Fourier(shape, torch.device("cpu")).start(torch.Generator().manual_seed(1))
    same = np.stack([falling(6, 7).numpy(), 9 * falling(6, 7).numpy()])
    labelled = xr.DataArray(same, dims=("component", "fy", "fx"), coords={"fx": np.arange(4) / 7})
    plain, learnt = (Fourier(shape, torch.device("cpu"), magnitude=m) for m in (None, labelled))
    torch.testing.assert_close(plain.image(numbers[None]), learnt.image(numbers[None]))
    flat = Fourier(shape, torch.device("cpu"), magnitude=np.ones((2, 6, 4)))
    size = math.sqrt((falling(6, 7) ** 2).mean()) * math.sqrt(6 * 7) / 4
    waves = np.fft.irfft2(numbers[..., 0] + 1j * numbers[..., 1], s=(6, 7)) * size
    np.testing.assert_allclose(flat.image(numbers[None])[0], 1 / (1 + np.exp(-waves)), atol=1e-5)


def literal_magnitude(given: np.ndarray, width: int, fy: float, fx: float) -> float:
    """Linear between the nearest known frequencies, the rows a circle, the columns a line."""
    rows, columns = given.shape
    y, x = fy % 1 * rows, min(fx * width, columns - 1)
    top, left = int(y), int(x)
    down, right = y - top, x - left
    above, below = given[top % rows], given[(top + 1) % rows]
    next_left = min(left + 1, columns - 1)
    at_top = (1 - right) * above[left] + right * above[next_left]
    at_bottom = (1 - right) * below[left] + right * below[next_left]
    return (1 - down) * at_top + down * at_bottom


@pytest.mark.parametrize("given", [(8, 8), (5, 7), (12, 5), (1, 1)])
@pytest.mark.parametrize("wanted", [(8, 8), (7, 9), (16, 6), (1, 3)])
def test_magnitudes_of_another_size(given: tuple[int, int], wanted: tuple[int, int]) -> None:
    rows, width = given
    values = np.random.default_rng(0).random((2, rows, width // 2 + 1)) + 0.1
    labelled = xr.DataArray(values, dims=("c", "fy", "fx"), coords={"fx": np.fft.rfftfreq(width)})
    found = resampled(labelled, (2, *wanted)).numpy()
    for channel, row, column in np.ndindex(found.shape):
        fy, fx = np.fft.fftfreq(wanted[0])[row], np.fft.rfftfreq(wanted[1])[column]
        expected = literal_magnitude(values[channel], width, fy, fx)
        np.testing.assert_allclose(found[channel, row, column], expected, rtol=1e-5)
    if given == wanted:
        np.testing.assert_allclose(found, values, rtol=1e-6)


def test_no_frequency_is_out_of_reach() -> None:
    values = np.zeros((1, 8, 5))
    values[0, 0, 1] = 5
    assert resampled(values, (1, 8, 8)).min() == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("magnitude", "message"),
    [
        (np.ones((2, 8, 5)), r"shape \(2, 8, 5\); expected \(1, rows, columns\)"),
        (np.ones((8, 5)), r"shape \(8, 5\)"),
        (np.zeros((1, 8, 5)), "zero"),
        (-np.ones((1, 8, 5)), "negative"),
        (np.full((1, 8, 5), np.nan), "not finite"),
    ],
)
def test_magnitudes_that_are_none(magnitude: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fourier((1, 8, 8), torch.device("cpu"), magnitude=magnitude)
