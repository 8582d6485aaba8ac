"""Images as numbers to optimise: the Fourier spectrum with decorrelated colours."""

from __future__ import annotations

import math
from functools import cached_property

import torch

START_SPREAD = 0.01
CONTRAST = 1 / 4
COLOUR_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


class Fourier:
    """Images in 0..1 parametrised by their spectrum, low frequencies given the larger steps.

    Natural images have amplitudes that fall as 1/f; dividing every coefficient by its frequency
    (and, for three channels, rotating the channels along the principal colours of natural images)
    makes all directions about equally easy to optimise, which is what keeps gradient ascent from
    ending in high-frequency noise. Other channel counts are left uncorrelated.

    Parameters
    ----------
    shape : (channels, height, width)
    device : torch.device

    Notes
    -----
    Source: Olah, Mordvintsev, Schubert, "Feature visualization" (Distill 2017), section
    "Preconditioning and parameterization"; constants of Lucid's ``optvis/param``:
    ``image = sigmoid(C irfft2(sqrt(h w) S / max(f, 1 / max(h, w))) / 4)`` with f in cycles per
    pixel and C the normalised root of the colour covariance.
    """

    def __init__(self, shape: tuple[int, int, int], device: torch.device) -> None:
        self.shape = shape
        self.device = device

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """A random spectrum (channels, height, width // 2 + 1, 2): a nearly grey image."""
        channels, height, width = self.shape
        size = (channels, height, width // 2 + 1, 2)
        return (START_SPREAD * torch.randn(size, generator=generator)).to(self.device)

    def image(self, spectrum: torch.Tensor) -> torch.Tensor:
        """The images (n, channels, height, width) in 0..1 of a stack of spectra."""
        return torch.sigmoid(self._correlate(self._waves(spectrum)))

    def _waves(self, spectrum: torch.Tensor) -> torch.Tensor:
        scaled = torch.view_as_complex(spectrum) * self._scale
        return torch.fft.irfft2(scaled, s=self.shape[1:]) * CONTRAST

    def _correlate(self, waves: torch.Tensor) -> torch.Tensor:
        if self.shape[0] != 3:
            return waves
        return torch.einsum("dc,nchw->ndhw", self._colours, waves)

    @cached_property
    def _scale(self) -> torch.Tensor:
        _, height, width = self.shape
        rows = torch.fft.fftfreq(height, device=self.device)[:, None]
        columns = torch.fft.rfftfreq(width, device=self.device)[None, :]
        lowest = 1 / max(height, width)
        return math.sqrt(height * width) / torch.hypot(rows, columns).clamp(min=lowest)

    @cached_property
    def _colours(self) -> torch.Tensor:
        root = torch.tensor(COLOUR_ROOT, device=self.device)
        return root / root.norm(dim=0).max()
