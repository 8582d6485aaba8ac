"""The knob: against its definition, against finite differences, and without a trace left."""

from __future__ import annotations

import copy
import math
import weakref
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import nbcorr as nc
from nbcorr.selectivity.loss import SelectivityLoss, batch_selectivity
from tests.conftest import Reusing, assert_same_traces, traces


def literal(maps, labels):
    """The mean over units of SI from its definition, with loops over plain numbers."""
    indices = []
    for unit in range(maps.shape[1]):
        by_class = {}
        for sample, label in zip(maps[:, unit].tolist(), labels.tolist(), strict=True):
            places = [sample]
            while isinstance(places[0], list):
                places = [value for row in places for value in row]
            by_class.setdefault(label, []).append(sum(places) / len(places))
        means = [sum(values) / len(values) for values in by_class.values()]
        best = max(means)
        means.remove(best)
        others = sum(means) / len(means)
        indices.append((best - others) / (best + others + 1e-7))
    return sum(indices) / len(indices)


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)
    )


@pytest.fixture
def batch():
    torch.manual_seed(1)
    labels = torch.arange(24) % 3
    return torch.rand(24, 1, 6, 6) * (1 + torch.arange(6) * labels[:, None, None, None]) / 6, labels


@pytest.mark.parametrize("alpha", [-2.0, 0.5])
def test_the_term_is_minus_alpha_times_the_mean_over_layers(batch, alpha):
    images, labels = batch
    model = small()
    maps = [model[:2](images), model[:5](images)]
    expected = [literal(own, labels) for own in maps]
    with SelectivityLoss(model, alpha=alpha) as term:
        model(images)
        found = term(labels)
    assert float(found.detach()) == pytest.approx(-alpha * sum(expected) / 2, rel=1e-5)
    assert term.selectivity == pytest.approx({"1": expected[0], "4": expected[1]}, rel=1e-5)


def test_it_says_what_the_index_of_a_recording_says(batch):
    images, labels = batch
    model = small()
    recording = nc.record(model, (images, labels), "ReLU", progress=False)
    index = nc.selectivity(recording, n_resamples=0)["selectivity"].fillna(0)
    with SelectivityLoss(model, "ReLU", alpha=1) as term:
        model(images)
        term(labels)
    of_layers = index.groupby("layer").mean()
    for layer, value in term.selectivity.items():
        assert value == pytest.approx(float(of_layers.sel(layer=layer)), rel=1e-4)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(2)
    activation = torch.rand(12, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 4] * 4)
    assert torch.autograd.gradcheck(lambda x: batch_selectivity(x, labels), (activation,))


def test_the_gradient_of_a_weight_is_that_of_finite_differences(batch):
    images, labels = batch
    model, images = small().double(), images.double()
    step = 1e-6
    with SelectivityLoss(model, alpha=-1.5) as term:

        def loss():
            return cross_entropy(model(images), labels) + term(labels)

        loss().backward()
        for weight in (model[0].weight, model[3].weight, model[5].weight):
            flat, gradient = weight.data.view(-1), weight.grad.view(-1)
            for at in (0, 7):
                flat[at] += step
                above = loss().item()
                flat[at] -= 2 * step
                below = loss().item()
                flat[at] += step
                assert (above - below) / (2 * step) == pytest.approx(float(gradient[at]), abs=1e-6)


def train(model, batch, alpha, steps=30):
    images, labels = batch
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    reached = []
    with SelectivityLoss(model, alpha=alpha) as term:
        for _ in range(steps):
            optimizer.zero_grad()
            (cross_entropy(model(images), labels) + term(labels)).backward()
            optimizer.step()
            reached.append(sum(term.selectivity.values()) / 2)
    return reached


def test_alpha_below_zero_discourages_and_above_encourages(batch):
    reached = {alpha: train(small(), batch, alpha) for alpha in (-1, 0, 1)}
    assert reached[-1][0] == reached[0][0] == reached[1][0]
    assert reached[-1][-1] < reached[0][-1] < reached[1][-1]


def test_alpha_zero_leaves_training_bit_for_bit(model, batch):
    """With batch normalisation, dropout and a module that is used twice."""
    torch.manual_seed(3)
    images, labels = torch.rand(24, 1, 8, 8), batch[1]

    def trained(term_of):
        torch.manual_seed(4)
        net = copy.deepcopy(model)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        with term_of(net) as term:
            for _ in range(5):
                optimizer.zero_grad()
                loss = cross_entropy(net(images), labels)
                if term is not None:
                    loss = loss + term(labels)
                loss.backward()
                optimizer.step()
        return net.state_dict(), torch.get_rng_state()

    plain, random = trained(lambda net: nullcontext())
    neutral, random_after = trained(lambda net: SelectivityLoss(net, alpha=0))
    assert all(torch.equal(plain[name], neutral[name]) for name in plain)
    assert torch.equal(random, random_after)


def test_classes_that_are_not_there_do_not_count(batch):
    images, labels = batch
    model = small()
    with SelectivityLoss(model, alpha=-1) as term:
        found = []
        for own in (labels, labels * 300 + 7):
            model(images)
            found.append(term(own).item())
        assert found[0] == found[1]
        model(images[:1])
        alone = term(labels[:1])
    assert float(alone) == 0
    assert math.isnan(term.selectivity["1"])


def test_each_call_of_a_reused_module_is_a_layer(model):
    with SelectivityLoss(model, alpha=1) as term:
        model(torch.rand(9, 1, 8, 8))
        term(torch.arange(9) % 3)
    assert list(term.selectivity) == ["act", "act#2", "relu"]


def test_the_output_layer_does_not_count(batch):
    images, labels = batch
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3), nn.Sigmoid())
    with SelectivityLoss(model, alpha=-1) as term:
        model(images)
        term(labels)
    assert list(term.selectivity) == ["2"]
    with SelectivityLoss(model, "4", alpha=-1) as term:
        model(images)
        with pytest.raises(ValueError, match="the output layer aside"):
            term(labels)


def test_maps_are_let_go_of_as_without_the_term():
    """In evaluation no map outlives the layer that reads it."""
    alive, most = weakref.WeakSet(), []

    class Look(nn.Identity):
        def forward(self, x):
            alive.add(x)
            most.append(len(alive))
            return x * 1

    layers = [each for _ in range(6) for each in (nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), Look())]
    model = nn.Sequential(*layers)
    with SelectivityLoss(model, "ReLU", alpha=1), torch.no_grad():
        model(torch.rand(2, 1, 8, 8))
    assert max(most) <= 2


def test_nothing_is_left_behind():
    images = torch.rand(24, 1, 8, 8)
    model = Reusing().eval()
    before = traces(model)
    with SelectivityLoss(model, alpha=1) as term:
        model(images)
        term(torch.arange(24) % 3)
        assert traces(model)["hooks"] != before["hooks"]
    assert_same_traces(before, traces(model))
    term = SelectivityLoss(model, alpha=1)
    term.close()
    term.close()
    assert_same_traces(before, traces(model))
    with pytest.raises(KeyboardInterrupt), SelectivityLoss(model, alpha=1):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError), SelectivityLoss(model, alpha=1):
        model(images[:, :, :2])
    assert_same_traces(before, traces(model))
    with pytest.raises(ValueError, match="did you mean"):
        SelectivityLoss(model, "rel", alpha=1)
    assert_same_traces(before, traces(model))


def test_a_failed_forward_pass_and_one_of_evaluation_do_not_count(batch):
    images, labels = batch
    model = small()
    with SelectivityLoss(model, alpha=-1) as term:
        model(images)
        expected = float(term(labels))
        with pytest.raises(RuntimeError):
            model(torch.rand(2, 1, 5, 5))
        with torch.no_grad():
            model(images[:5])
        model(images)
        assert float(term(labels)) == expected


def test_alpha_may_be_scheduled(batch):
    images, labels = batch
    model = small()
    with SelectivityLoss(model, alpha=0) as term:
        found = []
        for alpha in (0, 1, -2):
            term.alpha = alpha
            model(images)
            found.append(float(term(labels)))
    assert found == pytest.approx([0, found[1], -2 * found[1]])
    with pytest.raises(ValueError, match="alpha is nan"):
        term.alpha = math.nan


@pytest.mark.parametrize("when", ["before", "inside"])
def test_a_compiled_model_gives_the_same(batch, when):
    images, labels = batch
    model = small()
    with SelectivityLoss(model, alpha=-1) as term:
        model(images)
        expected = term(labels)
        expected.backward()
    gradient = model[0].weight.grad.clone()
    model.zero_grad()
    compiled = torch.compile(model, backend="eager")
    if when == "before":
        compiled(images)
    with SelectivityLoss(compiled, alpha=-1) as term:
        compiled(images)
        found = term(labels)
        found.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(model[0].weight.grad, gradient)


def test_a_data_parallel_model_gives_the_same(batch):
    images, labels = batch
    model = small()
    found = []
    for wrapped in (model, nn.DataParallel(model)):
        with SelectivityLoss(wrapped, "ReLU", alpha=-1) as term:
            wrapped(images)
            found.append(float(term(labels)))
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(batch, dtype):
    images, labels = batch
    model = small().to(dtype)
    with SelectivityLoss(model, alpha=-1) as term:
        loss = cross_entropy(model(images.to(dtype)), labels) + term(labels)
        loss.backward()
    assert torch.isfinite(model[0].weight.grad).all()


@pytest.mark.parametrize(
    ("layers", "labels", "message"),
    [
        ("Linear", torch.arange(24) % 3, "layer '3' gave a negative activation .* ReLU behind"),
        ("ReLU", torch.arange(23) % 3, r"labels have shape \(23,\) and layer '1' gave 24 rows"),
        ("ReLU", torch.zeros(24, 3), r"labels have shape \(24, 3\)"),
    ],
)
def test_refuses(batch, layers, labels, message):
    model = small()
    with SelectivityLoss(model, layers, alpha=1) as term:
        model(batch[0])
        with pytest.raises(ValueError, match=message):
            term(labels)


def test_refuses_to_be_called_twice_for_one_pass(batch):
    images, labels = batch
    model = small()
    with SelectivityLoss(model, alpha=1) as term:
        model(images)
        term(labels)
        with pytest.raises(ValueError, match="has run since the last call"):
            term(labels)
