"""Objectives against what they mean, written out, and the ways to combine them."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from nbcorr.visualization import objectives as o
from nbcorr.visualization.objective import Objective

G = torch.Generator().manual_seed(0)
MAPS = torch.randn(3, 4, 5, 6, generator=G)
DENSE = torch.randn(3, 4, generator=G)
TOKENS = torch.randn(3, 4, 7, generator=G)
OUTPUTS = {"a.b": MAPS, "dense": DENSE, "tokens": TOKENS, "": DENSE}
IMAGES = torch.rand(3, 2, 6, 5, generator=G)
VECTOR = [1.0, -2.0, 0.5, 3.0]


def value(objective: Objective) -> list[float]:
    found = objective.value(OUTPUTS, IMAGES)
    assert found.shape == (3,)
    assert found.dtype == torch.float32
    return found.tolist()


def test_channel_is_the_mean_and_a_dense_unit_itself() -> None:
    assert value(o.channel("a.b", 2)) == pytest.approx([m[2].mean().item() for m in MAPS])
    assert value(o.channel("tokens", 1)) == pytest.approx([t[1].mean().item() for t in TOKENS])
    assert value(o.channel("dense", 3)) == pytest.approx(DENSE[:, 3].tolist())
    assert value(o.class_logit(3)) == value(o.channel("dense", 3))


def test_neuron_is_at_y_and_x_in_this_order_and_else_in_the_middle() -> None:
    assert value(o.neuron("a.b", 1, 4, 0)) == pytest.approx(MAPS[:, 1, 4, 0].tolist())
    assert value(o.neuron("a.b", 1)) == pytest.approx(MAPS[:, 1, 2, 3].tolist())
    assert value(o.neuron("a.b", 1, x=5)) == pytest.approx(MAPS[:, 1, 2, 5].tolist())
    assert value(o.neuron("tokens", 1, x=6)) == pytest.approx(TOKENS[:, 1, 6].tolist())
    assert value(o.neuron("tokens", 1)) == pytest.approx(TOKENS[:, 1, 3].tolist())
    assert value(o.neuron("dense", 1)) == pytest.approx(DENSE[:, 1].tolist())


@pytest.mark.parametrize(
    ("layer", "y", "x"),
    [("a.b", 5, 0), ("a.b", 0, 6), ("a.b", -1, 0), ("tokens", 1, 1), ("dense", None, 0)],
)
def test_positions_that_do_not_exist(layer: str, y: int | None, x: int | None) -> None:
    with pytest.raises(ValueError, match=rf"no position .* in layer '{layer}'"):
        value(o.neuron(layer, 0, y, x))
    with pytest.raises(ValueError, match="no position"):
        value(o.direction_at(layer, VECTOR, y, x))


@pytest.mark.parametrize("power", [0, 1, 2.5])
@pytest.mark.parametrize("layer", ["a.b", "tokens", "dense"])
def test_direction_is_the_mean_dot_product_times_the_power_of_the_cosine(
    layer: str, power: float
) -> None:
    expected = []
    for sample in OUTPUTS[layer].numpy():
        found = []
        for place in sample.reshape(4, -1).T:
            dot = sum(a * b for a, b in zip(place, VECTOR, strict=True))
            cosine = dot / np.linalg.norm(place) / np.linalg.norm(VECTOR)
            found.append(dot * max(0.1, cosine) ** power)
        expected.append(sum(found) / len(found))
    assert value(o.direction(layer, VECTOR, power)) == pytest.approx(expected, rel=1e-4)


def test_direction_at_one_position() -> None:
    expected = [float(np.dot(m[:, 4, 1].numpy(), VECTOR)) for m in MAPS]
    assert value(o.direction_at("a.b", VECTOR, 4, 1)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "vector", [np.array(VECTOR), torch.tensor(VECTOR), xr.DataArray(VECTOR), tuple(VECTOR)]
)
def test_vectors_may_be_of_any_kind(vector: object) -> None:
    assert value(o.direction("dense", vector)) == value(o.direction("dense", VECTOR))


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([[1.0, 2.0]], r"shape \(1, 2\); expected \(units,\)"),
        ([0.0, 0.0, 0.0, 0.0], "zero or not finite"),
        ([1.0, math.nan, 0.0, 0.0], "zero or not finite"),
    ],
)
def test_directions_that_are_none(vector: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        o.direction("a.b", vector)


def test_a_direction_of_another_length_and_units_past_the_last() -> None:
    with pytest.raises(ValueError, match="has 3 numbers and layer 'a.b' 4 units"):
        value(o.direction("a.b", VECTOR[:3]))
    for objective in (o.channel("a.b", 4), o.neuron("a.b", 4), o.channel("a.b", -1)):
        with pytest.raises(ValueError, match="layer 'a.b' has 4 units, the last is 'a.b:3'"):
            value(objective)


def test_group_is_the_weighted_sum_over_layers() -> None:
    found = value(o.group(["a.b:1", ("dense", 2)], [2, -1]))
    assert found == pytest.approx((2 * MAPS[:, 1].mean((1, 2)) - DENSE[:, 2]).tolist(), rel=1e-5)
    assert value(o.group("dense:2")) == pytest.approx(DENSE[:, 2].tolist())
    with pytest.raises(ValueError, match="1 weights for 2 neurons"):
        o.group(["a.b:1", "dense:2"], [1])


def test_difference_of_two_models() -> None:
    other = nn.Sequential(nn.Linear(2, 2))
    objective = o.difference("dense:1", "0:0", other_model=other)
    assert objective.layers == ("dense", (other, "0"))
    assert objective.label == "dense:1 - Sequential.0:0"
    outputs = {**OUTPUTS, objective.layers[1]: DENSE[:, 2:]}
    torch.testing.assert_close(objective.value(outputs, IMAGES), DENSE[:, 1] - DENSE[:, 2])
    assert value(o.difference("dense:1", "dense:1")) == [0, 0, 0]
    with pytest.raises(ValueError, match="2 neurons given; expected one"):
        o.difference(["dense:1", "dense:2"], "dense:0")


def test_interpolation_goes_over_the_pictures() -> None:
    objective = o.interpolation("dense:0", "dense:1")
    expected = [DENSE[0, 0], (DENSE[1, 0] + DENSE[1, 1]) / 2, DENSE[2, 1]]
    np.testing.assert_allclose(value(objective), expected, rtol=1e-5)
    alone = objective.value({"dense": DENSE[:1]}, IMAGES[:1])
    assert alone.item() == pytest.approx(DENSE[0, :2].mean().item())
    assert objective.joint
    assert (objective + 1).joint
    assert not o.channel("dense", 1).joint


def test_diversity_is_minus_the_mean_similarity_of_gram_matrices() -> None:
    grams = [m.reshape(4, -1) @ m.reshape(4, -1).T for m in MAPS.numpy()]
    grams = [g / np.linalg.norm(g) for g in grams]
    expected = [
        -np.mean([(grams[i] * grams[j]).sum() for j in range(3) if j != i]) for i in range(3)
    ]
    assert value(o.diversity("a.b")) == pytest.approx(expected, rel=1e-4)
    assert o.diversity("a.b").value({"a.b": MAPS[:1]}, IMAGES[:1]).tolist() == [0]


def test_alignment_is_minus_the_decayed_distance_to_neighbours() -> None:
    expected = [
        -sum(((MAPS[i] - MAPS[j]) ** 2).mean().item() / 3 ** abs(i - j) for j in range(3) if j != i)
        for i in range(3)
    ]
    assert value(o.alignment("a.b", 3)) == pytest.approx(expected, rel=1e-4)
    assert o.alignment("a.b").value({"a.b": MAPS[:1]}, IMAGES[:1]).tolist() == [0]


def test_deepdream_is_the_mean_square() -> None:
    assert value(o.deepdream("a.b")) == pytest.approx([(m**2).mean().item() for m in MAPS])


def test_amounts_of_the_picture() -> None:
    for image, variation, first, second, blurred in zip(
        IMAGES.numpy(),
        value(o.total_variation()),
        value(o.l1()),
        value(o.l2(0.2)),
        value(o.blur()),
        strict=True,
    ):
        rows, columns = np.abs(np.diff(image, axis=1)), np.abs(np.diff(image, axis=2))
        assert variation == pytest.approx(rows.mean() + columns.mean(), rel=1e-5)
        assert first == pytest.approx(np.abs(image - 0.5).mean(), rel=1e-5)
        assert second == pytest.approx(((image - 0.2) ** 2).mean(), rel=1e-5)
        smooth = np.zeros_like(image)
        for c, y, x in np.ndindex(image.shape):
            around = image[c, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
            smooth[c, y, x] = around.mean()
        assert blurred == pytest.approx(0.5 * ((image - smooth) ** 2).mean(), rel=1e-4)


def test_amounts_of_a_vector() -> None:
    vectors = torch.tensor([[0.0, 1.0, 0.5]])
    assert o.total_variation().value({}, vectors).tolist() == [0.75]
    assert o.l1(0).value({}, vectors).tolist() == [0.5]
    assert o.blur().value({}, vectors).item() == pytest.approx(0.5 * (0.25 + 0.25 + 0.0625) / 3)


def test_subtracting_blur_pulls_towards_the_blurred_picture() -> None:
    image = IMAGES[:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad((-1 * o.blur()).value({}, image).sum(), image)
    blurred = nn.functional.avg_pool2d(
        image.detach(), 3, stride=1, padding=1, count_include_pad=False
    )
    torch.testing.assert_close(gradient * image.numel(), blurred - image.detach())


def test_objectives_combine_as_numbers_do() -> None:
    a, b = o.channel("dense", 0), o.channel("a.b", 1)
    x, y = np.array(value(a)), np.array(value(b))
    for objective, expected in [
        (a + b, x + y),
        (a - b, x - y),
        (2 * a, 2 * x),
        (a * 2, 2 * x),
        (a * b, x * y),
        (-a, -x),
        (a / 4, x / 4),
        (1 - a, 1 - x),
        (1 + a, 1 + x),
        (a - 1, x - 1),
        (sum([a, b]), x + y),
        ((a + b) * (a - 2 * b), (x + y) * (x - 2 * y)),
    ]:
        np.testing.assert_allclose(value(objective), expected, rtol=1e-4)
    assert (a * b - a).layers == ("dense", "a.b")
    with pytest.raises(TypeError, match="cannot be combined with a str; expected a number"):
        a + "dense:1"


def test_labels_say_what_is_asked_for() -> None:
    a, b = o.channel("dense", 0), o.neuron("a.b", 1, 2, 3)
    assert (a - 2 * b).label == "dense:0 - 2 * a.b:1@2,3"
    assert repr(a + b) == "<dense:0 + a.b:1@2,3>"
    assert (-a).label == "-dense:0"
    assert (a - b).label == "dense:0 - a.b:1@2,3"
    assert (2 * (a + b)).label == "2 * (dense:0 + a.b:1@2,3)"
    assert (a - 0.1 * o.total_variation()).label == "dense:0 - 0.1 * total_variation"
    assert o.neuron("a.b", 1).label == "a.b:1@middle"
    assert (a + b).named("both").label == "both"
    assert value((a + b).named("both")) == value(a + b)
    assert o.direction("a.b", VECTOR).label != o.direction("a.b", VECTOR[::-1]).label


def test_equal_objectives_have_equal_keys_and_others_other_ones() -> None:
    def keys() -> list[str]:
        model = nn.Linear(2, 2)
        nn.init.ones_(model.weight)
        nn.init.ones_(model.bias)
        made = [
            o.channel("a", 1),
            o.channel("a", 2),
            o.neuron("a", 1),
            o.direction("a", [1.0, 2.0]),
            o.direction("a", [1.0, 2.0], 1),
            o.direction("a", [2.0, 1.0]),
            o.channel("a", 1) + o.channel("b", 1),
            o.channel("b", 1) + o.channel("a", 1),
            o.channel("a", 1) * o.channel("b", 1),
            o.channel("a", 1).named("b"),
            o.difference("a:1", "0:0", other_model=model),
            o.diversity("a"),
            o.deepdream("a"),
            o.l1(),
            o.l2(),
        ]
        return [repr(objective.key()) for objective in made]

    assert keys() == keys()
    assert len(set(keys())) == len(keys())


def test_gradients_reach_the_outputs() -> None:
    maps = MAPS.clone().requires_grad_()
    for objective in (
        o.channel("a.b", 1),
        o.neuron("a.b", 1),
        o.direction("a.b", VECTOR, 2),
        o.diversity("a.b"),
        o.alignment("a.b"),
        o.deepdream("a.b"),
    ):
        (gradient,) = torch.autograd.grad(objective.value({"a.b": maps}, IMAGES).sum(), maps)
        assert gradient.abs().sum() > 0


def test_they_are_there_before_anything_else_is_loaded():
    line = "from nbcorr import objectives; print(objectives.channel('a', 1).label)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    assert done.stdout == "a:1\n", done.stderr
