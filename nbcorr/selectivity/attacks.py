"""Images changed a little so that a network errs: FGSM and PGD."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from nbcorr.network.hooks import evaluating, first_tensor


def fgsm(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    """One step of size eps along the sign of the gradient of the loss.

    Goodfellow, Shlens & Szegedy, *Explaining and harnessing adversarial examples* (ICLR 2015).

    Parameters
    ----------
    model : torch.nn.Module
        Taken in eval mode; left as it was, gradients included.
    images : torch.Tensor, shape (batch, ...)
        Values from 0 to 1.
    labels : torch.Tensor of int64, shape (batch,)
    eps : float
        Largest change of a value (L-infinity), 0 or more.

    Returns
    -------
    torch.Tensor, the shape of `images`
        Values from 0 to 1.

    Raises
    ------
    ValueError
        If eps is negative.
    """
    _check_eps(eps)
    return _ascended(model, images, images, labels, eps, eps)


def pgd(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    eps: float,
    *,
    steps: int = 10,
    seed: int = 0,
) -> torch.Tensor:
    """Many small steps up the loss, never further than eps from the images.

    Projected gradient descent from a random start within eps, with steps of ``2.5 * eps / steps``:
    Madry et al., *Towards deep learning models resistant to adversarial attacks* (ICLR 2018).

    Parameters
    ----------
    model, images, labels, eps
        As for `fgsm`.
    steps : int
    seed : int
        Of the random start.

    Returns
    -------
    torch.Tensor, the shape of `images`
        Values from 0 to 1.

    Raises
    ------
    ValueError
        If eps is negative, or there are no steps.
    """
    _check_eps(eps)
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected 1 or more, such as 10")
    draw = torch.Generator().manual_seed(seed)
    start = (2 * torch.rand(images.shape, generator=draw) - 1).to(images)
    attacked = (images + eps * start).clamp(0, 1)
    for _ in range(steps):
        attacked = _ascended(model, attacked, images, labels, 2.5 * eps / steps, eps)
    return attacked


def _check_eps(eps: float) -> None:
    if not eps >= 0:
        raise ValueError(f"eps is {eps:g}; expected 0 or more, such as 2 / 255")


def _ascended(
    model: nn.Module,
    at: torch.Tensor,
    images: torch.Tensor,
    labels: torch.Tensor,
    step: float,
    eps: float,
) -> torch.Tensor:
    """One step up the loss from a point, then back to within eps of the images and to 0 to 1."""
    with evaluating(model), torch.enable_grad():
        point = at.detach().clone().requires_grad_(True)
        loss = cross_entropy(first_tensor(model(point)), labels, reduction="sum")
        # Only of the images: the gradients of the weights stay as they are.
        (gradient,) = torch.autograd.grad(loss, point)
    moved = at + step * gradient.sign()
    return torch.clamp(torch.minimum(torch.maximum(moved, images - eps), images + eps), 0, 1)
