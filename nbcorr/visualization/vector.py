"""Inputs that are no pictures: rows of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

START_SPREAD = 0.01


class Vector:
    """Vectors of features within bounds, each feature by itself.

    Parameters
    ----------
    shape : (features,)
    device : torch.device
    bounds : (lowest, highest), optional
        Numbers, or one per feature. None: 0 and 1.

    Raises
    ------
    ValueError
        If the bounds are not two, do not fit the features, are not finite, or the lowest is not
        below the highest.
    """

    learning_rate = 0.05
    alpha = False

    def __init__(self, shape: tuple[int], device: torch.device, *, bounds: Any = None) -> None:
        self.shape = shape
        self.device = device
        lowest, highest = _checked((0, 1) if bounds is None else bounds, shape)
        self._lowest = torch.tensor(lowest, dtype=torch.float32, device=device)
        self._highest = torch.tensor(highest, dtype=torch.float32, device=device)

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """Random numbers (features,) close to the middle of the bounds."""
        return (START_SPREAD * torch.randn(self.shape, generator=generator)).to(self.device)

    def image(self, stack: torch.Tensor) -> torch.Tensor:
        """The vectors (n, features), within their bounds, of a stack of numbers."""
        return torch.lerp(self._lowest, self._highest, stack.sigmoid())


def _checked(bounds: Any, shape: tuple[int]) -> np.ndarray:
    """The bounds, (2, features)."""
    try:
        lowest, highest = (np.broadcast_to(np.asarray(b, np.float64), shape) for b in bounds)
    except (TypeError, ValueError):
        raise ValueError(
            f"bounds are {bounds!r}; expected (lowest, highest), numbers or {shape[0]} of them each"
        ) from None
    wrong = ~(np.isfinite(lowest) & np.isfinite(highest) & (lowest < highest))
    if wrong.any():
        feature = int(wrong.argmax())
        raise ValueError(
            f"the bounds of feature {feature} are {lowest[feature]:g} and {highest[feature]:g}; "
            "expected finite numbers, the first below the second"
        )
    return np.stack([lowest, highest])
