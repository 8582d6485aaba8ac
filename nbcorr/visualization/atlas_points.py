"""Positions drawn from many images, with what a layer says there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from nbcorr.network.batches import Batch, batches, count_samples
from nbcorr.network.hooks import evaluating
from nbcorr.network.tokens import image_of, tokens_of
from nbcorr.visualization.attribution_arrays import Layout, check_finite
from nbcorr.visualization.attribution_gradients import LayerGradients
from nbcorr.visualization.attribution_targets import Target, targets_of

# Pixels of a patch kept of each position.
PATCH = 32
# Positions of the map that the side of a patch spans.
SPAN = 4


@dataclasses.dataclass(frozen=True)
class Points:
    """What was seen at the positions drawn.

    Attributes
    ----------
    vectors : array, shape (positions, units)
    gradients : array, shape (positions, targets, units)
    rows, columns : arrays of int, shape (positions,)
        In the layer's map.
    samples, labels : arrays, shape (positions,); labels may be None
    patches : array, shape (positions, PATCH, PATCH, channels), or None
    shape : tuple of int
        Of one batch of images.
    """

    vectors: np.ndarray
    gradients: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    samples: np.ndarray
    labels: np.ndarray | None
    patches: np.ndarray | None
    shape: tuple[int, ...]


class Draw:
    """Draws positions of images, and reads what the layer says there.

    Parameters
    ----------
    model : torch.nn.Module
    layer : str
    targets : sequence, as for ``nc.attribute``
    data : as for ``nc.record``
    per_image : int
        Positions of each image.
    patches : bool
        Whether to keep the pieces of the images around the positions.
    seed : int
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        targets: Sequence[Any],
        data: Any,
        per_image: int,
        patches: bool,
        seed: int,
    ) -> None:
        classes = data.attrs.get("classes", ()) if isinstance(data, xr.Dataset) else ()
        self.targets: list[Target] = (
            targets_of(model, list(targets), classes, None) if len(targets) else []
        )
        self.source = LayerGradients(model, layer, self.targets)
        self.model, self.layer = model, layer
        self.per_image, self.with_patches = per_image, patches
        self.random = np.random.default_rng(seed)

    def points(self, data: Any, batch_size: int, progress: bool) -> Points:
        """Those of all images.

        Raises
        ------
        ValueError
            If there are none, they differ in size, or the layer gives no maps.
        """
        parts: list[Points] = []
        total = count_samples(data)
        bar = tqdm(total=total, unit="sample", disable=not progress, leave=False)
        with bar, evaluating(self.model), torch.inference_mode(False), torch.enable_grad():
            first = 0
            for batch in batches(data, batch_size):
                batch = batch.sorted_out(self.model)
                batch.check_finite(first)
                parts.append(self._part(batch, first))
                first += len(batch)
                bar.update(len(batch))
        if not parts:
            raise ValueError("the data is empty: no samples were found, expected at least one")
        return _joined(parts)

    def _part(self, batch: Batch, first: int) -> Points:
        reading = self.source.read(batch)
        check_finite(f"layer {self.layer!r}", reading.activation[None], batch, first)
        images = image_of(batch.inputs)
        layout = Layout(reading.axis, tokens_of(self.model, batch.inputs), images is not None)
        dims, maps = layout.by_place(reading.activation[None])
        if images is None or dims[2:] != ("y", "x"):
            raise ValueError(
                f"layer {self.layer!r} gives no maps of images, but one number per "
                f"{' and '.join(dims[1:])}; expected a layer with positions"
            )
        rows, columns = maps.shape[2:]
        sample, place = self._drawn(len(batch), rows * columns)
        y, x = np.divmod(place, columns)
        gradients = np.zeros((len(place), 0, maps.shape[1]), np.float32)
        if reading.gradient is not None:
            several = dataclasses.replace(layout, scores={"target": len(self.targets)})
            gradients = several.by_place(reading.gradient)[1][:, sample, :, y, x]
        ids = np.arange(first, first + len(batch)) if batch.sample is None else batch.sample
        return Points(
            maps[sample, :, y, x],
            gradients,
            y.astype(np.int32),
            x.astype(np.int32),
            ids[sample],
            None if batch.label is None else batch.label[sample],
            cut(images[sample], (y + 0.5) / rows, (x + 0.5) / columns, max(rows, columns))
            if self.with_patches
            else None,
            tuple(images.shape),
        )

    def _drawn(self, images: int, places: int) -> tuple[np.ndarray, np.ndarray]:
        """Which image and which place, different ones of each image."""
        count = min(self.per_image, places)
        order = self.random.random((images, places)).argsort(1)[:, :count]
        return np.repeat(np.arange(images), count), order.reshape(-1)


def cut(images: torch.Tensor, y: np.ndarray, x: np.ndarray, cells: int) -> np.ndarray:
    """The square around a place of each image.

    Parameters
    ----------
    images : tensor, shape (n, channels, height, width)
    y, x : array, shape (n,)
        In 0..1.
    cells : int
        Positions along the layer's map: the square spans SPAN of them, at least a quarter and at
        most all of the image.

    Returns
    -------
    array of float32, shape (n, side, side, channels), side at most PATCH
    """
    height, width = images.shape[2:]
    span = round(min(height, width) * min(1.0, max(0.25, SPAN / cells)))
    pieces = []
    for image, row, column in zip(images, y * height, x * width, strict=True):
        top = int(np.clip(round(row - span / 2), 0, height - span))
        left = int(np.clip(round(column - span / 2), 0, width - span))
        pieces.append(image[:, top : top + span, left : left + span])
    stack = torch.stack(pieces).detach().cpu().float()
    if span > PATCH:
        stack = functional.adaptive_avg_pool2d(stack, PATCH)
    return stack.movedim(1, -1).numpy()


def _joined(parts: Sequence[Points]) -> Points:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"images differ in size: {sorted(shapes)}; expected one size")

    def stacked(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    names = ("vectors", "gradients", "rows", "columns", "samples", "labels", "patches")
    columns = {name: stacked(name) for name in names}
    return Points(shape=parts[0].shape, **columns)
