"""The private copy: what is folded and what must not be, and models that cannot be copied."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import nbcorr as nc
from nbcorr.visualization.folding import fold, found_pairs
from tests.visualization.nets import assert_untouched, reused, state

SHAPE = (3, 12, 12)
QUICK = {"steps": 12, "progress": False, "cache": False}


def lively(model: nn.Module) -> nn.Module:
    """With statistics and weights in its normalisations that do something."""
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.3, 3, generator=generator)
            if module.affine:
                module.weight.data.uniform_(-2, 2, generator=generator)
                module.bias.data.normal_(generator=generator)
    return model.eval()


def pairs_of(model: nn.Module, x: torch.Tensor, kept: set[str] = frozenset()) -> list:
    with found_pairs(model, kept) as pairs, torch.no_grad():
        model(x)
    return pairs


@pytest.mark.parametrize(
    ("convolution", "norm", "size"),
    [
        (nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), (9,)),
        (nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6), (8, 9)),
        (nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4, affine=False), (8, 9)),
        (nn.Conv3d(3, 4, 2), nn.BatchNorm3d(4), (4, 5, 6)),
    ],
    ids=["1d", "grouped", "plain", "3d"],
)
def test_a_folded_pair_says_what_it_said(
    convolution: nn.Module, norm: nn.Module, size: tuple
) -> None:
    model = lively(nn.Sequential(convolution, norm, nn.ReLU())).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = model(x)
    assert pairs_of(model, x) == [("0", "1")]
    assert fold(model, [("0", "1")]) == 1
    assert isinstance(model[1], nn.Identity)
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)


class Odd(nn.Module):
    """A convolution and a normalisation in a way of its own."""

    def __init__(self, run: Callable[[Odd, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()
        self.run = run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.run(self, x))


NOT_TO_BE_FOLDED = {
    "something between": lambda m, x: m.norm(functional.relu(m.conv(x))),
    "in place between": lambda m, x: m.norm(functional.relu_(m.conv(x))),
    "normalised first": lambda m, x: m.conv(m.norm(x)),
    "two runs of the convolution": lambda m, x: m.norm(m.conv(m.conv(x))),
    "two runs of the normalisation": lambda m, x: m.norm(m.norm(m.conv(x))),
}


@pytest.mark.parametrize("run", NOT_TO_BE_FOLDED.values(), ids=NOT_TO_BE_FOLDED)
def test_what_is_not_one_after_the_other_stays(run: Callable) -> None:
    assert pairs_of(lively(Odd(run)), torch.randn(1, 3, 4, 4)) == []


def test_what_is_asked_for_hooked_training_or_without_statistics_stays() -> None:
    x = torch.randn(2, 3, 4, 4)

    def fresh() -> Odd:
        return lively(Odd(lambda m, x: m.norm(m.conv(x))))

    assert pairs_of(fresh(), x) == [("conv", "norm")]
    assert pairs_of(fresh(), x, {"conv"}) == []
    assert pairs_of(fresh(), x, {"norm"}) == []
    for name in ("conv", "norm"):
        hooked = fresh()
        hooked.get_submodule(name).register_forward_hook(lambda *_: None)
        assert pairs_of(hooked, x) == []
    training = fresh()
    training.norm.train()
    assert pairs_of(training, x) == []
    without = fresh()
    without.norm = nn.BatchNorm2d(3, track_running_stats=False)
    assert pairs_of(without, x) == []
    parametrised = fresh()
    nn.utils.parametrizations.weight_norm(parametrised.conv)
    assert pairs_of(parametrised, x) == []


def branching(m: Odd, x: torch.Tensor) -> torch.Tensor:
    made = m.conv(x)
    return m.norm(made) + made


def viewing(m: Odd, x: torch.Tensor) -> torch.Tensor:
    made = m.norm(m.conv(x))
    return made.view(len(made), -1)[:, :, None, None]


def peeking(m: Odd, x: torch.Tensor) -> torch.Tensor:
    return m.norm(m.conv(x)) * m.norm.weight.mean()


@pytest.mark.parametrize("run", [branching, viewing, peeking])
def test_a_model_that_folding_would_change_is_copied_as_it_is(run: Callable) -> None:
    model = lively(Odd(run))
    before = state(model)
    seen = nc.visualize(model, "act:1", SHAPE, **QUICK)
    assert seen.attrs["runs_on"] == "a copy of the model"
    image = torch.tensor(seen["image"].values).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model(image)[0, 1].max().item()
    assert seen["reached"].item() == pytest.approx(expected, rel=1e-4)
    assert_untouched(model, before)


def test_pictures_do_not_depend_on_folding() -> None:
    model = lively(reused())
    folded = nc.visualize(model, ["act:1", "head:2"], SHAPE, **QUICK)
    assert folded.attrs["runs_on"] == "a copy of the model, 1 normalisations folded"
    model.conv1.register_forward_hook(lambda *_: None)
    plain = nc.visualize(model, ["act:1", "head:2"], SHAPE, **QUICK)
    assert plain.attrs["runs_on"] == "a copy of the model"
    np.testing.assert_allclose(folded["image"], plain["image"], atol=5e-3)
    np.testing.assert_allclose(folded["reached"], plain["reached"], rtol=1e-2)


def test_the_convolution_and_the_normalisation_themselves_can_be_asked_for() -> None:
    model = lively(reused())
    seen = nc.visualize(model, ["conv1:0", "norm:0"], SHAPE, **QUICK)
    image = torch.tensor(seen["image"].values).permute(0, 3, 1, 2)
    with torch.no_grad():
        maps = model.conv1(image)
        expected = [maps[0, 0].max().item(), model.norm(maps)[1, 0].max().item()]
    np.testing.assert_allclose(seen["reached"], expected, rtol=1e-4)


class Locked(nn.Module):
    """A model that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.lock = reused(), threading.Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.lock:
            return self.model(x)[0]


@pytest.mark.parametrize("error", [None, ArithmeticError, KeyboardInterrupt])
def test_a_model_that_cannot_be_copied_is_used_and_left_as_it_was(error: type | None) -> None:
    model = Locked()
    with pytest.raises(TypeError):
        copy.deepcopy(model)
    passes = iter(range(100))

    def interrupting(*_: object) -> None:
        if error is not None and next(passes) == 6:
            raise error

    model.model.act.register_forward_hook(interrupting)
    before = state(model.model)
    if error is ArithmeticError:
        with pytest.raises(ArithmeticError):
            nc.visualize(model, "model.head:1", SHAPE, **QUICK)
    else:
        seen = nc.visualize(model, "model.head:1", SHAPE, **QUICK)
        assert seen.attrs["runs_on"] == "the model itself, which cannot be copied"
        assert seen.attrs["interrupted"] == (error is not None)
    assert_untouched(model.model, before)


class Enclosing(nn.Module):
    """Its copy would run the convolution of the original, by a function that holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3), nn.ReLU()
        self.step = lambda x: self.conv(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.step(x))


def test_a_copy_that_leads_back_to_the_model_is_none() -> None:
    model = Enclosing().train()
    before = state(model)
    seen = nc.visualize(model, ["conv:1", "act:2"], SHAPE, **QUICK)
    assert seen.attrs["runs_on"] == "the model itself, which cannot be copied"
    assert seen["reached"].notnull().all()
    assert_untouched(model, before)


def test_the_same_pictures_with_a_copy_and_without() -> None:
    copied = nc.visualize(reused(), "head:1", SHAPE, seed=2, **QUICK)
    itself = nc.visualize(Locked(), "model.head:1", SHAPE, seed=2, **QUICK)
    # Another label is another start.
    assert abs(copied["image"] - itself["image"].values).max() > 0.001
    assert itself["reached"].item() == pytest.approx(copied["reached"].item(), rel=0.2)


def test_the_model_is_not_called_while_its_copy_is() -> None:
    model = reused()
    forward = type(model).forward
    called = []

    class Counted(type(model)):
        def forward(self, x: torch.Tensor) -> object:
            called.append(self is model)
            return forward(self, x)

    model.__class__ = Counted
    nc.visualize(model, "head:1", SHAPE, **QUICK)
    assert called
    assert not any(called)


def test_what_the_copy_was_folded_from_is_let_go() -> None:
    alive = weakref.WeakSet()
    counts = []

    class Counted(type(reused())):
        def forward(self, x: torch.Tensor) -> object:
            alive.add(self)
            gc.collect()
            counts.append(len(alive))
            return super().forward(x)

    model = reused()
    model.__class__ = Counted
    nc.visualize(model, "head:1", SHAPE, **QUICK)
    assert counts[-1] == 1


def test_networks_over_volumes() -> None:
    class Volume(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x[:, None]))

    seen = nc.visualize(lively(nn.Sequential(Volume())), "0:1", (5, 8, 8), **QUICK)
    assert seen.attrs["runs_on"] == "a copy of the model, 1 normalisations folded"
    assert seen["image"].shape == (1, 8, 8, 5)
