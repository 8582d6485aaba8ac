"""What is compared with what: a signal over samples, and the strata it is compared within."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Design:
    """A checked signal and the strata in which it varies.

    Attributes
    ----------
    signal : array of float64, shape (n,)
        For a binary signal 1 at the positives, the larger of the two values, and 0 elsewhere.
    binary : bool
        Whether the signal takes two values only.
    strata : tuple of arrays of int
        For each informative stratum, the indices of its samples: the signal varies in these.
    n_positive, n_positive_informative : int or None
        Positives in all samples, and in informative strata; None where the signal is not binary.
    """

    signal: np.ndarray
    binary: bool
    strata: tuple[np.ndarray, ...]
    n_positive: int | None
    n_positive_informative: int | None

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.signal)

    @property
    def n_informative(self) -> int:
        """Number of samples in informative strata."""
        return sum(len(samples) for samples in self.strata)

    @property
    def whole(self) -> bool:
        """Whether one stratum holds all samples."""
        return len(self.strata) == 1 and len(self.strata[0]) == self.n


def make_design(y: np.ndarray, strata: Sequence[Hashable] | np.ndarray | None = None) -> Design:
    """Check a signal and its strata, and find the strata in which the signal varies.

    Parameters
    ----------
    y : array, shape (n_samples,), bool or real
    strata : sequence of hashable codes, length n_samples, optional

    Raises
    ------
    ValueError
        If the signal is empty, holds a NaN, is constant, has not the length of the strata, or
        is constant within every stratum.
    """
    signal = _checked_signal(y)
    values = np.unique(signal)
    n = len(signal)
    if len(values) == 1:
        raise ValueError(
            f"the signal is {_plain(values[0])} for all {n} samples; "
            "expected at least two different values"
        )
    binary = len(values) == 2
    if binary:
        signal = (signal == values[1]).astype(np.float64)
    codes = stratum_codes(strata, n)
    informative = tuple(
        samples
        for samples in _samples_by_code(codes)
        if (signal[samples] != signal[samples[0]]).any()
    )
    n_positive = int(signal.sum()) if binary else None
    if not informative:
        held = f", {n_positive} positive" if binary else ""
        raise ValueError(
            f"cannot be decided, n = {n}{held}: no stratum holds two different values of the "
            f"signal ({codes.max() + 1} strata)"
        )
    inside = int(sum(signal[samples].sum() for samples in informative)) if binary else None
    return Design(signal, binary, informative, n_positive, inside)


def stratum_codes(
    strata: Sequence[Hashable] | np.ndarray | None, n: int, name: str = "strata"
) -> np.ndarray:
    """Strata as integers from 0, one for each of n samples; all 0 where there are no strata."""
    if strata is None:
        return np.zeros(n, dtype=np.int64)
    if len(strata) != n:
        raise ValueError(
            f"the {name} have {len(strata)} values; expected one for each of {n} samples"
        )
    values = strata if isinstance(strata, np.ndarray) else np.asarray(strata, dtype=object)
    if values.ndim == 1 and values.dtype.kind in "biufSU":
        missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        if missing:
            raise ValueError(
                f"the {name} are NaN for {missing} of {n} samples; expected a value for each"
            )
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    numbers: dict[Any, int] = {}
    keys = (tuple(code) if isinstance(code, np.ndarray) else code for code in strata)
    return np.array([numbers.setdefault(code, len(numbers)) for code in keys], dtype=np.int64)


def _checked_signal(y: np.ndarray) -> np.ndarray:
    values = np.asarray(y)
    if values.ndim != 1:
        raise ValueError(f"the signal has shape {values.shape}; expected one value per sample")
    if len(values) == 0:
        raise ValueError("the signal is empty; expected one value for each sample")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"the signal has dtype {values.dtype}; expected bool or real numbers")
    if values.dtype.kind != "f":
        return values.astype(np.float64)
    missing = int(np.isnan(values).sum())
    if missing:
        raise ValueError(
            f"the signal is NaN for {missing} of {len(values)} samples; expected a value for each"
        )
    return values.astype(np.float64)


def _samples_by_code(codes: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _plain(value: float) -> str:
    return f"{value:g}"
