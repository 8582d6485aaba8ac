"""One self-contained HTML page: the neurons, their controls, and what they see.

The page reaches for nothing outside itself (its Content-Security-Policy forbids it), carries its
numbers as JSON, and its script, written in js/widgets/ and built into nbcorr/static/, puts every
string it was given into the page as text.
"""

from __future__ import annotations

import html
import json
import os
import re
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.correlation.ladder import LEVEL, ladder
from nbcorr.correlation.outcomes import CELLS, cells, outcomes
from nbcorr.correlation.reading import count_of, signal_of
from nbcorr.notebook import pictures
from nbcorr.recording.arrays import over_neurons

#: Numbers of `correlates` the page cannot do without, and those it shows as dashes when absent.
NEEDED = ("auc", "rho", "q", "q_unstratified")
COLUMNS = (
    "auc",
    "auc_low",
    "auc_high",
    "rho",
    "rho_max",
    "p",
    "q",
    "auc_selection",
    "auc_heldout",
    "auc_untrained",
    "excess",
    "auc_input",
    "excess_input",
    "rho_partial",
    "q_partial",
    "zeros",
    "dead",
)
#: The rungs of `nbcorr.correlation.ladder`: name, what it asks, and the control it comes from.
STEPS = (
    ("associated", "Associated", f"plain Spearman correlation, q at most {LEVEL}", ""),
    ("stratified", "Within class", f"q at most {LEVEL} within each {{strata}}", "strata"),
    (
        "beyond_covariates",
        "Beyond covariates",
        f"q at most {LEVEL} with {{covariates}} held fixed",
        "",
    ),
    (
        "replicated",
        "Replicated",
        "found in one half of the samples, holds in the other",
        "replication",
    ),
    (
        "beyond_untrained",
        "Beyond untrained",
        "stronger than every unit of its layer in every untrained twin",
        "untrained",
    ),
    ("beyond_input", "Beyond the input", "stronger than every raw input feature", "input"),
)
#: The cells of the 2x2 table as the page names them.
GROUPS = dict(
    zip(
        CELLS,
        [
            ("both", "both right"),
            ("only_a", "only A right"),
            ("only_b", "only B right"),
            ("neither", "neither right"),
        ],
        strict=True,
    )
)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: Neurons whose activation is summed up per cell of the 2x2 table: the strongest ones.
MAX_STRIPS = 2000
MAX_EXEMPLARS = 15
EXEMPLAR_SIDE = 96
VISUALIZATION_SIDE = 224
TITLE = "Neurons that know what the baseline does not"


def report(
    path: str | os.PathLike[str],
    recording: xr.Dataset,
    correlates: xr.Dataset,
    *,
    exemplars: xr.Dataset | None = None,
    visualizations: xr.Dataset | None = None,
    title: str = TITLE,
) -> Path:
    """Write one self-contained, interactive HTML page about a model's neurons.

    Parameters
    ----------
    path : path-like
        Where the page goes; it is replaced in one step, never left half written.
    recording : xarray.Dataset
        ``activation(sample, neuron)``; with ``label``, ``prediction`` and ``baseline`` the page
        opens with the 2x2 table of both systems' answers and splits activations by its cells.
    correlates : xarray.Dataset
        What `nbcorr.correlate` returns, on ``neuron``.
    exemplars, visualizations : xarray.Dataset, optional
        What `nbcorr.exemplars` and `nbcorr.visualize` return, for any of these neurons.
    title : str

    Returns
    -------
    pathlib.Path
        The page.

    Raises
    ------
    ValueError
        If the correlates lack their statistics, are of several signals, or of neurons that the
        recording does not hold.
    FileNotFoundError
        If the folder to write into does not exist.
    """
    data = payload(
        recording, correlates, exemplars=exemplars, visualizations=visualizations, title=title
    )
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(target.parent)!r} to write the page into")
    _write_in_one_step(target, page(data).encode("utf-8", "replace"))
    return target


def page(data: dict[str, Any]) -> str:
    """The page around a `payload`: template, style, script and the data as JSON."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "title": html.escape(data["title"]),
        "style": _static("report.css"),
        "data": text,
        "script": _static("report.js"),
    }
    return re.sub(
        r"\{\{(title|style|data|script)\}\}",
        lambda match: parts[match.group(1)],
        _static("report.html"),
    )


def payload(
    recording: xr.Dataset,
    correlates: xr.Dataset,
    *,
    exemplars: xr.Dataset | None = None,
    visualizations: xr.Dataset | None = None,
    title: str = TITLE,
) -> dict[str, Any]:
    """All the page shows, as plain lists, numbers and strings (NaN is None).

    Returns
    -------
    dict
        ``title``, ``sentence``, ``facts`` (pairs of name and text), ``signal``, ``missing``
        (reasons that belong to no step), ``outcomes`` (the 2x2 table, or None), ``layers``,
        ``neurons`` (columns), ``steps`` (the controls, each with its state per neuron: 1 passed,
        0 not, None unknown), ``groups`` and ``strips`` (quantiles of the activation per group),
        ``images`` and ``cards`` (by row of ``neurons``).
    """
    signal = signal_of(correlates)
    recording, correlates = over_neurons(recording), over_neurons(correlates)
    absent = [name for name in NEEDED if name not in correlates]
    if absent:
        raise ValueError(
            f"the correlates have no {', no '.join(absent)}; expected what nc.correlate returns"
        )
    places = _places(recording, correlates)
    pairs = [(str(layer), int(unit)) for layer, unit in correlates["neuron"].values]
    layers = list(dict.fromkeys(layer for layer, _ in pairs))
    columns = {name: _column(correlates, name) for name in COLUMNS}
    groups = _groups(recording)
    known = [control for *_, control in STEPS]
    images: dict[str, int] = {}
    return {
        "title": title,
        "sentence": str(correlates.attrs.get("sentence", "")),
        "facts": _facts(recording, correlates),
        "signal": signal,
        "missing": [text for control, text in _reasons(correlates) if control not in known],
        "outcomes": _two_by_two(recording),
        "layers": layers,
        "neurons": {
            "layer": [layers.index(layer) for layer, _ in pairs],
            "unit": [unit for _, unit in pairs],
            **{name: _numbers(values) for name, values in columns.items()},
        },
        "steps": _steps(correlates, np.isfinite(columns["auc"])),
        "groups": [{"key": key, "label": label, "n": int(m.sum())} for key, label, m in groups],
        "strips": _strips(recording, places, columns["auc"], [mask for _, _, mask in groups]),
        "cards": _cards(pairs, exemplars, visualizations, images),
        "images": list(images),
    }


def _places(recording: xr.Dataset, correlates: xr.Dataset) -> np.ndarray:
    """Where each neuron of the correlates stands in the recording."""
    wanted = correlates.indexes["neuron"]
    places = recording.indexes["neuron"].get_indexer(wanted)
    if (places < 0).any():
        layer, unit = wanted[int(np.argmin(places))]
        raise ValueError(
            f"{int((places < 0).sum())} neurons of the correlates are not in the recording, "
            f"the first is {layer}:{unit}; expected correlates of this recording"
        )
    return np.asarray(places)


def _column(correlates: xr.Dataset, name: str) -> np.ndarray:
    if name not in correlates:
        return np.full(correlates.sizes["neuron"], np.nan)
    return np.asarray(correlates[name].values, dtype=np.float64)


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Five significant digits, which is more than any of these numbers supports."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]


def _facts(recording: xr.Dataset, correlates: xr.Dataset) -> list[list[str]]:
    attrs = {**recording.attrs, **correlates.attrs, "signal": signal_of(correlates)}
    counts = {name: count_of(correlates, name) for name in ("n_positive", "n_groups")}
    attrs |= {name: f"{count:.0f}" for name, count in counts.items() if count is not None}
    names = {
        "model": "Model",
        "signal": "Signal",
        "n": "Samples",
        "n_positive": "Only A right",
        "n_twins": "Untrained twins",
        "strata": "Within",
        "n_groups": "Groups of samples",
        "pool": "Pooling",
        "seed": "Seed",
        "nbcorr_version": "nbcorr",
    }
    if attrs["signal"] != "relative_performance":
        names["n_positive"] = "Positive"
    return [[label, str(attrs[key])] for key, label in names.items() if key in attrs]


def _has_answers(recording: xr.Dataset) -> bool:
    return {"label", "prediction", "baseline"} <= set(recording.coords)


def _groups(recording: xr.Dataset) -> list[tuple[str, str, np.ndarray]]:
    """Key, name and samples of the cells that activations are split by."""
    if _has_answers(recording):
        cell = cells(recording).values
        return [(key, label, cell == name) for name, (key, label) in GROUPS.items()]
    if "relative_performance" in recording.coords:
        positive = recording["relative_performance"].values > 0
        return [("only_a", "only A right", positive), ("rest", "the rest", ~positive)]
    return [("all", "all samples", np.ones(recording.sizes["sample"], dtype=bool))]


def _two_by_two(recording: xr.Dataset) -> dict[str, float] | None:
    if not _has_answers(recording):
        return None
    table = outcomes(recording)
    counts = table["count"].values.ravel()
    named = {key: int(n) for (key, _), n in zip(GROUPS.values(), counts, strict=True)}
    return {**named, "mcnemar_p": float(table.attrs["mcnemar_p"])}


def _steps(correlates: xr.Dataset, live: np.ndarray) -> list[dict[str, Any]]:
    """The ladder of controls, each with what it asks and its state for every neuron."""
    passed = ladder(correlates)
    strata = str(correlates.attrs.get("strata", "none"))
    covariates = " and ".join(correlates.attrs.get("covariates", []))
    reasons = dict(_reasons(correlates))
    steps = []
    for key, label, asks, control in STEPS:
        if key == "beyond_covariates" and key not in passed:
            continue  # a choice of whoever asks, not a control that is missing
        missing, state = None, np.full(live.shape, np.nan)
        if key in passed:
            state = np.where(live, passed[key].values, np.nan)
        elif control == "strata":
            missing = "the correlates are not stratified"
        else:
            missing = reasons.get(control, "not asked for")
        # What is true within every class need not show in the mixture of them.
        gate = key != "associated" or "stratified" not in passed
        steps.append(
            {
                "key": key,
                "label": label,
                "asks": asks.format(strata=strata, covariates=covariates),
                "gate": gate,
                "missing": missing,
                "state": _flags(state),
            }
        )
    return steps


def _reasons(correlates: xr.Dataset) -> list[tuple[str, str]]:
    """Controls that could not be computed, each with why."""
    reasons = [str(reason) for reason in correlates.attrs.get("controls_missing", [])]
    pairs = [reason.partition(": ") for reason in reasons]
    return [(control, why or control) for control, _, why in pairs]


def _flags(values: np.ndarray) -> list[int | None]:
    return [int(value) if np.isfinite(value) else None for value in values]


def _strips(
    recording: xr.Dataset, places: np.ndarray, auc: np.ndarray, masks: list[np.ndarray]
) -> dict[int, list[list[float | None] | None]]:
    """Quantiles of the activation in every group, for the neurons farthest from AUC .5."""
    strength = np.nan_to_num(np.abs(auc - 0.5), nan=-1.0)
    rows = np.sort(np.argsort(-strength, kind="stable")[:MAX_STRIPS])
    chosen = recording["activation"].isel(neuron=places[rows]).transpose("sample", "neuron")
    activation = np.asarray(chosen.values, dtype=np.float32)
    strips: dict[int, list[list[float | None] | None]] = {int(row): [] for row in rows}
    for mask in masks:
        if not mask.any():
            for row in rows:
                strips[int(row)].append(None)
            continue
        quantiles = np.quantile(activation[mask], QUANTILES, axis=0)
        for row, values in zip(rows, quantiles.T, strict=True):
            strips[int(row)].append(_numbers(values))
    return strips


def _cards(
    pairs: list[tuple[str, int]],
    exemplars: xr.Dataset | None,
    visualizations: xr.Dataset | None,
    images: dict[str, int],
) -> dict[int, dict[str, Any]]:
    """What can be seen of a neuron, by its row; the pictures themselves go to ``images`` once."""
    rows = {pair: row for row, pair in enumerate(pairs)}
    cards: dict[int, dict[str, Any]] = {}
    for row, one in _by_row(visualizations, rows):
        image = pictures.thumbnail_uri(one["image"].values, VISUALIZATION_SIDE)
        reached = {name: _scalar(one, name) for name in ("reached", "reached_fresh")}
        shown = {"image": images.setdefault(image, len(images)), **reached}
        cards[row] = {"visualization": {**shown, "best_exemplar": _scalar(one, "best_exemplar")}}
    for row, one in _by_row(exemplars, rows):
        cards.setdefault(row, {})["exemplars"] = [
            _exemplar(one.isel(rank=rank), images)
            for rank in range(min(one.sizes["rank"], MAX_EXEMPLARS))
        ]
    return cards


def _by_row(
    dataset: xr.Dataset | None, rows: dict[tuple[str, int], int]
) -> Iterable[tuple[int, xr.Dataset]]:
    if dataset is None or "image" not in dataset:
        return
    for place, (layer, unit) in enumerate(dataset["neuron"].values):
        row = rows.get((str(layer), int(unit)))
        if row is not None:
            yield row, dataset.isel(neuron=place)


def _exemplar(one: xr.Dataset, images: dict[str, int]) -> dict[str, Any]:
    image = np.asarray(one["image"].transpose("y", "x", "channel").values)
    uri = pictures.thumbnail_uri(image, EXEMPLAR_SIDE)
    shown: dict[str, Any] = {
        "image": images.setdefault(uri, len(images)),
        "sample": str(one["sample"].values) if "sample" in one else None,
        "activation": _scalar(one, "activation"),
        "mask": None,
    }
    if "mask" in one:
        mask = one["mask"].transpose("y", "x").values
        overlay = pictures.mask_overlay_uri(mask, EXEMPLAR_SIDE, image.shape[2])
        shown["mask"] = images.setdefault(overlay, len(images))
    return shown


def _scalar(one: xr.Dataset, name: str) -> float | None:
    return _numbers([float(one[name].values)])[0] if name in one else None


def _static(name: str) -> str:
    return (resources.files("nbcorr") / "static" / name).read_text(encoding="utf-8")


def _write_in_one_step(target: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
