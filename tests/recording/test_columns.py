from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nbcorr.recording.columns import as_column, by_sample, table_of


def aligned(name, values, ids, first=0):
    return by_sample(name, as_column(name, values), ids, first)


IDS = np.array(["c", "a", "b"])


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, 2, 3], index=["a", "b", "c"]),
        pd.Series([9, 3, 1, 2], index=["z", "c", "a", "b"]),
        xr.DataArray([1, 2, 3], dims="sample", coords={"sample": ["a", "b", "c"]}),
        {"a": 1, "b": 2, "c": 3},
    ],
)
def test_values_go_to_the_sample_of_their_id(values):
    assert aligned("age", values, IDS).tolist() == [3, 1, 2]


@given(st.permutations(list(range(8))), st.lists(st.integers(), min_size=8, max_size=8))
def test_any_order_of_ids(order, values):
    column = pd.Series(values, index=list(range(8)))
    expected = [values[i] for i in order]
    assert aligned("x", column, np.array(order)).tolist() == expected


def test_an_array_goes_by_position_only_where_positions_are_the_ids():
    assert aligned("age", [4, 5, 6], np.arange(3)).tolist() == [4, 5, 6]
    assert aligned("age", [4, 5, 6], np.arange(1, 3), first=1).tolist() == [5, 6]
    with pytest.raises(ValueError, match=r"ids of their own \('c'.*expected pandas.Series\(age, i"):
        aligned("age", [4, 5, 6], IDS)
    with pytest.raises(ValueError, match=r"age has shape \(2,\); expected one value for each of 3"):
        aligned("age", [4, 5], np.arange(3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.Series([1, 2], index=["a", "bb"]), "no value for 2 of 3 samples, first 'c'"),
        (pd.Series([1, 2, 3], index=["a", "b", "b"]), "two values for sample 'b'"),
        (xr.DataArray(np.ones((2, 3)), dims=("x", "sample"), coords={"sample": IDS}), "is over"),
    ],
)
def test_what_cannot_be_aligned_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        aligned("age", values, IDS)


def test_a_near_miss_among_the_ids_is_offered():
    with pytest.raises(ValueError, match="did you mean 'img_7'"):
        aligned("age", {"img_7": 1}, np.array(["img-7"]))


def test_tables_of_every_kind():
    frame = pd.DataFrame({"age": [1, 2], "site": ["x", "y"]}, index=["a", "b"])
    assert list(table_of(frame)) == ["age", "site"]
    assert list(table_of(xr.Dataset({"age": ("sample", [1])}, {"sample": ["a"]}))) == ["age"]
    assert table_of({"age": [1]}) == {"age": [1]}
    assert table_of(["age", "site"]) == {"age": None, "site": None}
    assert table_of("age") == {"age": None}
    assert table_of(None) == {}
    with pytest.raises(TypeError, match="columns is a ReLU; expected a DataFrame"):
        table_of(nn.ReLU())
