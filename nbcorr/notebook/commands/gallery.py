"""Neurons as rows of pictures in one PNG: what was made to drive each, and what drives it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import xarray as xr
from IPython.display import display

from nbcorr.network.neurons import neuron_label
from nbcorr.notebook.commands.calls import printable
from nbcorr.notebook.pictures import to_uint8, with_mask

_EXEMPLARS = 6
_COLUMNS = 1 + _EXEMPLARS
_INCHES = 1.35
_DPI = 96
_LONGEST_TITLE = 22


def show(visualizations: xr.Dataset | None = None, exemplars: xr.Dataset | None = None) -> None:
    """Display the pictures, with what they are as text where no picture shows."""
    shown = visualizations if visualizations is not None else exemplars
    if shown is None or "image" not in shown:
        return
    lines = [_line(shown.isel(neuron=i)) for i in range(shown.sizes["neuron"])]
    png = gallery_png(visualizations, exemplars)
    display({"image/png": png, "text/plain": "\n".join(lines)}, raw=True)


def gallery_png(visualizations: xr.Dataset | None, exemplars: xr.Dataset | None) -> bytes:
    """One row a neuron where there are exemplars, else pictures side by side; a PNG file."""
    from matplotlib.figure import Figure

    rows = _rows(visualizations, exemplars)
    if all(len(row) == 1 for row in rows):
        together = [panel for row in rows for panel in row]
        rows = [together[i : i + _COLUMNS] for i in range(0, len(together), _COLUMNS)]
    columns = max(map(len, rows))
    size = (columns * _INCHES, len(rows) * (_INCHES + 0.2))
    figure = Figure(size, dpi=_DPI, layout="constrained")
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for line, row in zip(panels, rows, strict=True):
        for panel, (title, image) in zip(line, row, strict=False):
            panel.imshow(image, interpolation="nearest")
            panel.set_title(title, fontsize=7, loc="left", parse_math=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _rows(
    visualizations: xr.Dataset | None, exemplars: xr.Dataset | None
) -> list[list[tuple[str, np.ndarray]]]:
    """Per neuron its pictures with their titles, the visualisation first."""
    shown = visualizations if visualizations is not None else exemplars
    assert shown is not None
    rows = []
    for neuron in shown["neuron"].values:
        made, driven = _of(visualizations, neuron), _of(exemplars, neuron)
        row = []
        if made is not None:
            row.append((_short(neuron_label(*neuron)), _rgb(to_uint8(made["image"].values))))
        if driven is not None and "image" in driven:
            row += [
                _exemplar(driven.isel(rank=rank))
                for rank in range(driven.sizes["rank"])[:_EXEMPLARS]
            ]
            if made is None:
                row[0] = (_short(f"{neuron_label(*neuron)}  {row[0][0]}"), row[0][1])
        rows.append(row)
    return rows


def _of(dataset: xr.Dataset | None, neuron: tuple[str, int]) -> xr.Dataset | None:
    if dataset is None or neuron not in dataset.indexes["neuron"]:
        return None
    return dataset.isel(neuron=dataset.indexes["neuron"].get_loc(neuron))


def _exemplar(one: xr.Dataset) -> tuple[str, np.ndarray]:
    return _short(str(one["sample"].item())), with_mask(one["image"].values, one["mask"].values)


def _line(one: xr.Dataset) -> str:
    layer, unit = one["neuron"].item()
    name = printable(neuron_label(layer, unit))
    if "reached" in one:
        return f"{name}  reached {float(one['reached']):.3g}"
    samples = ", ".join(printable(str(s)) for s in one["sample"].values[:_EXEMPLARS].tolist())
    return f"{name}  {samples}"


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST_TITLE else "…" + name[1 - _LONGEST_TITLE :]


def _rgb(image: np.ndarray) -> Any:
    return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)
