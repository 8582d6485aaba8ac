"""Sign flips of whole groups: for groups of unequal size, of which no two can change places."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_array, vstack

from nbcorr.stats.centred import Scores
from nbcorr.stats.design import make_design, stratum_codes
from nbcorr.stats.nulls import NullPlan
from nbcorr.stats.within import dead_rows, ranks_within, without_nan

# Five groups have 2^4 pairs of opposite flips: none reaches p = .05.
FEWEST_GROUPS = 6
# Squares this small beside others are rounding, not a group's contribution.
ROUNDING = 1e-20


class SignFlips(NullPlan):
    """Max-T of one signal by random signs of whole groups' score contributions.

    Groups need not be alike in size or strata. What group g adds to the statistic is
    ``S_g = sum over its samples of weight_h * (target - mean in h) * (rank - mean in h)``, h the
    sample's stratum, weights and targets as in `Scores`. A draw is
    ``sum_g f_g S'_g / sqrt(sum_g S'_g^2)`` with every f_g independently +1 or -1, the same for all
    neurons; the observed statistic is ``z = sum_g S_g / sqrt(max(sum_g S'_g^2, sum_g T_g^2))``.
    S' and T correct two errors of the plain, cluster-robust ``sum_g S_g^2`` (see Notes).

    Parameters
    ----------
    y : array, shape (n_samples,), bool or real
    strata : sequence of hashable codes, length n_samples, or None
    groups : sequence of hashable codes, length n_samples
        Samples of one group are not independent (frames of a film, images of a patient); groups
        are.
    n_permutations : int
        Draws of signs.
    seed : int

    Attributes
    ----------
    n_groups : int
        Groups that add anything to the statistic.

    Raises
    ------
    ValueError
        As `associate`; or if fewer than 6 groups add anything.

    Notes
    -----
    Hemerik, Goeman & Finos, *Journal of the Royal Statistical Society B* 82 (2020);
    whole blocks as in Winkler et al., *NeuroImage* 92 (2014).

    S': the strata's mean ranks are estimated, which draws the S_g towards each other and makes
    them too small by the group's share q of the stratum; with few groups to a stratum the plain
    test rejects 6 to 25 of 100 true nulls at .05. So the mean of a group within a stratum counts
    ``1 / sqrt(1 - q)`` times (Bell & McCaffrey, *Survey Methodology* 28, 2002: the cluster-robust
    variance CR2). That makes the sum of squares unbiased for independent samples and, among
    groups of one size, whatever the dependence within groups.

    T: where few groups hold the positives and few groups rouse the neuron, the two rarely meet.
    Then ``S'_g`` is small in all groups that count, agrees in sign, and flips reject 19 of 100 true
    nulls at .05 (10 of 100 groups positive, 90 % zeros). But under the null hypothesis the signal
    belongs to any group. So the larger of two sums of squares is taken, the other being what any
    signal of this kind would give: ``sum_g T_g^2 = sum_g W_g^2 + r * sum_g (sum_h B_gh)^2 +
    (1 - r) * sum_gh B_gh^2``, W_g the part of S_g within groups' means,
    ``B_gh = s_h * sum of the ranks of g in h / sqrt(1 - q)``, s_h the root mean square of groups'
    mean weighted targets in stratum h (weighted by the square of their samples) and r the
    correlation of a group's mean targets between strata. As the larger is taken, the level also
    holds where groups of another signal are larger or vary more.

    Where few groups hold the positives, few signs decide: the test is then conservative, and has
    less power than permutations among groups that are alike (30 groups, 4 of them positive: half
    of it). The most true nulls rejected at .05 in simulations were 6 of 100, where of 30 groups the
    4 largest were the positive ones.

    The plan holds ``4 * n_permutations`` bytes for each group; pickled, only the seed.
    """

    method = "sign flips of groups"

    def __init__(
        self,
        y: np.ndarray,
        strata: Sequence[Hashable] | np.ndarray | None,
        groups: Sequence[Hashable] | np.ndarray,
        *,
        n_permutations: int = 1000,
        seed: int = 0,
    ) -> None:
        design = make_design(y, strata)
        super().__init__(Scores(design), design.n, n_permutations)
        self.seed = seed
        kept = stratum_codes(groups, design.n, "groups")[self.kept]
        names, group = np.unique(kept, return_inverse=True)
        self.terms = len(names)
        self.sums = self._summing(group)
        carried = np.asarray(self.sums[: self.terms].power(2).sum(axis=1))
        self.n_groups = int(np.count_nonzero(carried > ROUNDING * carried.max()))
        if self.n_groups < FEWEST_GROUPS:
            raise ValueError(
                f"cannot be decided, n groups = {self.n_groups}: of groups too unlike in size or "
                f"strata to change places at least {FEWEST_GROUPS} must add to the comparison, "
                "better 30"
            )

    def __getstate__(self) -> dict[str, Any]:
        """The plan as it travels to other processes, which draw the signs again."""
        return {name: value for name, value in vars(self).items() if name != "signs"}

    @cached_property
    def signs(self) -> np.ndarray:
        """+1 or -1, float32 (n_permutations, n_groups)."""
        bits = np.random.default_rng(self.seed).integers(
            0, 2, (self.n_permutations, self.terms), dtype=np.int8
        )
        return (2 * bits - 1).astype(np.float32)

    def _summing(self, group: np.ndarray) -> csr_array:
        """What makes, of centred ranks, a row S' for each group, rows of T, and the sum of S."""
        means = np.bincount(self.codes, self.target) / self.sizes
        plain = self.weights * (self.target - means[self.codes])
        names, cell, size = np.unique(
            self.codes * (group.max() + 1) + group, return_inverse=True, return_counts=True
        )
        stratum, owner = np.divmod(names, group.max() + 1)
        rest = 1 - size / self.sizes[stratum]
        # A group alone in its stratum has the stratum's mean rank, 0: nothing to correct.
        factor = np.divide(1, np.sqrt(rest), out=np.ones_like(rest), where=rest > 0)
        total = np.bincount(cell, plain)
        mean = (total / size)[cell]
        usual, together = _usual_signal(total, size, stratum, owner)
        shared = (factor * usual)[cell]
        rows = [
            _adding_up(group, plain - mean + factor[cell] * mean),
            _adding_up(group, plain - mean),
            _adding_up(group, np.sqrt(together) * shared),
            _adding_up(cell, np.sqrt(1 - together) * shared),
            _adding_up(np.zeros_like(group), plain),
        ]
        return csr_array(vstack(rows))

    def _permuted(self, values: np.ndarray, compile_it: bool) -> tuple[np.ndarray, np.ndarray]:
        rows, spoilt = without_nan(values)
        kept = rows if len(self.kept) == self.n else np.take(rows, self.kept, axis=1)
        ranks, squares = ranks_within(kept, self.codes, self.sizes, compile_it)
        sums = self.sums @ np.ascontiguousarray(ranks.T)
        scores, typical, observed = sums[: self.terms], sums[self.terms : -1], sums[-1]
        own = np.sum(scores**2, axis=0)
        some = own > ROUNDING * self._permutation_variance(squares)
        variance = np.maximum(own, np.sum(typical**2, axis=0))
        z = np.divide(observed, np.sqrt(variance), out=np.zeros_like(own), where=some)
        z[dead_rows(rows, spoilt, squares)] = np.nan
        scale = np.divide(1, np.sqrt(own), out=np.zeros_like(own), where=some)
        return z, (self.signs @ (scores * scale).astype(np.float32)).T


def _adding_up(rows: np.ndarray, values: np.ndarray) -> csr_array:
    """One row for each group or cell: each sample's value in the row of its own."""
    return csr_array((values, (rows, np.arange(len(rows)))))


def _usual_signal(
    total: np.ndarray, size: np.ndarray, stratum: np.ndarray, group: np.ndarray
) -> tuple[np.ndarray, float]:
    """Root mean square of a group's mean signal, and its correlation across strata.

    Parameters
    ----------
    total, size, stratum, group : array, shape (n_cells,)
        Of the samples of one group in one stratum: the sum of their targets, how many they are,
        and where they belong.
    """

    def across(values: np.ndarray) -> float:
        """Sum of products of two cells of a group."""
        return float(np.sum(np.bincount(group, values) ** 2) - np.sum(values**2))

    square = np.bincount(stratum, total**2) / np.bincount(stratum, size.astype(np.float64) ** 2)
    usual = np.sqrt(square)[stratum]
    most = across(size * usual)
    together = across(total) / most if most > 1e-12 * np.sum(total**2) else 0.0
    return usual, min(max(together, 0.0), 1.0)
