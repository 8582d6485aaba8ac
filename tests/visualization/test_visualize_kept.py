"""Pictures made before are taken from the cache, and only where they would be the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import nbcorr as nc
from nbcorr.visualization import objectives as o
from nbcorr.visualization.cache import PictureCache
from nbcorr.visualization.visualize import KEPT
from tests.visualization.nets import reused

SHAPE = (3, 8, 8)


def made(model: nn.Module | None = None, asked: object = "head:1", **options: object) -> xr.Dataset:
    options = {"shape": SHAPE, "steps": 6, "progress": False, **options}
    return nc.visualize(reused() if model is None else model, asked, **options)


def is_kept(seen: xr.Dataset) -> bool:
    return seen.attrs["runs_on"] == KEPT


def test_the_second_time_pictures_are_there() -> None:
    first, second = made(), made()
    assert not is_kept(first)
    assert is_kept(second)
    xr.testing.assert_equal(first, second)
    assert first["image"].dtype == second["image"].dtype == np.float32


def test_only_what_is_new_is_made() -> None:
    made(asked=["head:1", "act:0"])
    both = made(asked=["act:0", "act:1", "head:1"])
    assert not is_kept(both)
    assert is_kept(made(asked="act:1"))
    np.testing.assert_array_equal(both["image"][2], made()["image"][0])


def other_weights() -> nn.Module:
    model = reused()
    model.head.bias.data[0] += 1e-6
    return model


def other_statistics() -> nn.Module:
    model = reused()
    model.norm.running_mean[0] += 1e-6
    return model


def other_code() -> nn.Module:
    class Other(type(reused())):
        def forward(self, x: torch.Tensor) -> object:
            return super().forward(x + 0)

    model = reused()
    model.__class__ = Other
    return model


@pytest.mark.parametrize("model", [other_weights, other_statistics, other_code])
def test_another_model_has_other_pictures(model: Callable[[], nn.Module]) -> None:
    made()
    assert not is_kept(made(model()))


@pytest.mark.parametrize(
    "options",
    [
        {"asked": "head:2"},
        {"asked": [o.channel("head", 1)]},
        {"asked": [o.direction("act", np.arange(8.0))]},
        {"shape": (3, 8, 9)},
        {"steps": 7},
        {"seed": 1},
        {"learning_rate": 0.04},
        {"transforms": "crop"},
        {"parametrization": "pixel"},
        {"alpha": True},
        {"diverse": 2},
        {"preprocess": lambda images: images * 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_whatever_changes_a_picture_makes_another_one(options: dict) -> None:
    made()
    assert not is_kept(made(**options))
    assert is_kept(made(**options))


def test_what_changes_no_picture_does_not() -> None:
    made(asked=["head:1", "head:2"])
    found = nc.exemplars(reused(), torch.rand(3, *SHAPE), "head:1", k=2, progress=False)
    assert is_kept(made(exemplars=found, batch_size=1))


def test_nothing_is_kept_where_that_is_wanted(tmp_path: Path) -> None:
    made(cache=False)
    assert not is_kept(made(cache=False))
    assert not is_kept(made(cache=tmp_path / "mine"))
    assert is_kept(made(cache=str(tmp_path / "mine")))
    assert is_kept(made(cache=PictureCache(tmp_path / "mine")))
    assert not is_kept(made())
    with pytest.raises(ValueError, match="cache is 3; expected None, False, a folder"):
        made(cache=3)


def test_hooked_models_and_doubtful_pictures_are_left_out() -> None:
    model = reused()
    model.act.register_forward_hook(lambda *args: args[2] * 2)
    made(model)
    assert not is_kept(made(model))
    for _ in range(2):
        dead = reused()
        dead.head.weight.data.zero_()
        dead.head.bias.data.fill_(-1)
        with pytest.warns(UserWarning, match="did not respond"):
            assert not is_kept(made(dead))


def test_what_was_interrupted_is_made_to_the_end_the_next_time() -> None:
    passes = iter(range(1000))

    class Interrupted(type(reused())):
        def forward(self, x: torch.Tensor) -> object:
            if next(passes) == limit:
                raise KeyboardInterrupt
            return super().forward(x)

    def model() -> nn.Module:
        found = reused()
        found.__class__ = Interrupted
        return found

    limit = 2 + 6 + 9 + 3
    asked = ["head:0", "head:1"]
    partly = made(model(), asked, batch_size=1)
    assert partly.attrs["interrupted"] == 1
    limit = -1
    whole = made(model(), asked, batch_size=1)
    assert whole.attrs["interrupted"] == 0
    assert is_kept(made(model(), asked))
    anew = made(model(), asked, cache=False)
    np.testing.assert_allclose(whole["image"], anew["image"], atol=2e-3)
    np.testing.assert_array_equal(partly["image"][0], whole["image"][0])
