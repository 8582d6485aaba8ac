"""Which neurons go with a per-sample signal, with the controls that keep the answer honest."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from nbcorr.correlation.controls import CONTROLS, halves, raw_input, replicated, untrained
from nbcorr.correlation.examine import (
    Examination,
    Examined,
    examine,
    joined,
    make_examination,
    smallest_p,
)
from nbcorr.correlation.ladder import LEVEL
from nbcorr.correlation.outcomes import outcomes
from nbcorr.correlation.question import Question, find_questions
from nbcorr.correlation.redundancy import clusters
from nbcorr.correlation.sentence import sentence
from nbcorr.network.names import unknown
from nbcorr.recording.arrays import over_neurons
from nbcorr.recording.blocks import map_blocks
from nbcorr.stats.multiple import fdr

# What people and other verbs ask for first stands first.
_ORDER = (
    "auc",
    "auc_low",
    "auc_high",
    "rank_biserial",
    "rho",
    "rho_max",
    "pearson",
    "p",
    "q",
    "p_familywise",
    "q_unstratified",
    "rho_partial",
    "p_partial",
    "q_partial",
    "auc_selection",
    "auc_heldout",
    "replicated",
    "auc_untrained",
    "excess",
    "auc_input",
    "excess_input",
    "cluster",
    "zeros",
    "dead",
)

Column = str | xr.DataArray | Sequence[Any] | np.ndarray


def correlate(
    recording: xr.Dataset,
    signal: Column | Mapping[str, Any] = "relative_performance",
    strata: Column | None = "auto",
    controls: str | Iterable[str] = CONTROLS,
    *,
    covariates: Column | Mapping[str, Any] | None = None,
    groups: Column | None = None,
    pearson: bool = False,
    correction: Literal["bh", "by"] = "bh",
    permutations: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Correlate every neuron of a recording with a signal.

    Parameters
    ----------
    recording : xarray.Dataset
        ``activation(sample, neuron)``; for the untrained control also ``activation_twin``
        (``nc.record(..., twins=5)``), for the input control ``input``. Where the activations are
        a Dask array, they are read block by block, on the cluster of the active Dask client
        where there is one.
    signal : str, DataArray or array over samples; or several of them
        A column of the recording, or one number per sample: binary, ordered or continuous. The
        seed's ``relative_performance`` is 1 where the model is right and the baseline wrong.
        Several: a list of columns, a dict of name to values, or a DataArray over ``signal`` and
        ``sample``. A DataArray with sample ids is aligned by them.
    strata : str, DataArray, array or None
        Samples are compared only within a stratum. ``"auto"``: by ``label`` where the recording
        has it, so that a neuron is not credited for knowing the class. None: all together, which
        makes ``rho`` and ``p`` those of the plain rank correlation.
    controls : iterable of {"untrained", "input", "replication"}
        One that cannot be computed is named in ``attrs["controls_missing"]``.
    covariates : str, list of str, DataArray, array or dict, optional
        Numbers per sample that may drive both neuron and signal (confidence, loss, difficulty):
        what is left of the association with them held fixed, as polynomials of their ranks and
        the products of these, is ``rho_partial``.
    groups : str, DataArray or array, optional
        Samples of one group are not independent (augmentations of an image, frames of a film,
        images of a patient). Then ``p`` is counted over 9,999 permutations of whole groups (or
        ``permutations``, if more), or over flips of their signs where groups are not alike
        (``attrs["groups_method"]``); intervals are those of a bootstrap of whole groups, and no
        group is in both halves.
    pearson : bool
        Also Pearson's r over all samples (with a binary signal: the point-biserial).
    correction : {"bh", "by"}
        How q corrects for many tests: Benjamini-Hochberg, or Benjamini-Yekutieli, right under
        any dependence. Over all signals at once where there are several.
    permutations : int
        With more than 0, family-wise p-values by that many permutations of the signal within
        strata: right however the neurons hang together, none below 1 / (permutations + 1). For
        each signal on its own.
    seed : int
        Of the split into halves, the permutations and the bootstrap.

    Returns
    -------
    xarray.Dataset
        Over ``neuron``, and ``signal`` where several were asked for: ``auc`` (within strata, van
        Elteren weights; CMA where the signal is not binary) with its 95 % interval ``auc_low``,
        ``auc_high``; ``rank_biserial`` = 2 auc - 1; ``rho`` (Spearman over all samples,
        unstratified) and ``rho_max``, the largest ``|rho|`` possible with these ties; ``p`` and
        ``q`` of the stratified test over the live neurons, ``q_unstratified`` of the plain one;
        ``cluster``, which associated neurons fire alike (0: not associated; -1: not among the
        2,000 strongest, which alone are compared); ``zeros``, ``dead``.
        On request ``pearson``; ``p_familywise`` (Westfall & Young's max-T); ``rho_partial``,
        ``p_partial``, ``q_partial``. With controls: ``auc_selection``, ``auc_heldout`` and
        ``replicated``; ``auc_untrained`` and ``excess``; ``auc_input`` and ``excess_input``.
        A dead (constant, or NaN somewhere) neuron is NaN and counted in ``n_dead``. ``n``,
        ``n_positive`` and the like stand in ``attrs``, with several signals as variables over
        ``signal``.

    Raises
    ------
    ValueError
        If a column is missing, of another length or with other sample ids; if a signal is
        constant, or no stratum holds two kinds of samples; if covariates determine the signal; or
        if no two groups can change places.

    Notes
    -----
    An association says that the neuron tells these samples apart, not that the model uses it.

    References
    ----------
    van Elteren 1960 (stratified rank test, weights 1 / (n + 1)); DeLong et al. 1988 (interval);
    Walz, Eberl & Gneiting 2025 (CMA); Benjamini & Hochberg 1995, Benjamini & Yekutieli 2001;
    Westfall & Young 1993 (max-T); Kendall 1942 (partial rank correlation); Britten et al. 1996
    (choice probability: the same quantity in neurophysiology); "Neural correlates of hidden
    mental models" (hut, 2018/2020).
    """
    chosen = _checked(controls)
    if correction not in ("bh", "by"):
        raise ValueError(unknown("correction", correction, ("bh", "by")))
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 0:
        raise ValueError(f"permutations is {permutations!r}; expected 0 or a number like 1000")
    recording = over_neurons(recording)
    questions, several = find_questions(recording, signal, strata, covariates, groups)
    missing: list[str] = []
    examinations = []
    for asked in questions:
        split, reason = halves(asked, seed) if "replication" in chosen else ((), "")
        if reason:
            missing.append(f"replication: {f'{asked.name}: ' if several else ''}{reason}")
        examinations.append(
            make_examination(asked, split, linear=pearson, permutations=permutations, seed=seed)
        )
    work = functools.partial(examine, examinations=examinations)
    blocks = map_blocks(work, recording["activation"], "correlate")
    answers = [joined(list(parts), one) for *parts, one in zip(*blocks, examinations, strict=True)]
    columns = _stacked(answers)
    _correct(columns, correction)
    for control, compute in (("untrained", untrained), ("input", raw_input)):
        if control in chosen:
            added, reason = compute(recording, questions, columns["auc"])
            columns |= added
            missing += [f"{control}: {reason}"] if reason else []
    columns["cluster"] = np.array(
        [
            clusters(recording, asked, auc, q <= LEVEL)
            for asked, auc, q in zip(questions, columns["auc"], columns["q"], strict=True)
        ]
    )
    result = _labelled(recording, columns, questions if several else None)
    result.attrs = {
        "signal": [asked.name for asked in questions] if several else questions[0].name,
        **_asked(examinations[0]),
        "n_neurons": columns["dead"].shape[1],
        "n_tests": int(np.isfinite(columns["p"]).sum()),
        "n_dead": int(columns["dead"][0].sum()),
        "controls": [c for c in chosen if not any(m.startswith(c) for m in missing)],
        "controls_missing": missing,
        "correction": correction,
        "seed": seed,
        **_origin(recording),
    }
    if "relative_performance" in (asked.name for asked in questions):
        result.attrs |= _table_of_answers(recording)
    counts = [
        answer.counts | {"p_smallest": smallest_p(examination)}
        for answer, examination in zip(answers, examinations, strict=True)
    ]
    result = _counted(result, counts, several)
    result.attrs["sentence"] = sentence(result)
    return result


def _checked(controls: str | Iterable[str]) -> list[str]:
    if controls is None:
        raise ValueError(
            f"controls is None; expected some of {', '.join(CONTROLS)}, or () for none"
        )
    chosen = [controls] if isinstance(controls, str) else list(controls)
    for control in chosen:
        if control not in CONTROLS:
            raise ValueError(unknown("control", control, CONTROLS))
    return chosen


def _stacked(answers: list[Examined]) -> dict[str, np.ndarray]:
    """Columns of shape (n_signals, n_neurons); NaN where a signal could not be answered."""
    names = {name: None for answer in answers for name in answer.columns}
    empty = np.full(len(answers[0].columns["auc"]), np.nan)
    return {
        name: np.array([answer.columns.get(name, empty) for answer in answers]) for name in names
    }


def _correct(columns: dict[str, np.ndarray], correction: Literal["bh", "by"]) -> None:
    """Replace what only leads to q, or to `replicated`, by these."""
    columns["q"] = fdr(columns["p"], correction)
    columns["q_unstratified"] = fdr(columns.pop("p_unstratified"), correction)
    if "p_partial" in columns:
        columns["q_partial"] = fdr(columns["p_partial"], correction)
    if "p_selection" in columns:
        rows = [
            {name: column[i] for name, column in columns.items()} for i in range(len(columns["q"]))
        ]
        columns["replicated"] = np.array([replicated(row, correction) for row in rows])
        del columns["p_selection"], columns["p_heldout"]


def _labelled(
    recording: xr.Dataset, columns: dict[str, np.ndarray], questions: list[Question] | None
) -> xr.Dataset:
    """The columns over neuron, or over signal and neuron."""
    result = recording[["neuron"]].drop_dims("sample", errors="ignore")
    names = [name for name in _ORDER if name in columns]
    if questions is None:
        return result.assign({name: ("neuron", columns[name][0]) for name in names})
    result = result.assign({name: (("signal", "neuron"), columns[name]) for name in names})
    return result.assign_coords(signal=[asked.name for asked in questions])


def _counted(result: xr.Dataset, counts: list[dict[str, Any]], several: bool) -> xr.Dataset:
    """The counts behind every p: in attrs, or over signal where several were asked for."""
    if not several:
        return result.assign_attrs(counts[0])
    names = {name: None for count in counts for name in count if name != "n"}
    return result.assign(
        {name: ("signal", np.array([c.get(name, np.nan) for c in counts])) for name in names}
    )


def _asked(examination: Examination) -> dict[str, Any]:
    """What was held fixed and how p was drawn: the same for every signal."""
    asked, drawn = examination.test.question, examination.test.permutations
    attrs = {
        "n": len(asked.signal),
        "strata": asked.strata_name,
        "covariates": list(asked.covariate_names),
        "groups": asked.groups_name,
        "permutations": 0 if drawn is None else drawn.n_permutations,
    }
    if asked.groups is not None and drawn is not None:
        attrs |= {"n_groups": int(asked.groups.max()) + 1, "groups_method": drawn.method}
    return attrs


def _table_of_answers(recording: xr.Dataset) -> dict[str, Any]:
    """The 2x2 table behind the seed's signal, with McNemar's p, where the answers are known."""
    if not {"label", "prediction", "baseline"} <= set(recording.coords):
        return {}
    table = outcomes(recording)
    counts = table["count"].values.ravel().tolist()
    return {"outcomes": counts, "mcnemar_p": table.attrs["mcnemar_p"]}


def _origin(recording: xr.Dataset) -> dict[str, Any]:
    kept = ("model", "fingerprint", "pool", "nbcorr_version", "input")
    return {key: recording.attrs[key] for key in kept if key in recording.attrs} | {
        "n_twins": int(recording.sizes.get("twin", 0))
    }
