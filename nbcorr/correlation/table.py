"""The table people read: the strongest correlates with their controls, and one honest sentence."""

from __future__ import annotations

import html
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.correlation.controls import folded
from nbcorr.correlation.sentence import sentence
from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label
from nbcorr.recording.arrays import over_neurons

# What "strongest" means, largest first.
ORDERS: dict[str, Callable[[xr.Dataset], np.ndarray]] = {
    "auc": lambda c: folded(c["auc"].values),
    "rho": lambda c: np.abs(c["rho"].values),
    "q": lambda c: -c["q"].values,
    "excess": lambda c: c["excess"].values,
    "auc_selection": lambda c: folded(c["auc_selection"].values),
    "rho_partial": lambda c: np.abs(c["rho_partial"].values),
    "pearson": lambda c: np.abs(c["pearson"].values),
}


def top(correlates: xr.Dataset, n: int = 20, by: str | None = None) -> Table:
    """The n strongest correlates as a table.

    Parameters
    ----------
    correlates : xarray.Dataset
        As ``nc.correlate`` makes it; of several signals, the strongest pairs of neuron and signal
        (``correlates.sel(signal=...)`` for one of them).
    n : int
        How many rows.
    by : {"auc_selection", "auc", "rho", "rho_partial", "pearson", "q", "excess"}, optional
        By distance from .5 of the AUC in the half used for selection, so that the held-out AUC
        beside it is free of the choice (the default where there are halves), by that of the whole
        AUC (the default where there are none), by ``|rho|``, ``|rho_partial|`` or ``|pearson|``,
        by smallest q, or by excess over the untrained twins. In all but the first the held-out
        AUC has had a part in the choice.

    Returns
    -------
    Table
        Prints as text, shows as HTML in a notebook; ``.neurons`` is the part of ``correlates`` it
        shows, ``.to_dataframe()`` its unrounded numbers, ``.sentence`` what stands under it.

    Raises
    ------
    ValueError
        If the order does not exist or its control was not computed.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n is {n}; expected at least 1, a whole number")
    correlates = over_neurons(correlates)
    if by is None:
        by = "auc_selection" if "auc_selection" in correlates else "auc"
    if by not in ORDERS:
        raise ValueError(unknown("order", by, ORDERS))
    if by not in correlates:
        reasons = "; ".join(correlates.attrs.get("controls_missing", []))
        raise ValueError(f"the correlates have no {by!r}{': ' + reasons if reasons else ''}")
    said = sentence(correlates)
    if "signal" in correlates.dims:
        correlates = _pairs(correlates)
    strength = ORDERS[by](correlates)
    order = np.argsort(-strength, kind="stable")
    alive = order[~np.isnan(strength[order])]
    return Table(correlates.isel(neuron=alive[:n]).assign_attrs(sentence=said))


def _pairs(correlates: xr.Dataset) -> xr.Dataset:
    """Every neuron once for each signal, with the signal as a coordinate of the neuron."""
    over_signals = [name for name, column in correlates.items() if column.dims == ("signal",)]
    each = []
    for signal in correlates["signal"].values:
        one = correlates.drop_vars(over_signals).sel(signal=signal, drop=True)
        each.append(one.assign_coords(signal=("neuron", [str(signal)] * one.sizes["neuron"])))
    return xr.concat(each, dim="neuron")


class Table:
    """Correlates as people read them; the numbers are in ``neurons``."""

    def __init__(self, neurons: xr.Dataset):
        self.neurons = neurons

    @property
    def sentence(self) -> str:
        """What was tested, how many, which correction, which controls."""
        return self.neurons.attrs.get("sentence", "")

    def to_dataframe(self) -> pd.DataFrame:
        """The unrounded numbers, one row a neuron."""
        return self.neurons.to_dataframe()

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows as text, no number finer than its standard error supports."""
        present = [
            (title, cell)
            for title, need, cell in _COLUMNS
            if need in self.neurons and self.neurons[need].ndim
        ]
        frame = self.neurons.reset_index("neuron").to_dataframe().to_dict("records")
        n = self.neurons.attrs.get("n", math.inf)
        frame = [{**row, "rho_error": 1 / math.sqrt(max(1, n - 1))} for row in frame]
        return [t for t, _ in present], [[cell(row) for _, cell in present] for row in frame]

    def __repr__(self) -> str:
        header, rows = self.rows()
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(
                text.ljust(w) if i == 0 else text.rjust(w)
                for i, (text, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in [header, *rows]
        ]
        return "\n".join([*lines, "", self.sentence])

    def _repr_html_(self) -> str:
        header, rows = self.rows()
        head = "".join(f"<th>{html.escape(text)}</th>" for text in header)
        body = "".join(
            "<tr>"
            + f'<th scope="row" style="text-align:left">{html.escape(row[0])}</th>'
            + "".join(f"<td>{html.escape(text)}</td>" for text in row[1:])
            + "</tr>"
            for row in rows
        )
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f'<p style="max-width:72ch">{html.escape(self.sentence)}</p>'
        )


def rounded(value: float, error: float) -> str:
    """A number with no more decimals than its standard error supports (two digits of it)."""
    if not math.isfinite(value):
        return "–"
    if not math.isfinite(error) or error <= 0:
        return f"{value:.2f}"
    decimals = min(4, max(1, 1 - math.floor(math.log10(error)) - 1))
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # no -0.0


def rounded_p(value: float) -> str:
    """A p or q with one digit below .1, two above; never 0."""
    if not math.isfinite(value):
        return "–"
    if value < 1e-300:
        return "<1e-300"
    if value < 0.001:
        return f"{value:.0e}"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _standard_error(row: dict) -> float:
    return (row["auc_high"] - row["auc_low"]) / (2 * 1.96)


def _auc(row: dict) -> str:
    error = _standard_error(row)
    low, high = rounded(row["auc_low"], error), rounded(row["auc_high"], error)
    return f"{rounded(row['auc'], error)} [{low}, {high}]"


def _halves(row: dict) -> str:
    error = _standard_error(row) * math.sqrt(2)
    return f"{rounded(row['auc_selection'], error)} → {rounded(row['auc_heldout'], error)}"


def _untrained(row: dict) -> str:
    error, reached = _standard_error(row), row["auc_untrained"]
    mark = "outside" if row["excess"] > 0 else "inside"
    return f"{mark} {rounded(1 - reached, error)}–{rounded(reached, error)}"


def _raw_input(row: dict) -> str:
    mark = "beyond" if row["excess_input"] > 0 else "within"
    return f"{mark} {rounded(row['auc_input'], _standard_error(row))}"


def _rho(row: dict) -> str:
    error = row["rho_error"]
    return f"{rounded(row['rho'], error)} of {rounded(row['rho_max'], error)}"


def _partial(row: dict) -> str:
    return f"{rounded(row['rho_partial'], row['rho_error'])} (q {rounded_p(row['q_partial'])})"


_COLUMNS: list[tuple[str, str, Callable[[dict], str]]] = [
    ("neuron", "auc", lambda r: neuron_label(r["layer"], r["unit"])),
    ("signal", "signal", lambda r: r["signal"]),
    ("AUC [95 %]", "auc", _auc),
    ("q", "q", lambda r: rounded_p(r["q"])),
    ("p family-wise", "p_familywise", lambda r: rounded_p(r["p_familywise"])),
    ("rho beyond covariates", "q_partial", _partial),
    ("half → held out", "auc_heldout", _halves),
    ("replicated", "replicated", lambda r: "yes" if r["replicated"] else "no"),
    ("untrained twins", "excess", _untrained),
    ("best input", "excess_input", _raw_input),
    ("group", "cluster", lambda r: f"{r['cluster']:.0f}" if r["cluster"] > 0 else "–"),
    ("rho of max", "rho", _rho),
    ("Pearson r", "pearson", lambda r: rounded(r["pearson"], r["rho_error"])),
    ("zeros", "zeros", lambda r: f"{100 * r['zeros']:.0f} %"),
]
