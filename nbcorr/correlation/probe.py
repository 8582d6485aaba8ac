"""What several neurons tell of a signal together, beside what the same probe finds elsewhere."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from nbcorr.correlation.folds import control_task
from nbcorr.correlation.signals import find_groups, find_signal, find_strata
from nbcorr.correlation.sparse import MOST_FEATURES, SCREENED, Sparse, cross_validate
from nbcorr.correlation.table import rounded
from nbcorr.correlation.task import Task
from nbcorr.network.names import unknown
from nbcorr.recording.arrays import over_neurons
from nbcorr.recording.blocks import neuron_blocks
from nbcorr.stats.design import make_design

CONTROLS = ("control_task", "untrained", "input")

# Of each kind of sample, in every fold at least this many.
_FEWEST = 2

Probe = Callable[[xr.DataArray, Task], Sparse]


def probe(
    recording: xr.Dataset,
    signal: str | xr.DataArray | Sequence[float] | np.ndarray = "relative_performance",
    strata: str | xr.DataArray | Sequence[Any] | np.ndarray | None = "auto",
    *,
    layers: str | Sequence[str] | None = None,
    groups: str | xr.DataArray | Sequence[Any] | np.ndarray | None = None,
    n_folds: int = 5,
    controls: str | Iterable[str] = CONTROLS,
    draws: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Fit a sparse linear score of many neurons to a signal and judge it on other samples.

    Parameters
    ----------
    recording : xarray.Dataset
        ``activation(sample, neuron)``; for the controls also ``activation_twin`` and ``input``.
    signal : str, DataArray or array over samples
        As in ``nc.correlate``: binary, ordered or continuous.
    strata : str, DataArray, array or None
        Samples are fitted and judged only within a stratum. ``"auto"``: by ``label`` where the
        recording has it, so that the probe is not credited for knowing the class.
    layers : str or sequence of str, optional
        Names or globs of the layers whose neurons may enter; all by default.
    groups : str, DataArray, array or None
        Samples that hang together (frames, patients): a group is never on both sides of a fold,
        and interval and control task resample groups only whole.
    n_folds : int
        Of the cross-validation. Within each training set, three more choose the penalty.
    controls : iterable of {"control_task", "untrained", "input"}
        One that cannot be computed is named in ``attrs["controls_missing"]``.
    draws : int
        Of the control task.
    seed : int
        Of the folds and the control task.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        Over ``neuron``: ``weight``, the coefficient per standard deviation within strata, mean
        over folds; ``selected``, the share of folds in which it is not 0; ``dead``. Without a
        dimension: ``auc`` (CMA where the signal is not binary) of the scores of samples that the
        score was not fitted to, with its 95 % interval ``auc_low``, ``auc_high``. With controls:
        ``auc_control(draw)`` and ``selectivity``, auc less their mean; ``auc_untrained(twin)``;
        ``auc_input``. Dead neurons (constant, or with a value that is not finite) are left out,
        NaN and counted in ``attrs["n_dead"]``. ``attrs["penalty"]`` has each fold's penalty as a
        share of the smallest that lets no neuron in; ``attrs["sentence"]`` says it all in words.

    Raises
    ------
    ValueError
        If the signal is missing, constant or has too few samples of a kind for the folds; if no
        stratum holds both kinds; if no neuron lives; or an argument is out of range.

    Notes
    -----
    Logistic regression with an L1 penalty (least squares on mid-ranks where the signal is not
    binary), on neurons centred within strata; positives and negatives of a stratum weigh alike,
    and strata as in van Elteren's test. Each training set chooses its penalty by the AUC within
    three folds of its own. With more than 2,000 neurons a training set takes the 500 whose own
    stratified AUC is furthest from .5 in it; a pair of neurons that tells only together may be
    lost then, and ``layers=`` helps.

    Scores are compared only within a fold and a stratum, weighted as in van Elteren's test;
    ``attrs["n_compared"]`` counts the samples that meet the other kind there. Strata of a few
    samples (matched pairs) are torn apart by the folds unless they are ``groups`` as well. The
    interval is DeLong's for these scores, with groups that of a bootstrap of whole groups, but
    from the variance doubled: where there is nothing to tell, each pair of samples counts twice,
    once each way round in training and test (18 of 100 plain intervals then missed .5, and 5 of
    100 of these). Where there is much to tell it may be wider than need be.

    The control task permutes the signal within strata: what the same procedure finds in it is
    what its freedom alone gives. With groups it moves only with its whole group, stretched or
    shortened where its new owner is of another size. That a score exists does not say that the
    model uses it.

    References
    ----------
    Hewitt & Liang, *Designing and interpreting probes with control tasks*, EMNLP 2019 (control
    task, selectivity); Tibshirani 1996 (lasso); Kriegeskorte et al. 2009 (no double dipping);
    van Elteren 1960; DeLong et al. 1988.
    """
    chosen = [controls] if isinstance(controls, str) else list(controls)
    _check_arguments(chosen, n_folds, draws)
    recording = _of_layers(over_neurons(recording), layers)
    name, values = find_signal(recording, signal)
    strata_name, codes = find_strata(recording, strata)
    groups_name, group_codes = find_groups(recording, groups)
    task = Task.of(values, codes, group_codes)
    counts = _counts(values, codes)
    _check_enough(task, counts, n_folds)
    alive = _alive(recording["activation"])
    if not len(alive):
        raise ValueError(f"all {recording.sizes['neuron']} neurons are dead; expected one to live")
    runs = _control_runs(recording, task, chosen, n_folds, draws, seed)
    total = n_folds * (1 + sum(len(of) for of in runs.values() if not isinstance(of, str)))
    with tqdm(total=total, unit="fold", desc="probe", disable=not progress, leave=False) as bar:

        def fit(features: xr.DataArray, task: Task) -> Sparse:
            return cross_validate(features, _alive(features), task, n_folds, seed, bar.update)

        sparse = fit(recording["activation"], task)
        reached = {
            control: [float(fit(*run).judged.auc[0]) for run in of]
            for control, of in runs.items()
            if not isinstance(of, str)
        }
    result = _result(recording, sparse, alive, reached)
    result.attrs = {
        "signal": name,
        "statistic": "AUC" if task.binary else "CMA",
        **counts,
        "n_compared": sparse.judged.n_informative,
        "n_dead": recording.sizes["neuron"] - len(alive),
        "n_selected": float(np.median(np.count_nonzero(sparse.coefficients, axis=1))),
        "screened": SCREENED if len(alive) > MOST_FEATURES else 0,
        "strata": strata_name,
        "groups": groups_name,
        **({} if group_codes is None else {"n_groups": len(np.unique(group_codes))}),
        "layers": list(recording.indexes["neuron"].get_level_values("layer").unique()),
        "n_folds": n_folds,
        "penalty": sparse.penalties.tolist(),
        "draws": draws,
        "seed": seed,
        "controls": list(reached),
        "controls_missing": [f"{c}: {of}" for c, of in runs.items() if isinstance(of, str)],
    }
    result.attrs["sentence"] = _sentence(result)
    return result


def _control_runs(
    recording: xr.Dataset, task: Task, chosen: list[str], n_folds: int, draws: int, seed: int
) -> dict[str, list[tuple[xr.DataArray, Task]] | str]:
    """For each control what to probe for what, or why there is nothing to probe."""
    runs: dict[str, list[tuple[xr.DataArray, Task]] | str] = {}
    for control in chosen:
        if control == "control_task":
            features = [recording["activation"]] * draws
            try:
                tasks = [control_task(task, n_folds, seed + 1 + draw) for draw in range(draws)]
            except ValueError as error:
                runs[control] = str(error)
                continue
        elif control == "untrained" and "activation_twin" in recording:
            twins = recording["activation_twin"]
            features = [twins.isel(twin=twin) for twin in range(recording.sizes["twin"])]
            tasks = [task] * len(features)
        elif control == "input" and "input" in recording:
            inputs = recording["input"].drop_vars("feature", errors="ignore")
            features, tasks = [inputs.rename(feature="neuron")], [task]
        else:
            runs[control] = _MISSING[control].format(recording.attrs.get("input", "not recorded"))
            continue
        dead = any(not len(_alive(source)) for source in features)
        runs[control] = "all of it is constant" if dead else list(zip(features, tasks, strict=True))
    return runs


_MISSING = {
    "untrained": "no untrained twins were recorded; nc.record(..., twins=5) records them",
    "input": "no raw inputs in the recording ({}); nc.record keeps those of pictures and vectors",
}


def _result(
    recording: xr.Dataset, sparse: Sparse, alive: np.ndarray, reached: dict[str, list[float]]
) -> xr.Dataset:
    dead = np.ones(recording.sizes["neuron"], dtype=bool)
    dead[alive] = False
    weight = sparse.coefficients.mean(axis=0)
    selected = (sparse.coefficients != 0).mean(axis=0)
    result = recording[["neuron"]].drop_dims("sample", errors="ignore")
    result = result.assign(
        weight=("neuron", np.where(dead, np.nan, weight)),
        selected=("neuron", np.where(dead, np.nan, selected)),
        dead=("neuron", dead),
        auc=float(sparse.judged.auc[0]),
        auc_low=float(sparse.judged.auc_low[0]),
        auc_high=float(sparse.judged.auc_high[0]),
    )
    if "control_task" in reached:
        result["auc_control"] = ("draw", np.array(reached["control_task"]))
        result["selectivity"] = result["auc"] - result["auc_control"].mean()
    if "untrained" in reached:
        result["auc_untrained"] = ("twin", np.array(reached["untrained"]))
    if "input" in reached:
        result["auc_input"] = reached["input"][0]
    return result


def _sentence(result: xr.Dataset) -> str:
    attrs = result.attrs
    live = result.sizes["neuron"] - attrs["n_dead"]
    positives = f", {attrs['n_positive']} positive" if "n_positive" in attrs else ""
    within = (
        f"compared within each {attrs['strata']}" if attrs["strata"] != "none" else "not stratified"
    )
    if attrs["n_compared"] < attrs["n"]:
        within += f"; the {attrs['n_compared']} that meet the other kind in their fold decide"
    if attrs["groups"] != "none":
        within += (
            f"; interval from resamples of {attrs['n_groups']} whole groups, {attrs['groups']}"
        )
    in_all = int((result["selected"] == 1).sum())
    parts = [
        f"A sparse score of {attrs['n_selected']:.0f} of {live} neurons (median over "
        f"{attrs['n_folds']} folds; {in_all} of them in every fold) tells {attrs['signal']} with "
        f"{attrs['statistic']} {_range(result)} on samples that it was not fitted to "
        f"(n = {attrs['n']}{positives}; {within})."
    ]
    parts += [_beside(result)] if attrs["controls"] else []
    parts += [f"Control missing: {reason}." for reason in attrs["controls_missing"]]
    parts.append(
        "That such a score exists does not mean that the model uses it, nor that the neurons left "
        "out tell less."
    )
    return " ".join(parts)


def _beside(result: xr.Dataset) -> str:
    """What the controls reach, and above which of them the whole interval lies."""
    shown, largest, error = [], {}, _standard_error(result)
    if "auc_control" in result:
        mean = float(result["auc_control"].mean())
        largest["the control task"] = float(result["auc_control"].max())
        moved = "" if result.attrs["groups"] == "none" else " in whole groups"
        draws = result.sizes["draw"]
        counted = f"{draws} draws, mean" if draws > 1 else "1 draw"
        shown.append(f"{rounded(mean, error)} on the signal permuted{moved} ({counted})")
    if "auc_untrained" in result:
        largest["the untrained twins"] = float(result["auc_untrained"].max())
        twins = result.sizes["twin"]
        best = rounded(largest["the untrained twins"], error)
        shown.append(f"{best} on the best of {twins} untrained twin" + ("s" if twins > 1 else ""))
    if "auc_input" in result:
        largest["the raw input"] = float(result["auc_input"])
        shown.append(f"{rounded(largest['the raw input'], error)} on the raw input")
    not_above = [name for name, reached in largest.items() if result["auc_low"] <= reached]
    verdict = (
        f"Its interval does not lie above {' or '.join(not_above)}."
        if not_above
        else "Its interval lies above them."
    )
    return f"The same procedure reaches {', '.join(shown)}. {verdict}"


def _range(result: xr.Dataset) -> str:
    error = _standard_error(result)
    auc, low, high = (rounded(float(result[x]), error) for x in ("auc", "auc_low", "auc_high"))
    return f"{auc} [{low}, {high}]"


def _standard_error(result: xr.Dataset) -> float:
    return float(result["auc_high"] - result["auc_low"]) / (2 * 1.96)


def _check_arguments(chosen: list[str], n_folds: int, draws: int) -> None:
    for control in chosen:
        if control not in CONTROLS:
            raise ValueError(unknown("control", control, CONTROLS))
    if n_folds < 2:
        raise ValueError(f"n_folds is {n_folds}; expected at least 2")
    if draws < 1:
        raise ValueError(f"draws is {draws}; expected at least 1 (controls= leaves them out)")


def _of_layers(recording: xr.Dataset, layers: str | Sequence[str] | None) -> xr.Dataset:
    if layers is None:
        return recording
    of_neuron = recording.indexes["neuron"].get_level_values("layer")
    names = list(of_neuron.unique())
    wanted: set[str] = set()
    for pattern in [layers] if isinstance(layers, str) else layers:
        found = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise ValueError(unknown("layer", pattern, names))
        wanted.update(found)
    return recording.isel(neuron=np.flatnonzero(of_neuron.isin(wanted)))


def _counts(signal: np.ndarray, strata: np.ndarray | None) -> dict[str, int]:
    design = make_design(signal, strata)
    counts = {"n": design.n, "n_informative": design.n_informative}
    if design.n_positive is not None:
        counts["n_positive"] = design.n_positive
        counts["n_positive_informative"] = int(design.n_positive_informative or 0)
    return counts


def _check_enough(task: Task, counts: dict[str, int], n_folds: int) -> None:
    needed = _FEWEST * n_folds
    n, positives = counts["n"], counts.get("n_positive")
    said = f"cannot be decided, n = {n}" + ("" if positives is None else f", {positives} positive")
    inside = counts["n_informative"]
    if task.binary:
        inside = min(counts["n_positive_informative"], inside - counts["n_positive_informative"])
    if inside < needed:
        what = "samples of one kind" if task.binary else "samples"
        raise ValueError(
            f"{said}: {inside} {what} in strata where the signal differs; expected at least "
            f"{needed} for {n_folds} folds"
        )
    if task.groups is None:
        return
    kinds = [task.signal == 1, task.signal == 0] if task.binary else [np.ones(n, dtype=bool)]
    fewest = min(len(np.unique(task.groups[kind])) for kind in kinds)
    if fewest < needed:
        raise ValueError(
            f"{said}: {fewest} groups hold samples of one kind; expected at least {needed} for "
            f"{n_folds} folds"
        )


def _alive(features: xr.DataArray) -> np.ndarray:
    """Places of the features that vary and are finite throughout."""
    alive = [
        np.isfinite(block).all(axis=1) & (block != block[:, :1]).any(axis=1)
        for block in neuron_blocks(features)
    ]
    return np.flatnonzero(np.concatenate(alive))
