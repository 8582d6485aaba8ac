"""Still pictures of the interfaces, for pages without a kernel: drawn on white with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from nbcorr.notebook import pictures
from nbcorr.notebook.interfaces.content import rgba
from nbcorr.notebook.interfaces.icons import Icons, Neuron


def new_figure(width: float, height: float) -> Any:
    """A white figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")


def png(figure: Any) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw_image(axes: Any, image: Any, title: str = "") -> None:
    """A picture without ticks."""
    axes.imshow(pictures.to_uint8(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    axes.set_title(plain(title), fontsize=9, loc="left")


def draw_cell(
    axes: Any, cell: tuple[int, int], grid: tuple[int, int], image: tuple[int, ...]
) -> None:
    """Frame a position of a grid over the picture that was drawn there."""
    from matplotlib.patches import Rectangle

    height, width = image[0] / grid[0], image[1] / grid[1]
    corner = cell[1] * width - 0.5, cell[0] * height - 0.5
    for line, colour in ((3.0, "black"), (1.4, "white")):
        axes.add_patch(Rectangle(corner, width, height, fill=False, ec=colour, lw=line))


def draw_neurons(axes: Sequence[Any], icons: Icons, shown: Sequence[tuple[Neuron, str]]) -> None:
    """Neurons, each with words, on these axes: their pictures over their exemplars."""
    for place, (neuron, words) in zip(axes, shown, strict=False):
        draw_image(place, _with_exemplars(icons.picture(neuron), icons.real(neuron)), words)


def _with_exemplars(picture: Any, real: Sequence[Any], side: int = 96) -> np.ndarray:
    """A picture, else the first exemplar, else an empty frame, over a row of exemplars."""
    sheet = Image.new("RGB", (side, side + side // 3 + 2), "white")
    large = next((image for image in (picture, *real) if image is not None), np.full((1, 1), 0.93))
    for image, width, corner in [
        (large, side, (0, 0)),
        *((image, side // 3 - 1, (side // 3 * i, side + 2)) for i, image in enumerate(real)),
    ]:
        tile = Image.fromarray(rgba(image), "RGBA").resize((width, width))
        sheet.paste(tile, corner, tile)
    return np.asarray(sheet)


def short(label: str, room: int = 17) -> str:
    """The end of a neuron's label, which tells it from others of its layer."""
    return label if len(label) <= room else f"…{label[1 - room :]}"


def plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def draw_heat(
    axes: Any,
    values: np.ndarray,
    image: tuple[int, ...],
    colour: tuple[int, int, int] = (213, 94, 0),
) -> None:
    """Numbers over the picture that was drawn there: in the colour, blue where negative."""
    largest = float(np.abs(values).max()) or 1.0
    rgba = np.zeros((*values.shape, 4))
    rgba[..., :3] = np.where(values[..., None] < 0, (0, 114, 178), colour) / np.float64(255)
    rgba[..., 3] = 0.84 * np.abs(values) / largest
    extent = (-0.5, image[1] - 0.5, image[0] - 0.5, -0.5)
    axes.imshow(rgba, extent=extent, interpolation="nearest")
