"""Visualisations side by side as one PNG, each under its neuron's name."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import xarray as xr
from IPython.display import display

from nbcorr.network.neurons import neuron_label
from nbcorr.notebook.commands.calls import printable
from nbcorr.notebook.pictures import to_uint8

_COLUMNS = 5
_INCHES = 1.8
_DPI = 96
_LONGEST_TITLE = 24


def show(visualizations: xr.Dataset) -> None:
    """Display the pictures, with their names and activations as text where no picture shows."""
    bundle = {
        "image/png": gallery_png(visualizations),
        "text/plain": "\n".join(_lines(visualizations)),
    }
    display(bundle, raw=True)


def gallery_png(visualizations: xr.Dataset) -> bytes:
    """The pictures in rows of five, as a PNG file."""
    from matplotlib.figure import Figure

    images = visualizations["image"].transpose("neuron", "y", "x", "channel").values
    columns = min(_COLUMNS, len(images))
    rows = math.ceil(len(images) / columns)
    figure = Figure((columns * _INCHES, rows * (_INCHES + 0.2)), dpi=_DPI, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in axes:
        panel.set_axis_off()
    for panel, image, name in zip(axes, images, _names(visualizations), strict=False):
        panel.imshow(_rgb(to_uint8(image)), interpolation="nearest")
        panel.set_title(_short(name), fontsize=8, parse_math=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _lines(visualizations: xr.Dataset) -> list[str]:
    reached = visualizations["reached"].values
    return [f"{n}  reached {r:.3g}" for n, r in zip(_names(visualizations), reached, strict=True)]


def _names(visualizations: xr.Dataset) -> list[str]:
    return [printable(neuron_label(*neuron)) for neuron in visualizations["neuron"].values]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_TITLE else "…" + name[1 - _LONGEST_TITLE :]


def _rgb(image: np.ndarray) -> Any:
    return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
