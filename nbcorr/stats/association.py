"""How each neuron goes with a signal over samples: one effect, its interval, and its test."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.cma import Monotone, make_target, monotone_association
from nbcorr.stats.design import Design, make_design, stratum_codes
from nbcorr.stats.intervals import logit_interval
from nbcorr.stats.ranks import as_real, midranks, row_blocks
from nbcorr.stats.sorting import (
    COUNTABLE,
    LEANABLE,
    compiled,
    count_parts,
    counts_of,
    in_threads,
    make_parts,
)
from nbcorr.stats.tails import skewed_p, sparsity_of, tail_p
from nbcorr.stats.vanelteren import Pooled, pool_strata, skewness, stratum_of
from nbcorr.stats.within import without_nan

STATISTICS = 1 << 15  # neurons times strata whose statistics are computed at once
COUNTS = 1 << 17  # neurons times strata times signals whose whole numbers are kept at once
NEURONS = 8  # at least
RANKED = 1 << 16  # values ranked at a time: with what is made of them they stay in the cache
APART = ("tied", "z_unstratified", "skewness", "skewness_unstratified")
TOGETHER = 1 << 12  # neurons of a block, at most, where there is one thread
SHARES = 2  # blocks for each of several threads


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
    p_unstratified : array of float64, shape (n_neurons,)
        The same test over all samples: `p` of the association without strata.
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
    p_unstratified: np.ndarray
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
    return _associations(values, [design], level, threads)[0]


def associate_many(
    x: np.ndarray,
    signals: np.ndarray,
    strata: Sequence[Hashable] | np.ndarray | None = None,
    level: float = 0.95,
    *,
    threads: int = 1,
) -> list[Association]:
    """Associate every neuron with each of several signals, within strata.

    The same as `associate` for each signal; but every neuron is ranked only once for those that
    are not binary, and sorted only once for those that are, where numba is installed and the
    processor has AVX-512.

    Parameters
    ----------
    x : array, shape (n_neurons, n_samples), float16, float32 or float64
    signals : array, shape (n_signals, n_samples), bool or real
    strata, level, threads : as in `associate`

    Returns
    -------
    list of Association
        One for each signal.

    Raises
    ------
    ValueError
        As `associate` for any of the signals; or if these have not two dimensions.
    """
    if np.ndim(signals) != 2:
        raise ValueError(
            f"the signals have shape {np.shape(signals)}; expected (n_signals, n_samples)"
        )
    codes = None if strata is None else stratum_codes(strata, np.shape(signals)[1])
    designs = [checked(x, signal, codes, level)[1] for signal in signals]
    return _associations(np.asarray(x), designs, level, threads)


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


def countable(design: Design) -> bool:
    """Whether the association follows from whole numbers: the signal is binary, they fit int64."""
    return design.binary and design.n <= COUNTABLE


def unstratified(design: Design) -> Design:
    """The same signal with all samples in one stratum."""
    everything = (np.arange(design.n),)
    return replace(design, strata=everything, n_positive_informative=design.n_positive)


def _associations(
    values: np.ndarray, designs: list[Design], level: float, threads: int
) -> list[Association]:
    """The association with each signal, of any kind."""
    real = values if values.dtype.kind in "iuf" else as_real(values)
    counted = [i for i, design in enumerate(designs) if countable(design)]
    ranked = [i for i in range(len(designs)) if i not in counted]
    found: dict[int, Association] = {}
    for kind, several in ((_by_counts, counted), (_by_ranks, ranked)):
        if several:
            own = kind(real, [designs[i] for i in several], level, threads)
            found.update(zip(several, own, strict=True))
    return [found[i] for i in range(len(designs))]


def _by_counts(
    values: np.ndarray, designs: list[Design], level: float, threads: int
) -> list[Association]:
    """Binary signals: everything follows from whole numbers counted in sorted rows."""
    compile_it = compiled(values.size)
    # A stratum is known by its first sample.
    strata = {own[0]: own for design in designs if not design.whole for own in design.strata}
    number = {first: h for h, first in enumerate(strata, 1)}
    used = [[] if design.whole else [number[own[0]] for own in design.strata] for design in designs]
    signals = np.array([design.signal != 0 for design in designs])
    parts = make_parts(signals, list(strata.values()))

    def rows_of(block: slice) -> list[dict[str, np.ndarray]]:
        counts = count_parts(values[block], parts, compile_it)
        return [
            _from_counts(counts[0, i], counts[used[i], i], design, level)
            for i, design in enumerate(designs)
        ]

    n_parts = 1 + len(strata)
    most = min(STATISTICS // n_parts, COUNTS // (n_parts * len(designs)))
    blocks = _blocks(len(values), most, threads)
    by_block = in_threads(rows_of, blocks or [slice(0, 0)], threads)
    return [
        _assembled(values, [found[i] for found in by_block], design, level)
        for i, design in enumerate(designs)
    ]


def _blocks(n_rows: int, most: int, threads: int) -> list[slice]:
    """Rows in blocks of even size, bounded, and enough of them for all threads."""
    most = min(most, TOGETHER if threads < 2 else -(-n_rows // (SHARES * threads)))
    n_blocks = -(-n_rows // max(NEURONS, most))
    bounds = [n_rows * i // max(1, n_blocks) for i in range(n_blocks + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]


def _from_counts(
    whole: np.ndarray, strata: np.ndarray, design: Design, level: float
) -> dict[str, np.ndarray]:
    """Columns from the `Counts` of whole rows and of each stratum, if there are several."""
    numbers = counts_of(whole)
    n, n1 = design.n, int(design.signal.sum())
    n0 = n - n1
    dead = numbers.dead.astype(bool)
    cubes = float(n) ** 3 - n
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(4 * n1 * n0 / n * (cubes - numbers.ties) / 12)
        rho = (numbers.wins - n1 * n0) / scale
        centre = n1 * (n + 1)
        largest = np.maximum(numbers.best - centre, centre - numbers.worst) / scale
    everything = inside = [stratum_of(numbers, n1, n0)]
    plain = pooled = pool_strata(everything)
    if len(strata):
        own = np.array([[int(design.signal[samples].sum())] for samples in design.strata])
        sizes = np.array([[len(samples)] for samples in design.strata])
        inside = [stratum_of(counts_of(strata), own, sizes - own)]
        pooled = pool_strata(inside)
    columns = {**_columns(pooled, rho, largest, level), "z_unstratified": plain.z}
    for column in columns.values():
        column[dead] = np.nan
    return {
        **columns,
        "zeros": numbers.zeros / n,
        "dead": dead,
        "tied": numbers.ties / cubes if cubes else np.zeros(len(whole)),
        "skewness": skewness(inside),
        "skewness_unstratified": skewness(everything),
    }


def _assembled(
    values: np.ndarray, parts: list[dict[str, np.ndarray]], design: Design, level: float
) -> Association:
    """The association from the columns of all blocks; the tails are looked after."""
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    apart = {name: columns.pop(name) for name in APART if name in columns}
    z, tied, skew = apart["z_unstratified"], apart["tied"], apart.get("skewness_unstratified")
    columns["p_unstratified"] = _tail_p(values, z, tied, skew, unstratified(design))
    columns["p"] = (
        columns["p_unstratified"]
        if design.whole
        else _tail_p(values, columns["z"], tied, apart.get("skewness"), design)
    )
    return Association(
        **columns,
        n=design.n,
        n_positive=design.n_positive,
        n_informative=design.n_informative,
        n_positive_informative=design.n_positive_informative,
        n_strata=len(design.strata),
        level=level,
    )


def _tail_p(
    values: np.ndarray, z: np.ndarray, tied: np.ndarray, skew: np.ndarray | None, design: Design
) -> np.ndarray:
    if skew is None or design.n > LEANABLE:
        return tail_p(values, z, tied, design)
    return skewed_p(z, tied, skew, design, lambda some: sparsity_of(values[some], design))


def _by_ranks(
    values: np.ndarray, designs: list[Design], level: float, threads: int
) -> list[Association]:
    """Signals of any values: everything follows from mid-ranks, found once for all signals."""
    n = designs[0].n
    compile_it = compiled(values.size) and n <= COUNTABLE
    targets = [make_target(design) for design in designs]

    def rows_of(block: slice) -> list[Monotone]:
        rows, _ = without_nan(values[block])
        ranks = doubled_ranks(rows, True)[0] if compile_it else 2 * midranks(rows) - (n + 1)
        return [monotone_association(ranks, target, compile_it) for target in targets]

    by_block = in_threads(rows_of, row_blocks(len(values), n, RANKED) or [slice(0, 0)], threads)
    zeros = np.array([np.count_nonzero(row == 0) for row in values]) / n
    found = []
    for i, (design, target) in enumerate(zip(designs, targets, strict=True)):
        blocks = zip(*(block[i] for block in by_block), strict=True)
        own = Monotone(*map(np.concatenate, blocks))
        columns = _from_ranks(own, zeros, target.pairs, n, level)
        found.append(_assembled(values, [columns], design, level))
    return found


def _from_ranks(
    found: Monotone, zeros: np.ndarray, pairs: int, n: int, level: float
) -> dict[str, np.ndarray]:
    """Columns from what was found in the ranks."""
    pooled = Pooled(found.cma, found.z, found.variance, pairs)
    columns = _columns(pooled, found.rho, found.rho_max, level)
    columns["z_unstratified"] = found.z_unstratified
    dead = found.squares == 0
    for column in columns.values():
        column[dead] = np.nan
    tied = 1 - 3 * found.squares / (float(n) ** 3 - n)
    return {**columns, "zeros": zeros, "dead": dead, "tied": tied}


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
    }
