"""How each neuron goes with a signal over samples: one effect, its interval, and its test."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from nbcorr.stats.cma import cma_statistics
from nbcorr.stats.design import Design, make_design
from nbcorr.stats.intervals import logit_interval
from nbcorr.stats.ranks import as_real, midranks, row_blocks, tie_term
from nbcorr.stats.sorting import COUNTABLE, COUNTED_BLOCK, Counts, compiled, count, in_threads
from nbcorr.stats.tails import tail_p
from nbcorr.stats.vanelteren import Pooled, pool_strata, stratum_of

STATISTICS = 1 << 18  # neurons times strata whose statistics are computed at once
NEURONS = 64  # at least


@dataclass(frozen=True)
class Association:
    """The association of every neuron with one signal.

    Attributes
    ----------
    auc : array of float64, shape (n_neurons,)
        Probability that the neuron is larger at a positive sample than at a negative one of the
        same stratum, ties counted half, averaged over strata with van Elteren's weights.
        Where the signal is not binary: CMA, which equals AUC for a binary signal and
        (rho + 1) / 2 for one without ties.
    auc_low, auc_high : array of float64, shape (n_neurons,)
        Confidence interval of `auc`.
    rank_biserial : array of float64, shape (n_neurons,)
        ``2 * auc - 1``.
    rho : array of float64, shape (n_neurons,)
        Spearman's rank correlation over all samples, whatever the strata.
    rho_max : array of float64, shape (n_neurons,)
        The largest ``|rho|`` that these values of the neuron could reach with these values of
        the signal, were the samples paired at best.
    z, p : array of float64, shape (n_neurons,)
        Van Elteren's test with the exact variance under ties, asymptotic and two-sided; with
        one stratum the Mann-Whitney test without continuity correction.
    zeros : array of float64, shape (n_neurons,)
        Share of samples at which the neuron is exactly zero.
    dead : array of bool, shape (n_neurons,)
        The neuron is constant or holds a NaN; every statistic above but `zeros` is then NaN.
    n, n_positive : int
        Number of samples, and of positives (None where the signal is not binary).
    n_informative, n_positive_informative : int
        The same within the strata that hold two values of the signal: these decide `auc`.
    n_strata : int
        Number of those strata.
    level : float
        Coverage of the interval.
    """

    auc: np.ndarray
    auc_low: np.ndarray
    auc_high: np.ndarray
    rank_biserial: np.ndarray
    rho: np.ndarray
    rho_max: np.ndarray
    z: np.ndarray
    p: np.ndarray
    zeros: np.ndarray
    dead: np.ndarray
    n: int
    n_positive: int | None
    n_informative: int
    n_positive_informative: int | None
    n_strata: int
    level: float


def associate(
    x: np.ndarray,
    y: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    level: float = 0.95,
    *,
    threads: int = 1,
) -> Association:
    """Associate every neuron with a signal, within strata.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples), float16, float32 or float64
        Activations, neuron-major. A neuron with a NaN is dead.
    y : array, shape (n_samples,), bool or real
        The signal. With two values, the larger is the positive one.
    strata : sequence of hashable codes, length n_samples, optional
        Samples are only compared within a stratum. Strata in which the signal is constant carry
        no weight in `auc`, `z` and `p`; `rho` uses all samples.
    level : float
        Coverage of the confidence interval.
    threads : int
        Blocks of neurons worked on side by side; the numbers do not depend on it.

    Returns
    -------
    Association

    Raises
    ------
    ValueError
        If the lengths differ, there are no samples, or the signal is constant, in all samples
        or within every stratum.

    Notes
    -----
    Van Elteren, *Bulletin of the International Statistical Institute* 37 (1960): strata weigh
    ``n1 * n0 / (n + 1)``, best where the effect is the same in all. Walz, Eberl & Gneiting,
    arXiv 2510.17994 (2025): AGC = cov(grades) / var(grades of the signal), CMA = (AGC + 1) / 2.
    The interval is DeLong's (*Biometrics* 44, 1988) with its structural components pooled over
    strata around the common AUC, on the logit scale.
    """
    values, design = checked(x, y, strata, level)
    if values.dtype.kind not in "iuf":
        values = as_real(values)
    if design.binary and design.n <= COUNTABLE:
        # The statistics of many neurons at once, but of few if there are many strata.
        step = max(NEURONS, STATISTICS // len(design.strata))
        parts = [
            _rows_by_counts(values[at : at + step], design, level, threads, compiled(values.size))
            for at in range(0, max(1, len(values)), step)
        ]
    else:
        blocks = row_blocks(len(values), design.n) or [slice(0, 0)]
        parts = in_threads(
            lambda part: _rows_by_ranks(values[part], design, level), blocks, threads
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    tied = columns.pop("tied")
    if design.binary:
        columns["p"] = tail_p(values, columns["z"], tied, design)
    return Association(
        **columns,
        n=design.n,
        n_positive=design.n_positive,
        n_informative=design.n_informative,
        n_positive_informative=design.n_positive_informative,
        n_strata=len(design.strata),
        level=level,
    )


def checked(
    x: np.ndarray, y: np.ndarray, strata: Sequence[Hashable] | np.ndarray | None, level: float
) -> tuple[np.ndarray, Design]:
    """The activations and the design of a call, or an error that says what does not fit."""
    values = np.asarray(x)
    if values.ndim != 2:
        raise ValueError(f"x has shape {values.shape}; expected (n_neurons, n_samples)")
    if np.ndim(y) == 1 and len(y) != values.shape[1]:
        raise ValueError(
            f"the signal has {len(y)} values; expected one for each of {values.shape[1]} samples"
        )
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}; expected a coverage between 0 and 1, such as 0.95")
    return values, make_design(y, strata)


def _rows_by_counts(
    rows: np.ndarray, design: Design, level: float, threads: int, compile_it: bool
) -> dict[str, np.ndarray]:
    """A binary signal: everything follows from whole numbers counted in sorted rows."""
    n, n1 = design.n, int(design.signal.sum())
    n0 = n - n1
    positive = [np.flatnonzero(design.signal[samples]) for samples in design.strata]
    everywhere = np.flatnonzero(design.signal)

    def counted(part: slice) -> list[Counts]:
        block = rows[part]
        found = [count(block, everywhere, compile_it)]
        for samples, own in zip(design.strata, positive, strict=True):
            if not design.whole:
                found.append(count(np.take(block, samples, axis=1), own, compile_it))
        return found

    block = COUNTED_BLOCK * (1 if design.whole else 8)
    blocks = row_blocks(len(rows), n, block) or [slice(0, 0)]
    by_block = in_threads(counted, blocks, threads)
    all_samples, *strata = [
        Counts(*(np.concatenate(column) for column in zip(*found, strict=True)))
        for found in zip(*by_block, strict=True)
    ]
    dead = all_samples.dead.astype(bool)
    parts = [
        stratum_of(counts, len(own), len(samples) - len(own))
        for counts, samples, own in zip(
            strata or [all_samples], design.strata, positive, strict=True
        )
    ]
    cubes = float(n) ** 3 - n
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(4 * n1 * n0 / n * (cubes - all_samples.ties) / 12)
        rho = (all_samples.wins - n1 * n0) / scale
        centre = n1 * (n + 1)
        largest = np.maximum(all_samples.best - centre, centre - all_samples.worst) / scale
    columns = _columns(pool_strata(parts), rho, largest, level)
    for column in columns.values():
        column[dead] = np.nan
    return {
        **columns,
        "zeros": all_samples.zeros / n,
        "dead": dead,
        "tied": all_samples.ties / cubes if cubes else np.zeros(len(rows)),
    }


def _rows_by_ranks(values: np.ndarray, design: Design, level: float) -> dict[str, np.ndarray]:
    """A signal of any values: everything follows from mid-ranks."""
    rows = as_real(values)
    dead = np.isnan(rows).any(axis=1) | (rows == rows[:, :1]).all(axis=1)
    alive = rows[~dead]
    rho, largest = _spearman(midranks(alive), design)
    columns = _columns(cma_statistics(alive, design), rho, largest, level)
    spread = {name: np.full(len(rows), np.nan) for name in columns}
    for name, column in columns.items():
        spread[name][~dead] = column
    return {
        **spread,
        "zeros": np.count_nonzero(rows == 0, axis=1) / design.n,
        "dead": dead,
        "tied": tie_term(rows) / (float(design.n) ** 3 - design.n),
    }


def _columns(
    pooled: Pooled, rho: np.ndarray, rho_max: np.ndarray, level: float
) -> dict[str, np.ndarray]:
    low, high = logit_interval(pooled.auc, pooled.variance, pooled.pairs, level)
    return {
        "auc": pooled.auc,
        "auc_low": low,
        "auc_high": high,
        "rank_biserial": 2 * pooled.auc - 1,
        "rho": rho,
        "rho_max": rho_max,
        "z": pooled.z,
        "p": 2 * ndtr(-np.abs(pooled.z)),
    }


def _spearman(ranks: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray]:
    centre = (design.n + 1) / 2
    target = midranks(design.signal) - centre
    own = ranks - centre
    scale = np.sqrt(np.sum(own * own, axis=1) * np.sum(target * target))
    ordered = np.sort(own, axis=1)
    upward = np.sort(target)
    largest = np.maximum(ordered @ upward, -(ordered @ upward[::-1]))
    return own @ target / scale, largest / scale
