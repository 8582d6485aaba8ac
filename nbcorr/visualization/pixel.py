"""Images as their pixels: the plainest parametrisation, and the one that ends in noise."""

from __future__ import annotations

from typing import Any

import torch

from nbcorr.visualization.colours import Colours

START_SPREAD = 0.01


class Pixel:
    """Images in 0..1 parametrised by their pixels, in principal colours.

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
    Source: Lucid's ``pixel_image`` (Olah, Mordvintsev, Schubert, "Feature visualization",
    Distill 2017): ``image = sigmoid(C x)``.
    """

    learning_rate = 0.05

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

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """Random pixels (channels [+ 1], height, width): a nearly grey image."""
        channels, height, width = self.shape
        size = (channels + self.alpha, height, width)
        return (START_SPREAD * torch.randn(size, generator=generator)).to(self.device)

    def image(self, stack: torch.Tensor) -> torch.Tensor:
        """The images (n, channels [+ 1], height, width) in 0..1 of a stack of pixels."""
        return self._colours(stack)
