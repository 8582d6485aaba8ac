"""Gradients at a point, and their means along a path to it from a baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from nbcorr.network.batches import Batch
from nbcorr.visualization.attribution_gradients import LayerGradients

LAYER_METHODS = ("gradient", "path", "stochastic_path")
# The sum of two uniform numbers over this: the factor of a channel at a step (Lucid's constant).
SPREAD = 1.5


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The activation that a path begins at, by number, per unit or at every place.

    Attributes
    ----------
    value : float or array, shape (units,) or that of one sample's activation
    """

    value: Any = 0.0

    @property
    def label(self) -> float | str:
        """The number, or what the array is."""
        shape = tuple(np.shape(self.value))
        return f"an array of shape {shape}" if shape else float(self.value)

    def like(self, activation: torch.Tensor, axis: int) -> torch.Tensor:
        """The baseline of a batch of activations, broadcast to their shape.

        Raises
        ------
        ValueError
            If it does not fit, or is not finite.
        """
        value = torch.as_tensor(np.asarray(self.value, dtype=np.float64)).to(activation)
        if not bool(value.isfinite().all()):
            raise ValueError("the baseline has NaN or infinite values; expected finite numbers")
        if value.shape == activation.shape[axis : axis + 1]:
            value = value.reshape([-1] + [1] * (activation.ndim - 1 - axis))
        elif value.ndim and value.shape != activation.shape[1:]:
            raise ValueError(
                f"the baseline has shape {tuple(value.shape)}; expected a number, "
                f"({activation.shape[axis]},) or {tuple(activation.shape[1:])}"
            )
        return value.expand_as(activation)


@dataclasses.dataclass(frozen=True)
class Path:
    """Where gradients are taken on the way from the baseline to the activation.

    The middles of ``steps`` equal pieces of the straight line; on a stochastic path every channel
    of every point is scaled by a random factor of its own, the same for all samples.
    """

    baseline: Baseline
    steps: int
    stochastic: bool
    seed: int

    def shares(self, units: int) -> torch.Tensor:
        """How far on the way each channel is at each point, shape (steps, units), float64."""
        along = ((torch.arange(self.steps, dtype=torch.float64) + 0.5) / self.steps)[:, None]
        if not self.stochastic:
            return along.expand(-1, units)
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.rand(2, self.steps, units, generator=generator, dtype=torch.float64)
        return along * drawn.sum(0) / SPREAD

    def mean_gradient(self, source: LayerGradients, batch: Batch, batch_size: int) -> torch.Tensor:
        """The mean of the gradients at the points, shape (scores, batch, ...).

        Several points are gone through at once, so that a pass has ``batch_size`` rows.
        """
        together = max(1, batch_size // len(batch))
        total: Any = 0.0
        for first in range(0, self.steps, together):
            points = slice(first, min(first + together, self.steps))
            total = total + self._sum(source, batch, points)
        return total / self.steps

    def _sum(self, source: LayerGradients, batch: Batch, points: slice) -> torch.Tensor:
        count = points.stop - points.start

        def move(activation: torch.Tensor, axis: int) -> torch.Tensor:
            units = activation.shape[axis]
            shares = self.shares(units)[points].repeat_interleave(len(batch), 0)
            shape = [len(activation)] + [1] * (activation.ndim - 1)
            shape[axis] = units
            start = self.baseline.like(activation, axis)
            return start + shares.to(activation).reshape(shape) * (activation - start)

        gradient = source.read(repeated(batch, count), move).gradient
        assert gradient is not None
        return gradient.unflatten(1, (count, len(batch))).sum(1)


def repeated(batch: Batch, count: int) -> Batch:
    """The batch's inputs so many times, one whole batch after the other."""

    def repeat(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == len(batch):
            return value.repeat(count, *[1] * (value.ndim - 1))
        return value

    inputs = batch.inputs
    if isinstance(inputs, Mapping):
        return Batch({name: repeat(value) for name, value in inputs.items()})
    return Batch(repeat(inputs))
