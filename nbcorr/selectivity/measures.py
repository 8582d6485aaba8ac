"""What is told of neurons from all their samples at once: intervals and measures."""

from __future__ import annotations

import dataclasses

import numpy as np

from nbcorr.stats.selectivity import selectivity_interval
from nbcorr.stats.tuning import class_auroc, mutual_information, precision_at, sparseness

MEASURES = ("class_mean", "auroc", "mutual_information", "sparseness", "precision")


@dataclasses.dataclass(frozen=True)
class RowMeasures:
    """What to find for each block of neurons; for `map_blocks`.

    Attributes
    ----------
    codes : array of int, shape (n_samples,)
    measures : tuple of str
    draws : array, shape (n_samples, n_resamples), or None
        Resamples for the intervals.
    level : float
    k : int
    n_bins : int
    rectify : bool
    """

    codes: np.ndarray
    measures: tuple[str, ...] = ()
    draws: np.ndarray | None = None
    level: float = 0.95
    k: int = 1
    n_bins: int = 10
    rectify: bool = False

    @property
    def needed(self) -> bool:
        """Whether anything is to be found at all."""
        return self.draws is not None or bool(set(self.measures) - {"class_mean"})

    def __call__(self, block: np.ndarray) -> dict[str, np.ndarray]:
        """Columns by name, shape (n_neurons,) or (n_neurons, n_classes)."""
        rows = np.maximum(block, 0) if self.rectify else block
        found: dict[str, np.ndarray] = {}
        if self.draws is not None:
            low, high = selectivity_interval(rows, self.codes, self.draws, level=self.level)
            found |= {"selectivity_low": low, "selectivity_high": high}
        if "auroc" in self.measures:
            found["auroc"] = class_auroc(rows, self.codes)
        if "mutual_information" in self.measures:
            told = mutual_information(rows, self.codes, self.n_bins)
            found["mutual_information"] = told.bits - told.bias
        if "sparseness" in self.measures:
            found["sparseness_samples"] = sparseness(rows)
        if "precision" in self.measures:
            shares = precision_at(rows, self.codes, self.k)
            found |= {"precision": shares.max(axis=1), "precision_class": shares.argmax(axis=1)}
        return found
