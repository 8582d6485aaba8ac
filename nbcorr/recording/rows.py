"""What one batch adds to a recording, and what its numbers stand for."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the numbers of a recording stand for; known once the first batch has run.

    Attributes
    ----------
    units : dict of str to int
        Neurons of each layer, in the order the layers ran.
    pools : tuple of str
        Names of the poolings, in the order they were asked for.
    twins : int
        Number of untrained copies recorded beside the model.
    dtype : str
        ``"float32"`` or ``"float16"``, as activations are kept.
    features : tuple of str
        Names of the raw input's features; empty where inputs are not kept.
    """

    units: dict[str, int]
    pools: tuple[str, ...]
    twins: int = 0
    dtype: str = "float32"
    features: tuple[str, ...] = ()

    @property
    def n_neurons(self) -> int:
        """Neurons of all layers together."""
        return sum(self.units.values())

    @property
    def n_planes(self) -> int:
        """Numbers per sample and neuron: one per network (the model, then its twins) and pool."""
        return (1 + self.twins) * len(self.pools)

    @property
    def bytes_per_sample(self) -> int:
        """What one sample takes, raw input included."""
        itemsize = np.dtype(self.dtype).itemsize
        return self.n_planes * self.n_neurons * itemsize + 4 * len(self.features)


@dataclasses.dataclass(frozen=True)
class Rows:
    """What one batch of samples gave.

    Attributes
    ----------
    activation : array, shape (n_planes, batch, n_neurons), the layout's dtype
        Plane ``network * n_pools + pool``; network 0 is the model, the others its twins.
    columns : dict of str to array, each of length batch
        ``sample`` (ids), ``label``, ``prediction`` and whatever else is known per sample.
    features : array, shape (batch, n_features), float32, or None
        The raw input's features.
    nonfinite : array, shape (n_pools, n_neurons), int64, or None
        How many of the model's activations were NaN or infinite; None stands for none.
    """

    activation: np.ndarray
    columns: dict[str, np.ndarray]
    features: np.ndarray | None = None
    nonfinite: np.ndarray | None = None

    def __len__(self) -> int:
        return self.activation.shape[1]
