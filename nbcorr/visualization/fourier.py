"""Images as their spectrum, low frequencies given the larger steps."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nbcorr.visualization.colours import Colours

START_SPREAD = 0.01
CONTRAST = 1 / 4
LEAST_MAGNITUDE = 1e-3


class Fourier:
    """Images in 0..1 parametrised by their spectrum, low frequencies given the larger steps.

    Natural images have amplitudes that fall as 1/f; dividing every coefficient by its frequency
    and rotating the channels along the principal colours makes all directions about equally easy
    to optimise, which is what keeps gradient ascent from ending in high-frequency noise.

    Parameters
    ----------
    shape : (channels, height, width)
    device : torch.device
    colours : array (channels, channels), optional
        Root of the covariance of the channels, of ``image_statistics``. None: the principal
        colours of natural images for three channels, uncorrelated channels otherwise.
    alpha : bool
        One more channel, of opacity.
    magnitude : array (channels, rows, columns), optional
        Mean amplitudes of the frequencies of images of any size, of ``image_statistics``, in the
        place of 1/f.

    Notes
    -----
    Source: Olah, Mordvintsev, Schubert, "Feature visualization" (Distill 2017), section
    "Preconditioning and parameterization"; constants of Lucid's ``optvis/param``:
    ``image = sigmoid(C irfft2(sqrt(h w) S / max(f, 1 / max(h, w))) / 4)`` with f in cycles per
    pixel and C the normalised root of the colour covariance.
    """

    learning_rate = 0.05

    def __init__(
        self,
        shape: tuple[int, int, int],
        device: torch.device,
        *,
        colours: Any = None,
        alpha: bool = False,
        magnitude: Any = None,
    ) -> None:
        self.shape = shape
        self.device = device
        self.alpha = alpha
        self._colours = Colours(shape[0], colours, device)
        self._magnitude = None if magnitude is None else resampled(magnitude, shape)

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """A random spectrum (channels, height, width // 2 + 1, 2): a nearly grey image."""
        channels, height, width = self.shape
        size = (channels + self.alpha, height, width // 2 + 1, 2)
        return (START_SPREAD * torch.randn(size, generator=generator)).to(self.device)

    def image(self, stack: torch.Tensor) -> torch.Tensor:
        """The images (n, channels [+ 1], height, width) in 0..1 of a stack of spectra."""
        return self._colours(self._waves(stack))

    def _waves(self, spectra: torch.Tensor) -> torch.Tensor:
        scaled = torch.view_as_complex(spectra) * self._scale
        return torch.fft.irfft2(scaled, s=self.shape[1:]) * CONTRAST

    @cached_property
    def _scale(self) -> torch.Tensor:
        """What each coefficient is multiplied with, alpha's last."""
        channels, height, width = self.shape
        scale = self._amplitudes(channels)
        if self.alpha:
            scale = torch.cat([scale, falling(height, width)[None]])
        return (math.sqrt(height * width) * scale).to(self.device)

    def _amplitudes(self, channels: int) -> torch.Tensor:
        """The amplitudes (channels, height, width // 2 + 1) of the frequencies, on the CPU.

        Learnt ones are brought to the mean square of 1/f, so that steps mean the same.
        """
        natural = falling(*self.shape[1:]).expand(channels, -1, -1)
        if self._magnitude is None:
            return natural
        size = natural.square().mean((1, 2)) / self._magnitude.square().mean((1, 2))
        return self._magnitude * size.sqrt()[:, None, None]


def falling(height: int, width: int) -> torch.Tensor:
    """The amplitudes 1 / f of the frequencies of the half plane, f in cycles per pixel.

    As if the frequency zero were that of a wave along the longer side.
    """
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None, :]
    return 1 / torch.hypot(rows, columns).clamp(min=1 / max(height, width))


def resampled(magnitude: Any, shape: tuple[int, int, int]) -> torch.Tensor:
    """Amplitudes of images of one size as those of another, at the same cycles per pixel.

    At least a thousandth of each channel's largest, so that no frequency is out of reach.

    Raises
    ------
    ValueError
        If there is not one spectrum per channel, or a value is negative or not finite.
    """
    given = np.asarray(magnitude, dtype=np.float64)
    channels, height, width = shape
    if given.ndim != 3 or len(given) != channels or 0 in given.shape:
        raise ValueError(
            f"magnitude has shape {given.shape}; expected ({channels}, rows, columns), one "
            "half-plane spectrum per channel"
        )
    if not (np.isfinite(given).all() and (given >= 0).all() and given.any((1, 2)).all()):
        raise ValueError("magnitude is negative, not finite or zero; expected mean amplitudes")
    _, rows, columns = given.shape
    # Only labels tell whether images with so many columns of the half plane are even or odd wide.
    known = np.asarray(getattr(magnitude, "fx", np.linspace(0, 0.5, columns)))
    down = _interpolation(np.fft.fftfreq(rows), np.fft.fftfreq(height), period=1)
    along = _interpolation(known, np.fft.rfftfreq(width))
    found = down.T @ given @ along
    least = LEAST_MAGNITUDE * found.max((1, 2), keepdims=True)
    return torch.as_tensor(found.clip(min=least), dtype=torch.float32)


def _interpolation(
    known: np.ndarray, wanted: np.ndarray, period: float | None = None
) -> np.ndarray:
    """The matrix (known, wanted) with which values are interpolated linearly."""
    return np.stack([np.interp(wanted, known, one, period=period) for one in np.eye(len(known))])
