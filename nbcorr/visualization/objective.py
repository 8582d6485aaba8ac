"""What a picture is to maximise, and sums and products of such."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from nbcorr.recording.content import fingerprint, forward_hash


class OtherLayer(NamedTuple):
    """A layer of another model than the one whose pictures are made."""

    model: nn.Module
    layer: str


Layer = str | OtherLayer
Outputs = Mapping[Layer, torch.Tensor]


class Objective:
    """Something to maximise; ``+``, ``-``, ``*`` and ``/`` make new ones, also with numbers.

    Attributes
    ----------
    layers : tuple of str or OtherLayer
        Whose outputs it reads: module names, ``name#2`` for a module's second call.
    label : str
        What it is called in results.
    joint : bool
        Whether it compares the pictures it is given: one picture is then half the story.
    """

    joint: bool = False

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Whose outputs it reads."""
        return ()

    @property
    def label(self) -> str:
        """What it is called in results."""
        return type(self).__name__.lower()

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """How well each picture does, larger is better.

        Parameters
        ----------
        outputs : mapping of layer to tensor, shape (n, units), (n, units, y, x) or other positions
            Units along axis 1, whatever the layer's own order is.
        images : tensor, shape (n, channels, height, width) or (n, features)
            The pictures in 0..1, before any transform and preprocessing.

        Returns
        -------
        torch.Tensor, float32, shape (n,)
        """
        raise TypeError(f"{type(self).__name__} has no value of its own")

    def named(self, label: str) -> Objective:
        """The same objective under another name."""
        return Named(self, label)

    def key(self) -> list[Any]:
        """All that it depends on, as numbers, texts and arrays: equal objective, equal key."""
        fields: dict[str, Any] = getattr(self, "__dataclass_fields__", {})
        return [type(self).__qualname__, *(_plain(getattr(self, name)) for name in fields)]

    def __add__(self, other: Objective | float) -> Objective:
        return Sum(self, _objective(other))

    def __radd__(self, other: float) -> Objective:
        # sum() starts with 0.
        return self if other == 0 else Sum(_objective(other), self)

    def __sub__(self, other: Objective | float) -> Objective:
        return Sum(self, -_objective(other))

    def __rsub__(self, other: float) -> Objective:
        return Sum(_objective(other), -self)

    def __mul__(self, other: Objective | float) -> Objective:
        return Product(self, _objective(other))

    def __rmul__(self, other: float) -> Objective:
        return Product(_objective(other), self)

    def __truediv__(self, other: float) -> Objective:
        return Product(Constant(1 / float(other)), self)

    def __neg__(self) -> Objective:
        return Product(Constant(-1.0), self)

    def __repr__(self) -> str:
        return f"<{self.label}>"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Constant(Objective):
    """The same number for every picture."""

    number: float

    @property
    def label(self) -> str:
        """The number."""
        return f"{self.number:g}"

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The number, n times."""
        return images.new_full((len(images),), self.number, dtype=torch.float32)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Pair(Objective):
    """Two objectives combined."""

    first: Objective
    second: Objective

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those of both."""
        return tuple(dict.fromkeys(self.first.layers + self.second.layers))

    @property
    def joint(self) -> bool:  # type: ignore[override]
        """Whether either compares pictures."""
        return self.first.joint or self.second.joint


class Sum(Pair):
    """Two objectives added."""

    @property
    def label(self) -> str:
        """``a + b``, or ``a - b``."""
        second = self.second.label
        if second.startswith("-"):
            return f"{self.first.label} - {second[1:]}"
        return f"{self.first.label} + {second}"

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The sum of both values."""
        return self.first.value(outputs, images) + self.second.value(outputs, images)


class Product(Pair):
    """Two objectives multiplied, as for "this and that"."""

    @property
    def label(self) -> str:
        """``a * b``, or ``-b``."""
        second = _bracketed(self.second.label)
        if isinstance(self.first, Constant) and self.first.number == -1:
            return f"-{second}"
        return f"{_bracketed(self.first.label)} * {second}"

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The product of both values."""
        return self.first.value(outputs, images) * self.second.value(outputs, images)


class Relative(Pair):
    """An objective with a second one that counts in proportion to it, whatever its scale."""

    @property
    def label(self) -> str:
        """The first one's."""
        return self.first.label

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """``a + |a| b``, where ``|a|`` is taken for a constant."""
        first = self.first.value(outputs, images)
        return first + first.detach().abs() * self.second.value(outputs, images)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Named(Objective):
    """An objective under another name."""

    objective: Objective
    text: str

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The objective's own."""
        return self.objective.layers

    @property
    def label(self) -> str:
        """The name it was given."""
        return self.text

    @property
    def joint(self) -> bool:  # type: ignore[override]
        """The objective's own."""
        return self.objective.joint

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The objective's own."""
        return self.objective.value(outputs, images)


def short_hash(values: torch.Tensor) -> str:
    """Eight letters that tell one vector from another."""
    data = np.ascontiguousarray(values.numpy()).tobytes()
    return hashlib.blake2b(data, digest_size=4).hexdigest()


def _objective(value: Objective | float) -> Objective:
    if isinstance(value, Objective):
        return value
    try:
        return Constant(float(value))
    except (TypeError, ValueError):
        raise TypeError(
            f"an objective cannot be combined with a {type(value).__name__}; expected a number "
            "or an objective"
        ) from None


def _bracketed(label: str) -> str:
    return f"({label})" if " + " in label or " - " in label else label


def _plain(value: Any) -> Any:
    if isinstance(value, Objective):
        return value.key()
    if isinstance(value, OtherLayer):
        return [fingerprint(value.model), forward_hash(value.model), value.layer]
    return value
