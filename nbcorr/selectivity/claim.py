"""Claims that can fail: what is predicted is recorded before the number is computed."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_ONE_SIDED = re.compile(rf"\s*([<>])\s*({_NUMBER})\s*")
_BETWEEN = re.compile(rf"\s*({_NUMBER})\s*(?:\.\.|to)\s*({_NUMBER})\s*")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes
    ----------
    value, low, high : float
    n : int or None
        Replicates it was made from, where it was.
    """

    value: float
    low: float
    high: float
    n: int | None = None

    def __str__(self) -> str:
        of = "" if self.n is None else f", n = {self.n}"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g}{of})"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim, what it predicted, and what came of it.

    Attributes
    ----------
    text, prediction : str
    verdict : {"held", "refuted", "undecided"}
    why : str
        What decided.
    test, control : Estimate
    recorded, computed : str
        When the prediction was recorded and when test and control were there, in UTC.
    """

    text: str
    prediction: str
    verdict: str
    why: str
    test: Estimate
    control: Estimate
    recorded: str
    computed: str

    def __str__(self) -> str:
        return (
            f"{self.verdict.upper()}: {self.text}. Predicted {self.prediction} "
            f"(recorded {self.recorded}); found {self.test}; control {self.control}. {self.why}."
        )

    __repr__ = __str__


def claim(
    text: str,
    *,
    prediction: str,
    test: Callable[[], Any],
    control: Callable[[], Any],
    level: float = 0.95,
    log: str | os.PathLike[str] | None = None,
) -> Claim:
    """State a prediction, then compute the number, and say whether it held.

    The manner that Leavitt & Morcos ask for in *Towards falsifiable interpretability research*
    (2020, arXiv 2010.12016): a prediction that could fail, written down before it is tested, and a
    control that shows what would be found anyway.

    Parameters
    ----------
    text : str
        What is claimed, in words.
    prediction : str
        Where the number will be: ``"> 0"``, ``"< -0.02"``, or ``"-0.01 .. 0.01"``.
    test : callable
        Without arguments; gives the number. It is called only when the prediction has been
        recorded. The number comes with its uncertainty: an array of replicates (seeds, folds: two
        or more, independent), for an interval by Student's t; or ``(value, low, high)``.
    control : callable
        The same for what should not fulfil the prediction: permuted labels, an untrained network,
        random neurons.
    level : float
        Coverage of the intervals made here.
    log : path, optional
        A file to which the prediction is appended as a line of JSON before anything is computed,
        and the verdict after it.

    Returns
    -------
    Claim
        Prints as a sentence. ``held``: all of the test's interval is where it was predicted, and
        the control's is not; ``refuted``: none of it is there; else ``undecided``, and why.

    Raises
    ------
    ValueError
        If the prediction cannot be read, excludes nothing, or a number comes without uncertainty
        or is not finite.
    TypeError
        If test or control is a number already: then nothing was predicted.
    """
    low, high = _region(prediction)
    for name, given in (("test", test), ("control", control)):
        if not callable(given):
            raise TypeError(
                f"{name} is a {type(given).__name__}, there before the prediction; expected a "
                "function that computes it, such as lambda: ..."
            )
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}; expected a coverage between 0 and 1, such as 0.95")
    recorded = _now()
    stated = {"claim": text, "prediction": prediction, "recorded": recorded}
    _append(log, stated)
    found, beside = _estimate("test", test(), level), _estimate("control", control(), level)
    verdict, why = _verdict(low, high, found, beside)
    done = Claim(text, prediction, verdict, why, found, beside, recorded, _now())
    _append(log, {**stated, **dataclasses.asdict(done)})
    return done


def _region(prediction: str) -> tuple[float, float]:
    if one := _ONE_SIDED.fullmatch(prediction):
        bound = float(one[2])
        return (bound, np.inf) if one[1] == ">" else (-np.inf, bound)
    if both := _BETWEEN.fullmatch(prediction):
        low, high = float(both[1]), float(both[2])
        if low < high:
            return low, high
    raise ValueError(
        f"the prediction is {prediction!r}; expected '> 0', '< 0.5' or '-0.1 .. 0.1', which a "
        "number could contradict"
    )


def _estimate(name: str, given: Any, level: float) -> Estimate:
    values = np.asarray(given, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} gave {given!r}; expected finite numbers")
    if isinstance(given, tuple):
        if len(given) == 3 and given[1] <= given[0] <= given[2]:
            return Estimate(float(given[0]), float(given[1]), float(given[2]))
        raise ValueError(f"{name} gave {given!r}; expected (value, low, high) in this order")
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"{name} gave shape {values.shape}, a number without its uncertainty; expected an "
            "array of two or more replicates, or (value, low, high)"
        )
    mean, n = float(values.mean()), len(values)
    reach = float(student.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - reach, mean + reach, n)


def _verdict(low: float, high: float, test: Estimate, control: Estimate) -> tuple[str, str]:
    if test.high <= low or test.low >= high:
        return "refuted", "all of the interval is where it was not predicted"
    if not _inside(low, high, test):
        return "undecided", "the interval reaches beyond the prediction"
    if _inside(low, high, control):
        return "undecided", "the control fulfils the prediction as well"
    return "held", "all of the interval is as predicted, and that of the control is not"


def _inside(low: float, high: float, estimate: Estimate) -> bool:
    return low < estimate.low and estimate.high < high


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _append(log: str | os.PathLike[str] | None, line: dict[str, Any]) -> None:
    """On disk when this returns: a test that crashes leaves its prediction behind."""
    if log is None:
        return
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())
