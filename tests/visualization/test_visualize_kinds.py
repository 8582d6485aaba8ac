"""What can be asked of nc.visualize besides neurons, and what comes beside the pictures."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import nbcorr as nc
from nbcorr.visualization import objectives as o
from nbcorr.visualization.colours import image_statistics
from tests.visualization.nets import assert_untouched, reused, state
from tests.visualization.test_visualize import planted

SHAPE = (3, 12, 12)
QUICK = {"steps": 24, "progress": False, "cache": False}


def pictures(seen: xr.Dataset, name: str = "image") -> torch.Tensor:
    """The pictures as a batch, channels first."""
    values = seen[name].values
    return torch.tensor(values.reshape(-1, *values.shape[-3:])).permute(0, 3, 1, 2)


def activations(model: nn.Module, inputs: torch.Tensor, layer: str) -> torch.Tensor:
    found = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda *args: found.append(args[2].clone())
    )
    with torch.no_grad():
        model.eval()(inputs)
    handle.remove()
    return found[0]


# Objectives


def test_objectives_stand_in_the_place_of_neurons() -> None:
    model = reused()
    vector = np.arange(8.0)
    asked = [o.direction("act", vector), "head:1", o.channel("conv1", 2) - o.l2()]
    seen = nc.visualize(model, asked, SHAPE, **QUICK)
    assert seen["image"].dims == ("objective", "y", "x", "channel")
    labels = [asked[0].label, "head:1", "conv1:2 - l2"]
    assert seen["objective"].values.tolist() == labels
    assert "best_exemplar" not in seen
    assert "no neurons" in seen.attrs["exemplars"]
    images = pictures(seen)
    expected = [
        (activations(model, images[:1], "act")[0].mean((1, 2)) @ torch.tensor(vector).float()),
        activations(model, images[1:2], "head")[0, 1],
        activations(model, images[2:], "conv1")[0, 2].mean() - ((images[2] - 0.5) ** 2).mean(),
    ]
    np.testing.assert_allclose(seen["reached"], expected, rtol=1e-3)
    alone = nc.visualize(model, asked[0], SHAPE, **QUICK)
    np.testing.assert_allclose(alone["image"][0], seen["image"][0], atol=2e-3)


@pytest.mark.parametrize(
    "objective",
    [
        o.neuron("act", 3),
        o.neuron("act", 3, 0, 11),
        o.direction_at("act", np.arange(8.0), 2, 3, 1),
        o.group(["act:1", "head:2"], [1, 0.5]),
        o.class_logit(4),
        o.difference("head:1", "head:2"),
        o.deepdream("act#2"),
        o.channel("act", 1) * o.channel("act", 3),
        -o.total_variation(),
        o.channel("head", 1) - 2 * o.blur() - 0.1 * o.l1(),
    ],
    ids=lambda objective: objective.label,
)
def test_every_objective_rises(objective: o.Objective) -> None:
    first = nc.visualize(reused(), objective, SHAPE, **{**QUICK, "steps": 1})
    seen = nc.visualize(reused(), objective, SHAPE, transforms="none", **QUICK)
    assert seen["reached"].item() > first["reached"].item()


def test_a_neuron_at_a_place_sees_its_own_field_only() -> None:
    seen = nc.visualize(
        reused(), o.neuron("conv1", 1, 2, 9), SHAPE, parametrization="pixel", **QUICK
    )
    apart = abs(seen["image"][0] - 0.5).max("channel")
    inside = apart.isel(y=slice(0, 6), x=slice(6, 12))
    assert inside.max() > 3 * apart.isel(x=slice(0, 5)).max()


def test_difference_of_two_models_reads_both_and_touches_neither() -> None:
    model, other = reused(), reused(seed=4)
    before = state(model), state(other)
    seen = nc.visualize(model, o.difference("head:1", "head:1", other_model=other), SHAPE, **QUICK)
    assert_untouched(model, before[0])
    assert_untouched(other, before[1])
    images = pictures(seen)
    apart = activations(model, images, "head") - activations(other, images, "head")
    assert seen["reached"].item() == pytest.approx(apart[0, 1].item(), rel=1e-3)


def test_objectives_that_compare_need_pictures_to_compare() -> None:
    objective = o.interpolation("head:0", "head:3") + o.alignment("act")
    seen = nc.visualize(reused(), objective, SHAPE, diverse=3, **{**QUICK, "steps": 60})
    heads = activations(reused(), pictures(seen, "image_diverse"), "head")
    assert (heads[0, 0] - heads[0, 3]) > (heads[2, 0] - heads[2, 3])


# Lucent's


def test_lucents_names_and_objectives_are_understood() -> None:
    from nbcorr.visualization.lucent import imported

    lucent = imported().objectives
    model = nn.Sequential()
    model.add_module("first", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    torch.nn.init.normal_(model.first[0].weight, generator=torch.Generator().manual_seed(1))
    by_name = nc.visualize(model, "first_0:2", SHAPE, **QUICK)
    assert by_name["neuron"].values.tolist() == [("first.0", 2)]
    composed = lucent.channel("first_0", 2) + 0.5 * lucent.channel("first_1", 1)
    ours = o.channel("first.0", 2) + 0.5 * o.channel("first.1", 1)
    theirs = nc.visualize(model, composed, SHAPE, **QUICK)
    np.testing.assert_allclose(
        theirs["reached"], nc.visualize(model, ours, SHAPE, **QUICK)["reached"], rtol=0.05
    )
    with pytest.raises(ValueError, match="no layer 'frist_0'; did you mean"):
        nc.visualize(model, lucent.channel("frist_0", 2), SHAPE, **QUICK)
    with pytest.raises(ValueError, match="cannot be had"):
        nc.visualize(model, lucent.channel("first_0", 9), SHAPE, **QUICK)


def test_a_name_of_lucents_that_stands_for_two_layers_is_refused() -> None:
    model = nn.ModuleDict({"a_b": nn.Conv2d(3, 2, 1), "a": nn.ModuleDict({"b": nn.ReLU()})})
    model.add_module("a_", nn.ModuleDict({"c": nn.ReLU()}))
    model["a"].add_module("_c", nn.ReLU())
    with pytest.raises(ValueError, match=r"may be 'a\._c' or 'a_\.c'; expected one"):
        nc.visualize(model, "a__c:0", SHAPE, **QUICK)


def test_lucent_as_the_engine() -> None:
    model = reused()
    before = state(model)
    seen = nc.visualize(
        model, "head:1", SHAPE, engine="lucent", negative=True, transforms="none", **QUICK
    )
    assert_untouched(model, before)
    assert seen["image"].shape == (1, 12, 12, 3)
    assert seen.attrs["engine"] == "lucent"
    value = activations(reused(), pictures(seen), "head")[0, 1].item()
    assert seen["reached"].item() == pytest.approx(value, rel=1e-3)
    assert seen["reached"] > seen["reached_negative"]
    for options, message in [
        ({"alpha": True}, "has no alpha="),
        ({"engine": "lucnet"}, "did you mean 'lucent'"),
    ]:
        with pytest.raises(ValueError, match=message):
            nc.visualize(model, "head:1", SHAPE, **{"engine": "lucent", **QUICK, **options})


# Other pictures


def test_negative_pictures_minimise() -> None:
    seen = nc.visualize(reused(), ["head:1", "conv1:2"], SHAPE, negative=True, **QUICK)
    assert seen["image_negative"].dims == seen["image"].dims
    images = pictures(seen, "image_negative")
    lowest = [
        activations(reused(), images[:1], "head")[0, 1].item(),
        activations(reused(), images[1:], "conv1")[0, 2].min().item(),
    ]
    np.testing.assert_allclose(seen["reached_negative"], lowest, rtol=1e-3)
    assert (seen["reached_negative"] < seen["reached"]).all()


def test_a_relu_that_is_off_is_what_a_negative_picture_is_for() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = nc.visualize(reused(), "act:1", SHAPE, negative=True, **QUICK)
    assert seen["reached_negative"].item() == 0


def test_diverse_pictures_differ_and_all_drive_the_neuron() -> None:
    options = {**QUICK, "steps": 80}
    seen = nc.visualize(reused(), "act#2:1", SHAPE, diverse=3, **options)
    assert seen["image_diverse"].dims == ("neuron", "variant", "y", "x", "channel")
    assert seen["reached_diverse"].shape == (1, 3)
    assert (seen["reached_diverse"] > 0.3 * seen["reached"]).all()
    alike = o.diversity("l")
    same = nc.visualize(reused(), "act#2:1", SHAPE, seed=1, **options)["image"].values
    again = nc.visualize(reused(), "act#2:1", SHAPE, seed=2, **options)["image"].values
    alone = np.concatenate([seen["image"].values, same, again])
    apart = [
        alike.value({"l": activations(reused(), images, "conv2")}, images).mean()
        for images in (
            pictures(seen, "image_diverse"),
            torch.tensor(alone).permute(0, 3, 1, 2),
        )
    ]
    assert apart[0] > apart[1]


def test_what_does_not_matter_is_transparent() -> None:
    template = -np.ones((3, 5, 5), dtype=np.float32)
    template[:, 1:4, 1:4] = 1
    seen = nc.visualize(
        planted(template, "conv"),
        o.neuron("0", 0, 0, 0),
        (3, 16, 16),
        alpha=True,
        transforms="none",
        steps=150,
        progress=False,
        cache=False,
    )
    image = seen["image"][0]
    assert image.sizes["channel"] == 4
    opacity = image.isel(channel=3)
    assert opacity[:5, :5].mean() > 0.8
    assert opacity[8:, 8:].mean() < 0.4
    assert image[1:4, 1:4, :3].mean() > 0.8


def test_alpha_is_seeded_and_alone() -> None:
    both = nc.visualize(reused(), ["act:1", "act:2"], SHAPE, alpha=True, **QUICK)
    one = nc.visualize(reused(), "act:2", SHAPE, alpha=True, **QUICK)
    np.testing.assert_allclose(both["image"][1], one["image"][0], atol=2e-3)


# Other inputs


def test_vectors_within_their_bounds() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    model[0].weight.data = torch.tensor([[1.0, -1, 2, 0], [0, 0, 0, 1]])
    model[0].bias.data.zero_()
    seen = nc.visualize(
        model,
        ["1:0", "1:1"],
        (4,),
        bounds=(-1, [1, 1, 3, 2]),
        negative=True,
        steps=200,
        progress=False,
    )
    assert seen["image"].dims == ("neuron", "feature")
    np.testing.assert_allclose(seen["image"][0, :3], [1, -1, 3], atol=0.15)
    np.testing.assert_allclose(seen["image"][1, 3], 2, atol=0.15)
    assert seen.attrs["parametrization"] == "vector"
    np.testing.assert_allclose(seen["reached_fresh"], seen["reached"])


@pytest.mark.parametrize("parametrization", ["pixel", "maco", "cppn"])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_parametrisations_of_any_channel_count(parametrization: str, channels: int) -> None:
    shape = (channels, 12, 12)
    options = {"steps": 60, "progress": False, "cache": False, "parametrization": parametrization}
    seen = nc.visualize(reused(channels), "head:1", shape, **options)
    first = nc.visualize(reused(channels), "head:1", shape, **{**options, "steps": 1})
    assert seen["image"].shape == (1, 12, 12, channels)
    assert seen["reached"].item() > first["reached"].item()


def test_colours_and_spectrum_learnt_from_images() -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(20, 1, 12, 12, generator=generator).expand(-1, 6, -1, -1)
    images = images + 0.01 * torch.rand(20, 6, 12, 12, generator=generator)
    learnt = nc.visualize(
        reused(6), "act:1", (6, 12, 12), statistics=image_statistics(images), **QUICK
    )
    plain = nc.visualize(reused(6), "act:1", (6, 12, 12), **QUICK)

    def together(seen: xr.Dataset) -> float:
        values = seen["image"].values.reshape(-1, 6)
        return np.corrcoef(values.T)[np.triu_indices(6, 1)].mean()

    assert together(learnt) > 0.9 > together(plain)
    with pytest.raises(ValueError, match="expected the Dataset that nc.image_statistics gives"):
        nc.visualize(reused(6), "act:1", (6, 12, 12), statistics=xr.Dataset(), **QUICK)


# Exemplars


def test_exemplars_stand_beside() -> None:
    model = reused()
    photos = torch.rand(20, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    found = nc.exemplars(model, photos, ["act:1", "head:1"], k=4, progress=False)
    seen = nc.visualize(model, ["head:1", "act:1", "act:2"], SHAPE, exemplars=found, **QUICK)
    for place, neuron in enumerate([("head", 1), ("act", 1)]):
        own = found.sel(neuron=neuron)
        np.testing.assert_array_equal(seen["exemplar"][place], own["sample"])
        np.testing.assert_array_equal(seen["exemplar_activation"][place], own["activation"])
        np.testing.assert_array_equal(seen["mask"][place], own["mask"])
        best = own["activation"].values[0]
        assert seen["best_exemplar"].values[place] == best
        if best > 0:
            relative = seen["reached"].values[place] / best
            assert seen["relative"].values[place] == pytest.approx(relative)
    assert (seen["exemplar"][2] == -1).all()
    assert np.isnan(seen["exemplar_activation"][2]).all()
    assert not seen["mask"][2].any()
    assert np.isnan(seen["relative"][2])
    assert seen.attrs["exemplars"] == "given, but not of act:2"
    assert seen["mask"].dims == ("neuron", "rank", "y", "x")


def test_exemplars_of_another_size_keep_their_masks() -> None:
    model = reused()
    found = nc.exemplars(model, torch.rand(3, 3, 9, 10), "act:1", k=2, progress=False)
    seen = nc.visualize(model, "act:1", SHAPE, exemplars=found, **QUICK)
    assert seen["mask"].dims == ("neuron", "rank", "exemplar_y", "exemplar_x")
    assert seen["mask"].shape == (1, 2, 9, 10)
    assert seen.attrs["exemplars"] == "given"


def test_without_exemplars_it_says_how_to_have_them() -> None:
    seen = nc.visualize(reused(), "act:1", SHAPE, **QUICK)
    assert "nc.exemplars(model, data, neurons)" in seen.attrs["exemplars"]
    assert np.isnan(seen["relative"]).all()


def test_lucents_objectives_with_lucent_as_the_engine() -> None:
    from nbcorr.visualization.lucent import imported

    lucent = imported().objectives
    composed = lucent.channel("head", 1) - 0.5 * lucent.channel("head", 2)
    seen = nc.visualize(reused(), composed, SHAPE, engine="lucent", transforms="none", **QUICK)
    heads = activations(reused(), pictures(seen), "head")[0]
    assert seen["reached"].item() == pytest.approx((heads[1] - heads[2] / 2).item(), rel=1e-3)
    assert seen.sizes["objective"] == 1
