"""What is asked of every neuron: a signal, what is held fixed, and which samples hang together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.correlation.signals import find_covariates, find_groups, find_signals, find_strata


@dataclass(frozen=True)
class Question:
    """One signal asked of every neuron.

    Attributes
    ----------
    signal : array, shape (n_samples,), bool, integer or float
    strata, groups : array of int, shape (n_samples,), or None
    covariates : array of float64, shape (n_covariates, n_samples), or None
    name, strata_name, groups_name, covariate_names
        What people call them; "none" where there are none.
    """

    name: str
    signal: np.ndarray
    strata_name: str = "none"
    strata: np.ndarray | None = None
    groups_name: str = "none"
    groups: np.ndarray | None = None
    covariate_names: tuple[str, ...] = ()
    covariates: np.ndarray | None = None

    def among(self, samples: np.ndarray) -> Question:
        """The same question of some of the samples."""
        return replace(
            self,
            signal=self.signal[samples],
            strata=None if self.strata is None else self.strata[samples],
            groups=None if self.groups is None else self.groups[samples],
            covariates=None if self.covariates is None else self.covariates[:, samples],
        )

    def unstratified(self) -> Question:
        """The same question with all samples compared with all."""
        return replace(self, strata=None, strata_name="none")


def find_questions(
    recording: xr.Dataset, signal: Any, strata: Any, covariates: Any = None, groups: Any = None
) -> tuple[list[Question], bool]:
    """One question for each signal, and whether several were asked for.

    Raises
    ------
    ValueError
        If a column is missing, of another length, not numbers where numbers are expected, or has
        other sample ids.
    """
    signals, several = find_signals(recording, signal)
    strata_name, strata_codes = find_strata(recording, strata)
    groups_name, group_codes = find_groups(recording, groups)
    covariate_names, values = find_covariates(recording, covariates)
    questions = [
        Question(
            name,
            column,
            strata_name,
            strata_codes,
            groups_name,
            group_codes,
            tuple(covariate_names),
            values,
        )
        for name, column in signals.items()
    ]
    return questions, several
