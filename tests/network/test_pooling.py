from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nbcorr.network import reductions
from nbcorr.network.pooling import POOLINGS, Pooling, poolings
from nbcorr.network.tokens import Tokens

OUTPUTS = [
    ((3, 5), 1),
    ((1, 1), 1),
    ((2, 7, 4), 2),
    ((2, 7, 4), 1),
    ((1, 1, 1), 2),
    ((2, 1, 3), -1),
    ((2, 4, 3, 5), 1),
    ((2, 3, 6, 4), 3),
    ((3, 1, 1, 1), 1),
    ((2, 4, 2, 3, 2), 1),
    ((2, 2, 3, 1, 4), -1),
]
ANYWHERE = ("mean", "max", "quantile(0.9)", "quantile(0)", "quantile(1)", "center", "none")


def one(pool) -> Pooling:
    (pooling,) = poolings(pool)
    return pooling


def literal(output: torch.Tensor, axis: int, name: str) -> np.ndarray:
    """A pooling from its definition: a loop over samples, units and positions."""
    values = np.moveaxis(output.double().numpy(), axis, 1)
    rows = []
    for sample in values:
        row = []
        for unit in sample:
            found = [float(unit[place]) for place in np.ndindex(unit.shape)]
            if name == "none":
                row.extend(found)
            elif name == "center":
                row.append(float(unit[tuple(size // 2 for size in unit.shape)]))
            elif name == "max":
                row.append(max(found))
            elif name == "mean":
                row.append(math.fsum(found) / len(found))
            else:
                row.append(float(np.quantile(found, float(name[9:-1]))))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "axis"), OUTPUTS)
@pytest.mark.parametrize("name", ANYWHERE)
def test_every_pooling_equals_its_definition(name, shape, axis, dtype):
    generator = torch.Generator().manual_seed(sum(shape))
    output = torch.randn(shape, generator=generator).to(dtype)
    before = output.clone()
    pooled = one(name)(output, axis)
    np.testing.assert_allclose(pooled.double(), literal(output, axis, name), rtol=2e-6, atol=1e-6)
    # Half precision is widened where a number is computed, and stays where it is picked.
    computed = name == "mean" or name.startswith("quantile")
    widened = torch.float32 if computed and len(shape) > 2 and dtype.itemsize == 2 else dtype
    assert pooled.dtype == widened
    # What follows may work in place, and no pooling itself does.
    assert torch.equal(output, before)
    kept = pooled.clone()
    output.mul_(0).add_(7)
    assert torch.equal(pooled, kept)


def test_outputs_without_units_or_of_whole_numbers():
    assert one("max")(torch.tensor([1.0, 2.0, 3.0]), 0).tolist() == [[1], [2], [3]]
    assert one("mean")(torch.tensor(2.0), 0).tolist() == [[2]]
    counts = torch.arange(12).reshape(2, 3, 2)
    assert one("mean")(counts, 2).tolist() == [[2, 3], [8, 9]]
    assert one("max")(counts, 2).tolist() == [[4, 5], [10, 11]]
    assert one("quantile(0.5)")(counts > 5, 2).tolist() == [[0, 0], [1, 1]]


def test_a_mean_of_half_precision_keeps_its_digits():
    output = torch.tensor([[[2048.0], [2050.0], [2050.0]]], dtype=torch.float16)
    assert one("mean")(output, 2).item() == pytest.approx(6148 / 3, rel=1e-6)
    tall = torch.full((1, 1, 40, 50), 60000.0, dtype=torch.float16)
    assert one("mean")(tall, 1).item() == 60000


@given(
    values=st.lists(st.sampled_from([-2.0, 0.0, 0.5, 3.0, math.inf]), min_size=1, max_size=9),
    share=st.floats(0, 1),
)
@settings(max_examples=200, deadline=None)
def test_quantiles_of_ties_and_infinities(values, share):
    output = torch.tensor(values).reshape(1, -1, 1)
    found = one(f"quantile({share!r})")(output, 2).item()
    low = math.floor(share * (len(values) - 1))
    around = sorted(values)[low : low + 2]
    if math.isfinite(around[-1]):
        assert found == pytest.approx(np.quantile(values, share), abs=1e-5)
    else:
        assert found in around


def test_a_quantile_at_a_position_does_not_see_the_next():
    # 0.28 * 25 is more than 7 in floating point.
    output = torch.tensor([*range(8), *[math.inf] * 18], dtype=torch.float32).reshape(1, 26, 1)
    assert one("quantile(0.28)")(output, 2).item() == 7


def test_a_nan_among_the_positions_is_not_hidden():
    output = torch.randn(2, 3, 4, 4)
    output[1, 2, 0, 3] = math.nan
    for name in ("mean", "max", "quantile(0.1)"):
        wrong = one(name)(output, 1).isnan()
        assert wrong.nonzero().tolist() == [[1, 2]], name


def test_a_quantile_does_not_depend_on_how_the_batch_is_cut(monkeypatch):
    output = torch.randn(7, 3, 5, 5)
    whole = one("quantile(0.75)")(output, 1)
    monkeypatch.setattr(reductions, "_CHUNK", 160)
    assert torch.equal(one("quantile(0.75)")(output, 1), whole)
    # Outside inference the sort is torch's, so that gradients flow.
    again = one("quantile(0.75)")(output.requires_grad_(), 1)
    assert torch.equal(again, whole)
    again.sum().backward()
    assert float(output.grad.sum()) == pytest.approx(21)


# Padding


def in_a_row(values, count, start, filler):
    """Tokens (count, units) with ``values`` from ``start`` on and padding around them, a mask."""
    tokens = torch.full((count, values.shape[1]), filler)
    tokens[start : start + len(values)] = values
    mask = torch.zeros(count, dtype=torch.bool)
    mask[start : start + len(values)] = True
    return tokens, mask


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    start=st.integers(0, 3),
    more=st.integers(0, 5),
    filler=st.sampled_from([0.0, 50.0, -50.0, math.nan, math.inf]),
    axis=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_padding_changes_nothing(lengths, start, more, filler, axis, seed):
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randn(length, 3, generator=generator) for length in lengths]
    count = max(lengths) + start + more
    rows, masks = zip(*(in_a_row(text, count, start, filler) for text in texts), strict=True)
    output, tokens = torch.stack(rows), Tokens(torch.stack(masks))
    names = ["mean", "max", "quantile(0.3)", "center"]
    # A class token is looked for only where the units are last.
    names += ["token_mean", "cls"] if axis == 2 else []
    for name in names:
        pooled = one(name)(output.movedim(2, axis), axis, tokens)
        alone = [one(name)(text[None].movedim(2, axis), axis)[0] for text in texts]
        torch.testing.assert_close(pooled, torch.stack(alone), msg=name)


@pytest.mark.parametrize("name", ["mean", "max", "quantile(0.5)", "center", "token_mean", "cls"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.int64])
def test_a_sample_that_is_all_padding_is_nan(name, dtype):
    mask = torch.tensor([[True, True, False], [False, False, False]])
    pooled = one(name)(torch.ones(2, 3, 4, dtype=dtype), 2, Tokens(mask))
    assert pooled[0].tolist() == [1] * 4
    assert pooled[1].isnan().all()


def test_a_mask_is_of_its_own_tokens_only():
    tokens = Tokens(torch.tensor([[True, False, False]] * 2))
    for output, axis in [
        (torch.randn(2, 4, 5), 2),
        (torch.randn(4, 3, 5), 2),
        (torch.randn(2, 5, 3, 3), 1),
        (torch.randn(2, 3), 1),
    ]:
        assert torch.equal(one("mean")(output, axis, tokens), one("mean")(output, axis))


# Tokens in front of patches


def test_token_mean_leaves_out_what_stands_before_the_patches():
    output = torch.randn(2, 5 + 6, 3)
    wanted = output[:, 5:].mean(1)
    for tokens in (Tokens(prefix=5), Tokens(prefix=5, grid=(2, 3))):
        assert torch.equal(one("token_mean")(output, 2, tokens), wanted)
    # Before they were put in front, and in a text beside the image, there is nothing to leave out.
    for count in (6, 13):
        output = torch.randn(2, count, 3)
        pooled = one("token_mean")(output, 2, Tokens(prefix=5, grid=(2, 3)))
        assert torch.equal(pooled, output.mean(1))


def test_the_center_of_patches_is_that_of_the_image():
    output = torch.arange(5 + 12.0).reshape(1, -1, 1)
    # The second of three rows and the third of four columns.
    for axis, tokens in [(2, Tokens(prefix=5, grid=(3, 4))), (1, Tokens(prefix=5, grid=(3, 4)))]:
        assert one("center")(output.movedim(2, axis), axis, tokens).item() == 5 + 1 * 4 + 2
    assert one("center")(output, 2, Tokens(prefix=5)).item() == 5 + 6
    assert one("center")(output, 2).item() == 8


def test_cls_is_the_first_token():
    output = torch.randn(2, 7, 3)
    assert torch.equal(one("cls")(output, -1), output[:, 0])
    pooled = one("cls")(output, 2, Tokens(prefix=1, grid=(2, 3)))
    first = output[:, 0].clone()
    output.zero_()
    assert torch.equal(pooled, first)


@pytest.mark.parametrize(
    ("name", "shape", "axis", "message"),
    [
        ("cls", (2, 3), 1, r"'cls' met an output of shape \(2, 3\) .*expected a sequence"),
        ("token_mean", (2, 3), 1, r"'token_mean' met an output of shape \(2, 3\)"),
        ("cls", (2, 3, 4, 4), 1, r"units on axis 1; expected a sequence of tokens"),
        ("token_mean", (2, 3, 5), 1, r"\(2, 3, 5\) with its units on axis 1"),
        ("token_mean", (2,), 0, r"shape \(2,\)"),
        ("cls", (2, 6, 4), 2, "met 6 tokens that are the model's 2 x 3 patches; expected a class"),
    ],
)
def test_token_poolings_need_tokens(name, shape, axis, message):
    with pytest.raises(ValueError, match=message):
        one(name)(torch.zeros(shape), axis, Tokens(grid=(2, 3)))


# Names


def range_of(places):
    return places.amax(2) - places.amin(2)


def test_names_are_kept_and_brought_to_one_form():
    several = ["mean", "quantile( .90 )", "quantile(1.0)", range_of, "quantile(-0)"]
    names = [pooling.name for pooling in poolings(several)]
    assert names == ["mean", "quantile(0.9)", "quantile(1)", "range_of", "quantile(0)"]
    assert poolings(poolings(("max", "cls"))) == poolings(("max", "cls"))
    assert [pooling.name for name in POOLINGS for pooling in poolings(name)] == list(POOLINGS)
    assert one(nn.Identity()).name == "Identity"


@pytest.mark.parametrize(
    ("pool", "kind", "message"),
    [
        ("meen", ValueError, "no pooling 'meen'; did you mean 'mean'"),
        ("token-mean", ValueError, "did you mean 'token_mean'"),
        ("quantile", ValueError, r"did you mean 'quantile\(0.9\)'"),
        ("quantile(half)", ValueError, r"no pooling 'quantile\(half\)'"),
        ("quantile(1.5)", ValueError, "expected a share between 0 and 1"),
        ("quantile(nan)", ValueError, "expected a share between 0 and 1"),
        ("", ValueError, "no pooling ''; there is mean, max"),
        ([], ValueError, "no pooling was given; expected at least one of mean, max"),
        (["max", "max"], ValueError, "two poolings are called 'max'"),
        (["quantile(.5)", "quantile(0.50)"], ValueError, r"called 'quantile\(0.5\)'"),
        ([lambda x: x, lambda x: x], ValueError, "called '<lambda>'.*a name with def"),
        (["mean", "none"], ValueError, "'none' keeps every position and 'mean' one"),
        (torch.mean, ValueError, "a callable is called 'mean'.*or pool='mean'"),
        (3, TypeError, "pool is a int; expected a name, a callable or a sequence"),
        (["mean", 3], TypeError, "a pooling is a int; expected a name or a callable"),
    ],
)
def test_what_is_no_pooling_is_named(pool, kind, message):
    with pytest.raises(kind, match=message):
        poolings(pool)


# Callables


@pytest.mark.parametrize(("shape", "axis"), [x for x in OUTPUTS if len(x[0]) > 2])
def test_a_callable_is_given_the_positions(shape, axis):
    output = torch.randn(shape)
    wanted = literal(output, axis, "max") + literal(-output, axis, "max")
    np.testing.assert_allclose(one(range_of)(output, axis), wanted, rtol=1e-5)


def test_a_callable_changes_nothing_and_keeps_nothing():
    output = torch.randn(2, 3, 4, 4)
    before = output.clone()
    first = one(lambda places: places.relu_()[:, :, 0])(output, 1)
    assert torch.equal(output, before)
    assert torch.equal(first, before[:, :, 0, 0].relu())
    # Not even the copy it was given.
    assert first.untyped_storage().nbytes() == first.numel() * 4


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda places: places.mean(), r"shape \(\)"),
        (lambda places: places.mean(1), r"shape \(2, 16\)"),
        (lambda places: places.max(2), "a max"),
        (lambda _: 1.5, "a float"),
    ],
)
def test_a_callable_of_the_wrong_shape_is_named(function, found):
    message = rf"gave {found} for positions of shape \(2, 3, 16\); expected .* \(2, 3\)"
    with pytest.raises(ValueError, match=message):
        one(function)(torch.randn(2, 3, 4, 4), 1)


def test_poolings_travel_to_other_processes():
    output = torch.randn(2, 5, 3)
    for pooling in poolings(["mean", "quantile(0.3)", "cls", range_of]):
        again = pickle.loads(pickle.dumps(pooling))
        assert again.name == pooling.name
        assert torch.equal(again(output, 2), pooling(output, 2))
