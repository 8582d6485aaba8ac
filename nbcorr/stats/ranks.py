"""Mid-ranks: the average rank of every value among ties, row by row."""

from __future__ import annotations

import numpy as np

BLOCK = 1 << 20  # values ranked at a time: bounds the memory of the index arrays


def midranks(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Average ranks, 1 to n, along an axis; ties share the mean of the ranks they cover.

    The same numbers as ``scipy.stats.rankdata(x, "average", axis)``, row by row in blocks.

    Parameters
    ----------
    x : array of real numbers, any shape
        ``-0.0`` equals ``0.0``; infinities are ordinary values.
    axis : int
        The axis along which the values are ranked.

    Returns
    -------
    array of float64, the shape of `x`
        A row that holds a NaN has no ranks: it is NaN throughout.
    """
    values = as_real(x)
    moved = np.moveaxis(values, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1]) if moved.size else moved
    ranks = np.empty(rows.shape, dtype=np.float64)
    if moved.size:
        for part in row_blocks(*rows.shape):
            ranks[part] = _midranks_of_rows(rows[part])
    return np.moveaxis(ranks.reshape(moved.shape), -1, axis)


def tie_term(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Sum of ``t**3 - t`` over the groups of equal values along an axis (t: size of a group).

    Zero where all values differ, ``n**3 - n`` where all are equal, NaN where one is NaN.
    Kendall, *Rank Correlation Methods* (1948), section 3.8.

    Returns
    -------
    array of float64, the shape of `x` without `axis`
        Exact below 2**53 (n up to 208,000).
    """
    moved = np.moveaxis(as_real(x), axis, -1)
    if moved.shape[-1] == 0:
        return np.zeros(moved.shape[:-1])
    rows = np.ascontiguousarray(moved).reshape(-1, moved.shape[-1])
    term = np.empty(len(rows), dtype=np.float64)
    for part in row_blocks(*rows.shape):
        term[part] = tie_term_of_sorted(np.sort(rows[part], axis=1))
    return term.reshape(moved.shape[:-1])


def as_real(x: np.ndarray) -> np.ndarray:
    """`x` as an array that NumPy sorts fast: float16 becomes float32 (exactly), bool int8."""
    values = np.asarray(x)
    if values.dtype == np.float16:
        return values.astype(np.float32)
    if values.dtype == bool:
        return values.astype(np.int8)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"the values have dtype {values.dtype}; expected real numbers")
    return values


def row_blocks(n_rows: int, n_columns: int, block: int = BLOCK) -> list[slice]:
    """Slices of rows with about `block` values each."""
    step = max(1, block // max(1, n_columns))
    return [slice(at, min(at + step, n_rows)) for at in range(0, n_rows, step)]


def tie_bounds(ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position, and the one after the last, of each sorted value's group of ties."""
    n_rows, n = ordered.shape
    position = np.arange(n)
    first = np.zeros((n_rows, n), dtype=np.int64)
    last = np.full((n_rows, n), n, dtype=np.int64)
    differs = ordered[:, 1:] != ordered[:, :-1]
    first[:, 1:] = np.where(differs, position[1:], 0)
    last[:, :-1] = np.where(differs, position[1:], n)
    np.maximum.accumulate(first, axis=1, out=first)
    backward = last[:, ::-1]
    np.minimum.accumulate(backward, axis=1, out=backward)
    return first, last


def tie_term_of_sorted(ordered: np.ndarray) -> np.ndarray:
    """`tie_term` of rows that are sorted already."""
    first, last = tie_bounds(ordered)
    size = (last - first).astype(np.float64)
    # Every member of a group of t adds t^2 - 1, which makes t^3 - t for the group.
    term = np.sum(size * size - 1, axis=1)
    term[np.isnan(ordered[:, -1].astype(np.float64))] = np.nan
    return term


def _midranks_of_rows(rows: np.ndarray) -> np.ndarray:
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    first, last = tie_bounds(ordered)
    ranks = np.empty(rows.shape, dtype=np.float64)
    np.put_along_axis(ranks, order, (first + last + 1) / 2, axis=1)
    ranks[np.isnan(ordered[:, -1].astype(np.float64))] = np.nan
    return ranks
