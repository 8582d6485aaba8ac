"""Images whose frequencies have the magnitudes of natural ones: only their phases are free."""

from __future__ import annotations

import math
from functools import cached_property

import torch

from nbcorr.visualization.fourier import CONTRAST, Fourier, falling


class MaCo(Fourier):
    """Images in 0..1 parametrised by the phases of their spectrum, its magnitudes fixed.

    Takes the arguments of ``Fourier``. Without ``magnitude`` frequencies have the amplitudes 1/f
    of natural images; the image before the sigmoid has mean square 1 in every component.

    Notes
    -----
    Source: Fel et al. 2023, "Unlocking feature visualization for deeper networks with magnitude
    constrained optimization" (arXiv 2306.06805): ``image = sigmoid(C irfft2(r exp(i phase)))``
    with r the mean magnitude of images in decorrelated colours. A wave and its mirror image are
    one wave of a real image: where both have a phase, it is their difference. Of those that are
    their own mirror image (the mean among them), whose phase could only jump, r is the largest
    amplitude. Opacity, where asked for, is free as in ``Fourier``: no images have its magnitudes.
    """

    learning_rate = 0.2

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """Random phases (channels, height, width // 2 + 1); of opacity, re and im of a spectrum."""
        channels, height, width = self.shape
        plane = (height, width // 2 + 1)
        phases = 2 * math.pi * torch.rand(channels, *plane, generator=generator)
        if self.alpha:
            opacity = super().start(generator)[-1].movedim(-1, 0)
            phases = torch.cat([phases, opacity.cpu()])
        return phases.to(self.device)

    def _waves(self, stack: torch.Tensor) -> torch.Tensor:
        channels = self.shape[0]
        phases = stack[:, :channels]
        mirrored = phases.flip(-2).roll(1, -2)
        phases = torch.where(self._paired, phases - mirrored, phases)
        # Real where those of a real image are: not every transform ignores what is not.
        imaginary = torch.where(self._alone, 0, phases.sin())
        spectrum = torch.complex(phases.cos(), imaginary) * self._scale
        waves = torch.fft.irfft2(spectrum, s=self.shape[1:])
        if not self.alpha:
            return waves
        real, imaginary = stack[:, channels], stack[:, channels + 1]
        free = torch.complex(real, imaginary) * self._opacity_scale
        opacity = torch.fft.irfft2(free, s=self.shape[1:]) * CONTRAST
        return torch.cat([waves, opacity[:, None]], dim=1)

    @cached_property
    def _scale(self) -> torch.Tensor:
        """The magnitudes (channels, height, width // 2 + 1), for waves of mean square 1."""
        channels, height, width = self.shape
        amplitudes = self._amplitudes(channels)
        twice = torch.full((width // 2 + 1,), 2.0)
        twice[_own_columns(width)] = 1
        power = (amplitudes.square() * twice).sum((1, 2), keepdim=True)
        return (height * width * amplitudes / power.sqrt()).to(self.device)

    @cached_property
    def _opacity_scale(self) -> torch.Tensor:
        _, height, width = self.shape
        return (math.sqrt(height * width) * falling(height, width)).to(self.device)

    @cached_property
    def _paired(self) -> torch.Tensor:
        """Whose mirror image is another coefficient of the half plane, (height, width // 2 + 1)."""
        _, height, width = self.shape
        paired = torch.zeros(height, width // 2 + 1, dtype=torch.bool)
        paired[:, _own_columns(width)] = True
        return paired.to(self.device) & ~self._alone

    @cached_property
    def _alone(self) -> torch.Tensor:
        """Which coefficients are their own mirror images, (height, width // 2 + 1)."""
        _, height, width = self.shape
        rows = torch.arange(height)
        alone = torch.zeros(height, width // 2 + 1, dtype=torch.bool)
        alone[:, _own_columns(width)] = (rows == -rows % height)[:, None]
        return alone.to(self.device)


def _own_columns(width: int) -> list[int]:
    """The columns of the half plane that hold their own mirror images."""
    return [0, width // 2] if width % 2 == 0 else [0]
