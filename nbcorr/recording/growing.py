"""Rows that arrive batch by batch, in one block of memory."""

from __future__ import annotations

import numpy as np


class GrowingArray:
    """An array that rows are appended to, along its last but one axis.

    With the final number of rows known the block is allocated once, and its pages are touched
    only as rows arrive; otherwise it doubles when full.
    """

    def __init__(self) -> None:
        self._block = np.empty((0, 0), np.float32)
        self._rows = 0

    def extend(self, rows: np.ndarray, expected: int | None = None) -> None:
        """Append rows, shape (..., batch, columns); ``expected`` is the final number of rows."""
        needed = self._rows + rows.shape[-2]
        if needed > self._block.shape[-2]:
            capacity = max(needed, expected or 0, 2 * self._block.shape[-2])
            grown = np.empty((*rows.shape[:-2], capacity, rows.shape[-1]), rows.dtype)
            if self._rows:
                grown[..., : self._rows, :] = self._block[..., : self._rows, :]
            self._block = grown
        self._block[..., self._rows : needed, :] = rows
        self._rows = needed

    def array(self) -> np.ndarray:
        """The rows so far, shape (..., rows, columns)."""
        return self._block[..., : self._rows, :]
