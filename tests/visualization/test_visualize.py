"""What nc.visualize gives: pictures, activations, labels, and that they mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import nbcorr as nc
from tests.visualization.nets import Reused, reused

QUICK = {"steps": 24, "progress": False, "cache": False}


def planted(template: np.ndarray, kind: str) -> nn.Module:
    """A network whose only unit's preferred image is the template: 1 where it is positive."""
    weight = torch.tensor(template, dtype=torch.float32)[None]
    if kind == "conv":
        layer: nn.Module = nn.Conv2d(*weight.shape[:2][::-1], weight.shape[2:], bias=False)
        layer.weight.data = weight
        return nn.Sequential(layer)
    dense = nn.Linear(template.size, 1, bias=False)
    dense.weight.data = weight.flatten(1)
    return nn.Sequential(nn.Flatten(), dense)


def cross(channels: int, side: int) -> np.ndarray:
    """A plus sign; where colours are not decorrelated, its negative in every second channel."""
    template = -np.ones((channels, side, side), dtype=np.float32)
    middle = slice(side // 3, side - side // 3)
    template[:, middle] = template[:, :, middle] = 1
    if channels != 3:
        template[1::2] *= -1
    return template


@pytest.mark.parametrize("transforms", ["robust", "crop", "none"])
@pytest.mark.parametrize(("kind", "layer"), [("conv", "0"), ("dense", "1")])
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 16), (6, 12)])
def test_finds_a_planted_template(
    kind: str, layer: str, channels: int, side: int, transforms: str
) -> None:
    template = cross(channels, side)
    seen = nc.visualize(
        planted(template, kind),
        f"{layer}:0",
        (channels, side, side),
        steps=160,
        transforms=transforms,
        progress=False,
    )
    image = seen["image"].transpose("neuron", "channel", "y", "x").values[0]
    assert np.corrcoef(image.ravel(), template.ravel())[0, 1] > 0.9
    best = template[template > 0].sum()
    assert 0.7 * best < seen["reached"].item() <= best


def test_schema() -> None:
    neurons = ["head:4", "conv1:2", "act#2:7"]
    seen = nc.visualize(reused(), neurons, (3, 12, 10), seed=3, **QUICK)
    assert dict(seen.sizes) == {"neuron": 3, "y": 12, "x": 10, "channel": 3}
    assert list(seen["image"].dims) == ["neuron", "y", "x", "channel"]
    assert seen["image"].dtype == np.float32
    assert (seen["image"] >= 0).all()
    assert (seen["image"] <= 1).all()
    assert list(seen["neuron"].values) == [("head", 4), ("conv1", 2), ("act#2", 7)]
    assert np.isnan(seen["best_exemplar"]).all()
    assert {k: seen.attrs[k] for k in ("model", "steps", "transforms", "seed", "interrupted")} == {
        "model": "Reused",
        "steps": 24,
        "transforms": "robust",
        "seed": 3,
        "interrupted": 0,
    }
    assert {"learning_rate", "nbcorr_version", "objective", "fingerprint"} <= set(seen.attrs)


def test_reached_is_the_activation_exemplars_are_ranked_by() -> None:
    model = reused()
    neurons = ["conv1:0", "act:3", "act#2:0", "head:1"]
    seen = nc.visualize(model, neurons, (3, 12, 12), **QUICK)
    pictures = seen["image"].transpose("neuron", "channel", "y", "x").values
    found = nc.exemplars(model, pictures, neurons, k=4, progress=False)
    own = found["activation"].where(found["sample"] == xr.DataArray(range(4), dims="neuron"))
    np.testing.assert_allclose(own.max("rank"), seen["reached"], rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("side", [8, 12])
def test_activation_rises(channels: int, side: int) -> None:
    model = reused(channels)
    neurons = {"act": [1, 2, 3], "head": [0, 3]}
    shape = (channels, side, side)
    photos = torch.rand(64, *shape, generator=torch.Generator().manual_seed(1))
    random = nc.exemplars(model, photos, neurons, k=64, progress=False)
    seen = nc.visualize(model, neurons, shape, exemplars=random, progress=False)
    first = nc.visualize(model, neurons, shape, steps=1, progress=False)
    np.testing.assert_array_equal(seen["best_exemplar"], random["activation"].isel(rank=0))
    assert (seen["reached"] > first["reached"]).all()
    assert (seen["reached_fresh"] > first["reached"]).all()
    dense = seen.sel(layer="head")
    assert (dense["reached"] > dense["best_exemplar"]).all()
    for (_, unit), image in zip(seen["neuron"].values[:3], seen["image"].values, strict=False):
        there = np.concatenate([image.transpose(2, 0, 1)[None], photos])
        means = nc.record(model, there, ["act"], pool="mean", progress=False)["activation"]
        assert means.sel(layer="act", unit=unit).argmax("sample") == 0


def test_best_exemplar_is_unknown_for_neurons_without_exemplars() -> None:
    model = reused()
    some = nc.exemplars(model, torch.rand(3, 3, 8, 8), "head:1", k=2, progress=False)
    seen = nc.visualize(
        model, ["head:0", "head:1"], (3, 8, 8), exemplars=some, steps=2, progress=False
    )
    assert np.isnan(seen["best_exemplar"].values[0])
    assert seen["best_exemplar"].values[1] == some["activation"].values[0, 0]


def test_same_seed_same_picture_and_other_seed_another() -> None:
    first, again = (nc.visualize(reused(), "act:1", (3, 12, 12), seed=5, **QUICK) for _ in range(2))
    xr.testing.assert_identical(first, again)
    other = nc.visualize(reused(), "act:1", (3, 12, 12), seed=6, **QUICK)
    assert abs(first["image"] - other["image"]).max() > 0.01


def test_global_random_numbers_stay_where_they_are() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    nc.visualize(reused(), "act:1", (3, 8, 8), **QUICK)
    assert torch.equal(torch.rand(3), expected)


def test_a_picture_does_not_depend_on_its_company() -> None:
    neurons = ["conv1:0", "head:2", "act:3", "act#2:0", "conv1:5"]
    together = nc.visualize(reused(), neurons, (3, 12, 12), **QUICK)
    chunked = nc.visualize(reused(), neurons[::-1], (3, 12, 12), batch_size=2, **QUICK)
    for neuron in neurons:
        layer, unit = neuron.split(":")
        alone = nc.visualize(reused(), neuron, (3, 12, 12), **QUICK).isel(neuron=0)
        for others in (together, chunked):
            there = others.sel(layer=layer, unit=int(unit))
            np.testing.assert_allclose(there["image"], alone["image"], atol=2e-3)


def test_the_second_call_of_a_module_is_another_neuron() -> None:
    seen = nc.visualize(reused(), ["act:0", "act#2:0"], (3, 8, 8), **QUICK)
    first, second = seen["image"].values
    assert abs(first - second).max() > 0.05


class BornDead(nn.Module):
    """Two units a grey image does not wake; the second one no image does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, bias=True)
        self.relu = nn.ReLU()
        self.conv.weight.data = torch.stack([torch.ones(1, 3, 3), -torch.ones(1, 3, 3)])
        self.conv.bias.data = torch.tensor([-7.0, 0.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.conv(x))


def test_a_unit_dead_at_the_start_gets_going() -> None:
    model = BornDead()
    grey = torch.full((1, 1, 8, 8), 0.6)
    assert model(grey)[0, 0].max() == 0
    seen = nc.visualize(model, "relu:0", (1, 8, 8), steps=64, progress=False)
    assert seen["reached"].item() > 1.5


def test_a_dead_unit_is_named() -> None:
    with pytest.warns(UserWarning, match="relu:1 did not respond to any image in 40 steps") as said:
        seen = nc.visualize(BornDead(), ["relu:0", "relu:1"], (1, 8, 8), steps=40, progress=False)
    assert [warning.filename for warning in said] == [__file__]
    assert seen["reached"].values[0] > 0
    assert seen["reached"].values[1] == 0


def test_preprocess_maps_images_to_inputs() -> None:
    model = nn.Sequential(nn.Linear(4, 2))
    model[0].weight.data = torch.tensor([[1.0, -1, 1, -1], [0, 0, 0, 1]])
    model[0].bias.data.zero_()
    seen = nc.visualize(
        model,
        "0:0",
        (1, 2, 2),
        preprocess=lambda images: 10 * images.flatten(1) - 5,
        transforms="none",
        progress=False,
    )
    assert seen["reached"].item() > 15
    np.testing.assert_allclose(seen["image"].values.ravel(), [1, 0, 1, 0], atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_the_models(dtype: torch.dtype) -> None:
    seen = nc.visualize(reused().to(dtype), "act:1", (3, 8, 8), **QUICK)
    assert seen["image"].dtype == seen["reached"].dtype == np.float32
    assert np.isfinite(seen["reached"]).all()


def test_tokens() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), Transposed(), nn.LayerNorm(8))
    seen = nc.visualize(model, ["3:0", "3:7"], (3, 16, 16), **QUICK)
    values = model(torch.tensor(seen["image"].values).permute(0, 3, 1, 2))
    np.testing.assert_allclose(
        seen["reached"], [values[0, :, 0].max().item(), values[1, :, 7].max().item()], rtol=1e-4
    )


class Transposed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


def test_works_where_gradients_are_off() -> None:
    model = reused()
    with torch.no_grad():
        off = nc.visualize(model, "head:0", (3, 8, 8), **QUICK)
    with torch.inference_mode():
        inference = nc.visualize(model, "head:0", (3, 8, 8), **QUICK)
    xr.testing.assert_identical(off, nc.visualize(model, "head:0", (3, 8, 8), **QUICK))
    np.testing.assert_allclose(off["image"], inference["image"])


def test_an_early_layer_needs_nothing_of_what_comes_after() -> None:
    class Strict(Reused):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
            self.conv1(x)
            raise RuntimeError("past the layer asked for")

    nc.visualize(Strict(), "conv1:0", (3, 8, 8), **QUICK)


def test_efficientnet_lite0() -> None:
    model = nc.zoo.efficientnet_lite0()
    neurons = {"network._blocks.3": [0, 3], "network._blocks.8": [1, 2]}
    grey = torch.full((1, 3, 64, 64), 0.5)
    start = nc.exemplars(model, grey, neurons, k=1, progress=False)
    seen = nc.visualize(model, neurons, (3, 64, 64), steps=24, exemplars=start, progress=False)
    assert (seen["reached"] > 2 * seen["best_exemplar"]).all()
    assert (seen["reached_fresh"] > 2 * seen["best_exemplar"]).all()
