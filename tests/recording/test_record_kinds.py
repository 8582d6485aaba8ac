"""What ``nc.record`` keeps beside plain means: poolings, columns, half precision, partial runs."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

import nbcorr as nc


def test_several_poolings_in_one_pass_are_each_as_alone(untouched, images):
    pools = ["mean", "max", "quantile(0.25)", "center"]
    together = nc.record(untouched, images, "all", pools, twins=1, progress=False)
    assert together["activation"].dims == ("pool", "sample", "neuron")
    assert together["activation_twin"].dims == ("twin", "pool", "sample", "neuron")
    assert together["pool"].values.tolist() == together.attrs["pool"] == pools
    for pool in pools:
        alone = nc.record(untouched, images, "all", pool, twins=1, progress=False)
        one = together.sel(pool=pool)
        np.testing.assert_array_equal(one["activation"], alone["activation"])
        np.testing.assert_array_equal(one["activation_twin"], alone["activation_twin"])
        assert alone.attrs["pool"] == pool


def test_one_of_several_poolings_is_asked_for_and_used(model, images, labels):
    both = nc.record(
        model, (images, labels), "relu", ["mean", "max"], baseline=labels * 0, progress=False
    )
    for verb in (nc.correlate, nc.selectivity):
        with pytest.raises(ValueError, match=r"the poolings mean, max.*recording.sel\(pool='mean'"):
            verb(both)
    one = nc.record(model, (images, labels), "relu", "max", baseline=labels * 0, progress=False)
    chosen = nc.correlate(both.sel(pool="max"), strata=None)
    xr.testing.assert_identical(chosen, nc.correlate(one, strata=None))
    assert chosen.attrs["pool"] == "max"
    with nc.ablate(model, ["relu:1"], "mean", recording=both.sel(pool="mean")):
        pass
    with pytest.raises(ValueError, match="pooled by 'max'; how='mean' expects 'mean'"):
        nc.ablate(model, ["relu:1"], "mean", recording=both.sel(pool="max")).__enter__()


def test_half_precision_is_rounded_once(model, images):
    whole = nc.record(model, images, "all", progress=False)["activation"]
    half = nc.record(model, images, "all", dtype="float16", progress=False)["activation"]
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, whole.astype(np.float16))
    with pytest.raises(ValueError, match="dtype is 'int8'; expected 'float32' or 'float16'"):
        nc.record(model, images, dtype="int8", progress=False)


def test_the_margin_is_the_labels_score_less_the_highest_other(model, images, labels):
    recording = nc.record(model, (images, labels), progress=False)
    model.eval()
    with torch.no_grad():
        scores = model(torch.tensor(images)).numpy()
    expected = [
        row[label] - max(s for i, s in enumerate(row) if i != label)
        for row, label in zip(scores, labels, strict=True)
    ]
    np.testing.assert_allclose(recording["margin"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(recording["margin"] > 0, recording["prediction"] == labels)


class Broken(nn.Module):
    """A unit that is no number on some samples."""

    def __init__(self):
        super().__init__()
        self.act, self.tail = nn.ReLU(), nn.Hardtanh(-100, 100)

    def forward(self, x):
        y = self.act(x).clone()
        y[x[:, 0] > 0.5, 1] = float("nan")
        return self.tail(y)


def test_values_that_are_no_numbers_are_counted_and_said():
    x = torch.rand(50, 4)
    with pytest.warns(UserWarning, match=r"1 of 8 neurons gave NaN or infinite values"):
        recording = nc.record(Broken(), x, ["act", "tail"], batch_size=16, progress=False)
    broken = int((x[:, 0] > 0.5).sum())
    assert recording["nonfinite"].sel(layer="act").values.tolist() == [0, 0, 0, 0]
    assert recording["nonfinite"].sel(layer="tail").values.tolist() == [0, broken, 0, 0]


def test_what_half_precision_cannot_hold_is_counted():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    x = torch.rand(20, 2) * 1e6
    with pytest.warns(UserWarning, match="NaN or infinite"):
        half = nc.record(net, x, ["0"], dtype="float16", progress=False)
    expected = np.isinf(half["activation"].values).sum(0)
    assert expected.any()
    np.testing.assert_array_equal(half["nonfinite"], expected)
    assert not nc.record(net, x, ["0"], progress=False)["nonfinite"].any()


def test_images_given_by_name_are_inputs_too():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, pixel_values):
            return self.conv(pixel_values)

    x = torch.rand(6, 3, 8, 8)
    by_name = nc.record(Named(), [{"pixel_values": x}], "conv", progress=False)
    plain = nc.record(Named(), x, "conv", progress=False)
    np.testing.assert_array_equal(by_name["input"], plain["input"])


def test_no_warning_where_all_is_finite(model, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording = nc.record(model, images * 1e4, progress=False)
    assert not recording["nonfinite"].any()


class Tokens(nn.Module):
    """A model that takes names, as transformers do."""

    def __init__(self):
        super().__init__()
        self.embed, self.act = nn.Embedding(20, 6), nn.GELU()

    def forward(self, input_ids, attention_mask=None):
        return self.act(self.embed(input_ids)).mean(1)


def token_batches():
    generator = torch.Generator().manual_seed(0)
    for start in (0, 5):
        yield {
            "input_ids": torch.randint(0, 20, (5, 7), generator=generator),
            "attention_mask": torch.ones(5, 7, dtype=torch.long),
            "label": torch.arange(start, start + 5) % 2,
            "id": [f"t{i}" for i in range(start, start + 5)],
            "site": ["north"] * 3 + ["south"] * 2,
            "age": np.arange(start, start + 5),
        }


def test_what_the_model_does_not_take_becomes_a_column():
    recording = nc.record(Tokens(), list(token_batches()), "act", progress=False)
    assert recording["site"].values.tolist() == (["north"] * 3 + ["south"] * 2) * 2
    assert recording["age"].values.tolist() == list(range(10))
    assert recording["sample"].values.tolist() == [f"t{i}" for i in range(10)]
    assert recording["label"].values.tolist() == [0, 1] * 5


def test_columns_stand_in_nobodys_way():
    net = Tokens()
    assert nc.layers(net, list(token_batches()))["units"].sel(layer="act") == 6
    found = nc.exemplars(net, list(token_batches()), ["act:1"], k=2, progress=False)
    assert found["sample"].shape == (1, 2)


def test_means_of_half_precision_do_not_overflow(model, images):
    recording = nc.record(model, images, "relu", dtype="float16", progress=False)
    large = recording.copy(deep=True)
    large["activation"].values[:] = 60000
    seen = []
    with nc.ablate(model, ["relu:1"], "mean", recording=large):
        handle = model.relu.register_forward_hook(lambda m, a, out: seen.append(out))
        model.eval()(torch.tensor(images))
    handle.remove()
    assert seen[0][0, 1].item() == pytest.approx(60000, rel=1e-3)


class Greedy(Tokens):
    def forward(self, input_ids, **rest):
        assert "age" not in rest
        return super().forward(input_ids, rest["attention_mask"])


def test_columns_of_a_model_that_takes_anything_are_named():
    recording = nc.record(Greedy(), token_batches(), "act", columns=["age", "site"], progress=False)
    assert recording["age"].values.tolist() == list(range(10))
    with pytest.raises(ValueError, match="no column 'aeg'; did you mean 'age'"):
        nc.record(Greedy(), token_batches(), "act", columns=["aeg"], progress=False)


def test_tables_are_laid_beside_by_id(model, images):
    ids = np.array([f"i{i}" for i in range(40)])
    frame = pd.DataFrame({"age": np.arange(40), "site": ["a", "b"] * 20}, index=ids)
    for columns in (
        frame,
        frame.sample(frac=1, random_state=0),
        xr.Dataset({name: ("sample", frame[name].values) for name in frame}, {"sample": ids}),
    ):
        recording = nc.record(
            model, (images, np.zeros(40, int), ids), columns=columns, progress=False
        )
        assert recording["age"].values.tolist() == list(range(40))
        assert recording["site"].values.tolist() == ["a", "b"] * 20
    with pytest.raises(ValueError, match="age has no value for 1 of 40 samples, first 'i39'"):
        nc.record(model, (images, np.zeros(40, int), ids), columns=frame.iloc[:39], progress=False)


class Named(TorchDataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        return self.images[at], at % 3, f"i{at}"


def test_a_baseline_by_id_survives_a_loader_that_shuffles(model, images):
    answers = pd.Series(np.arange(40) % 2, index=[f"i{i}" for i in range(40)])
    loader = DataLoader(Named(images), batch_size=7, shuffle=True)
    recording = nc.record(model, loader, baseline=answers, progress=False)
    at = [int(name[1:]) for name in recording["sample"].values]
    assert at != sorted(at)
    np.testing.assert_array_equal(recording["baseline"], np.array(at) % 2)
    with pytest.raises(ValueError, match="the samples have ids of their own"):
        nc.record(model, loader, baseline=answers.values, progress=False)


def test_the_batches_before_an_error_are_not_lost(untouched, images):
    images = images.copy()
    images[25, 0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="sample 25 has NaN") as caught:
        nc.record(untouched, images, batch_size=8, baseline=np.zeros(40), progress=False)
    partial = caught.value.recording
    assert partial.sizes["sample"] == 24
    assert partial.attrs["interrupted"] == 1
    assert "the 24 samples before it" in caught.value.__notes__[-1]
    whole = nc.record(untouched, images[:24], batch_size=8, progress=False)
    np.testing.assert_array_equal(partial["activation"], whole["activation"])


class Endless(TorchDataset):
    """More samples than any memory holds."""

    def __len__(self):
        return 10**12

    def __getitem__(self, at):
        return torch.full((1, 8, 8), float(at % 5))


def test_what_cannot_fit_is_said_after_one_batch(untouched):
    ran = []
    handle = untouched.conv1.register_forward_pre_hook(
        lambda module, args: ran.append(len(args[0]))
    )
    with pytest.raises(MemoryError, match=r"neurons x 1,000,000,000,000 samples, .* TB in memory"):
        nc.record(untouched, Endless(), batch_size=4, progress=False)
    handle.remove()
    assert ran == [4]


def test_the_bar_says_what_the_recording_takes(model, images, capsys):
    nc.record(model, images, "all")
    assert "neurons x 40 samples" in capsys.readouterr().err


def test_a_model_that_works_in_place_changes_nobodys_inputs():
    x = torch.randn(6, 3)
    given = x.clone()
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))
    recording = nc.record(net, x, "all", twins=1, baseline=lambda b: b[:, 0] < 0, progress=False)
    assert torch.equal(x, given)
    np.testing.assert_array_equal(recording["baseline"], given[:, 0] < 0)
    from nbcorr.network.twins import untrained_twin

    with torch.no_grad():
        expected = untrained_twin(net, 0)(given.clone())
    got = recording["activation_twin"].sel(layer="1")[0]
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_what_does_not_fit_the_samples_is_said_with_the_first_batch(model, images):
    ids = np.array([f"i{i}" for i in range(40)])
    ran = []
    handle = model.register_forward_pre_hook(lambda module, args: ran.append(len(args[0])))
    known = pd.Series(0, index=ids[::2])
    with pytest.raises(ValueError, match="baseline has no value for 4 of 8 samples, first 'i1'"):
        nc.record(model, (images, np.zeros(40), ids), baseline=known, batch_size=8, progress=False)
    with pytest.raises(ValueError, match=r"ids of their own"):
        nc.record(model, (images, np.zeros(40), ids), baseline=[0] * 40, batch_size=8)
    assert ran == [8, 8]
    handle.remove()


def test_ids_that_repeat_and_what_was_recorded_before(model, images):
    ids = np.arange(40)
    ids[30] = 3
    with pytest.raises(ValueError, match="sample id 3 repeats; expected every") as caught:
        nc.record(model, (images, ids, ids), batch_size=8, progress=False)
    assert caught.value.recording["sample"].values.tolist() == list(range(24))


def test_a_baseline_for_more_samples_than_came(model, images):
    stream = (images[at : at + 8] for at in range(0, 40, 8))
    with pytest.raises(ValueError, match=r"baseline has shape \(60,\); expected .* 40") as caught:
        nc.record(model, stream, baseline=np.arange(60), progress=False)
    assert caught.value.recording["baseline"].values.tolist() == list(range(40))


class Silent(nn.Module):
    def forward(self, x):
        return None


class WithSilent(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.silent = nn.Linear(4, 3), Silent()

    def forward(self, x):
        x = self.linear(x)
        self.silent(x)
        return x


def test_a_layer_without_a_tensor_stops_nobody(tmp_path):
    net, x = WithSilent(), torch.randn(6, 4)
    for store in (None, tmp_path / "a.zarr"):
        recording = nc.record(net, x, "all", batch_size=2, store=store, progress=False)
        assert recording.attrs["layers"] == ["linear"]
        assert list(recording.attrs["left_out"]) == ["silent"]
    with nc.watch(net, "all") as watched:
        net(x)
    assert list(watched.recording().attrs["left_out"]) == ["silent"]
    with pytest.raises(TypeError, match="layer 'silent', a Silent, gave NoneType"):
        nc.record(net, x, ["linear", "silent"], progress=False)
    with nc.watch(net, ["linear", "silent"]), pytest.raises(TypeError, match="layer 'silent'"):
        net(x)


def test_positions_are_no_neurons_of_a_model(images):
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    recording = nc.record(net, images, pool="none", progress=False)
    for ask in (
        lambda neurons: nc.exemplars(net, images, neurons, progress=False),
        lambda neurons: nc.ablate(net, neurons).__enter__(),
    ):
        with pytest.raises(ValueError, match=r"positions of units \(pool='none'\).*'features"):
            ask(recording.isel(neuron=[40]))


class Positions(nn.Module):
    """Embeds tokens, and their positions once for all samples."""

    def __init__(self):
        super().__init__()
        self.token, self.position = nn.Embedding(50, 6), nn.Embedding(20, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, ids):
        steps = torch.arange(ids.shape[1])
        return self.head((self.token(ids) + self.position(steps)).mean(1))


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.act, self.head = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.act(self.inner(x.transpose(0, 1))).mean(0))


@pytest.mark.parametrize(
    ("build", "data", "kept", "left_out"),
    [
        (Positions, torch.randint(0, 50, (16, 8)), ["token", "head"], ["position"]),
        (TimeFirst, torch.randn(16, 8, 4), ["head"], ["inner", "act"]),
    ],
)
@pytest.mark.parametrize("size", [8, 16, 5])
def test_as_many_steps_as_samples_are_not_taken_for_them(build, data, kept, left_out, size):
    net = build()
    recording = nc.record(net, data, "all", batch_size=size, progress=False)
    assert recording.attrs["layers"] == kept
    assert list(recording.attrs["left_out"]) == left_out
    with pytest.raises(ValueError, match=f"layer '{left_out[0]}' gave .* rows for a batch of"):
        nc.record(net, data, left_out[0], batch_size=size, progress=False)


def test_a_model_for_one_size_of_batch_and_as_many_steps():
    class Bound(Positions):
        def forward(self, ids):
            if len(ids) != 8:
                raise ValueError("expected 8 samples")
            return super().forward(ids)

    recording = nc.record(Bound(), torch.randint(0, 50, (16, 8)), batch_size=8, progress=False)
    assert recording.sizes["sample"] == 16
