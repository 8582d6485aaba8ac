"""A recording that grows in memory."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.recording.arrays import labelled
from nbcorr.recording.growing import GrowingArray
from nbcorr.recording.rows import Layout, Rows


class MemoryWriter:
    """Keeps batches in memory; the same methods as `store.StoreWriter`.

    Parameters
    ----------
    expected : int, optional
        The final number of samples, so that their block is allocated once.
    """

    finished = False

    def __init__(self, expected: int | None):
        self.layout: Layout | None = None
        self.count = 0
        self.digests: list[str] = []
        self._expected = expected
        self._activation, self._features = GrowingArray(), GrowingArray()
        self._columns: list[dict[str, np.ndarray]] = []
        self._nonfinite: Any = 0

    def __enter__(self) -> MemoryWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def append(self, layout: Layout, rows: Rows, digests: Sequence[str] = ()) -> None:
        """Keep one batch; all of it or, where it is interrupted, none."""
        self._activation.extend(rows.activation, self._expected)
        if rows.features is not None:
            self._features.extend(rows.features, self._expected)
        if rows.nonfinite is not None:
            self._nonfinite = self._nonfinite + rows.nonfinite
        self._columns.append(rows.columns)
        self.layout = layout
        self.count += len(rows)

    def columns(self) -> dict[str, np.ndarray]:
        """The per-sample columns of all samples so far."""
        return joined(self._columns, self.count)

    def finish(self, columns: dict[str, np.ndarray], attrs: dict[str, Any]) -> xr.Dataset:
        """The recording of all samples so far, with further columns (or other ones)."""
        assert self.layout is not None
        features = None
        if self.layout.features:
            features = self._features.array()[: self.count]
        return labelled(
            self.layout,
            self._activation.array()[:, : self.count],
            features,
            self.columns() | columns,
            self._nonfinite,
        ).assign_attrs(attrs)

    def partial(self, attrs: dict[str, Any]) -> xr.Dataset:
        """What there is after an interrupt."""
        return self.finish({}, attrs)


def joined(parts: list[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """Columns that came batch by batch, of all samples, ``count`` of them.

    Raises
    ------
    ValueError
        If a column is missing from some of the batches.
    """
    names = list(dict.fromkeys(name for part in parts for name in part))
    for name in names:
        without = next((at for at, part in enumerate(parts) if name not in part), None)
        if without is not None:
            raise ValueError(
                f"batch {without} has no {name!r}, which others have; expected it in all or none"
            )
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in names}
