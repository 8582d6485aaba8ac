"""``nc.factorize`` against loops, scikit-learn and groups that are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import NMF
from torch import nn

import nbcorr as nc
from tests.conftest import traces
from tests.network.real_models import images, timm_vit
from tests.visualization.split_net import X, split


def planted(seed: int = 0, samples: int = 3, k: int = 3, units: int = 8) -> xr.DataArray:
    """Activations of k groups with units of their own, each active in its own part of the map."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((samples, k, 4, 5))
    for s, g in itertools.product(range(samples), range(k)):
        maps[s, g].flat[rng.permutation(20)[:6]] = rng.uniform(1, 2, 6) * (k - g)
    weights = np.zeros((k, units))
    weights[np.arange(units) % k, np.arange(units)] = rng.uniform(1, 2, units)
    values = np.einsum("sgyx,gu->suyx", maps, weights)
    recording = nc.from_arrays(np.zeros((samples, units)), layer="a")
    dims = ("sample", "neuron", "y", "x")
    return xr.DataArray(values, dims=dims, coords=recording["activation"].coords)


def reconstructed(found: xr.Dataset) -> np.ndarray:
    """Map times weights, summed over the groups by a loop."""
    maps, weights = found["map"].values, found["weights"].values
    total = 0
    for g in range(maps.shape[1]):
        per_sample = weights[:, g] if weights.ndim == 3 else weights[None, g]
        shape = (*per_sample.shape, *[1] * (maps.ndim - 2))
        total = total + maps[:, g][:, None] * per_sample.reshape(shape)
    return total


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 4), across=st.booleans())
def test_planted_groups_are_found(seed: int, k: int, across: bool) -> None:
    values = planted(seed, k=k)
    found = nc.factorize(values, k=k, across=across)
    assert found["error"].max() < 0.01
    np.testing.assert_allclose(reconstructed(found), values, atol=0.2)
    weights = found["weights"].values.reshape(-1, k, 8)
    for each in weights:
        groups = {frozenset(np.flatnonzero(row > 0.05)) for row in each}
        assert groups == {frozenset(range(g, 8, k)) for g in range(k)}


@pytest.mark.parametrize("across", [False, True])
def test_error_and_explained_by_loops(across: bool) -> None:
    rng = np.random.default_rng(0)
    values = planted().copy(data=rng.random((3, 8, 4, 5)))
    found = nc.factorize(values, k=4, across=across)
    whole = reconstructed(found)
    samples = [slice(None)] if across else [slice(s, s + 1) for s in range(3)]
    for i, part in enumerate(samples):
        x, rest = values.values[part], values.values[part] - whole[part]
        length = (x**2).sum()
        error = found["error"].values.reshape(-1)[i]
        np.testing.assert_allclose(error, np.sqrt((rest**2).sum() / length), rtol=1e-4)
        explained = found["explained"].values.reshape(-1, 4)[i]
        assert (np.diff(explained) <= 0).all()
        for g in range(4):
            without = reconstructed(found.isel(group=[h for h in range(4) if h != g]))
            lost = ((x - without[part]) ** 2).sum() - (rest**2).sum()
            np.testing.assert_allclose(explained[g], lost / length, rtol=1e-3, atol=1e-6)


def test_as_scikit_learn_has_it() -> None:
    rng = np.random.default_rng(1)
    values = planted(samples=1).copy(data=rng.random((1, 8, 4, 5)))
    found = nc.factorize(values, k=3)
    matrix = values.values[0].reshape(8, 20).T / values.values.max()
    model = NMF(3, init="nndsvda", random_state=0, max_iter=1000)
    maps = model.fit_transform(matrix)
    expected = np.einsum("pg,gu->up", maps, model.components_) * values.values.max()
    np.testing.assert_allclose(reconstructed(found)[0].reshape(8, 20), expected, atol=1e-5)
    error = np.linalg.norm(matrix - maps @ model.components_) / np.linalg.norm(matrix)
    np.testing.assert_allclose(found["error"][0], error, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.sampled_from([1e-12, 1.0, 1e9]), signed=st.booleans())
def test_what_holds_of_every_factorisation(seed: int, scale: float, signed: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, 6, 3, 4)) if signed else rng.random((2, 6, 3, 4))
    array = planted(samples=2, units=6).isel(y=slice(3), x=slice(4)).copy(data=values)
    options = {"k": 3, "negative": "split" if signed else "refuse", "seed": seed}
    found = nc.factorize(array * scale, **options)
    xr.testing.assert_identical(found, nc.factorize(array * scale, **options))
    assert (found["map"] >= 0).all()
    np.testing.assert_allclose((found["weights"] ** 2).sum("neuron"), 1, atol=1e-5)
    assert ((found["error"] > 0) & (found["error"] < 1)).all()
    plain = nc.factorize(array, **options)
    np.testing.assert_allclose(found["map"] / scale, plain["map"], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["weights"], plain["weights"], atol=1e-4)


def test_signed_groups_are_split_and_put_together() -> None:
    """A group whose units go up and down together is one group with weights of both signs."""
    values = planted(k=2).copy()
    values[:, ::4] *= -1
    with pytest.raises(ValueError, match=r"7.5% of activation is negative, the least -.*'split"):
        nc.factorize(values, k=2)
    found = nc.factorize(values, k=2, across=True, negative="split")
    assert found["error"] < 0.01
    np.testing.assert_allclose(reconstructed(found), values, atol=0.2)
    assert (found["weights"][:, ::4] < 0).any()
    again = nc.factorize(values.rename("gradient"), k=2, across=True, of="gradient")
    np.testing.assert_array_equal(again["weights"], found["weights"])
    with pytest.raises(ValueError, match="of gradient is negative"):
        nc.factorize(values, k=2, of="gradient", negative="refuse")


# Of a model


def test_the_attribution_of_groups_by_loops() -> None:
    net = split(activation=nn.ReLU)
    found = nc.factorize(net, X, "first.1", 2, target=(1, 0), progress=False)
    whole = nc.attribute(net, X, (1, 0), "first.1", progress=False)
    gradient = whole["gradient"].values
    for s, g in itertools.product(range(3), range(2)):
        total = 0.0
        for u, y, x in itertools.product(range(3), range(6), range(6)):
            part = found["map"].values[s, g, y, x] * found["weights"].values[s, g, u]
            total += part * gradient[s, u, y, x]
        np.testing.assert_allclose(found["attribution"][s, g], total, atol=1e-6)
    assert found.attrs["target"] == "1 - 0"
    assert found.attrs["at"] == "first.1"


@pytest.mark.parametrize("of", ["activation", "gradient", "attribution"])
def test_with_all_groups_that_can_be_their_attributions_are_the_whole(of: str) -> None:
    net = split(activation=nn.ReLU, pool=False)
    found = nc.factorize(net, X, "first.1", 3, of=of, target=2, across=True, progress=False)
    data = nc.attribute(net, X, 2, "first.1", progress=False)
    again = nc.factorize(data, k=3, of=of, across=True)
    np.testing.assert_array_equal(found["attribution"], again["attribution"])
    # What the groups leave out cannot contribute more than its length allows.
    missing = np.abs(found["attribution"].sum("group") - data["total"])
    other = data["gradient" if of == "activation" else "activation"]
    rest = data[of] - (found["map"] * found["weights"]).sum("group")
    dims = ("neuron", "y", "x")
    left = rest.sum(dims) if of == "attribution" else (rest * other).sum(dims)
    np.testing.assert_allclose(missing, np.abs(left), atol=1e-5)


def test_activations_alone_need_no_target() -> None:
    net = split(activation=nn.ReLU)
    before = traces(net)["modes"]
    net.train()
    found = nc.factorize(net, X, "first.1", 2, progress=False)
    assert net.training
    net.eval()
    assert traces(net)["modes"] == before
    values = net.first(X).detach()
    np.testing.assert_allclose(reconstructed(found), values, atol=0.6)
    assert found["map"].dims == ("sample", "group", "y", "x")
    assert found["weights"].dims == ("sample", "group", "neuron")
    assert found.attrs["k"] == 2
    assert "attribution" not in found


def test_dense_layers_and_patches() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    found = nc.factorize(net, x, "1", 3, across=True, target=1, progress=False)
    assert found["map"].dims == ("sample", "group")
    assert found["attribution"].shape == (9, 3)
    torch.manual_seed(0)
    vit = timm_vit().eval()
    found = nc.factorize(vit, images(), "blocks.0", 2, negative="split", progress=False)
    assert found["map"].shape == (5, 2, 5, 5)


def test_a_recording_is_factorised_across_its_samples() -> None:
    recording = nc.from_arrays(np.random.default_rng(0).random((20, 6)), layer="a")
    found = nc.factorize(recording, k=3, across=True)
    assert found["weights"].shape == (3, 6)
    assert found["map"].shape == (20, 3)
    assert found.sel(layer="a")["weights"].sizes["unit"] == 6


# The curve


@pytest.mark.parametrize("across", [False, True])
def test_the_curve_is_the_errors_of_each_k(across: bool) -> None:
    curve = nc.factorize(planted(), k=range(1, 6), across=across)["error"]
    assert curve.dims == (("k",) if across else ("k", "sample"))
    for k in range(1, 6):
        alone = nc.factorize(planted(), k=k, across=across)["error"]
        np.testing.assert_array_equal(curve.sel(k=k), alone)
    steps = np.diff(curve.values, axis=0)
    # It falls until the three groups are found and then stays at nothing.
    assert (steps[:2] < -0.1).all()
    assert np.abs(curve.sel(k=[3, 4, 5])).max() < 0.01


# Odd matrices


def test_dead_neurons_and_silent_samples() -> None:
    values = planted().copy()
    values[:, 2] = 0
    values[1] = 0
    found = nc.factorize(values, k=2)
    assert found.attrs["silent_samples"] == 1
    assert np.isnan(found["map"][1]).all()
    assert np.isnan(found["weights"][1]).all()
    assert np.isnan(found["error"][1])
    assert found["dead"].values[0].tolist() == [u == 2 for u in range(8)]
    assert found["dead"].values[1].all()
    assert not found["weights"][0, :, 2].any()
    across = nc.factorize(values, k=2, across=True)
    assert not across["map"][1].any()
    assert across["dead"].values.tolist() == [u == 2 for u in range(8)]


def test_a_constant_layer_is_one_group() -> None:
    values = planted().copy(data=np.full((3, 8, 4, 5), 2.0))
    found = nc.factorize(values, k=2)
    np.testing.assert_allclose(found["error"], 0, atol=1e-3)
    np.testing.assert_allclose(reconstructed(found), values, atol=1e-2)


def test_one_image_of_one_place_is_one_group() -> None:
    values = planted(samples=1).isel(y=[0], x=[0]).copy(data=np.arange(8.0)[None, :, None, None])
    found = nc.factorize(values, k=1)
    length = np.sqrt((np.arange(8.0) ** 2).sum())
    np.testing.assert_allclose(found["map"].values.ravel(), [length], rtol=1e-4)
    np.testing.assert_allclose(found["weights"].values.ravel(), np.arange(8) / length, atol=1e-4)
    np.testing.assert_allclose(found["explained"], 1, atol=1e-4)
    with pytest.raises(ValueError, match="k is 2; 1 positions and 7 neurons .* at most 1 groups"):
        nc.factorize(values, k=2)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (
            None,
            {"k": 9},
            ValueError,
            "k is 9; 20 positions and 8 .* at most 8 .*across=True",
        ),
        (None, {"k": [2, 9]}, ValueError, "k is 9"),
        (None, {"k": []}, ValueError, "k is empty"),
        (None, {"k": 0}, ValueError, "k is 0; expected at least 1"),
        (None, {"k": 2.5}, TypeError, "k is a float; expected a whole number or several"),
        (np.nan, {}, ValueError, "activation has NaN or infinite values at sample 1"),
        (np.inf, {}, ValueError, "activation has NaN or infinite values at sample 1"),
        (None, {"of": "atribution"}, ValueError, "did you mean 'attribution'"),
        (None, {"negative": "spilt"}, ValueError, "did you mean 'split'"),
    ],
)
def test_matrices_and_arguments_that_do_not_fit(change, options, error, message) -> None:
    values = planted().copy()
    if change is not None:
        values[1, 0, 0, 0] = change
    with pytest.raises(error, match=message):
        nc.factorize(values, **options)


def test_dead_neurons_count_against_k() -> None:
    values = planted().copy()
    values[:, :4] = 0
    with pytest.raises(ValueError, match="at most 4 groups"):
        nc.factorize(values, k=5)
    with pytest.raises(ValueError, match="activation is zero everywhere"):
        nc.factorize(values * 0, k=1)


def test_sources_that_do_not_fit() -> None:
    net = split()
    with pytest.raises(TypeError, match="source is a ndarray; expected a torch.nn.Module"):
        nc.factorize(np.ones((3, 4)))
    with pytest.raises(ValueError, match="with inputs and at=, the layer; one is missing"):
        nc.factorize(net, X)
    with pytest.raises(ValueError, match="of='gradient' needs target="):
        nc.factorize(net, X, "first.1", of="gradient")
    with pytest.raises(ValueError, match="expected 'gradient', as nc.attribute gives it"):
        nc.factorize(planted().to_dataset(name="activation"), of="gradient")
    with pytest.raises(ValueError, match=r"on \('neuron', 'y', 'x'\); expected 'sample' and"):
        nc.factorize(planted()[0].drop_vars("sample"))
    several = nc.attribute(net, X, [0, 1], "first.1", progress=False)
    with pytest.raises(ValueError, match="gradient is on 'target'; expected that of one target"):
        nc.factorize(several, of="gradient")
    with pytest.raises(ValueError, match="sizes .*'sample': 0.*expected at least one"):
        nc.factorize(planted()[:0])
