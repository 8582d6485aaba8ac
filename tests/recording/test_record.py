from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import nbcorr as nc
from nbcorr.recording.record import RecordingInterrupted, fingerprint


def literal_maps(net, x) -> dict[str, torch.Tensor]:
    """Every layer's output, by the forward pass written out without hooks or in-place."""
    maps = {"conv1": net.conv1(x)}
    maps["norm"] = net.norm(maps["conv1"])
    maps["act"] = torch.relu(maps["norm"])
    maps["conv2"] = net.conv2(maps["act"])
    maps["act#2"] = torch.relu(maps["conv2"])
    maps["hidden"] = net.hidden(maps["act#2"].flatten(1))
    maps["relu"] = torch.relu(maps["hidden"])
    maps["out"] = net.out(maps["relu"])
    return maps


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_every_neuron_equals_the_forward_pass_written_out(untouched, images, pool):
    """In-place ReLUs, a module used twice and dropout included."""
    recording = nc.record(untouched, images, "all", pool, batch_size=16, progress=False)
    modes = [m.training for m in untouched.modules()]
    untouched.eval()
    with torch.no_grad():
        maps = literal_maps(untouched, torch.tensor(images))
    for module, mode in zip(untouched.modules(), modes, strict=True):
        module.training = mode
    assert recording.attrs["layers"] == list(maps)
    for layer, expected in maps.items():
        flat = expected.reshape(*expected.shape[:2], -1)
        pooled = flat.mean(2) if pool == "mean" else flat.amax(2)
        got = recording.activation.sel(layer=layer).values
        np.testing.assert_allclose(got, pooled.numpy(), rtol=1e-5, atol=1e-6)


def test_the_recording_is_labelled(untouched, images, labels):
    ids = np.array([f"img-{i}" for i in range(40)])
    recording = nc.record(
        untouched,
        (images, labels, ids),
        baseline=pd.Series(np.zeros(40, int), index=ids[::-1]),
        progress=False,
    )
    assert recording.activation.dims == ("sample", "neuron")
    assert recording.activation.dtype == np.float32
    assert recording.sel(layer="act#2").sizes["unit"] == 6
    assert recording.sel(layer="relu", unit=11).activation.shape == (40,)
    assert recording.sample.values.tolist() == ids.tolist()
    assert recording.label.values.tolist() == labels.tolist()
    assert recording.attrs["pool"] == "mean"
    assert recording.attrs["fingerprint"] == fingerprint(untouched)
    with torch.no_grad():
        modes = [m.training for m in untouched.modules()]
        untouched.eval()
        logits = untouched(torch.tensor(images))
        for module, mode in zip(untouched.modules(), modes, strict=True):
            module.training = mode
    probabilities = logits.softmax(1).numpy()
    np.testing.assert_array_equal(recording.prediction, probabilities.argmax(1))
    np.testing.assert_allclose(recording.confidence, probabilities.max(1), rtol=1e-5)
    np.testing.assert_allclose(
        recording.loss, -np.log(probabilities[np.arange(40), labels]), rtol=1e-4
    )
    expected = (probabilities.argmax(1) == labels) & (labels != 0)
    np.testing.assert_array_equal(recording.relative_performance, expected)


def test_batches_of_any_size_give_the_same(model, images):
    whole = nc.record(model, images, "all", batch_size=40, progress=False)
    for size in (1, 7, 39):
        parts = nc.record(model, images, "all", batch_size=size, progress=False)
        np.testing.assert_allclose(parts.activation, whole.activation, rtol=1e-5, atol=1e-6)


def test_the_same_from_loader_generator_and_images(model, images, labels):
    expected = nc.record(model, (images, labels), progress=False)
    loader = DataLoader(TensorDataset(torch.tensor(images), torch.tensor(labels)), batch_size=64)
    dataset = xr.Dataset(
        {"image": (("sample", "channel", "y", "x"), images)}, coords={"label": ("sample", labels)}
    ).assign_coords(site=("sample", labels * 2))
    for data in (loader, iter(list(loader)), dataset):
        recording = nc.record(model, data, progress=False)
        np.testing.assert_array_equal(recording.activation, expected.activation)
        np.testing.assert_array_equal(recording.label, expected.label)
    assert recording.site.values.tolist() == (labels * 2).tolist()


def test_baselines_of_every_kind(model, images, labels):
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).train()
    expected = net(torch.tensor(images)).argmax(1).numpy()
    for baseline in (
        net,
        lambda x: net(x),
        lambda x: net(x).argmax(1),
        lambda x: net(x).argmax(1).tolist(),
        expected,
        expected.tolist(),
        np.eye(3)[expected],
    ):
        recording = nc.record(model, (images, labels), baseline=baseline, progress=False)
        np.testing.assert_array_equal(recording.baseline, expected)
    assert net.training


def test_twins_are_recorded_on_the_same_samples(untouched, images):
    recording = nc.record(untouched, images, "auto", twins=2, progress=False)
    again = nc.record(untouched, images, "auto", twins=2, progress=False)
    assert recording.activation_twin.dims == ("twin", "sample", "neuron")
    np.testing.assert_array_equal(recording.activation_twin, again.activation_twin)
    first, second = recording.activation_twin.values
    assert not np.allclose(first, second)
    assert not np.allclose(first, recording.activation)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_any_number_of_channels_vectors_and_sequences(channels):
    net = nn.Sequential(nn.Conv2d(channels, 5, 3), nn.ReLU())
    x = torch.rand(4, channels, 9, 7)
    assert nc.record(net, x, progress=False).activation.sizes == {"sample": 4, "neuron": 5}
    dense = nn.Sequential(nn.Linear(channels, 8), nn.Tanh())
    assert nc.record(dense, torch.rand(4, channels), progress=False).sizes["neuron"] == 8

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(channels, 7, batch_first=True)

        def forward(self, tokens, mask=None):
            return {"hidden": self.lstm(tokens)[0]}

    data = [{"tokens": torch.rand(4, 6, channels), "id": np.array(list("abcd"))}]
    recording = nc.record(Recurrent(), data, "lstm", progress=False)
    assert recording.sizes == {"sample": 4, "neuron": 7}
    assert recording.sample.values.tolist() == list("abcd")


def test_no_map_is_kept(model, images):
    """What the hook is given can be freed as soon as the forward pass has used it."""
    alive = []
    import gc
    import weakref

    model.conv1.register_forward_hook(lambda m, a, out: alive.append(weakref.ref(out)))
    model.out.register_forward_hook(
        lambda m, a, out: alive.append(sum(r() is not None for r in alive[:1]))
    )
    gc.disable()
    try:
        nc.record(model.eval(), images, "conv1", batch_size=40, progress=False)
    finally:
        gc.enable()
    assert alive[1] == 0


class Interrupting:
    """Batches that raise on the way."""

    def __init__(self, images, at, error):
        self.images, self.at, self.error = images, at, error

    def __iter__(self):
        for i in range(0, 40, 10):
            if i == self.at:
                raise self.error("stop")
            yield torch.tensor(self.images[i : i + 10])


def test_an_interrupt_carries_what_was_recorded(untouched, images):
    with pytest.raises(RecordingInterrupted, match="after 20 samples") as caught:
        nc.record(untouched, Interrupting(images, 20, KeyboardInterrupt), twins=1, progress=False)
    partial = caught.value.recording
    assert partial.sizes["sample"] == 20
    assert partial.attrs["interrupted"] == 1
    modes = [m.training for m in untouched.modules()]
    whole = nc.record(untouched, images[:20], batch_size=10, twins=1, progress=False)
    assert [m.training for m in untouched.modules()] == modes
    np.testing.assert_array_equal(partial.activation, whole.activation)
    np.testing.assert_array_equal(partial.activation_twin, whole.activation_twin)


def test_an_interrupt_inside_the_model_leaves_no_half_batch(untouched, images):
    calls = []

    def stop(module, args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    handle = untouched.conv2.register_forward_pre_hook(stop)
    try:
        with pytest.raises(RecordingInterrupted) as caught:
            nc.record(untouched, images, batch_size=10, progress=False)
    finally:
        handle.remove()
    assert caught.value.recording.sizes["sample"] == 20


def test_an_interrupt_before_the_first_batch_is_plain(untouched, images):
    with pytest.raises(KeyboardInterrupt) as caught:
        nc.record(untouched, Interrupting(images, 0, KeyboardInterrupt), progress=False)
    assert not isinstance(caught.value, RecordingInterrupted)


def test_an_error_in_the_model_says_the_shape(untouched):
    with pytest.raises(RuntimeError) as caught:
        nc.record(untouched, np.zeros((2, 5, 8, 8), np.float32), progress=False)
    assert caught.value.__notes__ == ["while running Reusing on a batch of shape (2, 5, 8, 8)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": "conv9"}, "no layer 'conv9'; did you mean"),
        ({"layers": "unused"}, "layer unused did not run in the forward pass; those that did"),
        ({"pool": "meen"}, "no pooling 'meen'; did you mean 'mean'"),
        (
            {"baseline": np.zeros(39)},
            r"baseline has shape \(39,\); expected one value for each of",
        ),
        ({"baseline": lambda x: 1}, r"the baseline gave answers of shape \(\) for a batch of 40"),
        ({"twins": -1}, "twins is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_arguments_are_named(untouched, images, arguments, message):
    with pytest.raises(ValueError, match=message):
        nc.record(untouched, images, progress=False, **arguments)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_named(untouched, images, value):
    images[23, 0, 1, 1] = value
    with pytest.raises(ValueError, match="sample 23 has NaN or infinite values"):
        nc.record(untouched, images, batch_size=10, progress=False)
    ids = np.array([f"img-{i}" for i in range(40)])
    with pytest.raises(ValueError, match="sample img-23 has NaN"):
        nc.record(untouched, (images, np.zeros(40, int), ids), batch_size=10, progress=False)


@pytest.mark.parametrize("empty", [np.zeros((0, 1, 8, 8), np.float32), []])
def test_empty_data(untouched, empty):
    with pytest.raises(ValueError, match="the data is empty"):
        nc.record(untouched, empty, progress=False)


def test_one_sample(untouched, images):
    recording = nc.record(untouched, images[:1], "all", twins=1, progress=False)
    assert recording.sizes["sample"] == 1


def test_fingerprint_tells_weights_apart(model):
    before = fingerprint(model)
    assert before == fingerprint(model)
    with torch.no_grad():
        model.out.bias[0] += 1e-6
    assert fingerprint(model) != before


class Answering(nn.Module):
    """Gives its scores in the way it is told to."""

    def __init__(self, way):
        super().__init__()
        self.way, self.features, self.head = way, nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        features = self.features(x)
        return self.way(features, self.head(features))


@pytest.mark.parametrize(
    ("way", "known"),
    [
        (lambda f, s: s, True),
        (lambda f, s: {"features": f, "logits": s}, True),
        (lambda f, s: (s, None), True),
        (lambda f, s: (f, s), False),
        (lambda f, s: {"features": f, "scores": s}, False),
    ],
)
def test_predictions_come_from_the_scores_or_not_at_all(way, known):
    torch.manual_seed(0)
    net = Answering(way)
    x = torch.rand(6, 4)
    recording = nc.record(net, x, "features", progress=False)
    assert ("prediction" in recording.coords) == known
    if known:
        expected = net.head(net.features(x)).argmax(1).numpy()
        np.testing.assert_array_equal(recording.prediction, expected)


def test_a_baseline_of_another_dtype_and_dict_batches(images):
    net, other = nn.Sequential(nn.Linear(4, 3)).double(), Answering(lambda f, s: s)
    recording = nc.record(net, torch.rand(6, 4), "0", baseline=other, progress=False)
    assert recording.baseline.shape == (6,)


def test_answers_for_more_samples_than_a_generator_gave(model, images):
    with pytest.raises(ValueError, match=r"baseline has shape \(60,\); expected one value"):
        nc.record(model, iter([torch.tensor(images)]), baseline=np.zeros(60), progress=False)
