"""What stands in for the explorer on a page without a kernel: one picture."""

from __future__ import annotations

import io

import numpy as np
import xarray as xr

from nbcorr.correlation.ladder import holds
from nbcorr.network.neurons import neuron_label
from nbcorr.notebook import pictures
from nbcorr.notebook.plots import GREY, ORANGE


def explorer_png(
    correlates: xr.Dataset,
    neuron: tuple[str, int] | None,
    exemplars: xr.Dataset | None,
    visualizations: xr.Dataset | None,
) -> bytes:
    """The map of neurons, and the chosen neuron's visualisation and exemplars, as a PNG.

    Drawn on white, so that it reads the same in a light and a dark page.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), dpi=110, layout="constrained", facecolor="white")
    grid = figure.add_gridspec(2, 8)
    axes = figure.add_subplot(grid[:, :4])
    passing, dead = holds(correlates).values, correlates["dead"].values.astype(bool)
    sure = -np.log10(np.maximum(correlates["q"].values, 1e-300))
    for group, colour, marker, name in (
        (~passing & ~dead, GREY, "o", "other"),
        (passing, ORANGE, "D", "passes every control"),
    ):
        axes.scatter(
            correlates["auc"].values[group],
            sure[group],
            s=18,
            c=colour,
            marker=marker,
            edgecolors="#555555",
            linewidths=0.4,
            label=f"{name} ({int(group.sum())})",
        )
    axes.axvline(0.5, color="#bbbbbb", lw=0.8, zorder=0)
    axes.set_xlabel("AUC")
    axes.set_ylabel("-log10 q")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    if neuron is not None:
        _neuron_pictures(figure, grid, neuron, exemplars, visualizations)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _neuron_pictures(
    figure: object,
    grid: object,
    neuron: tuple[str, int],
    exemplars: xr.Dataset | None,
    visualizations: xr.Dataset | None,
) -> None:
    shown = []
    for dataset in (visualizations, exemplars):
        if dataset is None or neuron not in dataset.indexes["neuron"] or "image" not in dataset:
            continue
        images = dataset["image"].isel(neuron=dataset.indexes["neuron"].get_loc(neuron))
        shown += list(images.values) if "rank" in images.dims else [images.values]
    for place, image in zip(range(8), shown, strict=False):
        axes = figure.add_subplot(grid[place // 4, 4 + place % 4])  # type: ignore[attr-defined,index]
        axes.imshow(pictures.to_uint8(image), cmap="gray", interpolation="nearest")
        axes.set_axis_off()
        if place == 0:
            axes.set_title(neuron_label(*neuron), fontsize=9, loc="left")
