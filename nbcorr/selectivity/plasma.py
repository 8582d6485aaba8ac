"""Fractal clouds by the diamond-square algorithm."""

from __future__ import annotations

import numpy as np

# Half-width of the first displacements, as the CIFAR-C recipe has it.
FIRST = 100.0


def plasma(count: int, size: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Height maps that repeat at their edges.

    Parameters
    ----------
    count : int
    size : int
        A power of two.
    decay : float
        By how much displacements shrink from each scale to the next: smoother where larger.
    rng : numpy.random.Generator

    Returns
    -------
    array of float64, shape (count, size, size)
        Each from 0 to 1.

    Notes
    -----
    Fournier, Fussell & Carpenter, *Communications of the ACM* 25 (1982). As in the recipe of
    CIFAR-C a displacement is uniform within the square of the amplitude.
    """
    heights = np.zeros((count, size, size))
    step, reach = size, FIRST

    def displaced(corners: np.ndarray) -> np.ndarray:
        return corners / 4 + reach * rng.uniform(-reach, reach, corners.shape)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        heights[:, half::step, half::step] = displaced(pairs + np.roll(pairs, -1, 2))
        middles = heights[:, half::step, half::step]
        across = corners + np.roll(corners, -1, 2) + middles + np.roll(middles, 1, 1)
        down = corners + np.roll(corners, -1, 1) + middles + np.roll(middles, 1, 2)
        heights[:, ::step, half::step] = displaced(across)
        heights[:, half::step, ::step] = displaced(down)
        step, reach = half, reach / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    largest = heights.max(axis=(1, 2), keepdims=True)
    return heights / np.where(largest > 0, largest, 1)
