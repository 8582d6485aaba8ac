"""Two systems' answers to the same samples."""

from __future__ import annotations

from scipy.stats import binomtest


def mcnemar(n_only_a: int, n_only_b: int) -> float:
    """Exact two-sided p of McNemar's test: is A right as often as B on the same samples?

    Only the samples on which the two differ count: under the null hypothesis each is A's with
    probability 1/2 (McNemar, *Psychometrika* 12, 1947). Without such samples p is 1.

    Parameters
    ----------
    n_only_a, n_only_b : int
        Samples that only A, and only B, got right.

    Raises
    ------
    ValueError
        If a count is negative.
    """
    if n_only_a < 0 or n_only_b < 0:
        raise ValueError(f"the counts are {n_only_a} and {n_only_b}; expected none below 0")
    if n_only_a + n_only_b == 0:
        return 1.0
    return float(binomtest(n_only_a, n_only_a + n_only_b, 0.5).pvalue)
