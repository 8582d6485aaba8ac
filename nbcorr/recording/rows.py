"""What one batch adds to a recording, and what its numbers stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import xarray as xr


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


class Writer(Protocol):
    """Where the batches of a recording go, in memory or on disk; open as a context manager."""

    @property
    def finished(self) -> bool:
        """Whether the whole recording was there before."""

    @property
    def count(self) -> int:
        """Samples that are there."""

    @property
    def layout(self) -> Layout | None:
        """Of what is there."""

    @property
    def digests(self) -> list[str]:
        """One per batch that is on disk, as `append` was given them; none of those in memory."""

    def __enter__(self) -> Writer: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> object: ...

    def append(self, layout: Layout, rows: Rows, digests: Sequence[str] = ()) -> None:
        """Keep a batch, or several together; all or, where that is interrupted, nothing."""

    def columns(self) -> dict[str, np.ndarray]:
        """The per-sample columns of all samples so far."""

    def finish(self, columns: dict[str, np.ndarray], attrs: dict[str, Any]) -> xr.Dataset:
        """The whole recording, with further columns or other ones."""

    def partial(self, attrs: dict[str, Any]) -> xr.Dataset:
        """What there is after an interrupt."""
