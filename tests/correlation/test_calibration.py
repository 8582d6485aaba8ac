"""Error rates of nc.correlate as it is called, by simulation.

Under a null no neuron carries the signal, so that every finding is false and the false discovery
rate is the chance of any finding. In 120 runs at 5 % the count of runs with one lies between 0
and 14 with probability .999.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm

import nbcorr as nc

RUNS = 120
LARGEST = int(binom.ppf(0.999, RUNS, 0.05))
N, NEURONS, CLASSES = 300, 40, 4


def null(kind: str, rng: np.random.Generator):
    """Activations and a signal that nothing but the class joins."""
    label = rng.integers(0, CLASSES, N)
    activation = rng.normal(size=(N, NEURONS))
    chance = np.full(CLASSES, 0.2)
    if kind == "confounded":
        chance = np.array([0.02, 0.1, 0.3, 0.6])
        activation += 2 * rng.normal(size=(CLASSES, NEURONS))[label]
    if kind == "correlated":
        activation = 0.3 * activation + rng.normal(size=(N, 3)) @ rng.normal(size=(3, NEURONS))
    if kind == "sparse":
        activation = np.maximum(activation - 1.6, 0)
    signal = rng.random(N) < chance[label]
    return nc.from_arrays(activation, layer="a", label=label, knows=signal)


@pytest.mark.parametrize("kind", ["independent", "confounded", "correlated", "sparse"])
def test_false_findings_are_as_rare_as_promised(kind):
    rng = np.random.default_rng(11)
    with_q = with_familywise = naive = 0
    for _ in range(RUNS):
        recording = null(kind, rng)
        result = nc.correlate(recording, "knows", controls=(), permutations=199)
        with_q += bool((result["q"] <= 0.05).any())
        with_familywise += bool((result["p_familywise"] <= 0.05).any())
        naive += bool((result["q_unstratified"] <= 0.05).any())
    assert with_q <= LARGEST
    assert with_familywise <= LARGEST
    if kind == "confounded":
        # The trap that the default is there for.
        assert naive == RUNS


def test_a_second_half_confirms_nothing_that_is_not_there():
    """Selected at q <= .05 and again at q <= .05: hardly ever by chance."""
    rng = np.random.default_rng(12)
    found = 0
    for _ in range(40):
        result = nc.correlate(null("confounded", rng), "knows", controls="replication")
        found += int(result["replicated"].sum())
    assert found <= 2


def test_planted_neurons_are_found_as_often_as_theory_says():
    """Ten neurons shifted by d = .5 within class: AUC .638, of which each test's power follows."""
    rng = np.random.default_rng(13)
    shift, found, false, power = 0.5, 0, 0, []
    for _ in range(40):
        label = rng.integers(0, CLASSES, N)
        signal = rng.random(N) < 0.2
        activation = rng.normal(size=(N, NEURONS)) + rng.normal(size=(CLASSES, NEURONS))[label]
        activation[:, :10] += shift * signal[:, None]
        recording = nc.from_arrays(activation, layer="a", label=label, knows=signal)
        result = nc.correlate(recording, "knows", controls=())
        discovered = result["q"].values <= 0.05
        found, false = found + discovered[:10].sum(), false + discovered[10:].sum()
        power.append(predicted_power(shift, result))
    assert found / 400 == pytest.approx(np.mean(power), abs=0.06)
    assert false / max(1, found + false) <= 0.1


def predicted_power(shift: float, result) -> float:
    """Of a normal test at the level that Benjamini and Hochberg's procedure ended at."""
    n, n1 = result.attrs["n"], result.attrs["n_positive"]
    level = 0.05 * max(1, int((result["q"] <= 0.05).sum())) / NEURONS
    standard_error = np.sqrt((n + 1) / (12 * n1 * (n - n1)))
    auc = norm.cdf(shift / np.sqrt(2))
    return float(norm.cdf((auc - 0.5) / standard_error - norm.isf(level / 2)))
