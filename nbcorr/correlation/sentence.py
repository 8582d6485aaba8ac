"""The honest sentence under a table of correlates."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nbcorr.correlation.ladder import LEVEL
from nbcorr.correlation.reading import count_of, signal_of

_FEW = 20
# Of more signals than this, only those with the most neurons are told one by one.
_SIGNALS = 6

_CORRECTIONS = {"bh": "Benjamini-Hochberg", "by": "Benjamini-Yekutieli"}


def sentence(correlates: xr.Dataset) -> str:
    """What was tested, on how much, with which correction, and which controls it passed.

    Parameters
    ----------
    correlates : xarray.Dataset
        As ``nc.correlate`` makes it, of one signal or of several, or some of its neurons.
    """
    each = [correlates]
    if "signal" in correlates.dims:
        each = [correlates.isel(signal=i) for i in range(correlates.sizes["signal"])]
    parts = [_tested(correlates, each), _answers(correlates.attrs), *_findings(each)]
    missing = correlates.attrs.get("controls_missing", [])
    parts += [f"Control missing: {reason}." for reason in missing]
    parts.append("An association is not yet use: switch the neurons off to see.")
    return " ".join(filter(None, parts))


def _tested(correlates: xr.Dataset, each: list[xr.Dataset]) -> str:
    attrs = correlates.attrs
    shown, tested = correlates.sizes["neuron"], attrs.get("n_neurons", correlates.sizes["neuron"])
    live = tested - attrs["n_dead"]
    dead = f" (and {attrs['n_dead']} dead, left out)" if attrs["n_dead"] else ""
    layers = len(correlates.indexes["neuron"].get_level_values("layer").unique())
    of = f" of {_count(layers, 'layer')}" if shown == tested else f", {shown} of them here,"
    signal, positives, deciding = f"{len(each)} signals ({attrs.get('n_tests')} tests)", "", ""
    if len(each) == 1:
        signal, positives, deciding = signal_of(each[0]), _positives(each[0]), _deciding(each[0])
    within = f", compared within each {attrs['strata']}"
    return (
        f"{_count(live, 'neuron')}{dead}{of} {'was' if live == 1 else 'were'} tested against "
        f"{signal} on {_count(attrs['n'], 'sample')}{positives}"
        f"{within if attrs['strata'] != 'none' else ', not stratified'}{deciding}{_drawn(attrs)}."
    )


def _positives(correlates: xr.Dataset) -> str:
    positive = count_of(correlates, "n_positive")
    return "" if positive is None else f", {positive:.0f} of them positive"


def _deciding(correlates: xr.Dataset) -> str:
    deciding = count_of(correlates, "n_informative")
    if deciding is None or deciding == correlates.attrs["n"]:
        return ""
    return f" (the {deciding:.0f} samples of those with both kinds decide)"


def _drawn(attrs: dict) -> str:
    if attrs.get("groups", "none") == "none":
        return ""
    return f", p by {attrs['groups_method']} ({attrs['n_groups']} groups of {attrs['groups']})"


def _answers(attrs: dict) -> str:
    """The 2x2 table, where the signal comes from it."""
    if "outcomes" not in attrs:
        return ""
    both, only_a, only_b, neither = attrs["outcomes"]
    return (
        f"Both are right on {both}, only the model on {only_a}, only the baseline on {only_b}, "
        f"neither on {neither} (McNemar p {attrs['mcnemar_p']:.1g})."
    )


def _findings(each: list[xr.Dataset]) -> list[str]:
    """What was found for each signal; of many signals, for those with the most neurons."""
    found = [int((one["q"] <= LEVEL).sum()) for one in each]
    most = sorted(range(len(each)), key=lambda i: -found[i])[:_SIGNALS]
    parts = []
    for one in (each[i] for i in sorted(most)):
        several = len(each) > 1
        name = f"{signal_of(one)}{_of_positives(one)}: " if several else ""
        parts.append(name + " ".join(filter(None, [_found(one), _few(one), _out_of_reach(one)])))
    if len(each) > len(most):
        parts.append(f"{found.count(0)} of the {len(each)} signals have no associated neuron.")
    return parts


def _of_positives(correlates: xr.Dataset) -> str:
    positive = count_of(correlates, "n_positive")
    return "" if positive is None else f" ({positive:.0f} positive)"


def _found(correlates: xr.Dataset) -> str:
    attrs = correlates.attrs
    holds = correlates["q"] <= LEVEL
    correction = _CORRECTIONS[attrs.get("correction", "bh")]
    verb = "is" if int(holds.sum()) == 1 else "are"
    clauses = [f"{int(holds.sum())} {verb} associated ({correction}, q ≤ {LEVEL:.2f})"]
    if "cluster" in correlates and holds.sum() > 1:
        clauses[0] += _in_groups(correlates["cluster"].values)
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
        verb = "" if "excess" in correlates else "exceed "
        clauses.append(f"{int(holds.sum())} of those {verb}every raw input feature")
    return ", ".join(clauses) + "."


def _in_groups(cluster: np.ndarray) -> str:
    found = len(np.unique(cluster[cluster > 0]))
    strongest = f" (of the {int((cluster > 0).sum())} strongest)" if (cluster < 0).any() else ""
    return f" in {_count(found, 'group')} of similar activation{strongest}"


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
    attrs = correlates.attrs
    smallest, tests = count_of(correlates, "p_smallest"), attrs.get("n_tests", 0)
    # Benjamini and Yekutieli's price of any dependence.
    price = float(np.sum(1 / np.arange(1, tests + 1))) if attrs.get("correction") == "by" else 1
    if smallest is None or smallest * tests * price <= LEVEL:
        return ""
    counted = attrs.get("groups", "none") != "none"
    limit = f"with {attrs['permutations']:,} draws " if counted else ""
    return (
        f"No neuron can reach q ≤ {LEVEL:.2f} alone among {tests} tests, however well it tells the "
        f"samples apart: {limit}the smallest possible p is {smallest:.2g}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
