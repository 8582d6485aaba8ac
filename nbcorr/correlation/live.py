"""Selections that come and go: what the neurons make of the samples a person has just picked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.correlation.signals import find_signal, find_strata
from nbcorr.network.names import unknown
from nbcorr.recording.arrays import over_neurons
from nbcorr.recording.blocks import neuron_blocks
from nbcorr.stats.live import RankedNeurons
from nbcorr.stats.multiple import fdr
from nbcorr.stats.preview import Histograms

# So many values are ranked to tell how long all of them will take.
_TRIED = 4_000_000


class LiveCorrelates:
    """The neurons of a recording ranked once, for selections of samples to come.

    Where ranking all neurons takes longer than `patience`, the first answers come from histograms
    and say so, while the ranks are made in the background; once they are there, answers are exact.
    Where the ranks would not fit into `memory`, answers stay approximate.

    Parameters
    ----------
    recording : xarray.Dataset
    strata : str, DataArray, array or None
        As for ``nc.correlate``.
    patience : float
        Seconds.
    memory : int
        Bytes that the ranks may take; two for each sample and neuron.

    Raises
    ------
    ValueError
        If the strata are missing.
    """

    def __init__(
        self,
        recording: xr.Dataset,
        strata: Any = "auto",
        *,
        patience: float = 1.0,
        memory: int = 2 << 30,
    ) -> None:
        self._recording = over_neurons(recording)
        self._strata_name, codes = find_strata(recording, strata)
        self._activation = self._recording["activation"]
        self._sizes = (self._activation.sizes["neuron"], self._activation.sizes["sample"])
        self._codes = np.zeros(self._sizes[1], dtype=np.int64) if codes is None else codes
        n_strata = int(self._codes.max()) + 1
        self._fits = RankedNeurons.bytes_needed(*self._sizes, n_strata) <= memory
        self._ranked: RankedNeurons | None = None
        self._histograms: Histograms | None = None
        self._thread: threading.Thread | None = None
        if self._fits and self._seconds() <= patience:
            self._rank()
            return
        self._histograms = Histograms.from_blocks(self._blocks(), *self._sizes, self._codes)
        if self._fits:
            self._thread = threading.Thread(target=self._rank, daemon=True)
            self._thread.start()

    @property
    def exact(self) -> bool:
        """Whether answers are exact by now."""
        return self._ranked is not None

    def wait(self) -> None:
        """Wait until answers are exact; at once where they never will be."""
        if self._thread is not None:
            self._thread.join()

    def select(self, samples: Sequence[Any] | np.ndarray | xr.DataArray) -> xr.Dataset:
        """How every neuron tells the selected samples from the others of their stratum.

        Parameters
        ----------
        samples : bool array over samples, or sample ids
            A bool DataArray is aligned by its sample ids. One string is one id.

        Returns
        -------
        xarray.Dataset
            Over ``neuron``: ``auc``, ``rank_biserial``, ``p``, ``q`` (Benjamini-Hochberg) and
            ``dead``; while they are approximate also ``auc_error``, the standard error of the
            approximation, and ``attrs["approximate"]`` is 1. No interval and no control:
            ``nc.correlate`` with the same selection gives them.

        Raises
        ------
        ValueError
            If an id is not in the recording, no stratum holds both selected and other samples, or
            there is one number 0 or 1 for each sample, which may be meant as bools or as ids.
        """
        selected = self._as_bools(samples)
        ranked = self._ranked  # once: the background thread may set it meanwhile
        if ranked is not None:
            effects = ranked.associate(selected)
            columns = {"auc": effects.auc, "p": effects.p}
        else:
            assert self._histograms is not None
            preview = self._histograms.associate(selected)
            columns = {"auc": preview.auc, "p": preview.p, "auc_error": preview.error}
        result = self._recording[["neuron"]].drop_dims("sample", errors="ignore")
        columns["rank_biserial"] = 2 * columns["auc"] - 1
        columns["q"] = fdr(columns["p"])
        columns["dead"] = np.isnan(columns["auc"])
        result = result.assign({name: ("neuron", column) for name, column in columns.items()})
        result.attrs = {
            "signal": "selection",
            "n": len(selected),
            "n_positive": int(selected.sum()),
            "n_dead": int(columns["dead"].sum()),
            "strata": self._strata_name,
            "approximate": int(ranked is None),
        }
        result.attrs["sentence"] = _sentence(result)
        return result

    def _as_bools(self, samples: Any) -> np.ndarray:
        if isinstance(samples, str) or np.ndim(samples) == 0:
            samples = [samples]
        values = np.asarray(samples)
        if values.dtype == bool:
            given = samples if isinstance(samples, xr.DataArray) else xr.DataArray(values)
            return find_signal(self._recording, given.rename("selection"))[1]
        index, n = pd.Index(self._recording["sample"].values), self._sizes[1]
        if values.shape == (n,) and values.dtype.kind in "iuf" and np.isin(values, (0, 1)).all():
            raise ValueError(
                f"the selection holds {n} numbers 0 and 1, which may be False and True for each "
                f"of the {n} samples, or the ids 0 and 1; expected bools (.astype(bool)), or "
                "every id once"
            )
        if values.ndim != 1:
            raise ValueError(
                f"the selection has shape {values.shape}; expected bools over {n} samples, "
                "or a list of sample ids"
            )
        asked = pd.Index(values)
        absent = asked[~asked.isin(index)]
        if len(absent):
            raise ValueError(_no_sample(absent[0], index))
        return np.asarray(index.isin(asked))

    def _rank(self) -> None:
        self._ranked = RankedNeurons.from_blocks(self._blocks(), *self._sizes, self._codes)

    def _blocks(self) -> Iterable[np.ndarray]:
        return neuron_blocks(self._activation)

    def _seconds(self) -> float:
        """How long all neurons will take to read and rank, by trying a few."""
        few = self._activation.isel(neuron=slice(max(1, _TRIED // self._sizes[1])))
        best = np.inf
        for _ in range(2):  # the first may have to compile
            started = time.perf_counter()
            RankedNeurons(next(neuron_blocks(few)), self._codes)
            best = min(best, time.perf_counter() - started)
        return best * self._sizes[0] / few.sizes["neuron"]


def _no_sample(asked: Any, index: pd.Index) -> str:
    if str(asked) in set(map(str, index)):
        return (
            f"no sample {asked!r}, which is of type {type(asked).__name__}; "
            f"expected ids of dtype {index.dtype}"
        )
    return unknown("sample", str(asked), map(str, index))


def _sentence(result: xr.Dataset) -> str:
    attrs = result.attrs
    within = "" if attrs["strata"] == "none" else f" of the same {attrs['strata']}"
    said = (
        f"{attrs['n_positive']} selected samples of {attrs['n']} against the others{within}: "
        f"{int((result['q'] <= 0.05).sum())} of {result.sizes['neuron'] - attrs['n_dead']} neurons "
        "are associated (q ≤ 0.05). A selection made by looking is no test; no control was run."
    )
    if attrs["approximate"]:
        error = max(1e-4, float(result["auc_error"].max()))
        said = (
            f"Approximate (AUC ± {error:.1g}, the largest standard error), from histograms. {said}"
        )
    return said
