"""Attacks against their formulas, and against a network where the worst case is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nbcorr.selectivity.attacks import fgsm, pgd
from tests.conftest import assert_same_traces, traces


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.rand(12, 1, 8, 8), torch.arange(12) % 3


@pytest.mark.parametrize("eps", [0.0, 2 / 255, 0.1])
def test_fgsm_is_its_formula(model, batch, eps):
    images, labels = batch
    model.eval()
    point = images.clone().requires_grad_(True)
    cross_entropy(model(point), labels).backward()
    expected = (images + eps * point.grad.sign()).clamp(0, 1)
    found = fgsm(model, images, labels, eps)
    assert (found != expected).float().mean() < 0.01
    assert (found - images).abs().max() <= eps + 1e-6


def test_pgd_is_its_formula_and_stays_near(model, batch):
    images, labels = batch
    model.eval()
    eps, steps = 0.05, 4
    draw = torch.Generator().manual_seed(7)
    x = (images + eps * (2 * torch.rand(images.shape, generator=draw) - 1)).clamp(0, 1)
    for _ in range(steps):
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(cross_entropy(model(x), labels), x)
        x = x.detach() + 2.5 * eps / steps * gradient.sign()
        x = (images + (x - images).clamp(-eps, eps)).clamp(0, 1)
    found = pgd(model, images, labels, eps, steps=steps, seed=7)
    assert ((found - x).abs() > 1e-5).float().mean() < 0.02
    assert (found - images).abs().max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def test_of_a_linear_model_of_two_classes_the_worst_case_is_reached():
    """There the loss falls by eps times the sum of |w| where no value meets 0 or 1."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    images, labels = 0.3 + 0.4 * torch.rand(10, 1, 8, 8), torch.arange(10) % 2
    weight = model[1].weight.detach()
    sign = torch.where(labels == 1, 1.0, -1.0)

    def margin(x):
        logits = model(x).detach()
        return sign * (logits[:, 1] - logits[:, 0])

    worst = margin(images) - 0.05 * (weight[1] - weight[0]).abs().sum()
    for attack in (fgsm, pgd):
        found = attack(model, images, labels, 0.05)
        torch.testing.assert_close(margin(found), worst, rtol=1e-4, atol=1e-4)


def test_more_steps_find_more_loss(model, batch):
    images, labels = batch
    model.eval()
    losses = [
        float(cross_entropy(model(attacked), labels).detach())
        for attacked in (
            images,
            fgsm(model, images, labels, 0.1),
            pgd(model, images, labels, 0.1, steps=30),
        )
    ]
    assert losses[0] < losses[1] <= losses[2] + 1e-4


def test_the_model_is_as_it_was_also_without_gradients(untouched, batch):
    images, labels = batch
    before = traces(untouched)
    with torch.no_grad():
        fgsm(untouched, images, labels, 0.1)
        pgd(untouched, images, labels, 0.1)
    with pytest.raises(RuntimeError):
        fgsm(untouched, images[:, :, :2], labels, 0.1)
    assert_same_traces(before, traces(untouched))


def test_refuses(model, batch):
    with pytest.raises(ValueError, match="eps is -1; expected 0 or more"):
        fgsm(model, *batch, -1)
    with pytest.raises(ValueError, match="steps is 0; expected 1 or more"):
        pgd(model, *batch, 0.1, steps=0)
