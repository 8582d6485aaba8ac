"""Which neurons go with a per-sample signal, with the controls that keep the answer honest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.correlation.controls import CONTROLS, replication, untrained
from nbcorr.correlation.sentence import sentence
from nbcorr.correlation.signals import find_signal, find_strata
from nbcorr.network.names import unknown
from nbcorr.recording.arrays import over_neurons
from nbcorr.recording.blocks import neuron_blocks
from nbcorr.stats.association import associate
from nbcorr.stats.multiple import fdr
from nbcorr.stats.permutation import max_t

_PER_NEURON = (
    "auc",
    "auc_low",
    "auc_high",
    "rank_biserial",
    "rho",
    "rho_max",
    "p",
    "zeros",
    "dead",
)


def correlate(
    recording: xr.Dataset,
    signal: str | xr.DataArray | Sequence[float] | np.ndarray = "relative_performance",
    strata: str | xr.DataArray | Sequence[Any] | np.ndarray | None = "auto",
    controls: str | Iterable[str] = CONTROLS,
    *,
    permutations: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Correlate every neuron of a recording with a signal.

    Parameters
    ----------
    recording : xarray.Dataset
        ``activation(sample, neuron)``; for the untrained control also ``activation_twin``
        (``nc.record(..., twins=5)``).
    signal : str, DataArray or array over samples
        A column of the recording, or one number per sample: binary or ordered. The seed's
        ``relative_performance`` is 1 where the model is right and the baseline wrong.
        A DataArray with sample ids is aligned by them.
    strata : str, DataArray, array or None
        Samples are compared only within a stratum. ``"auto"``: by ``label`` where the recording
        has it, so that a neuron is not credited for knowing the class. None: all together.
    controls : iterable of {"untrained", "replication"}
        One that cannot be computed is named in ``attrs["controls_missing"]``.
    permutations : int
        With more than 0, family-wise p-values by that many permutations of the signal within
        strata: right however the neurons hang together, none below 1 / (permutations + 1).
    seed : int
        Of the split into halves and of the permutations.

    Returns
    -------
    xarray.Dataset
        Over ``neuron``: ``auc`` (within strata, van Elteren weights; CMA where the signal is not
        binary) with its 95 % interval ``auc_low``, ``auc_high``; ``rank_biserial`` = 2 auc - 1;
        ``rho`` (Spearman over all samples, unstratified) and ``rho_max``, the largest ``|rho|``
        possible; ``p`` and ``q`` (Benjamini-Hochberg over the live neurons) of the stratified
        test, ``q_unstratified`` of the plain one; ``p_familywise`` (Westfall & Young's max-T)
        where permutations were asked for; ``zeros``, ``dead``. With controls:
        ``auc_selection``, ``auc_heldout`` and ``replicated``; ``auc_untrained`` and ``excess``.
        A dead (constant) neuron is NaN and counted in ``attrs["n_dead"]``.

    Raises
    ------
    ValueError
        If the signal is missing, of another length, or constant; if strata are missing; or if no
        stratum holds two kinds of samples.

    Notes
    -----
    An association says that the neuron tells these samples apart, not that the model uses it.

    References
    ----------
    van Elteren 1960 (stratified rank test, weights 1 / (n + 1)); DeLong et al. 1988 (interval);
    Benjamini & Hochberg 1995; Britten et al. 1996 (choice probability: the same quantity in
    neurophysiology); "Neural correlates of hidden mental models" (hut, 2018/2020).
    """
    chosen = [controls] if isinstance(controls, str) else list(controls)
    for control in chosen:
        if control not in CONTROLS:
            raise ValueError(unknown("control", control, CONTROLS))
    recording = over_neurons(recording)
    name, values = find_signal(recording, signal)
    strata_name, codes = find_strata(recording, strata)
    columns, n = _associate_all(recording["activation"], values, codes)
    result = recording[["neuron"]].drop_dims("sample", errors="ignore")
    result = result.assign({key: ("neuron", column) for key, column in columns.items()})
    result["q"] = ("neuron", fdr(columns["p"]))
    plain = columns if codes is None else _associate_all(recording["activation"], values, None)[0]
    result["q_unstratified"] = ("neuron", fdr(plain["p"]))
    if permutations:
        everything = np.concatenate(list(neuron_blocks(recording["activation"])))
        tested = max_t(everything, values, codes, n_permutations=permutations, seed=seed)
        result["p_familywise"] = ("neuron", tested.p_familywise)
    missing = []
    for control, compute in (("untrained", untrained), ("replication", replication)):
        if control in chosen:
            added, reason = compute(recording, result, values, codes, seed)
            result = result.assign(added)
            missing += [f"{control}: {reason}"] if reason else []
    result.attrs = {
        "signal": name,
        **n,
        "n_dead": int(result["dead"].sum()),
        "strata": strata_name,
        "controls": [c for c in chosen if not any(m.startswith(c) for m in missing)],
        "controls_missing": missing,
        "permutations": permutations,
        "seed": seed,
        **_origin(recording),
    }
    result.attrs["sentence"] = sentence(result)
    return result


def _associate_all(
    activation: xr.DataArray, signal: np.ndarray, strata: np.ndarray | None
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    parts = [associate(block, signal, strata) for block in neuron_blocks(activation)]
    columns = {key: np.concatenate([getattr(part, key) for part in parts]) for key in _PER_NEURON}
    counts = {"n": parts[0].n, "n_informative": parts[0].n_informative}
    if parts[0].n_positive is not None:
        counts["n_positive"] = parts[0].n_positive
        counts["n_positive_informative"] = int(parts[0].n_positive_informative or 0)
    return columns, counts


def _origin(recording: xr.Dataset) -> dict[str, Any]:
    kept = ("model", "fingerprint", "pool", "nbcorr_version")
    return {key: recording.attrs[key] for key in kept if key in recording.attrs} | {
        "n_twins": int(recording.sizes.get("twin", 0))
    }
