"""What is on disk of a recording that is being made, as its journal tells."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.recording.arrays import labelled
from nbcorr.recording.flat import FORMAT, as_json, as_text_or_numbers, check_format
from nbcorr.recording.journal import Journal, Record
from nbcorr.recording.planes import lazy, stacked
from nbcorr.recording.rows import Layout, Rows
from nbcorr.recording.slabs import Slabs

_COLUMN = "column:"


def local_path(path: str | os.PathLike[str]) -> Path:
    """The path, absolute.

    Raises
    ------
    ValueError
        If it is a URL.
    """
    if "://" in str(path):
        raise ValueError(
            f"{path} is a URL; expected a path on this machine (a bucket can be mounted, or the "
            "finished folder copied to it)"
        )
    return Path(path).expanduser().absolute()


def partial_folder(path: Path) -> Path:
    """Where a recording lies until it is finished."""
    return path.with_name(f"{path.name}.partial")


class Partial:
    """A recording that is being made, as far as it came.

    Attributes
    ----------
    key : dict or None
        What was asked to be recorded; None where nothing was.
    slab, width : int
        Samples that move into chunks at a time, and samples per chunk.
    layout : Layout or None
    sizes : list of int
        Samples of every batch; of those that were adopted together in one number.
    digests : list of str
        One per batch.
    chunked : int
        Samples that are in the chunks of the Zarr arrays; the others are raw.
    attrs : dict
        What the recording says of itself.

    Raises
    ------
    ValueError
        If the journal is of a later format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key: dict[str, Any] | None = None
        self.slab = self.width = 0
        self.layout: Layout | None = None
        self.sizes: list[int] = []
        self.digests: list[str] = []
        self.chunked = 0
        self.attrs: dict[str, Any] = {}
        self._nonfinite: Any = 0
        self._names: list[str] = []
        self._journal = Journal(folder / "journal")
        for record in self._journal.records():
            self._take(record)

    @property
    def count(self) -> int:
        """Samples of all batches."""
        return sum(self.sizes)

    @property
    def slabs(self) -> Slabs:
        """The files with the numbers."""
        assert self.layout is not None
        return Slabs(self.folder, self.layout, self.slab, self.width)

    def begin(self, key: dict[str, Any], slab: int, width: int, layout: Layout) -> None:
        """The first record."""
        facts = {"format": FORMAT, "key": key, "slab": slab, "width": width}
        self._add(Record("recording", {**facts, "layout": dataclasses.asdict(layout)}))

    def change_layout(self, layout: Layout) -> None:
        """Go on with another layout."""
        self._add(Record("layout", {"layout": dataclasses.asdict(layout)}))

    def add_batch(self, size: int, rows: Rows, digests: Sequence[str], chunked: int) -> None:
        """Samples whose numbers are in place, a batch or several: with this they are recorded."""
        arrays = {_COLUMN + name: as_text_or_numbers(v) for name, v in rows.columns.items()}
        if rows.nonfinite is not None:
            counts = np.asarray(rows.nonfinite, dtype=np.int64).ravel()
            arrays["where"] = np.flatnonzero(counts)
            arrays["counts"] = counts[arrays["where"]]
        facts = {"size": size, "digests": list(digests), "chunked": chunked}
        self._add(Record("batch", facts, arrays))

    def add_slab(self) -> None:
        """The next slab is in chunks."""
        self._add(Record("slab", {"chunked": self.chunked + self.slab}))

    def describe(self, attrs: dict[str, Any]) -> None:
        """What the recording says of itself from now on."""
        self._add(Record("attrs", {"attrs": as_json(attrs, "attrs")}))

    def check_columns(self, size: int, columns: Mapping[str, np.ndarray]) -> None:
        """Refuse columns that do not fit those of the batches before."""
        for name, values in columns.items():
            if np.shape(values) != (size,):
                raise ValueError(
                    f"column {name!r} has shape {np.shape(values)}; expected one value for each "
                    f"of the batch's {size} samples"
                )
        if self.sizes and sorted(columns) != self._names:
            raise ValueError(
                f"a batch has the columns {', '.join(sorted(columns))}; expected those of the "
                f"batches before: {', '.join(self._names)}"
            )

    def columns(self) -> dict[str, np.ndarray]:
        """The per-sample columns of all batches."""
        parts: dict[str, list[np.ndarray]] = {}
        for record in self._journal.records():
            for name, values in record.arrays.items():
                if name.startswith(_COLUMN):
                    parts.setdefault(name.removeprefix(_COLUMN), []).append(values)
        return {name: np.concatenate(values) for name, values in parts.items()}

    def dataset(self, columns: dict[str, np.ndarray], attrs: dict[str, Any]) -> xr.Dataset:
        """The recording of all batches, lazily; the columns given replace those of the batches.

        Raises
        ------
        ValueError
            If there is no batch, or a column is not one value per sample.
        """
        if self.layout is None or not self.count:
            raise ValueError(f"{self.folder} holds no samples yet; expected at least one batch")
        known = {"sample": np.arange(self.count), **self.columns(), **columns}
        planes = self.slabs.planes(self.sizes, self.chunked)
        height = self.slabs.chunk(self.count)[0]
        features = None
        if self.layout.features:
            features = lazy(self.slabs.feature_plane(self.count), self.slab)
        return labelled(
            self.layout,
            stacked(planes, (len(planes),), height).transpose(0, 2, 1),
            features,
            {name: as_text_or_numbers(values) for name, values in known.items()},
            self._nonfinite,
        ).assign_attrs(attrs)

    def _add(self, record: Record) -> None:
        self._journal.append(record)
        self._take(record)

    def _take(self, record: Record) -> None:
        facts = record.facts
        if record.kind == "recording":
            check_format(self.folder, facts["format"])
            self.key, self.slab, self.width = facts["key"], facts["slab"], facts["width"]
        if "layout" in facts:
            self.layout = layout_of(facts["layout"])
        self.chunked = facts.get("chunked", self.chunked)
        self.attrs = facts.get("attrs", self.attrs)
        if record.kind == "batch":
            self.sizes.append(facts["size"])
            self.digests += facts["digests"]
            self._names = sorted(n[len(_COLUMN) :] for n in record.arrays if n.startswith(_COLUMN))
            self._count_nonfinite(record)

    def _count_nonfinite(self, record: Record) -> None:
        assert self.layout is not None
        if len(record.arrays.get("where", ())):
            counts = np.zeros((len(self.layout.pools), self.layout.n_neurons), np.int64)
            counts.flat[record.arrays["where"]] = record.arrays["counts"]
            self._nonfinite = self._nonfinite + counts


def layout_of(facts: dict[str, Any]) -> Layout:
    """The layout that JSON brought back as lists."""
    tuples = {name: tuple(facts[name]) for name in ("pools", "features")}
    return Layout(**{**facts, **tuples})
