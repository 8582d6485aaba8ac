"""Pooling inside the forward pass: what is read, what follows without reading."""

from __future__ import annotations

import gc
import pickle
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from nbcorr.network.hooks import captured, inference
from nbcorr.network.layers import layers, leaf_modules
from nbcorr.network.pooling import Pooling, poolings
from nbcorr.network.reading import Reader
from nbcorr.network.tokens import Tokens


def read(net, x, pools, explicit=frozenset(), names=None):
    """Layer -> (pools, batch, units) by the Reader, in one pass."""
    reader = Reader(net, names or list(leaf_modules(net)), poolings(pools), explicit)
    reading = reader.reading(net, len(x), x.device, Tokens())
    with inference(net), captured(net, reading.callbacks):
        net(x.clone())
    block = reader.finish(reading)
    starts = np.cumsum([0, *reader.units.values()])
    return {
        layer: block[:, :, start:end]
        for layer, start, end in zip(reader.units, starts, starts[1:], strict=False)
    }


def literal(net, x):
    """Every step's output copied as it is made, without hooks."""
    maps = {}
    with torch.no_grad():
        for name, module in net.named_children():
            x = module(x.clone())
            maps[name] = x.clone()
    return maps


@pytest.fixture
def reads(monkeypatch):
    """How often a map was really read."""
    count = []
    compute = Pooling.__call__

    def counted(self, output, axis, tokens=None):
        count.append(tuple(output.shape))
        return compute(self, output, axis, tokens)

    monkeypatch.setattr(Pooling, "__call__", counted)
    return count


def network(inplace: bool, falling: bool) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(6, 4, 1),
        nn.BatchNorm2d(4, affine=False),
        nn.Hardtanh(-0.2, 0.3, inplace=inplace),
    )
    with torch.no_grad():
        for norm in (net[1], net[4]):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        net[1].weight.normal_()
        net[1].bias.normal_()
        if not falling:
            net[1].weight.abs_()
    return net.eval()


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("falling", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_follows_is_what_reading_gives(inplace, falling, dtype, reads):
    net = network(inplace, falling).to(dtype)
    x = torch.randn(5, 3, 9, 7, dtype=dtype)
    got = read(net, x, ["mean", "max"])
    # The first convolution by both poolings and the one of a pixel by the largest, both activations
    # by the mean; of the first norm those that fall by the largest.
    assert len(reads) == 5 + falling
    for layer, maps in literal(net, x).items():
        expected = torch.stack([maps.mean((2, 3)), maps.amax((2, 3))])
        np.testing.assert_allclose(got[layer], expected.float(), rtol=2e-6, atol=2e-6)


def test_the_largest_behind_an_activation_is_exact():
    net, x = network(True, True), torch.randn(4, 3, 8, 8)
    got, maps = read(net, x, "max"), literal(net, x)
    for before, after in (("1", "2"), ("4", "5")):
        pooled = maps[before].amax((2, 3))
        expected = net[int(after)](pooled.clone())
        np.testing.assert_allclose(got[after][0], expected, rtol=2e-6, atol=2e-6)
        assert torch.equal(got[after][0], net[int(after)](got[before][0].clone()))


class Changed(nn.Module):
    """Between normalisation and activation somebody writes, in place or not."""

    def __init__(self, how):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
        self.act, self.how = nn.ReLU(inplace=True), how

    def forward(self, x):
        x = self.conv(x)
        if self.how == "before":
            x += 10
        x = self.norm(x)
        if self.how == "write":
            x += 10
        if self.how == "view":
            x[:, 0].add_(10)
        if self.how == "new":
            x = x + 10
        return self.act(x)


@pytest.mark.parametrize("how", ["before", "write", "view", "new", ""])
def test_a_map_that_was_changed_on_the_way_is_read(how, reads):
    net, x = Changed(how).eval(), torch.randn(4, 2, 5, 5)
    got = read(net, x, "max")
    with torch.no_grad():
        expected = net(x.clone()).amax((2, 3))
    np.testing.assert_allclose(got["act"][0], expected, rtol=1e-5, atol=1e-5)
    assert len(reads) == (1 if how == "" else 2)


class Louder(nn.BatchNorm2d):
    """A subclass that does more than its base, as timm's norm-and-activation layers do."""

    def forward(self, x):
        return super().forward(x).relu() * 3


@pytest.mark.parametrize("what", ["subclass", "hook", "patched", "training", "no statistics"])
def test_only_a_plain_normalisation_in_eval_mode_is_a_line(what):
    norm = Louder(3) if what == "subclass" else nn.BatchNorm2d(3)
    if what == "no statistics":
        norm = nn.BatchNorm2d(3, track_running_stats=False)
    net = nn.Sequential(nn.Conv2d(2, 3, 1), norm, nn.ReLU()).eval()
    if what == "hook":
        norm.register_forward_hook(lambda module, args, output: output * 7)
    if what == "patched":
        norm.forward = lambda x: x * 5
    x = torch.randn(6, 2, 4, 4) * 3 + 1
    reader = Reader(net, ["0", "1", "2"], poolings(["mean", "max"]))
    reading = reader.reading(net, 6, x.device, Tokens())
    norm.train(what == "training")
    with torch.no_grad(), captured(net, reading.callbacks):
        net(x)
    got = reader.finish(reading)[:, :, 3:6]
    with torch.no_grad():
        expected = norm(net[0](x))
    expected = torch.stack([expected.mean((2, 3)), expected.amax((2, 3))])
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


class Standardised(nn.Conv2d):
    """Weights that are not those it uses, as timm's StdConv2d has them."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias)


class Named(nn.Conv2d):
    """A subclass that does what its base does, as EfficientNet's with its own padding."""

    def forward(self, x):
        return super().forward(x)


@pytest.mark.parametrize(
    ("layer", "reading"),
    [
        (nn.Conv2d(3, 12, 1), [3]),
        (nn.Conv2d(3, 12, 1, padding="same", bias=False), [3]),
        (nn.Conv2d(3, 4, 1), [4]),
        (nn.Conv2d(3, 12, 1, stride=2), [12]),
        (nn.Conv2d(3, 12, 1, padding=1), [12]),
        (nn.Conv2d(3, 12, 3), [12]),
        (nn.Conv2d(3, 12, 1, groups=3), [12]),
        (Named(3, 12, 1), [3, 12, 3]),
        (Standardised(3, 12, 1), [3, 12, 12, 12]),
    ],
    ids=str,
)
def test_the_mean_of_one_pixel_convolutions_is_read_where_it_is_small(layer, reading, reads):
    net = nn.Sequential(layer).eval()
    batches = [torch.randn(5, 3, 9, 8) + at for at in range(2)]
    reader = Reader(net, ["0"], poolings("mean"))
    for x in batches:
        one = reader.reading(net, len(x), x.device, Tokens())
        with inference(net), captured(net, one.callbacks):
            expected = net(x).mean((2, 3))
        np.testing.assert_allclose(reader.finish(one)[0], expected, rtol=2e-6, atol=2e-6)
    seen = [shape[1] for shape in reads]
    # What is of a kind that could do otherwise is looked at in the first pass.
    assert seen == reading if type(layer) is not nn.Conv2d else reading * 2


def test_the_mean_of_linear_layers_over_tokens_follows(reads):
    net = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)).eval()
    x = torch.randn(3, 20, 8)
    got = read(net, x, "mean")
    assert [shape[-1] for shape in reads] == [8, 32]
    for layer, maps in literal(net, x).items():
        np.testing.assert_allclose(got[layer][0], maps.mean(1), rtol=2e-6, atol=2e-6)


def test_no_map_is_held():
    net, x = network(False, False), torch.randn(2, 3, 8, 8)
    alive = []
    handle = net[1].register_forward_hook(lambda m, a, out: alive.append(weakref.ref(out)))
    reader = Reader(net, ["0", "1", "2"], poolings("mean"))
    reading = reader.reading(net, 2, x.device, Tokens())
    with inference(net), captured(net, reading.callbacks):
        net(x)
    gc.collect()
    assert alive[0]() is None
    handle.remove()


class Windows(nn.Module):
    """A layer whose rows are windows and not samples, as Swin's attention has them."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.inner(x.reshape(-1, 2, 4)).reshape(len(x), -1, 5).mean(1))


def test_a_layer_without_a_row_per_sample():
    net, x = Windows(), torch.randn(3, 4, 4)
    reader = Reader(net, ["inner", "head"], poolings("mean"))
    reading = reader.reading(net, 3, x.device, Tokens())
    with inference(net), captured(net, reading.callbacks):
        net(x)
    reader.finish(reading)
    assert reader.units == {"head": 2}
    assert "gave 6 rows for a batch of 3" in reader.left_out["inner"]
    with pytest.raises(ValueError, match="layer 'inner' gave 6 rows for a batch of 3"):
        read(net, x, "mean", frozenset({"inner"}), ["inner"])


class Skipping(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.used(x)


def test_a_layer_that_was_named_and_did_not_run():
    net = Skipping()
    reader = Reader(net, ["used", "spare"], poolings("mean"), frozenset({"spare"}))
    reading = reader.reading(net, 2, torch.device("cpu"), Tokens())
    with inference(net), captured(net, reading.callbacks):
        net(torch.randn(2, 3))
    reader.finish(reading)
    with pytest.raises(ValueError, match=r"layer spare did not run.*those that did: used"):
        reader.check_ran()


def test_a_reader_can_be_sent_to_another_process():
    net = network(False, False)
    reader = pickle.loads(pickle.dumps(Reader(net, ["0"], poolings(["mean", "quantile(0.5)"]))))
    assert reader.names == ["0"]
    assert [pool.name for pool in reader.pools] == ["mean", "quantile(0.5)"]


class Without(nn.Module):
    """One layer gives no tensor, one complex numbers."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv1d(2, 4, 1), nn.ReLU()
        self.note, self.waves = Note(), Waves()

    def forward(self, x):
        x = self.conv(x)
        self.note(x)
        return self.act(self.waves(x).abs())


class Note(nn.Module):
    def forward(self, x):
        return {"length": x.shape[2], "parts": ()}


class Waves(nn.Module):
    def forward(self, x):
        return torch.fft.fft(x)


def test_layers_without_real_numbers_are_left_out():
    net, x = Without().eval(), torch.randn(3, 2, 9)
    reader = Reader(net, ["conv", "note", "waves", "act"], poolings(["mean", "max"]))
    for _ in range(2):
        reading = reader.reading(net, len(x), x.device, Tokens())
        with inference(net), captured(net, reading.callbacks, reading.leave_out):
            net(x)
        assert reader.finish(reading).shape == (2, 3, 8)
    assert reader.units == {"conv": 4, "act": 4}
    assert list(reader.left_out) == ["note", "waves"]
    assert "a Note, gave dict; expected a tensor" in reader.left_out["note"]
    assert "complex" in reader.left_out["waves"]


@pytest.mark.parametrize(("layer", "error"), [("note", TypeError), ("waves", ValueError)])
def test_layers_without_real_numbers_that_were_asked_for_by_name(layer, error):
    net, x = Without().eval(), torch.randn(3, 2, 9)
    reader = Reader(net, ["conv", layer], poolings("mean"), frozenset({layer}))
    reading = reader.reading(net, len(x), x.device, Tokens())
    with (
        inference(net),
        captured(net, reading.callbacks, reading.leave_out),
        pytest.raises(error, match=f"layer '{layer}'.*expected"),
    ):
        net(x)


def test_the_table_of_layers_knows_those_without_a_tensor():
    table = layers(Without().eval(), torch.randn(3, 2, 9))
    found = dict(zip(table.layer.values, table.units.values, strict=True))
    assert found == {"conv": 4, "act": 4, "note": -1, "waves": 4}
    assert table.calls.sel(layer="note") == 1
