"""Real architectures through ``nc.record``, against torch's own hooks and hidden states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import nbcorr as nc
from nbcorr import zoo
from nbcorr.network.layers import call_label, leaf_modules, resolve_layers
from tests.conftest import assert_same_traces, traces
from tests.network.real_models import MODELS, Encoder, build, hf_bert, images, token_ids, vectors

# They give images, or states: what has no name of a score is none.
HEADLESS = ("generator", "transformers deit")


def run(net: nn.Module, data):
    with torch.no_grad():
        return net(**data) if isinstance(data, dict) else net(data)


def as_batches(data, size: int) -> list:
    if isinstance(data, dict):
        count = len(next(iter(data.values())))
        return [
            {key: value[start : start + size] for key, value in data.items()}
            for start in range(0, count, size)
        ]
    return list(data.split(size))


def first(output) -> torch.Tensor:
    return output if isinstance(output, torch.Tensor) else output[0]


def declared_units(module: nn.Module) -> int | None:
    """How many units a module was built with, as torch, timm and transformers call it."""
    if isinstance(module, nn.RNNBase):
        return module.hidden_size * (1 + module.bidirectional)
    if isinstance(module, nn.LayerNorm):
        return module.normalized_shape[-1]
    names = ("out_channels", "out_features", "num_features", "embedding_dim", "embed_dim", "nf")
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)


def literal(net: nn.Module, data) -> dict[str, np.ndarray]:
    """Each leaf layer's output averaged over its places in float64, in the order they run.

    The axis of the units is where the declared number of them is; an activation has those of the
    last layer that ran before it and gave the same shape.
    """
    found: dict[str, np.ndarray] = {}
    units_of_shape: dict[torch.Size, int] = {}
    calls: dict[str, int] = {}

    def look(name, module, output):
        output = first(output)
        units = declared_units(module) or units_of_shape.get(output.shape)
        if units is None:
            # It changed the shape: a permutation kept the number of units, a pooling its axis.
            last = next(reversed(units_of_shape.values()), None)
            units = last if last in output.shape[1:] else output.shape[1]
        units_of_shape.pop(output.shape, None)
        units_of_shape[output.shape] = units
        calls[name] = calls.get(name, -1) + 1
        axes = [axis for axis in range(1, output.ndim) if output.shape[axis] == units]
        assert axes, f"{name} has no axis of {units} in {tuple(output.shape)}"
        places = tuple(axis for axis in range(1, output.ndim) if axis != axes[0])
        averaged = output.double().mean(places) if places else output.double()
        found[call_label(name, calls[name])] = averaged.numpy()

    handles = [
        module.register_forward_hook(lambda m, _, out, name=name: look(name, m, out))
        for name, module in leaf_modules(net).items()
    ]
    run(net, data)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", MODELS)
def test_every_neuron_of_every_layer_is_what_the_layer_gave(name):
    net, data = build(name)
    expected = literal(net, data)
    count = len(next(iter(data.values())) if isinstance(data, dict) else data)
    kept = {layer: values for layer, values in expected.items() if len(values) == count}
    before = traces(net.train())
    recording = nc.record(net, as_batches(data, 2), "all", progress=False)
    assert_same_traces(before, traces(net))
    assert recording.attrs["layers"] == list(kept)
    for layer, values in kept.items():
        got = recording.activation.sel(layer=layer).values
        np.testing.assert_allclose(got, values, rtol=1e-3, atol=1e-4, err_msg=layer)


@pytest.mark.parametrize("name", MODELS)
def test_the_table_of_layers_knows_shapes_and_calls(name):
    net, data = build(name)
    table = nc.layers(net, [data])
    assert list(table.layer.values) == resolve_layers(net, "all")
    expected = literal(net, data)
    count = len(next(iter(data.values())) if isinstance(data, dict) else data)
    for layer in table.layer.values:
        calls = [name for name in expected if name.split("#")[0] == layer]
        assert int(table.calls.sel(layer=layer)) == len(calls), layer
        if calls and len(expected[layer]) == count:
            assert int(table.units.sel(layer=layer)) == expected[layer].shape[1], layer


@pytest.mark.parametrize("name", [name for name in MODELS if name not in HEADLESS])
def test_answers_of_classifiers_are_recorded(name):
    net, data = build(name)
    output = run(net, data)
    scores = getattr(output, "logits", output)
    assert scores.shape == (5, 6)
    recording = nc.record(net, [data], progress=False)
    np.testing.assert_array_equal(recording.prediction, scores.argmax(1))


@pytest.mark.parametrize("name", HEADLESS)
def test_models_that_classify_nothing_have_no_predictions(name):
    net, data = build(name)
    assert "prediction" not in nc.record(net, [data], progress=False).coords


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("transformers vit", "vit.layers.{}"),
        ("transformers deit", "layers.{}"),
        ("transformers dinov2", "dinov2.encoder.layer.{}"),
        ("transformers bert", "bert.encoder.layer.{}"),
        ("transformers gpt2", "transformer.h.{}"),
    ],
)
def test_blocks_of_transformers_are_their_hidden_states(name, blocks):
    net, data = build(name)
    inputs = data if isinstance(data, dict) else {"pixel_values": data}
    with torch.no_grad():
        states = net(**inputs, output_hidden_states=True).hidden_states
    # GPT-2's last hidden state is the one after its final normalisation.
    last = "transformer.ln_f" if name == "transformers gpt2" else blocks.format(1)
    recording = nc.record(net, [inputs], [blocks.format(0), last], progress=False)
    for layer, state in zip([blocks.format(0), last], states[1:], strict=True):
        got = recording.activation.sel(layer=layer).values
        np.testing.assert_allclose(got, state.mean(1), rtol=1e-4, atol=1e-5)


def test_padding_counts_for_nothing():
    """What a text gives does not depend on how far its batch was padded."""
    torch.manual_seed(0)
    net = hf_bert().eval()
    ids = token_ids(3)
    mask = torch.tensor([[1] * 11, [1] * 6 + [0] * 5, [1] * 3 + [0] * 8])
    batch = {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.tensor([0, 1, 2])}
    recording = nc.record(net, [batch], "bert.encoder.layer.*.output.dense", progress=False)
    assert recording.label.values.tolist() == [0, 1, 2]
    for row, length in enumerate([11, 6, 3]):
        alone = nc.record(
            net,
            [{"input_ids": ids[row : row + 1, :length]}],
            recording.attrs["layers"],
            progress=False,
        )
        np.testing.assert_allclose(
            recording.activation[row], alone.activation[0], rtol=1e-3, atol=1e-5
        )


def test_torchs_own_encoder_is_recorded_layer_by_layer_with_padding():
    """Its fused path would pass nested tensors from layer to layer, and refuse hooks inside."""
    torch.manual_seed(0)
    net = Encoder().eval()
    x, padding = vectors(3, 7, 12), torch.zeros(3, 7, dtype=torch.bool)
    padding[1, 5:] = True
    layers = ["encoder.layers.0", "encoder.layers.1.linear1", "encoder.layers.1"]
    fast = torch.backends.mha.get_fastpath_enabled()
    recording = nc.record(net, [{"x": x, "padding": padding}], layers, progress=False)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    one, two = net.encoder.layers
    with torch.no_grad():
        for row in (0, 2):
            first_state = one(x[row : row + 1])
            attended = first_state + two.self_attn(*[first_state] * 3)[0]
            hidden = two.linear1(two.norm1(attended))
            for layer, state in zip(layers, [first_state, hidden, two(first_state)], strict=True):
                got = recording.activation.sel(layer=layer)[row]
                np.testing.assert_allclose(got, state[0].mean(0), rtol=1e-4, atol=1e-5)


def test_the_trained_efficientnet_of_the_zoo():
    """Its blocks run one activation module several times each."""
    net, data = zoo.efficientnet_lite0(), images(size=224, count=2)
    expected = literal(net, data)
    recording = nc.record(net, data, "all", progress=False)
    assert recording.attrs["layers"] == list(expected)
    assert any("#2" in layer for layer in expected)
    got = recording.activation.values
    np.testing.assert_allclose(got, np.concatenate([*expected.values()], 1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["timm vit", "transformers vit", "torchvision resnet18"])
def test_compiled_real_models_give_what_they_give_uncompiled(name):
    net, data = build(name)
    expected = nc.record(net, data, progress=False)
    compiled = torch.compile(net, backend="eager")
    run(compiled, data)
    recording = nc.record(compiled, data, progress=False)
    assert recording.attrs["layers"] == expected.attrs["layers"]
    np.testing.assert_array_equal(recording.activation, expected.activation)


def test_twins_of_real_models_are_drawn_anew():
    for name in ("timm vit", "transformers bert", "torchvision resnet18", "lstm"):
        net, data = build(name)
        recording = nc.record(net, [data], twins=1, progress=False)
        told = recording.activation.std("sample") > 0
        differ = (recording.activation_twin[0] != recording.activation).any("sample")
        assert float(differ.sel(neuron=told).mean()) > 0.99, name


def test_neurons_of_real_models_are_switched_off():
    net, data = build("transformers vit")
    layer = "vit.layers.1"
    plain = run(net, data).logits
    with nc.ablate(net, [(layer, unit) for unit in range(36)]):
        off = run(net, data)
        recording = nc.record(net, [data], layer, progress=False)
    assert (recording.activation == 0).all()
    assert not torch.allclose(off.logits, plain)
    np.testing.assert_array_equal(run(net, data).logits, plain)
