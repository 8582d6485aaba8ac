"""Which of the pictures optimised together still have a gradient, and where one was lost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from nbcorr.network.hooks import first_tensor

REDIRECTED_STEPS = 16


class Watch:
    """Follows which of the pictures optimised together still have a usable gradient.

    ``redirected`` says whose gradient the ReLUs redirect at the next step: everyone's at first,
    later those whose last gradient was zero.
    """

    def __init__(self, numbers: torch.Tensor) -> None:
        self.steps = 0
        self.redirected = torch.ones(len(numbers), dtype=torch.bool, device=numbers.device)
        self._healthy = self.redirected
        self._healthy_steps = torch.zeros_like(self._healthy, dtype=torch.long)
        self._silent = ~self._healthy
        self._good = numbers.detach().clone()
        self._places: dict[int, str] = {}

    def checked(
        self,
        numbers: torch.Tensor,
        values: torch.Tensor,
        gradient: torch.Tensor,
        where: Callable[[int], str],
    ) -> torch.Tensor:
        """The gradient, zero for pictures that have, or ever had, a value or gradient not finite.

        ``where`` is asked once for each of these in which layer it began.
        """
        rows = gradient.flatten(1)
        zero = (rows == 0).all(1)
        # What is not a number at some place may have no gradient there.
        finite = rows.isfinite().all(1) & values.isfinite()
        self._silent = torch.where(self.redirected, self._silent | zero, zero)
        for row in (self._healthy & ~finite).nonzero().flatten().tolist():
            self._places[row] = where(row)
        self._healthy = self._healthy & finite
        self._healthy_steps += self._healthy
        self._good = torch.where(_like(self._healthy, numbers), numbers.detach(), self._good)
        self.steps += 1
        self.redirected = (zero | (self.steps < REDIRECTED_STEPS)) & self._healthy
        return torch.where(_like(self._healthy, gradient), gradient, 0)

    def last_good(self, numbers: torch.Tensor) -> torch.Tensor:
        """The numbers, those of pictures that lost their gradient as they last were with one."""
        return torch.where(_like(self._healthy, numbers), numbers.detach(), self._good)

    def report(self, labels: Sequence[str], responds: torch.Tensor) -> torch.Tensor:
        """Warn of pictures that were stopped, and of those without a gradient or a response.

        Parameters
        ----------
        labels : sequence of str, length n
        responds : torch.Tensor, bool, shape (n,)

        Returns
        -------
        torch.Tensor, bool, shape (n,)
            Which pictures there is nothing to be said of.
        """
        silent = (self._silent & ~responds).tolist()
        said = {}
        for row, (label, step) in enumerate(zip(labels, self._healthy_steps.tolist(), strict=True)):
            if step < self.steps:
                said[row] = (
                    f"{label} stopped at step {step + 1}: its value or gradient is not finite, "
                    f"{self._places[row]}; the last good image is kept"
                )
            elif silent[row]:
                said[row] = (
                    f"{label} did not respond to any image in {step} steps: "
                    "its gradient is zero; it may be dead"
                )
        for message in dict.fromkeys(said.values()):
            warnings.warn(message, UserWarning, stacklevel=5)
        return torch.tensor([row not in said for row in range(len(labels))])


def first_not_finite(model: nn.Module, row: int, run: Callable[[], Any]) -> str:
    """In which layer the numbers of one picture are lost, in words.

    Parameters
    ----------
    model : torch.nn.Module
    row : int
        Of the picture.
    run : callable
        Runs the model on all pictures, and back.
    """
    outputs: list[str] = []
    gradients: list[str] = []

    def lost(tensor: torch.Tensor) -> bool:
        return tensor.ndim > 0 and row < len(tensor) and not tensor[row].isfinite().all()

    def look(name: str, output: Any) -> None:
        try:
            tensor = first_tensor(output)
        except TypeError:
            return
        if tensor.is_floating_point() and lost(tensor):
            outputs.append(name)
        if tensor.requires_grad:
            tensor.register_hook(lambda grad: gradients.append(name) if lost(grad) else None)

    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    if outputs:
        return f"layer {outputs[0]!r} is the first to give numbers that are not"
    if gradients:
        return f"lost on the way back before layer {gradients[0]!r}"
    return "lost outside the model's layers"


def _like(rows: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    return rows.view(-1, *[1] * (tensor.ndim - 1))
