"""Images painted by a small network that is told where it paints."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch

from nbcorr.visualization.colours import Colours

HIDDEN, LAYERS = 24, 8
BIAS_SPREAD = 0.1

# Mean and standard deviation of the arc tangent of a normal variable and of its square.
ARC_SPREAD, SQUARE_MEAN, SQUARE_SPREAD = 0.67, 0.45, 0.396


class CPPN:
    """Images in 0..1 parametrised by the weights of a network from position to colour.

    A compositional pattern-producing network: smooth, of any resolution, and without the texture
    of the other parametrisations.

    Parameters
    ----------
    shape : (channels, height, width)
    device : torch.device
    colours : array (channels, channels), optional
        Root of the covariance of the channels, of ``image_statistics``. None: the principal
        colours of natural images for three channels, uncorrelated channels otherwise.
    alpha : bool
        One more channel, of opacity.

    Notes
    -----
    Source: Mordvintsev et al., "Differentiable image parameterizations" (Distill 2018), and
    Lucid's ``optvis/param/cppn``: 8 layers of 24 units over x and y from -sqrt(3) to sqrt(3)
    along the longer side, the activation ``[atan(x) / .67, (atan(x)**2 - .45) / .396]``, weights
    of variance 1 / inputs, the last layer starting at zero. Each picture has weights of its own,
    one flat row each: weights, then biases, of one layer after the other.
    """

    learning_rate = 0.005

    def __init__(
        self,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        colours: Any = None,
        alpha: bool = False,
    ) -> None:
        self.shape = shape
        self.device = device
        self.alpha = alpha
        self._colours = Colours(shape[0], colours, device)
        widths = [(2, HIDDEN)] + [(2 * HIDDEN, HIDDEN)] * (LAYERS - 1)
        self._layers = [*widths, (2 * HIDDEN, shape[0] + alpha)]

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """Random weights (numbers,) of a network that paints grey."""
        parts = []
        for inputs, outputs in self._layers[:-1]:
            parts.append(torch.randn(outputs * inputs, generator=generator) / math.sqrt(inputs))
            parts.append(BIAS_SPREAD * torch.randn(outputs, generator=generator))
        inputs, outputs = self._layers[-1]
        parts.append(torch.zeros(outputs * (inputs + 1)))
        return torch.cat(parts).to(self.device)

    def image(self, stack: torch.Tensor) -> torch.Tensor:
        """The images (n, channels [+ 1], height, width) in 0..1 of a stack of weights."""
        values = self._positions.expand(len(stack), -1, -1)
        start = 0
        for number, (inputs, outputs) in enumerate(self._layers):
            if number > 0:
                values = _activation(values)
            middle, end = start + outputs * inputs, start + outputs * (inputs + 1)
            weights = stack[:, start:middle].reshape(-1, outputs, inputs)
            values = torch.baddbmm(stack[:, middle:end, None], weights, values)
            start = end
        return self._colours(values.view(len(stack), -1, *self.shape[1:]))

    @cached_property
    def _positions(self) -> torch.Tensor:
        """X and y of every pixel, (2, height * width)."""
        _, height, width = self.shape
        reach = max(height, width, 2) - 1
        y, x = (
            math.sqrt(3) * (2 * torch.arange(side) - (side - 1)) / reach for side in (height, width)
        )
        columns, rows = torch.meshgrid(x, y, indexing="xy")
        return torch.stack([columns, rows]).flatten(1).to(self.device)


def _activation(values: torch.Tensor) -> torch.Tensor:
    arc = values.atan()
    return torch.cat([arc / ARC_SPREAD, (arc.square() - SQUARE_MEAN) / SQUARE_SPREAD], dim=1)
