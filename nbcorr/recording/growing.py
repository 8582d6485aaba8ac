"""Rows that arrive layer by layer and batch by batch, each in one block of memory."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import torch


class GrowingArray:
    """An array that rows are appended to.

    With the final number of rows known the block is allocated once, and its pages are touched
    only as rows arrive; otherwise it doubles when full.
    """

    def __init__(self) -> None:
        self._block = np.empty((0, 0), np.float32)
        self._rows = 0

    def extend(self, rows: np.ndarray, expected: int | None = None) -> None:
        """Append rows, shape (batch, columns); ``expected`` is the final number of rows."""
        needed = self._rows + len(rows)
        if needed > len(self._block):
            capacity = max(needed, expected or 0, 2 * len(self._block))
            grown = np.empty((capacity, rows.shape[1]), rows.dtype)
            if self._rows:
                grown[: self._rows] = self._block[: self._rows]
            self._block = grown
        self._block[self._rows : needed] = rows
        self._rows = needed

    def array(self) -> np.ndarray:
        """The rows so far, shape (rows, columns)."""
        return self._block[: self._rows]


class BatchRows:
    """One batch's numbers, layer by layer.

    Once the layers are known, from the second batch on, they go straight to their places in one
    block: small tensors kept between a network's large ones would break up the heap.
    """

    def __init__(self, known: dict[str, int], count: int, device: torch.device):
        self.units: dict[str, int] = {}
        self._known, self._count = known, count
        self._starts = dict(zip(known, accumulate([0, *known.values()]), strict=False))
        self._block = torch.empty(count, sum(known.values()), device=device)
        self._parts: list[torch.Tensor] = []

    def put(self, layer: str, values: torch.Tensor) -> None:
        """A layer's numbers, shape (batch, units), any floating dtype.

        Raises
        ------
        ValueError
            If there is not one row per sample.
        """
        if values.shape[0] != self._count:
            raise ValueError(
                f"layer {layer!r} gave {values.shape[0]} rows for a batch of {self._count} "
                "samples; expected one row per sample"
            )
        self.units[layer] = units = values.shape[1]
        if not self._known:
            self._parts.append(values.to(torch.float32))
        elif self._known.get(layer) == units:
            start = self._starts[layer]
            self._block[:, start : start + units] = values

    def array(self) -> np.ndarray:
        """All of them, shape (batch, neurons), float32."""
        whole = torch.cat(self._parts, dim=1) if self._parts else self._block
        return whole.cpu().numpy()
