"""Redirected gradients, by hand and back to normal."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbcorr.visualization.redirect import redirected_relus

ALL = torch.ones(3, dtype=torch.bool)
X = torch.tensor([[-1.0, -2.0], [-1.0, 2.0], [-1.0, 7.0]])
# Of the value that is minimised: the first unit is to rise, the second to fall.
GRADIENT = torch.tensor([-1.0, 1.0]).expand(3, -1)


def gradient(module: nn.Module, rows: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    x = X.clone().requires_grad_()
    if rows is None:
        out = module(x * 1)
    else:
        with redirected_relus(module, rows):
            out = module(x * 1)
    return out.detach(), torch.autograd.grad(out, x, GRADIENT)[0]


@pytest.mark.parametrize("inplace", [False, True])
def test_only_samples_that_nothing_gets_through_are_redirected(inplace: bool) -> None:
    out, found = gradient(nn.ReLU(inplace), ALL)
    assert torch.equal(out, X.relu())
    assert found.tolist() == [[-1, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize("inplace", [False, True])
def test_relu6_is_redirected_from_above_too(inplace: bool) -> None:
    out, found = gradient(nn.ReLU6(inplace), ALL)
    assert torch.equal(out, X.clamp(0, 6))
    assert found.tolist() == [[-1, 0], [0, 1], [-1, 1]]


@pytest.mark.parametrize("module", [nn.ReLU(), nn.ReLU6(), nn.ReLU(inplace=True)])
def test_other_rows_and_afterwards_all_have_the_ordinary_gradient(module: nn.Module) -> None:
    ordinary = gradient(module, None)
    for found, expected in zip(gradient(module, ~ALL), ordinary, strict=True):
        assert torch.equal(found, expected)
    with pytest.raises(KeyboardInterrupt), redirected_relus(module, ALL):
        raise KeyboardInterrupt
    assert "forward" not in vars(module)
    assert torch.equal(gradient(module, None)[1], ordinary[1])


def test_a_forward_the_user_put_there_comes_back() -> None:
    module = nn.ReLU()
    own = torch.nn.functional.relu
    module.forward = own
    with redirected_relus(module, ALL):
        assert module.forward is not own
    assert module.forward is own


def test_modules_over_other_axes_than_images_are_left_alone() -> None:
    module = nn.ReLU()
    x = torch.full((4, 2), -1.0, requires_grad=True)
    with redirected_relus(module, ALL):
        out = module(x)
    assert torch.autograd.grad(-out.sum(), x)[0].abs().sum() == 0
