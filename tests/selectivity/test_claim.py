from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from nbcorr.selectivity.claim import claim


def nothing():
    return (0.0, -1.0, 1.0)


@pytest.mark.parametrize(
    ("prediction", "test", "control", "verdict", "why"),
    [
        ("> 0", (0.5, 0.1, 0.9), (0.0, -0.1, 0.1), "held", "as predicted"),
        ("> 0", (0.5, -0.1, 0.9), (0.0, -0.1, 0.1), "undecided", "beyond the prediction"),
        ("> 0", (0.5, 0.1, 0.9), (0.4, 0.1, 0.8), "undecided", "control fulfils"),
        ("> 0", (-0.5, -0.9, -0.1), (0.0, -0.1, 0.1), "refuted", "not predicted"),
        ("< -2e-2", (-0.5, -0.9, -0.1), (0.0, -0.1, 0.1), "held", ""),
        ("< .2", (0.5, 0.2, 0.9), (0.0, -0.1, 0.1), "refuted", ""),
        ("-0.1 .. 0.1", (0.0, -0.05, 0.05), (0.5, 0.4, 0.6), "held", ""),
        ("-0.1 to 0.1", (0.0, -0.2, 0.05), (0.5, 0.4, 0.6), "undecided", ""),
        ("-0.1..0.1", (0.3, 0.2, 0.4), (0.5, 0.4, 0.6), "refuted", ""),
    ],
)
def test_verdicts(prediction, test, control, verdict, why):
    found = claim("A is B", prediction=prediction, test=lambda: test, control=lambda: control)
    assert found.verdict == verdict
    assert why in found.why
    assert str(found).startswith(f"{verdict.upper()}: A is B. Predicted {prediction} (recorded")
    assert found.recorded < found.computed


def test_replicates_have_the_interval_of_the_t_test():
    values = np.random.default_rng(0).normal(0.3, 1, 7)
    found = claim("m", prediction="> 0", test=lambda: values, control=nothing, level=0.9)
    interval = ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.test.low, found.test.high) == pytest.approx((interval.low, interval.high))
    assert found.test.n == 7


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(-1, 1))
def test_a_prediction_and_its_opposite_never_both_hold(value, reach, bound):
    verdicts = [
        claim(
            "m",
            prediction=f"{sign} {bound!r}",
            test=lambda: (value, value - reach, value + reach),
            control=lambda: (bound, bound - 1, bound + 1),
        ).verdict
        for sign in "<>"
    ]
    # An interval that ends at the bound refutes "beyond" and leaves "before" open.
    assert verdicts.count("held") <= verdicts.count("refuted") <= 1


def test_the_prediction_is_on_disk_before_the_number_is_computed(tmp_path):
    log = tmp_path / "claims" / "log.jsonl"
    seen = []

    def test():
        seen.extend(json.loads(line) for line in log.read_text().splitlines())
        return (1.0, 0.5, 1.5)

    found = claim("A", prediction="> 0", test=test, control=nothing, log=log)
    assert [line["prediction"] for line in seen] == ["> 0"]
    assert "verdict" not in seen[0]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[1]["verdict"] == found.verdict == "held"
    assert lines[1]["test"]["low"] == 0.5
    assert lines[1]["recorded"] == lines[0]["recorded"]


def test_a_process_that_dies_in_the_test_leaves_its_prediction(tmp_path):
    program = (
        "import os\nfrom nbcorr.selectivity.claim import claim\n"
        f"claim('A', prediction='> 0', test=lambda: os.kill(os.getpid(), 9), "
        f"control=lambda: 0, log={str(tmp_path / 'log')!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ})
    assert done.returncode == -9
    assert json.loads((tmp_path / "log").read_text())["prediction"] == "> 0"


def test_the_test_is_called_once_and_not_before_the_prediction_is_read():
    calls = []
    with pytest.raises(ValueError, match="expected '> 0'"):
        claim("A", prediction="bigger", test=lambda: calls.append(1), control=nothing)
    assert calls == []


@pytest.mark.parametrize("prediction", ["", ">", "= 3", "> 0 or < 0", "0.1 .. 0.1", "> nan"])
def test_refuses_what_no_number_contradicts(prediction):
    with pytest.raises(ValueError, match="which a number could contradict"):
        claim("A", prediction=prediction, test=nothing, control=nothing)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0.5, "a number without its uncertainty"),
        ([0.5], "two or more replicates"),
        ([[0.5, 0.3], [0.1, 0.1]], r"shape \(2, 2\)"),
        ([0.5, np.nan], "expected finite numbers"),
        ((0.5, 0.6, 0.7), "in this order"),
    ],
)
def test_refuses_numbers_without_uncertainty(given, message):
    with pytest.raises(ValueError, match=f"test gave .*({message})"):
        claim("A", prediction="> 0", test=lambda: given, control=nothing)


def test_refuses_numbers_that_were_there_before():
    with pytest.raises(TypeError, match="test is a float, there before the prediction"):
        claim("A", prediction="> 0", test=0.5, control=nothing)
    with pytest.raises(TypeError, match="control is a tuple"):
        claim("A", prediction="> 0", test=nothing, control=(0, 0, 0))
    with pytest.raises(ValueError, match="level is 95"):
        claim("A", prediction="> 0", test=nothing, control=nothing, level=95)
