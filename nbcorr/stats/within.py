"""Mid-ranks within strata of a block of neurons: what permutations and cached ranks start from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nbcorr.stats.centred import doubled_ranks, rank_into
from nbcorr.stats.ranks import as_real

SHORT = 2**15  # samples from which on doubled centred ranks need 32 bits
TILE = 32  # rows: two bytes of each are a cache line


class Ranked(NamedTuple):
    """Doubled centred mid-ranks within strata, ``2 * midrank - (n_h + 1)``.

    Attributes
    ----------
    ranks : array of float32, shape (n_neurons, n_samples)
        Whole numbers that sum to 0 within each stratum; exact for strata below 2**24.
    squares : array of float64, shape (n_strata, n_neurons)
        Their sums of squares: 0 where the neuron is constant within the stratum.
    """

    ranks: np.ndarray
    squares: np.ndarray


def ranks_within(
    rows: np.ndarray, codes: np.ndarray, sizes: np.ndarray, compile_it: bool
) -> Ranked:
    """Rank each row within strata; the cost does not grow with the number of strata.

    Parameters
    ----------
    rows : array, shape (n_neurons, n_samples)
        Without NaN.
    codes : array of int, shape (n_samples,)
        The stratum of each sample, from 0.
    sizes : array of int, shape (n_strata,)
        Samples of each stratum.
    """
    n = rows.shape[1]
    ranks, ties = doubled_ranks(rows, compile_it)
    if len(sizes) == 1:
        return Ranked(ranks, (float(n) ** 3 - n - ties[None]) / 3)
    if compile_it:
        from nbcorr.stats import rowsums

        by_stratum = np.zeros((len(sizes), len(rows)))
        rowsums.rank_within(ranks, codes.astype(np.int32), sizes, by_stratum)
        cubes = sizes.astype(np.float64) ** 3 - sizes
        return Ranked(ranks, (cubes[:, None] - by_stratum) / 3)
    # Keys that order by stratum first: their ranks run through one stratum after the other.
    keys = codes * (2 * n + 1) + ranks.astype(np.int64)
    before = np.cumsum(sizes) - sizes
    ranks = doubled_ranks(keys, False)[0] + (n - sizes - 2 * before)[codes].astype(np.float32)
    squares = [np.bincount(codes, own, len(sizes)) for own in np.square(ranks, dtype=np.float64)]
    return Ranked(ranks, np.array(squares).reshape(len(rows), len(sizes)).T)


def rankable(rows: np.ndarray) -> bool:
    """Whether `rank_table` ranks such rows."""
    return rows.dtype in (np.float16, np.float32)


def rank_table(rows: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Doubled centred mid-ranks, sample-major, compiled: a few rows are ranked, then transposed.

    Parameters
    ----------
    rows : array of float16 or float32, shape (n_neurons, n_samples)
        Without NaN.
    table : array, shape (n_samples, n_neurons)
        Filled with the ranks; of any type that holds them.

    Returns
    -------
    array of float64, shape (2, n_neurons)
        Sums of squares and of cubes of the ranks.
    """
    from nbcorr.stats import rowsums

    n = rows.shape[1]
    tile = np.empty((min(TILE, len(rows)), n), dtype=table.dtype)
    moments = np.empty((2, len(rows)))
    for at in range(0, len(rows), TILE):
        part = slice(at, at + TILE)
        ranks = tile[: len(rows[part])]
        ties, leaning = rank_into(rows[part], ranks).T
        rowsums.transpose(ranks, table[:, part])
        moments[:, part] = (float(n) ** 3 - n - ties) / 3, -leaning
    return moments


def without_nan(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows as numbers to rank, 0 throughout where one holds a NaN, and which those are."""
    if rows.dtype.kind != "f":
        return as_real(rows), np.zeros(len(rows), dtype=bool)
    spoilt = np.isnan(rows).any(axis=1)
    return np.where(spoilt[:, None], rows.dtype.type(0), rows) if spoilt.any() else rows, spoilt


def dead_rows(rows: np.ndarray, spoilt: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Rows that hold a NaN or are constant over all samples.

    Parameters
    ----------
    rows, spoilt
        As `without_nan` gives them.
    squares : array, shape (n_strata, n_neurons)
        Only what is constant within every stratum can be constant over all samples.
    """
    dead = np.asarray(~squares.any(axis=0))
    dead[dead] = (rows[dead] == rows[dead, :1]).all(axis=1)
    return dead | spoilt
