"""Mid-ranks and tie terms against SciPy and against counting."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nbcorr.stats import midranks, tie_term

numbers = st.sampled_from([0.0, -0.0, 1.0, -2.5, 3.0, np.inf, -np.inf])


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, max_size=30), st.sampled_from(["f2", "f4", "f8"]))
def test_ranks_equal_scipy_and_ties_are_counted(row, dtype):
    values = np.array(row, dtype=dtype)
    assert np.array_equal(midranks(values), scipy.stats.rankdata(values))
    assert tie_term(values) == sum(t**3 - t for t in Counter(values.tolist()).values())


def test_any_axis_and_shape():
    x = np.random.default_rng(0).integers(0, 5, (3, 7, 4)).astype(float)
    for axis in (0, 1, 2, -1):
        assert np.array_equal(midranks(x, axis), scipy.stats.rankdata(x, axis=axis))
        assert tie_term(x, axis).shape == tuple(np.delete(x.shape, axis))
    assert midranks(np.zeros((3, 0))).shape == (3, 0)
    assert tie_term(np.zeros((3, 0))).tolist() == [0, 0, 0]


def test_a_nan_spoils_its_row_only():
    x = np.array([[3.0, 1.0, np.nan], [3.0, 1.0, 1.0]])
    assert np.isnan(midranks(x)[0]).all()
    assert midranks(x)[1].tolist() == [3, 1.5, 1.5]
    assert np.isnan(tie_term(x)).tolist() == [True, False]


def test_a_huge_group_of_ties_does_not_overflow():
    x = np.zeros(100_000, dtype=np.float32)
    x[:10_000] = np.arange(10_000)
    assert tie_term(x) == 90_001**3 - 90_001
    assert midranks(x)[-1] == 90_002 / 2


def test_blocks_do_not_show():
    x = np.random.default_rng(0).integers(0, 9, (40, 60_000)).astype(np.float32)
    assert np.array_equal(midranks(x)[37], scipy.stats.rankdata(x[37]))


def test_words_have_no_ranks():
    with pytest.raises(TypeError, match="expected real numbers"):
        midranks(np.array(["a", "b"]))
