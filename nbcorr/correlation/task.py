"""What a score of several neurons is to tell, and the same task with nothing to be told."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nbcorr.stats.design import make_design


@dataclass(frozen=True)
class Task:
    """What a score is to tell, and which samples may be compared.

    Attributes
    ----------
    signal : array of float64, shape (n,)
        0 and 1 where ``binary``.
    strata : array of int, shape (n,)
    groups : array of int, shape (n,), or None
        Samples of one group are never in a training set and its test set.
    """

    signal: np.ndarray
    strata: np.ndarray
    groups: np.ndarray | None
    binary: bool

    @classmethod
    def of(
        cls, signal: np.ndarray, strata: np.ndarray | None, groups: np.ndarray | None = None
    ) -> Task:
        """Check a signal; ValueError if it is constant, within every stratum or at all."""
        design = make_design(signal, strata)
        codes = np.zeros(design.n, dtype=np.int64) if strata is None else strata
        return cls(design.signal, codes, groups, design.binary)

    def among(self, samples: np.ndarray) -> Task:
        """The same task for some of the samples."""
        groups = None if self.groups is None else self.groups[samples]
        return replace(
            self, signal=self.signal[samples], strata=self.strata[samples], groups=groups
        )

    def permuted(self, seed: int | np.random.Generator) -> Task:
        """The control task: the signal dealt anew within each stratum, in whole groups if any.

        Without groups the values of a stratum change places at random, each alone. With groups
        their signals change owners at random within the stratum, and each is laid over its new
        owner's samples from a random one of its values on, starting over at its end, stretched
        or shortened evenly where the owner is of another size. So it hangs together within
        groups as the signal does; a group that is alone in its stratum, or drawn as its own new
        owner, keeps its values, but not where they were.
        """
        rng = np.random.default_rng(seed)
        if self.groups is not None:
            return replace(self, signal=_dealt_in_groups(self, self.groups, rng))
        places = np.argsort(self.strata, kind="stable")
        dealt = np.lexsort((rng.random(len(places)), self.strata))
        signal = np.empty_like(self.signal)
        signal[places] = self.signal[dealt]
        return replace(self, signal=signal)


def _dealt_in_groups(task: Task, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The signal after groups of a stratum have changed theirs; see `Task.permuted`."""
    codes = np.unique(groups, return_inverse=True)[1]
    # One draw for all strata: what joins a group's samples of several strata moves together.
    key, start = rng.random((2, codes.max() + 1))
    order = np.lexsort((codes, task.strata))
    signal = np.empty_like(task.signal)
    for samples in _runs(order, task.strata):
        owners = _runs(samples, codes)
        donors = sorted(owners, key=lambda members: key[codes[members[0]]])
        for owner, donor in zip(owners, donors, strict=True):
            first = int(start[codes[donor[0]]] * len(donor))
            steps = np.arange(len(owner)) * len(donor) // len(owner)
            signal[owner] = task.signal[donor[(first + steps) % len(donor)]]
    return signal


def _runs(samples: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """The samples, in order of their codes, cut where the code changes."""
    return np.split(samples, np.flatnonzero(np.diff(codes[samples])) + 1)
