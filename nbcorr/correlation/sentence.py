"""The honest sentence under a table of correlates."""

from __future__ import annotations

import xarray as xr

from nbcorr.correlation.ladder import LEVEL

_FEW = 20


def sentence(correlates: xr.Dataset) -> str:
    """What was tested, on how much, with which correction, and which controls it passed.

    Parameters
    ----------
    correlates : xarray.Dataset
        As ``nc.correlate`` makes it.
    """
    parts = [_tested(correlates), _found(correlates)]
    parts += [_few(correlates)] if _few(correlates) else []
    missing = correlates.attrs.get("controls_missing", [])
    parts += [f"Control missing: {reason}." for reason in missing]
    parts.append("An association is not yet use: switch the neurons off to see.")
    return " ".join(parts)


def _tested(correlates: xr.Dataset) -> str:
    attrs = correlates.attrs
    live = correlates.sizes["neuron"] - attrs["n_dead"]
    dead = f" (and {attrs['n_dead']} dead, left out)" if attrs["n_dead"] else ""
    layers = len(correlates.indexes["neuron"].get_level_values("layer").unique())
    positives = f", {attrs['n_positive']} of them positive" if "n_positive" in attrs else ""
    stratified = attrs["strata"] != "none"
    within = f", compared within each {attrs['strata']}" if stratified else ", not stratified"
    deciding = attrs.get("n_informative", attrs["n"])
    if deciding < attrs["n"]:
        within += f" (the {deciding} samples of those with both kinds decide)"
    return (
        f"{live} neurons{dead} of {_count(layers, 'layer')} were tested against "
        f"{attrs['signal']} on {attrs['n']} samples{positives}{within}."
    )


def _found(correlates: xr.Dataset) -> str:
    associated = correlates["q"] <= LEVEL
    clauses = [f"{int(associated.sum())} are associated (Benjamini-Hochberg, q ≤ {LEVEL:.2f})"]
    holds = associated
    if "replicated" in correlates:
        holds = holds & correlates["replicated"]
        clauses.append(f"{int(holds.sum())} of them replicate in the held-out half")
    if "excess" in correlates:
        holds = holds & (correlates["excess"] > 0)
        twins = _count(correlates.attrs["n_twins"], "untrained twin")
        clauses.append(f"{int(holds.sum())} of those exceed every unit of their layer in {twins}")
    return ", ".join(clauses) + "."


def _few(correlates: xr.Dataset) -> str:
    positives = correlates.attrs.get("n_positive")
    if positives is None:
        return ""
    fewer = min(positives, correlates.attrs["n"] - positives)
    if fewer >= _FEW:
        return ""
    return f"With only {fewer} samples of one kind, little can be told: intervals are wide."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
