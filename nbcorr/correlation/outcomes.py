"""Where A and B are right and wrong: the 2x2 table, and the signal made of it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nbcorr.recording.arrays import with_relative_performance
from nbcorr.stats.outcomes import mcnemar

CELLS = ("both right", "only A", "only B", "neither")
_NEEDED = ("label", "prediction", "baseline")


def relative_performance(recording: xr.Dataset) -> xr.DataArray:
    """1 where the model is right and the baseline wrong, else 0.

    Parameters
    ----------
    recording : xarray.Dataset
        With ``label``, ``prediction`` and ``baseline`` on ``sample``.

    Returns
    -------
    xarray.DataArray, int8, over ``sample``

    Raises
    ------
    ValueError
        If one of the three is missing, or there is no sample that only the model gets right.

    References
    ----------
    "Neural correlates of hidden mental models" (hut, 2018/2020), the signal of the algorithm.
    """
    _check_answers(recording)
    recording = with_relative_performance(recording)
    if "relative_performance" not in recording.coords:
        raise ValueError(
            "label, prediction and baseline are not all text or all numbers; expected one kind"
        )
    signal = recording["relative_performance"]
    if not signal.any():
        table = outcomes(recording)
        raise ValueError(
            "no sample where only the model is right: there is nothing to correlate with "
            f"(both right {_cell(table, 'right', 'right')}, "
            f"only the baseline {_cell(table, 'wrong', 'right')}, "
            f"neither {_cell(table, 'wrong', 'wrong')} of {table.attrs['n']})"
        )
    return signal


def outcomes(recording: xr.Dataset) -> xr.Dataset:
    """The four cells: both right, only the model, only the baseline, neither.

    Parameters
    ----------
    recording : xarray.Dataset
        With ``label``, ``prediction`` and ``baseline`` on ``sample``.

    Returns
    -------
    xarray.Dataset
        ``count(model_outcome, baseline_outcome)``, each "right" or "wrong"; in attrs ``n``,
        ``model_accuracy``, ``baseline_accuracy`` and ``mcnemar_p``, the exact two-sided McNemar
        test of whether the two are right equally often (McNemar 1947).

    Raises
    ------
    ValueError
        If one of the three is missing.
    """
    _check_answers(recording)
    label = recording["label"].values
    a = recording["prediction"].values == label
    b = recording["baseline"].values == label
    count = np.array(
        [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
    )
    return xr.Dataset(
        {"count": (("model_outcome", "baseline_outcome"), count)},
        coords={"model_outcome": ["right", "wrong"], "baseline_outcome": ["right", "wrong"]},
        attrs={
            "n": len(label),
            "model_accuracy": float(a.mean()),
            "baseline_accuracy": float(b.mean()),
            "mcnemar_p": float(mcnemar(int(count[0, 1]), int(count[1, 0]))),
        },
    )


def cells(recording: xr.Dataset) -> xr.DataArray:
    """The cell of the 2x2 table each sample falls in.

    Returns
    -------
    xarray.DataArray of str over ``sample``
        One of ``CELLS``.

    Raises
    ------
    ValueError
        If label, prediction or baseline is missing.
    """
    _check_answers(recording)
    label = recording["label"].values
    wrong_a = (recording["prediction"].values != label).astype(int)
    wrong_b = (recording["baseline"].values != label).astype(int)
    names = np.array(CELLS)[2 * wrong_a + wrong_b]
    return xr.DataArray(names, dims="sample", coords={"sample": recording["sample"].values})


def _check_answers(recording: xr.Dataset) -> None:
    missing = [name for name in _NEEDED if name not in recording.coords]
    if missing:
        raise ValueError(
            f"the recording has no {', no '.join(missing)}; expected label, prediction and "
            "baseline on every sample (nc.record with labelled data and baseline=)"
        )
    label, prediction = recording["label"], recording["prediction"]
    if (label.dtype.kind in "OUS") != (prediction.dtype.kind in "OUS"):
        raise ValueError(
            f"label is {label.values[0]!r} and prediction {prediction.values[0]!r}: text and class "
            "numbers cannot be compared; expected labels as the numbers the model predicts"
        )


def _cell(table: xr.Dataset, model: str, baseline: str) -> int:
    return int(table["count"].sel(model_outcome=model, baseline_outcome=baseline))
