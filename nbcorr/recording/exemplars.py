"""The samples that drive a neuron most, and where in them it is driven."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.nn import functional
from tqdm.auto import tqdm

from nbcorr.network.batches import Batch, batches, count_samples
from nbcorr.network.hooks import Callback, captured, device_and_dtype, inference
from nbcorr.network.layers import module_and_call, resolve_layers
from nbcorr.network.neurons import neuron_label, parse_neurons
from nbcorr.network.tokens import Tokens, as_map, has_places, image_of, tokens_of
from nbcorr.network.units import governor, unit_axis
from nbcorr.network.wrappers import unwrapped
from nbcorr.recording.arrays import neuron_coords
from nbcorr.recording.record import fingerprint

# Positions of each sample's map that the quantile is estimated from: all of them in small maps,
# a seeded draw in larger ones, so that memory does not grow with the size of the map.
_POSITIONS = 64
# Values kept of each unit for its quantile; beyond it every second one is dropped, again and again.
_VALUES = 1 << 18


def exemplars(
    model: nn.Module,
    data: Any,
    neurons: Any,
    k: int = 15,
    *,
    quantile: float = 0.99,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """The k samples on which each neuron is most active, with masks of where.

    Samples are ranked by the largest value in the unit's map, and the mask holds the places above
    the 0.99 quantile of the unit's values over all places of all samples, the map enlarged
    bilinearly to the input's size (MILAN: Hernandez et al. 2022, section 3 and appendix; k = 15).
    The patches of a vision transformer are laid back to their map, without class and register
    tokens; padding tokens of a text are left out.

    Parameters
    ----------
    model : torch.nn.Module
    data : as for ``nc.record``
    neurons : ``"layer:unit"``, an iterable of them, or any Dataset over ``neuron``
    k : int
        How many exemplars; all samples where there are fewer.
    quantile : float
        Of the unit's values, the threshold of the mask. Estimated from at most 64 places of each
        sample's map, drawn with ``seed``, and about 260,000 values in all.
    batch_size : int
        For data that does not come in batches.
    seed : int
        Of the places drawn.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        Over ``neuron`` and ``rank``: ``sample`` (id), ``activation`` (largest value of the map)
        and ``label`` where known; ``threshold(neuron)``; for images also
        ``mask(neuron, rank, y, x)`` bool and ``image(neuron, rank, y, x, channel)`` float32 0..1
        for display (inputs outside 0..1 are brought there linearly, all by the same factor).
        On ``class``, ``label_count``: how often each label stands in the data.

    Raises
    ------
    ValueError
        If a neuron does not exist, its layer did not run, an input is not finite, or the data is
        empty.
    """
    model = unwrapped(model)
    chosen = parse_neurons(neurons)
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is {quantile}; expected a number between 0 and 1")
    search = _Search(model, chosen, k, seed)
    with tqdm(total=count_samples(data), unit="sample", disable=not progress, leave=False) as bar:
        for batch in batches(data, batch_size):
            search.add(batch.sorted_out(model))
            bar.update(len(batch))
    return search.finish(quantile).assign_attrs(
        model=type(model).__name__, fingerprint=fingerprint(model), quantile=quantile, seed=seed
    )


class _LayerTop:
    """The best samples so far of some units of one layer."""

    def __init__(self, units: list[int], k: int, generator: torch.Generator):
        self.units, self.k, self.generator = units, k, generator
        self.scores = torch.empty(len(units), 0)
        self.rows = torch.empty(len(units), 0, dtype=torch.long)
        self.maps = torch.empty(0)
        self.values: list[torch.Tensor] = []
        self.stride = 1

    def add(self, maps: torch.Tensor, kept: torch.Tensor | None, first_row: int) -> None:
        """Take in a batch's maps, float32 on the CPU.

        Shape (batch, units, rows, columns), or (batch, units, positions) of what does not lie in
        rows and columns; ``kept``, shape (batch, positions), are then the positions that count.
        """
        maps = maps.transpose(0, 1)
        flat = maps.flatten(2)
        self._keep_values(flat, kept)
        scores = flat.amax(2) if kept is None else flat.masked_fill(~kept, -torch.inf).amax(2)
        if maps.ndim == 3:
            # Without places there is no mask to be drawn, and texts differ in length.
            maps = scores.unsqueeze(2)
        rows = torch.arange(first_row, first_row + maps.shape[1]).expand(len(self.units), -1)
        known = self.maps if self.maps.numel() else maps[:, :0]
        scores = torch.cat([self.scores, scores], 1)
        order = scores.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        self.scores = scores.gather(1, order)
        self.rows = torch.cat([self.rows, rows], 1).gather(1, order)
        index = torch.arange(len(self.units))[:, None]
        self.maps = torch.cat([known, maps], 1)[index, order].clone()

    def threshold(self, quantile: float) -> np.ndarray:
        """The quantile of each unit's values over all places seen, shape (units,)."""
        return np.quantile(torch.cat(self.values, 1).numpy(), quantile, axis=1)

    def _keep_values(self, flat: torch.Tensor, kept: torch.Tensor | None) -> None:
        if flat.shape[2] > _POSITIONS:
            drawn = torch.randperm(flat.shape[2], generator=self.generator)[:_POSITIONS]
            flat, kept = flat[:, :, drawn], None if kept is None else kept[:, drawn]
        values = flat.flatten(1) if kept is None else flat[:, kept]
        self.values.append(values[:, :: self.stride].clone())
        if sum(part.shape[1] for part in self.values) > _VALUES:
            self.values = [torch.cat(self.values, 1)[:, ::2].clone()]
            self.stride *= 2


class _Search:
    """One pass over the data, looking for every neuron's exemplars at once."""

    def __init__(self, model: nn.Module, neurons: list[tuple[str, int]], k: int, seed: int):
        self.model, self.neurons, self.k = model, neurons, k
        units: dict[str, list[int]] = {}
        for layer, unit in neurons:
            units.setdefault(layer, []).append(unit)
        for layer in units:
            resolve_layers(model, module_and_call(layer)[0])
        generator = torch.Generator().manual_seed(seed)
        self.tops = {layer: _LayerTop(chosen, k, generator) for layer, chosen in units.items()}
        self.inputs: dict[int, torch.Tensor] = {}
        self.samples: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self.count = 0
        self.device, self.dtype = device_and_dtype(model)

    def add(self, batch: Batch) -> None:
        """Run one batch and keep what may be an exemplar."""
        batch.check_finite(self.count)
        ran: set[str] = set()
        placed = image_of(batch.inputs) is not None
        tokens = tokens_of(self.model, batch.inputs)
        callbacks = {
            name: self._callback(name, ran, tokens, placed)
            for name in dict.fromkeys(module_and_call(layer)[0] for layer in self.tops)
        }
        with inference(self.model), captured(self.model, callbacks):
            batch.to(self.device, self.dtype).run(self.model)
        missing = [layer for layer in self.tops if layer not in ran]
        if missing:
            raise ValueError(f"layer {missing[0]!r} did not run in the forward pass")
        self._keep_inputs(batch)
        ids = np.arange(self.count, self.count + len(batch))
        self.samples.append(ids if batch.sample is None else batch.sample)
        if batch.label is not None:
            self.labels.append(batch.label)
        self.count += len(batch)

    def _callback(self, name: str, ran: set[str], tokens: Tokens, placed: bool) -> Callback:
        module = governor(self.model, name)

        def look(output: torch.Tensor, call: int, _: Any) -> None:
            layer = next((x for x in self.tops if module_and_call(x) == (name, call)), None)
            if layer is None:
                return
            ran.add(layer)
            top = self.tops[layer]
            axis = unit_axis(module, output)
            check_units(layer, top.units, output.shape[axis])
            kept = tokens.kept(output, axis)
            if placed and has_places(output, axis, tokens):
                maps, kept = as_map(output, axis, tokens), None
            else:
                maps = output.movedim(axis, 1).unsqueeze(-1).flatten(2)
            maps = maps[:, top.units].to("cpu", torch.float32)
            top.add(maps, None if kept is None else kept.cpu(), self.count)

        return look

    def _keep_inputs(self, batch: Batch) -> None:
        images = image_of(batch.inputs)
        if images is None:
            return
        needed = set(torch.cat([top.rows.flatten() for top in self.tops.values()]).tolist())
        for row in needed - self.inputs.keys():
            self.inputs[row] = images[row - self.count].to("cpu", torch.float32).clone()
        self.inputs = {row: image for row, image in self.inputs.items() if row in needed}

    def finish(self, quantile: float) -> xr.Dataset:
        """The Dataset of all neurons, in the order they were asked for."""
        if self.count == 0:
            raise ValueError("the data is empty: no samples were found, expected at least one")
        place = {
            (layer, unit): (top, i)
            for layer, top in self.tops.items()
            for i, unit in enumerate(top.units)
        }
        ordered = [place[neuron] for neuron in self.neurons]
        rows = torch.stack([top.rows[i] for top, i in ordered]).numpy()
        thresholds = {layer: top.threshold(quantile) for layer, top in self.tops.items()}
        limits = np.array(
            [thresholds[n[0]][i] for n, (_, i) in zip(self.neurons, ordered, strict=True)]
        )
        scores = torch.stack([top.scores[i] for top, i in ordered]).numpy()
        dataset = xr.Dataset(
            {
                "sample": (("neuron", "rank"), np.concatenate(self.samples)[rows]),
                "activation": (("neuron", "rank"), scores),
                "threshold": ("neuron", limits.astype(np.float32)),
            },
            coords=neuron_coords(*zip(*self.neurons, strict=True)),
        ).assign_coords(rank=np.arange(rows.shape[1]))
        dataset = self._with_labels(dataset, rows)
        return self._with_images(dataset, rows, ordered, limits) if self.inputs else dataset

    def _with_labels(self, dataset: xr.Dataset, rows: np.ndarray) -> xr.Dataset:
        if not self.labels:
            return dataset
        labels = np.concatenate(self.labels)
        classes, counts = np.unique(labels, return_counts=True)
        dataset["label"] = (("neuron", "rank"), labels[rows])
        return dataset.assign_coords({"class": classes}).assign(label_count=("class", counts))

    def _with_images(
        self,
        dataset: xr.Dataset,
        rows: np.ndarray,
        ordered: list[tuple[_LayerTop, int]],
        limits: np.ndarray,
    ) -> xr.Dataset:
        size = tuple(next(iter(self.inputs.values())).shape[1:])
        masks = [
            _enlarged(top.maps[i], size) > limit
            for (top, i), limit in zip(ordered, limits.tolist(), strict=True)
        ]
        images = torch.stack([torch.stack([self.inputs[int(r)] for r in line]) for line in rows])
        dataset["mask"] = (("neuron", "rank", "y", "x"), torch.stack(masks).numpy())
        dataset["image"] = (
            ("neuron", "rank", "y", "x", "channel"),
            _displayable(images).movedim(2, -1).numpy(),
        )
        return dataset


def check_units(layer: str, units: list[int], found: int) -> None:
    """A ValueError for a unit that its layer does not have."""
    beyond = [unit for unit in units if unit >= found]
    if beyond:
        raise ValueError(
            f"no neuron {neuron_label(layer, beyond[0])!r}: layer {layer!r} has {found} units, "
            f"0 to {found - 1}"
        )


def _enlarged(maps: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Maps of k samples, shape (k, *places), as (k, y, x) of the input's size."""
    if maps.ndim == 3:
        enlarged = functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=True)
        return enlarged[:, 0]
    # Dense units, and tokens that are no patches, have no place: the whole image drives them.
    return maps.flatten(1).amax(1)[:, None, None].expand(-1, *size)


def _displayable(images: torch.Tensor) -> torch.Tensor:
    low, high = images.min(), images.max()
    if low >= 0 and high <= 1:
        return images
    return (images - low) / (high - low).clamp_min(1e-12)
