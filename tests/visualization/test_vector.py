"""Vectors stay within their bounds and reach them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nbcorr.visualization.parametrization import parametrization
from nbcorr.visualization.vector import Vector

CPU = torch.device("cpu")


def test_a_shape_of_one_size_is_a_vector():
    of = parametrization("fourier", (5,), CPU, bounds=(-1, 1))
    assert isinstance(of, Vector)
    assert (of.shape, of.device, of.alpha) == ((5,), CPU, False)
    assert isinstance(parametrization("pixel", (1,), CPU), Vector)


@pytest.mark.parametrize(
    "bounds", [None, (0, 1), (-2, 3.5), ([0, -1, 5], 10), (np.zeros(3), np.array([1, 2, 3]))]
)
def test_features_lie_in_their_bounds(bounds):
    of = Vector((3,), CPU, bounds=bounds)
    numbers = torch.tensor([[-1.0, 0.0, 2.0], [-1e4, 1e4, 0.5]])
    lowest, highest = (np.broadcast_to(np.asarray(b, float), 3) for b in bounds or (0, 1))
    share = np.exp(-np.logaddexp(0, -numbers.double().numpy()))
    expected = lowest + (highest - lowest) * share
    found = of.image(numbers).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert (found >= lowest).all()
    assert (found <= highest).all()


def test_the_start_is_seeded_and_close_to_the_middle():
    of = Vector((100,), CPU, bounds=(-10, 30))
    first, again, other = (of.start(torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(of.image(first[None]) - 10).max() < 1


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (3, r"bounds are 3; expected \(lowest, highest\)"),
        ((0, 1, 2), "bounds are"),
        (([0, 0], 1), "bounds are .* numbers or 3 of them each"),
        (("a", "b"), "bounds are"),
        ((1, 1), "feature 0 are 1 and 1; expected finite numbers"),
        (([0, 0, 4], 3), "feature 2 are 4 and 3"),
        ((0, np.inf), "feature 0 are 0 and inf"),
        ((np.nan, 1), "feature 0 are nan and 1"),
    ],
)
def test_bounds_that_are_none(bounds, message):
    with pytest.raises(ValueError, match=message):
        Vector((3,), CPU, bounds=bounds)
