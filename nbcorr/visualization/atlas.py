"""``nc.activation_atlas``: what a layer can say, laid out as a map of pictures."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from nbcorr import __version__
from nbcorr.network.names import unknown
from nbcorr.network.wrappers import unwrapped
from nbcorr.recording.arrays import neuron_coords
from nbcorr.recording.content import fingerprint
from nbcorr.visualization.atlas_points import Draw, Points
from nbcorr.visualization.attribution_targets import one_layer
from nbcorr.visualization.grid import (
    STEPS,
    compared,
    picture_shape,
    rendered,
    renumbered,
    unit_vectors,
    without_exemplars,
)

PROJECTIONS = ("auto", "umap", "pca")
# Fewer positions than this have no neighbourhoods for UMAP to keep.
FEWEST_FOR_UMAP = 32
NEIGHBOURS = 15
# Percent at either end of each axis that are laid on the border.
OUTLIERS = 1


def activation_atlas(
    model: nn.Module,
    data: Any,
    layer: str,
    shape: Sequence[int] | None = None,
    *,
    grid: int = 10,
    per_image: int = 1,
    least: int = 3,
    projection: str = "auto",
    targets: Sequence[Any] = (),
    patches: int = 4,
    steps: int = STEPS,
    cossim_pow: float = 1,
    batch_size: int = 16,
    seed: int = 0,
    progress: bool = True,
    **options: Any,
) -> xr.Dataset:
    """A map of all that a layer says: activation vectors of many images, averaged and rendered.

    Vectors at random positions of many images are laid out in the plane so that similar ones lie
    close together, the plane is cut into a grid, and the mean vector of each cell is rendered.

    Parameters
    ----------
    model : torch.nn.Module
        Left exactly as it was.
    data : as for ``nc.record``
        Images; some hundreds at least for a map worth reading.
    layer : str
        One that gives maps or patches.
    shape : (channels, height, width), optional
        Of each picture. None: the images' channels, and their size up to 64 pixels; a vision
        transformer may need the size it was made for.
    grid : int
        Cells along each side.
    per_image : int
        Random positions of each image; all of them where a map has fewer.
    least : int
        Cells with fewer positions than this are left out.
    projection : {"auto", "umap", "pca"}
        ``"auto"``: UMAP where ``umap-learn`` is installed, else PCA; ``attrs["projection"]`` says
        which. UMAP keeps neighbours together, PCA the two directions of largest variance.
    targets : sequence, as the targets of ``nc.attribute``
        Classes, for example, whose attribution of each cell is wanted; every one takes a gradient
        of every image.
    patches : int
        Real pieces of images shown of each cell: those whose vectors are most like its mean.
    steps : int
    cossim_pow : float
        As for ``nc.objectives.direction``.
    batch_size : int
        Images run at once.
    seed : int
    progress : bool
    **options
        Further ones of ``nc.visualize``: ``preprocess``, ``transforms`` …

    Returns
    -------
    xarray.Dataset
        ``picture(row, column)``: which picture stands in a cell, by its place on ``direction``;
        -1 where there is none; ``count(row, column)``, how many positions lie in it. On
        ``direction``: ``vector(direction, neuron)``, the mean activation; ``image(direction, y,
        x, channel)`` in 0..1; ``reached``, ``best_real`` and ``relative`` as of
        ``nc.activation_grid``, the best real position among all that were drawn;
        ``patch(direction, rank, patch_y, patch_x, patch_channel)`` in 0..1 and
        ``patch_sample(direction, rank)``, NaN and -1 or "" where a cell has fewer;
        ``attribution(direction, target)`` where there are targets: what the mean vector
        contributes to them to first order. On ``position``, all that were drawn: ``sample``,
        ``map_row`` and ``map_column`` in the layer's map, ``projection(position, axis)`` in 0..1,
        x to the right and y downwards, and ``cell``, as in ``picture``; labels of the images
        where known, and ``label_count(direction, class)``. float32.

    Raises
    ------
    ValueError
        If the layer gives no maps, no cell has enough positions, or an argument is out of range;
        and what ``nc.visualize`` and ``nc.attribute`` raise.
    ModuleNotFoundError
        If UMAP is asked for and not installed.

    Notes
    -----
    Source: Carter, Armstrong, Schubert, Johnson, Olah, "Exploring neural networks with activation
    atlases" (Distill 2019): one random position of each image, a dimensionality reduction of the
    vectors, a grid, averages, feature visualisation of these, and the attribution of an average by
    the mean gradient. Vectors are compared by their angle. The paper's whitening of the layer is
    left out. What one cell shows was averaged: that its pictures exist does not say that the
    layer's vectors fill the way between them.
    """
    model = unwrapped(model)
    _check(projection, grid=grid, per_image=per_image, least=least, batch_size=batch_size)
    layer = one_layer(model, layer)
    draw = Draw(model, layer, targets, data, per_image, bool(patches), seed)
    points = draw.points(data, batch_size, progress)
    plane, method = laid_out(points.vectors, projection, seed)
    cells, means, counts = averaged(points.vectors, plane, grid, least)
    unit, which = unit_vectors(means)
    if not len(unit):
        raise ValueError(
            f"none of {grid} x {grid} cells has {least} of the {len(points.vectors)} positions "
            "where the layer is not silent; expected more images, or a smaller grid or least"
        )
    size = picture_shape(torch.empty(points.shape), shape)
    options["progress"] = progress
    made, kept = rendered(model, layer, unit, size, cossim_pow, steps, seed, options)

    def shown(numbers: np.ndarray) -> np.ndarray:
        """Pictures by the number of their cell's mean, which is -1 where there is none."""
        return renumbered(np.append(which, -1)[numbers], kept)

    found = xr.Dataset(
        {
            "picture": (("row", "column"), shown(numbered(counts, least))),
            "count": (("row", "column"), counts.astype(np.int32)),
            "vector": (("direction", "neuron"), _firsts(means, which, kept)),
            "projection": (("position", "axis"), plane.astype(np.float32)),
            "cell": ("position", shown(cells)),
            "sample": ("position", points.samples),
            "map_row": ("position", points.rows),
            "map_column": ("position", points.columns),
        },
        coords=neuron_coords([layer] * means.shape[1], range(means.shape[1])),
    )
    real = (points.vectors @ unit[kept].T).max(0)
    found = found.merge(compared(made, real), combine_attrs="drop")
    found = found.assign(_of_cells(found, points, [each.label for each in draw.targets], patches))
    return found.assign_attrs(
        without_exemplars(made),
        model=type(model).__name__,
        fingerprint=fingerprint(model),
        at=layer,
        projection=method,
        least=least,
        positions=len(points.vectors),
        cossim_pow=cossim_pow,
        nbcorr_version=__version__,
    )


def laid_out(vectors: np.ndarray, projection: str, seed: int) -> tuple[np.ndarray, str]:
    """Vectors in the unit square, those with small angles between them close together.

    Returns
    -------
    (array, shape (positions, 2); str)
        x and y, and which method it was.

    Raises
    ------
    ModuleNotFoundError
        If UMAP is asked for and not installed.
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    installed = importlib.util.find_spec("umap") is not None
    if projection == "auto":
        projection = "umap" if installed and len(unit) >= FEWEST_FOR_UMAP else "pca"
    elif projection == "umap" and not installed:
        raise ModuleNotFoundError(
            "projection='umap' needs umap-learn, which is not installed: pip install umap-learn, "
            "or projection='pca'"
        )
    plane = _umap(unit, seed) if projection == "umap" else _pca(unit)
    low, high = np.percentile(plane, [OUTLIERS, 100 - OUTLIERS], axis=0)
    spread = np.where(high > low, high - low, 1)
    return np.clip((plane - low) / spread, 0, 1), projection


def averaged(
    vectors: np.ndarray, plane: np.ndarray, grid: int, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of the vectors in the cells of a grid.

    Returns
    -------
    (array of int, shape (positions,); array, shape (cells, units); array of int, (grid, grid))
        Which mean each position went into, -1 where its cell has fewer than ``least``; the means,
        row by row; how many positions lie in each cell.
    """
    x, y = np.minimum((plane * grid).astype(int), grid - 1).T
    flat = y * grid + x
    counts = np.bincount(flat, minlength=grid * grid).reshape(grid, grid)
    cells = numbered(counts, least).reshape(-1)[flat]
    enough = counts[counts >= least]
    means = np.zeros((len(enough), vectors.shape[1]))
    inside = cells >= 0
    np.add.at(means, cells[inside], vectors[inside])
    return cells, means / enough[:, None], counts


def numbered(counts: np.ndarray, least: int) -> np.ndarray:
    """The cells that have enough positions numbered row by row, -1 for the others."""
    enough = counts >= least
    return np.where(enough, np.cumsum(enough).reshape(counts.shape) - 1, -1)


def _firsts(means: np.ndarray, which: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The first mean of each direction."""
    return np.stack([means[np.flatnonzero(which == i)[0]] for i in kept]).astype(np.float32)


def _umap(unit: np.ndarray, seed: int) -> np.ndarray:
    import umap

    neighbours = min(NEIGHBOURS, len(unit) - 1)
    model = umap.UMAP(
        n_neighbors=neighbours, min_dist=0.01, metric="cosine", random_state=seed, n_jobs=1
    )
    return np.asarray(model.fit_transform(unit))


def _pca(unit: np.ndarray) -> np.ndarray:
    _, _, axes = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    axes = np.pad(axes[:2], ((0, max(0, 2 - len(axes))), (0, 0)))
    # Signs are arbitrary: the largest weight of each axis counts up.
    largest = np.abs(axes).argmax(1)
    axes = axes * np.where(axes[[0, 1], largest] < 0, -1, 1)[:, None]
    return np.asarray((unit - unit.mean(0)) @ axes.T)


def _of_cells(
    found: xr.Dataset, points: Points, targets: list[str], patches: int
) -> dict[str, Any]:
    """What else is known of each rendered cell: real patches, labels, attributions."""
    cells = [np.flatnonzero(found["cell"].values == i) for i in range(found.sizes["direction"])]
    vectors = found["vector"].values
    more: dict[str, Any] = {}
    if targets:
        gradients = np.stack([points.gradients[cell].mean(0) for cell in cells])
        values = np.einsum("dtu,du->dt", gradients, vectors).astype(np.float32)
        more["attribution"] = xr.DataArray(values, {"target": targets}, ("direction", "target"))
    if points.labels is not None:
        names, codes = np.unique(points.labels, return_inverse=True)
        counts = [np.bincount(codes[cell], minlength=len(names)) for cell in cells]
        more["label"] = ("position", points.labels)
        more["label_count"] = xr.DataArray(
            np.array(counts, np.int32), {"class": names}, ("direction", "class")
        )
    if points.patches is not None:
        more |= _patches(cells, vectors, points, patches)
    return more


def _patches(
    cells: list[np.ndarray], vectors: np.ndarray, points: Points, count: int
) -> dict[str, Any]:
    assert points.patches is not None
    low, high = float(points.patches.min()), float(points.patches.max())
    scale = (0.0, 1.0) if low >= 0 and high <= 1 else (low, max(high - low, 1e-12))
    length = np.linalg.norm(points.vectors, axis=1)
    images = np.full((len(cells), count, *points.patches.shape[1:]), np.nan, np.float32)
    missing = -1 if points.samples.dtype.kind in "iu" else ""
    samples = np.full((len(cells), count), missing, points.samples.dtype)
    for i, (cell, vector) in enumerate(zip(cells, vectors, strict=True)):
        likeness = points.vectors[cell] @ vector / np.where(length[cell] > 0, length[cell], 1)
        best = cell[np.argsort(-likeness, kind="stable")][:count]
        images[i, : len(best)] = (points.patches[best] - scale[0]) / scale[1]
        samples[i, : len(best)] = points.samples[best]
    dims = ("direction", "rank", "patch_y", "patch_x", "patch_channel")
    return {"patch": (dims, images), "patch_sample": (("direction", "rank"), samples)}


def _check(projection: str, **counts: int) -> None:
    if projection not in PROJECTIONS:
        raise ValueError(unknown("projection", projection, PROJECTIONS))
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; expected at least 1")
