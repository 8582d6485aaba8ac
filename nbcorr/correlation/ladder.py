"""How far up the ladder of evidence each neuron comes."""

from __future__ import annotations

import xarray as xr

LEVEL = 0.05

RUNGS = {
    "associated": "associated",
    "stratified": "within class",
    "beyond_covariates": "beyond covariates",
    "replicated": "replicated",
    "beyond_untrained": "beyond untrained twins",
    "beyond_input": "beyond the raw input",
}


def ladder(correlates: xr.Dataset) -> xr.Dataset:
    """Which checks each neuron passes, from the weakest to the strongest.

    Parameters
    ----------
    correlates : xarray.Dataset
        As ``nc.correlate`` makes it.

    Returns
    -------
    xarray.Dataset of bool over ``neuron``
        ``associated`` (q_unstratified <= .05), ``stratified`` (q <= .05 within strata),
        ``beyond_covariates`` (q_partial <= .05), ``replicated``, ``beyond_untrained`` (excess > 0)
        and ``beyond_input`` (excess_input > 0); those that were computed only. Each is answered on
        its own: a neuron may miss a rung and pass a later one.
    """
    passed = {"associated": correlates["q_unstratified"] <= LEVEL}
    if correlates.attrs.get("strata", "none") != "none":
        passed["stratified"] = correlates["q"] <= LEVEL
    if "q_partial" in correlates:
        passed["beyond_covariates"] = correlates["q_partial"] <= LEVEL
    if "replicated" in correlates:
        passed["replicated"] = correlates["replicated"].astype(bool)
    for rung, excess in (("beyond_untrained", "excess"), ("beyond_input", "excess_input")):
        if excess in correlates:
            passed[rung] = correlates[excess] > 0
    return xr.Dataset(passed)


def holds(correlates: xr.Dataset) -> xr.DataArray:
    """Whether a neuron passes every check that was computed; bool over ``neuron``."""
    checks = ladder(correlates)
    if "stratified" in checks:
        # What is true within every class need not show in the mixture of them.
        checks = checks.drop_vars("associated")
    return checks.to_array("rung").all("rung")
