"""What images of one kind have in common: how their channels vary together, and their spectrum."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr

from nbcorr.network.batches import batches

# The principal colours of natural images, from Lucid's ``optvis/param/color.py``.
NATURAL_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
LEAST_VARIANCE = 1e-4


def image_statistics(images: Any) -> xr.Dataset:
    """How the channels of images vary together, and how large their frequencies are.

    What ``visualize(..., statistics=...)`` takes in the place of what holds of photographs, for
    images of other kinds: six channels of pile-up, depth, microscopy.

    Parameters
    ----------
    images : array, tensor, labelled images, torch Dataset, DataLoader or iterable of batches
        Images (n, channels, height, width) of one size, as they are before ``preprocess``. They
        are run through twice. Their scale does not matter, that of their channels relative to
        each other does.

    Returns
    -------
    xarray.Dataset
        ``colours(channel, component)`` float32: a root of the covariance of the channels, its
        columns their principal components, the largest first, each of the length of its standard
        deviation (at least a hundredth of the largest); ``magnitude(component, fy, fx)``
        float32: the mean amplitude of each frequency (cycles per pixel) over the images, of
        orthonormal Fourier transforms of the components brought to variance 1;
        ``mean(channel)``; and ``attrs["n_images"]``.

    Raises
    ------
    ValueError
        If there are no images, they have other than four dimensions, differ in size, are all of
        one value, hold NaN or infinite values, or can be run through only once.

    Notes
    -----
    Source: the colours as in Lucid (Olah, Mordvintsev, Schubert, "Feature visualization", Distill
    2017); the magnitude as in Fel et al. 2023 (arXiv 2306.06805).
    """
    if isinstance(images, Iterator):
        raise ValueError(
            f"images are a {type(images).__name__}, which can be run through once; "
            "expected an array, a Dataset or a DataLoader"
        )
    count, (height, width), mean, covariance = _moments(_checked(images))
    root = colour_root(covariance)
    magnitude = _magnitude(_checked(images), mean, root)
    return xr.Dataset(
        {
            "colours": (("channel", "component"), root.astype(np.float32)),
            "magnitude": (("component", "fy", "fx"), magnitude.astype(np.float32)),
            "mean": ("channel", mean.astype(np.float32)),
        },
        coords={"fy": np.fft.fftfreq(height), "fx": np.fft.rfftfreq(width)},
        attrs={"n_images": count, "height": height, "width": width},
    )


def colour_root(covariance: np.ndarray) -> np.ndarray:
    """The matrix R (channels, channels) with ``R @ R.T`` the covariance, of principal components.

    Components that hardly vary get a hundredth of the standard deviation of the largest, so that
    no channel is out of reach. The largest entry of every column is positive.
    """
    variances, components = np.linalg.eigh(covariance)
    variances, components = variances[::-1], components[:, ::-1]
    root = components * np.sqrt(variances.clip(min=LEAST_VARIANCE * variances[0]))
    largest = np.abs(root).argmax(axis=0)
    return root * np.sign(root[largest, np.arange(len(root))])


class Colours:
    """From independent components to images in 0..1.

    Parameters
    ----------
    channels : int
    root : array (channels, channels), optional
        Of the channels' covariance. None: the principal colours of natural images for three
        channels; other channels vary alone.
    device : torch.device

    Raises
    ------
    ValueError
        If the root is of another shape, is zero or not finite.
    """

    def __init__(self, channels: int, root: Any, device: torch.device) -> None:
        self.channels = channels
        if root is None and channels == 3:
            root = NATURAL_ROOT
        self._root = None if root is None else _normalised(root, channels).to(device)

    def __call__(self, components: torch.Tensor) -> torch.Tensor:
        """Images (n, channels, height, width) in 0..1; a further channel, alpha, is not mixed."""
        if self._root is None:
            return components.sigmoid()
        mixed = torch.einsum("dc,nchw->ndhw", self._root, components[:, : self.channels])
        return torch.cat([mixed, components[:, self.channels :]], dim=1).sigmoid()


def _normalised(root: Any, channels: int) -> torch.Tensor:
    """Scaled so that the longest column has length 1."""
    root = torch.as_tensor(np.asarray(root, dtype=np.float32))
    if root.shape != (channels, channels):
        raise ValueError(
            f"colours have shape {tuple(root.shape)}; expected ({channels}, {channels}), a root "
            "of the covariance of the image's channels"
        )
    longest = root.norm(dim=0).max()
    if not (longest.isfinite() and longest > 0):
        raise ValueError("colours are zero or not finite; expected a root of a covariance")
    return root / longest


def _checked(images: Any) -> Iterator[torch.Tensor]:
    """Batches of images (n, channels, height, width), float64."""
    first = None
    for batch in batches(images):
        if not isinstance(batch.inputs, torch.Tensor) or batch.inputs.ndim != 4:
            shape = tuple(getattr(batch.inputs, "shape", ()))
            raise ValueError(f"images have shape {shape}; expected (n, channels, height, width)")
        size = tuple(batch.inputs.shape[1:])
        first = first or size
        if size != first:
            raise ValueError(f"images differ in size: {first} and {size}; expected one size")
        batch.check_finite()
        yield batch.inputs.detach().cpu().double()


def _moments(
    images: Iterator[torch.Tensor],
) -> tuple[int, tuple[int, ...], np.ndarray, np.ndarray]:
    """How many images there are, their height and width; mean and covariance of their channels."""
    count, pixels, total, products = 0, 0, 0.0, 0.0
    size: tuple[int, ...] = ()
    for part in images:
        values = part.transpose(0, 1).flatten(1).numpy()
        count, pixels, size = count + len(part), pixels + values.shape[1], part.shape[2:]
        total, products = total + values.sum(axis=1), products + values @ values.T
    if count == 0:
        raise ValueError("there are no images; expected at least one")
    mean = np.asarray(total / pixels)
    covariance = products / pixels - np.outer(mean, mean)
    scale = np.abs(np.diag(products / pixels)).max()
    if covariance.trace() <= 1e-12 * scale or scale == 0:
        raise ValueError("all images are of one value; expected images that vary")
    return count, tuple(size), mean, covariance


def _magnitude(images: Iterator[torch.Tensor], mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    whitening = torch.as_tensor(np.linalg.inv(root))
    centre = torch.as_tensor(mean)[:, None, None]
    count, total = 0, 0.0
    for part in images:
        components = torch.einsum("dc,nchw->ndhw", whitening, part - centre)
        total = total + torch.fft.rfft2(components, norm="ortho").abs().sum(0).numpy()
        count += len(part)
    return np.asarray(total / count)
