from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc
from nbcorr.network.layers import call_label, is_explicit, module_and_call, resolve_layers
from nbcorr.network.names import unknown
from nbcorr.network.neurons import parse_neurons


def test_layers_with_an_example_tells_units_shapes_and_calls(untouched, images):
    table = nc.layers(untouched, images)
    row = table.sel(layer="conv2")
    assert (str(row.kind.item()), int(row.units)) == ("Conv2d", 6)
    assert (row.output_shape.item(), int(row.bytes), int(row.calls)) == ("6x6x6", 4 * 216, 1)
    assert int(table.sel(layer="act").calls) == 2
    assert int(table.sel(layer="unused").calls) == 0
    assert "drop" not in table.layer


def test_layers_without_an_example_tells_what_parameters_tell(model):
    table = nc.layers(model)
    assert int(table.sel(layer="hidden").units) == 12
    assert int(table.sel(layer="act").units) == -1
    assert table.sel(layer="hidden").output_shape.item() == ""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("conv1", ["conv1"]),
        ("conv*", ["conv1", "conv2"]),
        ("Conv2d", ["conv1", "conv2"]),
        ("auto", ["act", "relu"]),
        (["out", "conv1"], ["conv1", "out"]),
        ("all", ["conv1", "norm", "conv2", "act", "hidden", "relu", "out", "unused"]),
    ],
)
def test_choices_of_layers(model, chosen, expected):
    assert resolve_layers(model, chosen) == expected


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (nn.Conv2d, ["conv1", "conv2"]),
        (nn.modules.conv._ConvNd, ["conv1", "conv2"]),
        (nn.ReLU, ["act", "relu"]),
        (lambda name, module: name.startswith("conv"), ["conv1", "conv2"]),
        (
            lambda name, module: getattr(module, "out_features", 0) > 3,
            ["hidden"],
        ),
        ([nn.Conv2d, "out", "rel*", "BatchNorm2d"], ["conv1", "norm", "conv2", "relu", "out"]),
        ((lambda name, module: name == "drop", "conv1"), ["conv1", "drop"]),
        ({"out", "conv1"}, ["conv1", "out"]),
        (np.array(["out", "conv1"]), ["conv1", "out"]),
    ],
)
def test_choices_by_class_predicate_and_several_together(model, chosen, expected):
    assert resolve_layers(model, chosen) == expected


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (nn.Conv3d, "no layer of kind 'Conv3d'; did you mean 'Conv2d'"),
        ([nn.Conv2d, nn.LSTM], "no layer of kind 'LSTM'; there is BatchNorm2d, Conv2d"),
        (lambda name, module: False, "predicate chose none of the 9 layers of Reusing; expected"),
        ("conv2D", "no layer 'conv2D'; did you mean '[cC]onv2d?'"),
        ("BatchNorm1d", "no layer 'BatchNorm1d'; did you mean 'BatchNorm2d'"),
        ("hiden.*", r"no layer 'hiden.\*'; did you mean 'hidden'"),
    ],
)
def test_a_choice_that_matches_nothing_says_so(model, chosen, message):
    with pytest.raises(ValueError, match=message):
        resolve_layers(model, chosen)


@pytest.mark.parametrize("chosen", [3, None, [1], iter(["conv1"]), nn.ReLU()])
def test_what_is_no_choice_is_refused(model, chosen):
    with pytest.raises(TypeError, match="layers are chosen by .*; expected a name, glob, kind"):
        resolve_layers(model, chosen)


class Shared(nn.Module):
    """One embedding and one block under two names each."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.head = nn.Linear(4, 2)
        self.decoder = self.encoder
        self.tied = self.encoder[0]

    def forward(self, x):
        return self.head(self.decoder(self.encoder(x)))


def test_a_shared_module_has_the_first_of_its_names():
    net = Shared()
    for second in ("decoder.0", "tied", "decoder.[0]", ["tied", "encoder.0"]):
        assert resolve_layers(net, second) == ["encoder.0"]
    assert resolve_layers(net, "decoder*") == ["encoder.0", "encoder.1"]
    assert resolve_layers(net, "all") == ["encoder.0", "encoder.1", "head"]
    assert is_explicit(net, ["decoder.0", "he*"]) == {"encoder.0"}
    x = torch.rand(5, 4)
    recording = nc.record(net, x, "tied", progress=False)
    with torch.no_grad():
        once = net.encoder[0](x)
        twice = net.encoder[0](torch.relu(once))
    assert recording.attrs["layers"] == ["encoder.0", "encoder.0#2"]
    np.testing.assert_array_equal(recording.activation, torch.cat([once, twice], 1))


class QuickGELUActivation(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


def test_auto_knows_activations_that_libraries_wrote_and_those_inside_norms():
    class NormAct(nn.BatchNorm1d):
        def __init__(self):
            super().__init__(3)
            self.act = nn.SiLU()

        def forward(self, x):
            return self.act(super().forward(x))

    net = nn.Sequential(nn.Linear(3, 3), QuickGELUActivation(), NormAct(), nn.Linear(3, 2))
    assert resolve_layers(net, "auto") == ["1", "2.act"]
    assert resolve_layers(net, "all") == ["0", "1", "2", "3"]


def test_auto_without_activation_modules_is_every_layer_with_parameters():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    assert resolve_layers(net, "auto") == ["0", "2"]


def test_a_convolution_that_holds_its_padding_is_one_layer():
    class Padded(nn.Conv2d):
        def __init__(self):
            super().__init__(1, 2, 3)
            self.pad = nn.ZeroPad2d(1)

        def forward(self, x):
            return super().forward(self.pad(x))

    class Same(nn.Module):
        def forward(self, x):
            return x

    whole = nn.Sequential(Padded(), nn.MultiheadAttention(4, 2))
    whole[0].same = Same()
    assert resolve_layers(whole, "all") == ["0", "1"]
    assert resolve_layers(whole, "*") == ["0", "1"]
    assert resolve_layers(whole, "0.same") == ["0.same"]


def test_an_unknown_layer_names_the_nearest(model):
    with pytest.raises(ValueError, match=r"no layer 'conv3'; did you mean 'conv[12]'\?"):
        resolve_layers(model, "conv3")
    assert unknown("layer", "zzz", ["a", "b"]) == "no layer 'zzz'; there is a, b"


def test_calls_have_labels():
    assert [call_label("act", i) for i in range(3)] == ["act", "act#2", "act#3"]
    assert module_and_call("blocks.0.act#3") == ("blocks.0.act", 2)
    assert module_and_call("plain") == ("plain", 0)
    assert module_and_call("act#1") == ("act#1", 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("features.3:17", [("features.3", 17)]),
        (("a", 1), [("a", 1)]),
        (["a:1", ("b", 2), "a:1"], [("a", 1), ("b", 2)]),
        ({"a": [0, 2]}, [("a", 0), ("a", 2)]),
        (("a:1", "b:2"), [("a", 1), ("b", 2)]),
    ],
)
def test_ways_to_name_neurons(given, expected):
    assert parse_neurons(given) == expected


def test_neurons_of_a_dataset(recording):
    assert parse_neurons(recording.isel(neuron=[2, 0])) == [("early", 2), ("early", 0)]
    assert parse_neurons(recording["activation"].isel(neuron=3)) == [("early", 3)]


@pytest.mark.parametrize("bad", ["features", "a:b", [3], "a:-1", ["a:1", 2.5]])
def test_what_is_no_neuron_is_refused(bad):
    with pytest.raises((ValueError, TypeError), match="is no neuron; expected 'layer:unit'|int"):
        parse_neurons(bad)


def test_no_neurons_at_all():
    with pytest.raises(ValueError, match="no neurons given"):
        parse_neurons([])


@pytest.mark.parametrize(
    ("net", "shape", "units"),
    [
        (nn.Sequential(nn.Conv1d(2, 5, 3, padding=1), nn.ReLU()), (3, 2, 40), 5),
        (nn.Sequential(nn.Linear(4, 6), nn.GELU()), (3, 8, 8, 4), 6),
        (nn.Sequential(nn.Linear(4, 6), nn.GELU()), (3, 10, 4), 6),
        (nn.Sequential(nn.Conv2d(2, 7, 3), nn.Flatten(2), nn.ReLU()), (3, 2, 5, 4), 7),
        (nn.Sequential(nn.Conv2d(2, 7, 3), nn.BatchNorm2d(7), nn.SiLU()), (3, 2, 5, 5), 7),
        (nn.Sequential(nn.Tanh()), (3, 2, 5, 5), 2),
    ],
)
def test_an_activation_has_the_units_of_what_it_follows(net, shape, units):
    recording = nc.record(net, torch.rand(shape), "auto", progress=False)
    assert recording.sizes["neuron"] == units


def test_time_before_samples_is_refused():
    net = nn.LSTM(3, 4)
    with pytest.raises(ValueError, match="LSTM has batch_first=False and gives time first"):
        nc.record(nn.Sequential(net), torch.rand(6, 6, 3), "0", progress=False)


def test_an_iterator_is_no_example(model, images):
    with pytest.raises(TypeError, match="generator, which would lose a batch"):
        nc.layers(model, (torch.tensor(images) for _ in range(2)))


@pytest.mark.parametrize(("net", "chosen"), [(nn.Linear(2, 2), "all"), (nn.Sequential(), "auto")])
def test_a_model_without_layers_is_named(net, chosen):
    with pytest.raises(ValueError, match="no layers were chosen of"):
        resolve_layers(net, chosen)
    with pytest.raises(ValueError, match="no layers were chosen of"):
        resolve_layers(net, [])
