"""The honest sentence under a table of correlates."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nbcorr.correlation.ladder import LEVEL
from nbcorr.correlation.reading import count_of, signal_of

_FEW = 20

_CORRECTIONS = {"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}


def sentence(correlates: xr.Dataset) -> str:
    """What was tested, on how much, with which correction, and which controls it passed.

    Parameters
    ----------
    correlates : xarray.Dataset
        As ``nc.correlate`` makes it, of one signal or of several.
    """
    each = [correlates]
    if "signal" in correlates.dims:
        each = [correlates.isel(signal=i) for i in range(correlates.sizes["signal"])]
    parts = [_tested(correlates, each)]
    for one in each:
        name = f"{one['signal'].item()}: " if len(each) > 1 or "signal" in one.coords else ""
        parts.append(name + " ".join(filter(None, [_found(one), _few(one), _out_of_reach(one)])))
    missing = correlates.attrs.get("controls_missing", [])
    parts += [f"Control missing: {reason}." for reason in missing]
    parts.append("An association is not yet use: switch the neurons off to see.")
    return " ".join(parts)


def _tested(correlates: xr.Dataset, each: list[xr.Dataset]) -> str:
    attrs = correlates.attrs
    live = correlates.sizes["neuron"] - attrs["n_dead"]
    dead = f" (and {attrs['n_dead']} dead, left out)" if attrs["n_dead"] else ""
    layers = len(correlates.indexes["neuron"].get_level_values("layer").unique())
    if len(each) == 1:
        signal = signal_of(each[0])
    else:
        signal = f"{len(each)} signals, all {live * len(each):,} tests counted together,"
    within = f", compared within each {attrs['strata']}"
    return (
        f"{live} neurons{dead} of {_count(layers, 'layer')} were tested against "
        f"{signal} on {attrs['n']} samples{_positives(each[0]) if len(each) == 1 else ''}"
        f"{within if attrs['strata'] != 'none' else ', not stratified'}"
        f"{_deciding(each[0]) if len(each) == 1 else ''}{_grouped(attrs)}."
    )


def _positives(correlates: xr.Dataset) -> str:
    positive = count_of(correlates, "n_positive")
    return "" if positive is None else f", {positive:.0f} of them positive"


def _deciding(correlates: xr.Dataset) -> str:
    deciding = count_of(correlates, "n_informative")
    if deciding is None or deciding == correlates.attrs["n"]:
        return ""
    return f" (the {deciding:.0f} samples of those with both kinds decide)"


def _grouped(attrs: dict) -> str:
    if attrs.get("groups", "none") == "none":
        return ""
    return f", and permuted only as {_count(attrs['n_groups'], 'whole group')} ({attrs['groups']})"


def _found(correlates: xr.Dataset) -> str:
    attrs = correlates.attrs
    holds = correlates["q"] <= LEVEL
    correction = _CORRECTIONS[attrs.get("correction", "bh")]
    clauses = [f"{int(holds.sum())} are associated ({correction}, q ≤ {LEVEL:.2f})"]
    if "cluster" in correlates and holds.sum() > 1:
        groups = len(np.unique(correlates["cluster"].values[holds.values]))
        clauses[0] += f" in {_count(groups, 'group')} of similar activation"
    if "q_partial" in correlates:
        holds = holds & (correlates["q_partial"] <= LEVEL)
        held = " and ".join(attrs["covariates"])
        clauses.append(f"{int(holds.sum())} of them also with {held} held fixed")
    if "replicated" in correlates:
        holds = holds & correlates["replicated"].astype(bool)
        clauses.append(f"{int(holds.sum())} of them replicate in the held-out half")
    if "excess" in correlates:
        holds = holds & (correlates["excess"] > 0)
        twins = _count(attrs["n_twins"], "untrained twin")
        clauses.append(f"{int(holds.sum())} of those exceed every unit of their layer in {twins}")
    if "excess_input" in correlates:
        holds = holds & (correlates["excess_input"] > 0)
        clauses.append(f"{int(holds.sum())} of those every raw input feature")
    return ", ".join(clauses) + "."


def _few(correlates: xr.Dataset) -> str:
    positives = count_of(correlates, "n_positive")
    if positives is None:
        return ""
    fewer = min(positives, correlates.attrs["n"] - positives)
    if fewer >= _FEW:
        return ""
    return f"With only {fewer:.0f} samples of one kind, little can be told: intervals are wide."


def _out_of_reach(correlates: xr.Dataset) -> str:
    """That even a perfect neuron, found alone, would not reach q."""
    smallest = count_of(correlates, "p_smallest")
    tests = int(correlates["p"].notnull().sum())
    if smallest is None or smallest * tests <= LEVEL:
        return ""
    return (
        f"No neuron can reach q ≤ {LEVEL:.2f} alone among {tests} here, however well it tells the "
        f"samples apart: the smallest possible p is {smallest:.2g}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
