from __future__ import annotations

import numpy as np
import pytest
import torch

from nbcorr import zoo
from nbcorr.zoo.heuristic import look

ZERO = """
...##...
..#..#..
.#....#.
.#....#.
.#....#.
.#....#.
..#..#..
...##...
"""
SEVEN = """
.######.
.....##.
.....#..
..####..
...##...
...#....
..##....
..#.....
"""


def drawn(text: str) -> np.ndarray:
    return np.array([[c == "#" for c in line] for line in text.split()], dtype=np.float32)


def test_it_is_right_on_three_quarters_to_nine_tenths_of_the_test_images():
    data = zoo.digits("test")
    answers = zoo.digit_heuristic(data["image"].values)
    assert answers.dtype == np.int64
    accuracy = (answers == data["label"].values).mean()
    assert 0.75 <= accuracy <= 0.90
    assert accuracy == pytest.approx(0.791, abs=0.0005)  # as its docstring says


def test_it_knows_every_digit_at_least_sometimes():
    data = zoo.digits("test")
    right = zoo.digit_heuristic(data["image"].values) == data["label"].values
    for digit in range(10):
        assert right[data["label"].values == digit].mean() > 0.4


def test_clearly_drawn_digits():
    images = np.stack([drawn(ZERO), drawn(SEVEN)])
    assert zoo.digit_heuristic(images).tolist() == [0, 7]


def test_tensors_and_arrays_get_the_same_answers():
    values = zoo.digits("test")["image"].values[:20]
    tensor = torch.tensor(values, requires_grad=True)
    np.testing.assert_array_equal(zoo.digit_heuristic(tensor), zoo.digit_heuristic(values))


def test_what_is_seen_in_a_zero():
    seen = look(drawn(ZERO))
    assert seen.holes == [3.5]
    assert seen.runs == [1, 2, 2, 2, 2, 2, 2, 1]
    assert (seen.left[3], seen.right[3], seen.width(3)) == (1, 6, 6)
    assert seen.dip(3) == 1
    assert seen.dip(0) == 0


def test_an_empty_image_gets_an_answer():
    assert zoo.digit_heuristic(np.zeros((1, 1, 8, 8)))[0] in range(10)


@pytest.mark.parametrize("shape", [(2, 1, 12, 12), (2, 3, 8, 8), (8,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        zoo.digit_heuristic(np.zeros(shape))
