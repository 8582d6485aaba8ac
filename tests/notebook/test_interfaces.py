"""The widgets of the building blocks: what they send to the page, and what they refuse."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

import nbcorr as nc
from nbcorr.notebook.interfaces.channel_attribution import ChannelAttribution
from nbcorr.notebook.interfaces.content import displayable, packed, quantized, sprite
from nbcorr.notebook.interfaces.neuron_groups import NeuronGroups
from nbcorr.notebook.interfaces.semantic_dictionary import SemanticDictionary
from nbcorr.notebook.interfaces.spatial_attribution import SpatialAttribution
from tests.network import real_models

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True, scope="module")
def _no_pictures_of_others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pictures are made here, and kept in no cache of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * 16, 4),
        )


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.random.default_rng(0).random((12, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def seen(net, photos):
    """Exemplars of every neuron of layer 4, pictures of two of them."""
    neurons = [f"4:{unit}" for unit in range(8)]
    exemplars = nc.exemplars(net, photos, neurons, k=4, progress=False)
    pictures = nc.visualize(
        net, neurons[:2], SHAPE, steps=2, exemplars=exemplars, progress=False, cache=False
    )
    return {"exemplars": exemplars, "pictures": pictures}


def numbers(field: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(field["bytes"], field["kind"]).reshape(field["shape"])


# What is sent


def test_arrays_are_sent_as_what_pages_have():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(numbers(packed(array.T)), array.T)
    with pytest.raises(TypeError, match="float64; expected one of"):
        packed(np.zeros(3))


def test_quantized_maps_are_right_to_a_step():
    maps = np.random.default_rng(0).normal(size=(5, 4, 3)) * 10.0 ** np.arange(5)[:, None, None]
    maps[2] = 0
    sent = quantized(maps)
    largest = numbers(sent["largest"])
    np.testing.assert_allclose(largest, np.abs(maps).max(axis=(1, 2)), rtol=1e-6)
    back = (numbers(sent["steps"]) - 128.0) / 127 * largest[:, None, None]
    assert (np.abs(back - maps) <= largest[:, None, None] / 254 + 1e-9).all()
    assert not back[2].any()


def test_sprites_keep_colours_and_opacity_and_fit_a_square():
    rgba = np.zeros((4, 4, 4))
    rgba[..., 0], rgba[:2, :, 3] = 1, 0.5
    strip = numbers(sprite([rgba, np.ones((4, 4, 1))], 8))
    assert strip.shape == (2, 4, 4, 4)
    assert strip[0, 0, 0].tolist() == [255, 0, 0, 128]
    assert strip[0, 3, 0].tolist() == [255, 0, 0, 0]
    assert strip[1, 0, 0].tolist() == [255, 255, 255, 255]
    mixed = numbers(sprite([np.ones((4, 8, 3)), np.ones((30, 30, 3))], 8))
    assert mixed.shape == (2, 8, 8, 4)
    assert mixed[0, 0, 0, 3] == 0  # beside a wider picture
    assert mixed[0, 4].tolist() == [[255] * 4] * 8
    assert numbers(sprite([], 8)).shape[0] == 0


def test_an_input_is_shown_as_it_is_or_brought_there_linearly():
    inside = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(displayable(inside), np.moveaxis(inside, 0, -1))
    shown = displayable(inside * 4 - 2)
    assert (shown.min(), shown.max()) == (0, 1)
    assert not displayable(np.full((1, 2, 2), 7.0)).any()


# Semantic dictionary


def test_the_dictionary_sends_what_it_holds(net, photos, seen):
    widget = SemanticDictionary(net, photos[0], "4", **seen)
    sent, found = widget.content, widget.dictionary
    labels = np.array(widget.icons["labels"])
    named = labels[numbers(sent["neurons"])]
    expected = np.vectorize("4:{}".format)(found["top_unit"].transpose("y", "x", "rank").values)
    assert (named == expected).all()
    np.testing.assert_array_equal(numbers(sent["values"]), found["top_value"])
    row, column = widget.position
    assert float(found["strength"][row, column]) == float(found["strength"].max())
    assert widget.neurons == list(labels)
    assert widget._words().startswith(
        f"Semantic dictionary, row {row + 1}, column {column + 1}: 4:"
    )


def test_a_position_outside_is_refused_and_one_inside_is_taken(net, photos):
    widget = SemanticDictionary(net, photos[0], "4", k=2)
    widget.position = (7, 0)
    assert len(widget._here()) == 2
    with pytest.raises(ValueError, match=r"position is \(8, 0\); expected a row from 0 to 7"):
        widget.position = (8, 0)
    with pytest.raises(traitlets.TraitError):
        widget.position = (1,)
    assert widget.position == (7, 0)


def test_missing_pictures_are_named_with_the_way_to_them(net, photos, seen):
    widget = SemanticDictionary(net, photos[0], "4")
    assert set(widget.icons["picture"]) == {-1}
    first, second = widget.icons["notes"]
    assert first.startswith("No pictures given: widget.show(pictures=nc.visualize(")
    assert second.startswith("No exemplars given: widget.show(exemplars=nc.exemplars(")
    widget.show(exemplars=seen["exemplars"])
    assert [len(places) for places in widget.icons["exemplar"]] == [4] * len(widget.neurons)
    widget.show(seen["pictures"])
    held = sum(label in {"4:0", "4:1"} for label in widget.neurons)
    assert widget.icons["notes"][0].startswith(f"Pictures of {held} of {len(widget.neurons)}")
    assert max(map(len, widget.icons["exemplar"])) == 3
    with pytest.raises(ValueError, match=r"pictures= has .*nc.visualize gives, with 'image'"):
        widget.show(pictures=seen["exemplars"].drop_vars("image"))


def test_pictures_are_rendered_on_demand_for_what_the_page_asks(net, photos):
    widget = SemanticDictionary(net, photos[0], "4")
    wanted = widget.neurons[0]
    widget._handle_custom_msg({"render": [wanted, "no such:1"]}, [])
    assert [i >= 0 for i in widget.icons["picture"]] == [n == wanted for n in widget.neurons]
    assert numbers(widget.icons["pictures"]).shape == (1, 16, 16, 4)
    assert (widget.busy, widget.says) == (False, "")
    made = widget.render(steps=1)
    assert made.sizes["neuron"] == len(widget.neurons) - 1
    assert not any("pictures" in note.lower() for note in widget.icons["notes"])
    with pytest.raises(ValueError, match="has a picture"):
        widget.render()


def test_what_goes_wrong_while_rendering_is_said_in_the_widget(net, photos):
    def broken(images: torch.Tensor) -> torch.Tensor:
        raise ValueError("<b>no</b>")

    widget = SemanticDictionary(net, photos[0], "4", preprocess=broken)
    widget._handle_custom_msg({"render": widget.neurons[:1]}, [])
    assert "<b>no</b>" in widget.says
    assert not widget.busy


# Channel attribution


def test_neurons_for_and_against_are_those_of_nc_attribute(net, photos, seen):
    widget = ChannelAttribution(net, photos[0], "4", (1, 2), k=3, classes=list("abcd"), **seen)
    whole = nc.attribute(net, photos[:1], (1, 2), "4", progress=False)["by_neuron"].values[0]
    order = np.argsort(-whole)
    best = [unit for unit in order if whole[unit] > 0][:3]
    worst = [unit for unit in order[::-1] if whole[unit] < 0][:3]
    assert widget.neurons == [f"4:{unit}" for unit in [*best, *worst]]
    assert widget.content["positive"] == len(best)
    assert widget.content["sides"] == ["for b", "for c"]
    np.testing.assert_allclose(numbers(widget.content["values"]), whole[[*best, *worst]])
    maps = numbers(widget.content["maps"])
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), whole[[*best, *worst]], rtol=1e-4, atol=1e-6)
    single = ChannelAttribution(net, photos[0], "4", 0, k=1)
    assert single.content["sides"] == ["for 0", "against 0"]


def test_at_a_position_the_shares_are_those_there(net, photos):
    widget = ChannelAttribution(net, photos[0], "4", 1)
    widget.position = (2, 3)
    there = widget.attribution["attribution"].isel(y=2, x=3).values
    assert widget._values() == [
        (("4", unit), float(there[unit])) for _, unit in widget._icons.neurons
    ]
    widget.position = ()
    for wrong in [(1,), (0, 8), (-1, 0)]:
        with pytest.raises(ValueError, match="position is"):
            widget.position = wrong


def test_channel_attribution_refuses_what_does_not_fit(net, photos):
    with pytest.raises(ValueError, match="gives no maps"):
        ChannelAttribution(net, photos[0], "6", 1)
    with pytest.raises(ValueError, match="several targets"):
        ChannelAttribution(net, photos[0], "4", [0, 1])
    with pytest.raises(ValueError, match="k is 0"):
        ChannelAttribution(net, photos[0], "4", 0, k=0)
    silent = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 14 * 14, 2))
    nn.init.zeros_(silent[2].weight)
    with pytest.raises(ValueError, match="no neuron of layer '0' contributes to '1'"):
        ChannelAttribution(silent, photos[0], "0", 1)


# Spatial attribution


def test_each_pair_of_layers_is_what_nc_attribute_says_at_each_position(net, photos):
    widget = SpatialAttribution(net, photos[0], ["2", "4", "5"])
    assert set(widget.pairs) == {("2", "4"), ("2", "5"), ("4", "5")}
    widget.layer, widget.position = "5", (1, 2)
    one = nc.attribute(net, photos[:1], "5", "2", position=(1, 2), progress=False)
    by_position = one["by_position"].values[0]
    np.testing.assert_allclose(widget.attribution("2"), by_position, atol=1e-6)
    sent = widget.content["pairs"]["0,2"]
    steps = numbers(sent["steps"]).reshape(4, 4, 8, 8)[1, 2] - 128.0
    largest = numbers(sent["largest"])[1 * 4 + 2]
    np.testing.assert_allclose(steps / 127 * largest, by_position, atol=largest / 250)
    widget.layer, widget.position = "2", (3, 3)
    np.testing.assert_array_equal(
        widget.attribution("5"), widget.pairs["2", "5"].isel(y=3, x=3).values
    )
    assert widget.attribution("5").dims == ("y", "x")
    with pytest.raises(ValueError, match="other layer"):
        widget.attribution("2")


def test_a_position_stays_inside_its_layer(net, photos):
    widget = SpatialAttribution(net, photos[0], ["4", "5"])
    widget.layer, widget.position = "4", (7, 7)
    widget.layer = "5"
    assert widget.position == (3, 3)
    with pytest.raises(ValueError, match="expected a row from 0 to 3"):
        widget.position = (4, 0)
    with pytest.raises(ValueError, match="no layer '6'"):
        widget.layer = "6"
    assert (widget.layer, widget.position) == ("5", (3, 3))


def test_spatial_attribution_refuses_what_does_not_fit(net, photos, monkeypatch):
    for layers in ("4", ["4", "4"]):
        with pytest.raises(ValueError, match="expected two or more"):
            SpatialAttribution(net, photos[0], layers)
    with pytest.raises(ValueError, match="'4'"):
        SpatialAttribution(net, photos[0], ["5", "4"])  # the later first
    with pytest.raises(ValueError, match="gives 4 numbers"):
        SpatialAttribution(net, photos[0], ["4", "7"])
    wide = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU())
    with pytest.raises(ValueError, match="expected layers with smaller maps"):
        SpatialAttribution(wide, torch.rand(3, 60, 60), ["0", "1"])


# Neuron groups


def test_groups_are_those_of_nc_factorize(net, photos, seen):
    widget = NeuronGroups(net, photos[0], "4", 3, target=1, **seen)
    by_hand = nc.factorize(net, photos[:1], "4", 3, target=1, progress=False).isel(sample=0)
    np.testing.assert_array_equal(widget.groups["weights"], by_hand["weights"])
    assert widget.content["attribution"] == by_hand["attribution"].values.tolist()
    curve = widget.content["curve"]
    assert curve["k"] == list(range(1, len(curve["k"]) + 1))
    assert curve["error"][2] == pytest.approx(float(by_hand["error"]), abs=1e-6)
    maps = numbers(widget.content["maps"])
    assert maps.shape == (3, 8, 8)
    assert (maps.min(), maps.max()) == (0, 1)
    top = np.abs(by_hand["weights"].values).argmax(axis=1)
    firsts = [widget.neurons[places[0]] for places in widget.content["members"]]
    assert firsts == [f"4:{unit}" for unit in top]


def test_another_number_of_groups_finds_others_and_keeps_pictures_of_each(net, photos):
    widget = NeuronGroups(net, photos[0], "4", 3)
    assert widget.content["attribution"] == []
    widget.render_groups(steps=1)
    assert widget.group_pictures["shape"][0] == 3
    widget.group = 2
    widget.k = 2
    assert (widget.group, widget.groups.attrs["k"]) == (-1, 2)
    assert widget.group_pictures == {}
    assert numbers(widget.content["maps"]).shape[0] == 2
    assert widget.icons["labels"] == widget.neurons
    widget.k = 3
    assert widget.group_pictures["shape"][0] == 3
    with pytest.raises(ValueError, match="at most"):
        widget.k = 40
    assert (widget.k, widget.groups.attrs["k"]) == (3, 3)
    with pytest.raises(ValueError, match="group is 3; expected -1 to 2"):
        widget.group = 3
    widget.k = 1
    widget._handle_custom_msg({"groups": True}, [])
    assert widget.group_pictures["shape"][0] == 1


def test_groups_refuse_what_does_not_fit(net, photos):
    with pytest.raises(ValueError, match="gives no maps"):
        NeuronGroups(net, photos[0], "6")
    with pytest.raises(ValueError, match="is negative"):
        NeuronGroups(net, photos[0], "3", 2)
    assert NeuronGroups(net, photos[0], "3", 2, negative="split").k == 2


# All of them


@pytest.fixture(scope="module")
def widgets(net, photos, seen) -> list[Any]:
    image = photos[0]
    groups = NeuronGroups(net, image, "4", 2, **seen)
    drawn = NeuronGroups(net, image, "4", 1, **seen)
    drawn.render_groups(steps=1)
    return [
        SemanticDictionary(net, image, "4", **seen),
        ChannelAttribution(net, image, "4", (0, 1), **seen),
        SpatialAttribution(net, image, ["4", "5"]),
        groups,
        drawn,
    ]


def test_without_a_kernel_a_picture_and_words_stand_in(widgets):
    for widget in widgets:
        data, _ = widget._repr_mimebundle_()
        with Image.open(io.BytesIO(base64.b64decode(data["image/png"]))) as picture:
            colours = len(np.unique(np.asarray(picture.convert("L"))))
        assert colours > 50
        assert data["text/plain"] == widget._words()
        assert data["text/html"].startswith('<img alt="')


def test_patches_of_a_vision_transformer_are_positions():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = real_models.timm_vit()
    image = real_models.images(count=1)[0]
    first, second = "blocks.0", "blocks.1"
    assert SemanticDictionary(vit, image, first).content["neurons"]["shape"] == [5, 5, 4]
    assert ChannelAttribution(vit, image, first, 3).content["maps"]["shape"] == [8, 5, 5]
    assert SpatialAttribution(vit, image, [first, second]).pairs[first, second].shape == (5,) * 4
    groups = NeuronGroups(vit, image, second, 3, target=3, negative="split")
    assert groups.content["maps"]["shape"] == [3, 5, 5]


def test_models_and_images_of_half_precision(photos):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 2))
    net, image = net.bfloat16(), torch.tensor(photos[0]).bfloat16().requires_grad_()
    for widget in (SemanticDictionary(net, image, "1"), ChannelAttribution(net, image, "1", 0)):
        assert np.isfinite(numbers(widget.content["values"])).all()


def test_see_through_pictures_are_sent_with_their_opacity(net, photos):
    widget = SemanticDictionary(net, photos[0], "4")
    made = nc.visualize(
        net, widget.neurons[:2], SHAPE, steps=1, alpha=True, progress=False, cache=False
    )
    widget.show(made)
    sent = numbers(widget.icons["pictures"])
    np.testing.assert_allclose(sent[..., 3] / 255, made["image"].values[..., 3], atol=1 / 255)
    assert widget._still().startswith(b"\x89PNG")


def test_what_a_module_is_called_is_text(photos):
    name = "<img src=x onerror=alert(1)>$x_$"
    net = nn.Sequential()
    net.add_module(name, nn.Conv2d(3, 4, 3))
    net.add_module("relu", nn.ReLU())
    for widget in (
        SemanticDictionary(net, photos[0], name),
        NeuronGroups(net, photos[0], "relu", 1),
    ):
        assert "<img src=x" not in widget._repr_mimebundle_()[0]["text/html"]
    assert widget._still().startswith(b"\x89PNG")


def test_a_neuron_is_linked_by_its_name(widgets):
    first, second = widgets[0], widgets[1]
    link = traitlets.link((first, "neuron"), (second, "neuron"))
    first.neuron = "4:3"
    assert second.neuron == "4:3"
    link.unlink()


def test_the_explorer_follows_a_neuron_chosen_in_an_image(net, photos, widgets):
    labels = np.arange(len(photos)) % 4
    answers = (labels + (np.arange(len(photos)) % 3 == 0)) % 4
    recording = nc.record(net, (photos, labels), layers="4", baseline=answers, progress=False)
    explorer = nc.explore(recording)
    link = traitlets.link((explorer, "neuron"), (widgets[0], "neuron"))
    widgets[0].neuron = "4:2"
    assert explorer.neuron == "4:2"
    link.unlink()


def test_inputs_of_many_channels_and_of_one_are_shown():
    for channels in (1, 6):
        net = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU())
        widget = SemanticDictionary(net, torch.randn(channels, 8, 10), "1", k=1)
        assert numbers(widget.content["picture"]).shape[-1] == 4
        widget.render(widget.neurons[0], steps=1)
        assert widget._still().startswith(b"\x89PNG")
