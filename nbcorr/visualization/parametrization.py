"""Inputs as numbers to optimise: one tensor of numbers per picture, so that pictures never mix."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from nbcorr.network.names import unknown
from nbcorr.visualization.cppn import CPPN
from nbcorr.visualization.fourier import Fourier
from nbcorr.visualization.maco import MaCo
from nbcorr.visualization.pixel import Pixel
from nbcorr.visualization.vector import Vector


class Parametrization(Protocol):
    """Numbers that stand for inputs of a network.

    Attributes
    ----------
    shape : tuple of int
        (channels, height, width) or (features,), the alpha channel not counted.
    device : torch.device
    alpha : bool
        Images have one more channel, of opacity.
    learning_rate : float
        What suits Adam on these numbers.
    """

    shape: Any
    device: torch.device
    alpha: bool
    learning_rate: float

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """The numbers of one picture to start from, float32; the same for the same generator."""

    def image(self, stack: torch.Tensor) -> torch.Tensor:
        """The images (n, channels [+ 1], height, width) in 0..1, or vectors (n, features)."""


PARAMETRIZATIONS: dict[str, Any] = {
    "fourier": Fourier,
    "pixel": Pixel,
    "maco": MaCo,
    "cppn": CPPN,
}
"""Those of images; vectors have one of their own."""


def parametrization(
    name: str,
    shape: tuple[int, ...],
    device: torch.device,
    *,
    colours: Any = None,
    alpha: bool = False,
    magnitude: Any = None,
    bounds: Any = None,
) -> Parametrization:
    """The parametrisation of that name; that of vectors where the shape is of a vector.

    Parameters
    ----------
    name : {"fourier", "pixel", "maco", "cppn"}
        Of images. The shape of a vector wants ``"fourier"``, everyone's default, or ``"pixel"``.
    shape : (channels, height, width) or (features,)
    device : torch.device
    colours : array (channels, channels), optional
    alpha : bool
    magnitude : array (channels, rows, columns), optional
        Of frequencies; for ``"fourier"`` and ``"maco"``, the others have none.
    bounds : (lowest, highest), optional
        Of the features of vectors.

    Raises
    ------
    ValueError
        If there is none of that name, or an argument does not fit the shape.
    """
    if name not in PARAMETRIZATIONS:
        raise ValueError(unknown("parametrization", name, PARAMETRIZATIONS))
    if len(shape) == 1:
        _check_vector(name, shape, colours=colours, alpha=alpha or None, magnitude=magnitude)
        return Vector((shape[0],), device, bounds=bounds)
    if len(shape) != 3:
        raise ValueError(f"shape is {shape}; expected (channels, height, width) or (features,)")
    if bounds is not None:
        raise ValueError(f"bounds are for vectors; images of shape {shape} are in 0..1")
    kind = PARAMETRIZATIONS[name]
    spectral = {"magnitude": magnitude} if issubclass(kind, Fourier) else {}
    return kind(shape, device, colours=colours, alpha=alpha, **spectral)


def _check_vector(name: str, shape: tuple[int, ...], **of_images: Any) -> None:
    if name not in ("fourier", "pixel"):
        raise ValueError(f"{name!r} is for images; shape is {shape}, that of a vector")
    for argument, value in of_images.items():
        if value is not None:
            raise ValueError(f"{argument} is for images; shape is {shape}, that of a vector")
