"""Magnitude-constrained images against a sum over all waves, and the constraint itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nbcorr.visualization.maco import MaCo

CPU = torch.device("cpu")
SIZES = [(6, 8), (5, 7), (4, 5), (7, 4), (1, 1), (1, 6), (8, 1)]


def phases_of(of: MaCo, seed: int = 1) -> torch.Tensor:
    return of.start(torch.Generator().manual_seed(seed))


def half(frequency: int, side: int) -> bool:
    """Whether a frequency is its own mirror image: 0, or half of an even side."""
    return 2 * frequency % side == 0


def literal_components(phases: np.ndarray, amplitude: np.ndarray, height: int, width: int):
    """A sum of one cosine per pair of mirrored waves, divided by its root mean square.

    The mean square is that of the amplitudes: waves that are their own mirror image count with
    the square of their largest value.
    """
    image, power = np.zeros((height, width)), 0.0
    for row in range(height):
        for column in range(width // 2 + 1):
            mirrored = -row % height
            own_column = half(column, width)
            if own_column and mirrored < row:
                continue  # one wave with the mirrored row
            wave = (
                2
                * np.pi
                * (row * np.arange(height)[:, None] / height + column * np.arange(width) / width)
            )
            size = amplitude[row, column]
            if own_column and mirrored == row:
                image += size * np.cos(phases[row, column]) * np.cos(wave)
                power += size**2
            else:
                phase = phases[row, column] - (phases[mirrored, column] if own_column else 0)
                image += 2 * size * np.cos(wave + phase)
                power += 2 * size**2
    return image / math.sqrt(power)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("learnt", [False, True])
def test_the_image_is_a_sum_of_waves(size, learnt):
    height, width = size
    rows = np.fft.fftfreq(height)[:, None]
    amplitude = np.stack([1 / np.hypot(rows, np.fft.rfftfreq(width)).clip(1 / max(size))] * 2)
    if learnt:
        amplitude = np.random.default_rng(0).random(amplitude.shape) + 0.5
        # Of a real image, in which mirrored waves are one.
        amplitude = (amplitude + amplitude[:, -np.arange(height) % height]) / 2
    of = MaCo((2, *size), CPU, magnitude=_labelled(amplitude, width) if learnt else None)
    phases = phases_of(of)
    expected = [
        literal_components(phase.numpy(), plane, height, width)
        for phase, plane in zip(phases, amplitude, strict=True)
    ]
    found = of.image(phases[None])[0].numpy()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array(expected))), atol=2e-6)


def _labelled(amplitude: np.ndarray, width: int):
    import xarray as xr

    return xr.DataArray(
        amplitude, dims=("component", "fy", "fx"), coords={"fx": np.fft.rfftfreq(width)}
    )


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (16, 9)])
def test_magnitudes_are_the_same_whatever_the_phases(size):
    of = MaCo((1, *size), CPU)
    seen = []
    for seed in range(4):
        numbers = phases_of(of, seed)
        numbers = numbers + 3 * torch.randn(
            numbers.shape, generator=torch.Generator().manual_seed(seed + 10)
        )
        components = of.image(numbers[None])[0, 0].double().logit()
        seen.append(np.abs(np.fft.fft2(components.numpy())))
    alone = np.zeros(size, dtype=bool)
    for row, column in np.ndindex(*size):
        alone[row, column] = half(row, size[0]) and half(column, size[1])
    for magnitude in seen[1:]:
        np.testing.assert_allclose(magnitude[~alone], seen[0][~alone], rtol=1e-3)
    # And they fall as 1/f.
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1]))
    product = (seen[0] * frequency)[~alone]
    np.testing.assert_allclose(product, product[0], rtol=1e-3)


def test_contrast_does_not_depend_on_the_size_or_the_scale_of_the_magnitude():
    spreads = []
    for shape, magnitude in [
        ((1, 32, 32), None),
        ((1, 96, 64), None),
        ((1, 64, 64), np.ones((1, 64, 33))),
        ((1, 64, 64), 1000 * np.ones((1, 64, 33))),
    ]:
        of = MaCo(shape, CPU, magnitude=magnitude)
        stack = torch.stack([phases_of(of, seed) for seed in range(8)])
        spreads.append(float(of.image(stack).double().logit().square().mean().sqrt()))
    np.testing.assert_allclose(spreads, 1, atol=0.05)


def test_opacity_is_a_free_spectrum():
    of = MaCo((3, 8, 8), CPU, alpha=True)
    numbers = phases_of(of)
    assert numbers.shape == (5, 8, 5)
    image = of.image(numbers[None])[0]
    assert abs(image[3] - 0.5).max() < 0.1
    louder = numbers.clone()
    louder[3:] *= 100
    changed = of.image(louder[None])[0]
    torch.testing.assert_close(changed[:3], image[:3])
    assert changed[3].std() > 0.2
