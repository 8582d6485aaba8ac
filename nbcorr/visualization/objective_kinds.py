"""The objectives themselves: one value per picture out of layers' outputs, or of the picture."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional

from nbcorr.network.neurons import neuron_label
from nbcorr.visualization.objective import Layer, Objective, OtherLayer, Outputs, short_hash

LEAST_SIMILARITY = 0.1
NEIGHBOURS = 4


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class OfLayer(Objective):
    """An objective over one layer's output."""

    layer: Layer

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The one."""
        return (self.layer,)

    @property
    def label(self) -> str:
        """``kind(layer)``."""
        return f"{type(self).__name__.lower()}({layer_name(self.layer)})"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Channel(OfLayer):
    """A unit, pooled over its positions: "mean", "max" or "min"."""

    unit: int
    pool: str = "mean"

    @property
    def label(self) -> str:
        """``layer:unit``."""
        if self.layer == "":
            return f"class_logit({self.unit})"
        return neuron_label(layer_name(self.layer), self.unit)

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The pooled activation."""
        output = outputs[self.layer]
        check_unit(self.layer, self.unit, output)
        values = output[:, self.unit].float()
        if values.ndim == 1:
            return values
        values = values.flatten(1)
        if self.pool == "mean":
            return values.mean(1)
        return values.amax(1) if self.pool == "max" else values.amin(1)

    def pooled(self, pool: str) -> Channel:
        """The same unit, pooled in another way."""
        return dataclasses.replace(self, pool=pool)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Neuron(OfLayer):
    """A unit at one position."""

    unit: int
    y: int | None = None
    x: int | None = None

    @property
    def label(self) -> str:
        """``layer:unit@y,x``."""
        return neuron_label(layer_name(self.layer), self.unit) + _place_label(self.y, self.x)

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The activation there."""
        output = outputs[self.layer]
        check_unit(self.layer, self.unit, output)
        return at_place(self.layer, output, self.y, self.x)[:, self.unit].float()


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Direction(OfLayer):
    """The dot product with a vector over units, everywhere or at one position."""

    vector: torch.Tensor
    cossim_pow: float
    everywhere: bool
    y: int | None = None
    x: int | None = None

    @property
    def label(self) -> str:
        """``layer:direction-`` and eight letters of the vector's hash."""
        place = "" if self.everywhere else _place_label(self.y, self.x)
        return f"{layer_name(self.layer)}:direction-{short_hash(self.vector)}{place}"

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The mean of the dot products, times the power of the cosine similarity."""
        output = outputs[self.layer]
        if output.shape[1] != len(self.vector):
            raise ValueError(
                f"a direction has {len(self.vector)} numbers and layer {layer_name(self.layer)!r} "
                f"{output.shape[1]} units; expected as many"
            )
        if not self.everywhere:
            output = at_place(self.layer, output, self.y, self.x)
        places = output.flatten(2) if output.ndim > 2 else output[:, :, None]
        vector = self.vector.to(places)
        dots = torch.einsum("nup,u->np", places, vector)
        if self.cossim_pow:
            lengths = (places.norm(dim=1) * vector.norm()).clamp(min=1e-6)
            dots = dots * (dots / lengths).clamp(min=LEAST_SIMILARITY) ** self.cossim_pow
        return dots.float().mean(1)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Interpolation(Objective):
    """From the first objective to the second, over the pictures."""

    first: Objective
    second: Objective
    joint = True

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those of both."""
        return tuple(dict.fromkeys(self.first.layers + self.second.layers))

    @property
    def label(self) -> str:
        """``from a to b``."""
        return f"from {self.first.label} to {self.second.label}"

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """``(1 - t) a + t b``."""
        count = len(images)
        t = torch.linspace(0, 1, count) if count > 1 else torch.full((1,), 0.5)
        t = t.to(images.device)
        first, second = self.first.value(outputs, images), self.second.value(outputs, images)
        return (1 - t) * first + t * second


class Diversity(OfLayer):
    """Minus the mean similarity of the Gram matrices."""

    joint = True

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """In -1..0; 0 for a picture alone."""
        output = outputs[self.layer]
        count = len(output)
        places = (output.flatten(2) if output.ndim > 2 else output[:, :, None]).float()
        grams = functional.normalize((places @ places.mT).flatten(1), dim=1)
        similarity = grams @ grams.mT
        others = similarity.sum(1) - similarity.diagonal()
        return -others / max(1, count - 1)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Alignment(OfLayer):
    """Minus the squared difference to neighbouring pictures."""

    decay: float
    joint = True

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """0 for a picture alone."""
        flat = outputs[self.layer].flatten(1).float()
        total = flat.new_zeros(len(flat))
        for step in range(1, min(NEIGHBOURS, len(flat) - 1) + 1):
            apart = (flat[step:] - flat[:-step]).square().mean(1) / self.decay**step
            total = total - functional.pad(apart, (step, 0)) - functional.pad(apart, (0, step))
        return total


class DeepDream(OfLayer):
    """The mean square of a layer."""

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The mean over units and positions."""
        return outputs[self.layer].flatten(1).float().square().mean(1)


class TotalVariation(Objective):
    """The mean absolute difference of neighbouring pixels."""

    @property
    def label(self) -> str:
        """``total_variation``."""
        return "total_variation"

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """Summed over the axes of a picture."""
        total = images.new_zeros(len(images), dtype=torch.float32)
        for axis in range(2 if images.ndim > 2 else 1, images.ndim):
            if images.shape[axis] > 1:
                total = total + images.diff(dim=axis).abs().flatten(1).mean(1)
        return total


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Norm(Objective):
    """The mean absolute or squared difference from grey."""

    power: int
    centre: float

    @property
    def label(self) -> str:
        """``l1`` or ``l2``."""
        return f"l{self.power}"

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The mean over channels and pixels."""
        return (images - self.centre).abs().pow(self.power).flatten(1).mean(1)


class Blur(Objective):
    """What a 3x3 blur would take away."""

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """Half the mean squared difference to the blurred picture."""
        pool = functional.avg_pool2d if images.ndim == 4 else functional.avg_pool1d
        maps = images.detach()
        blurred = pool(maps, 3, stride=1, padding=1, count_include_pad=False)
        return 0.5 * (images - blurred).square().flatten(1).mean(1)


class Opacity(Objective):
    """The mean of the last channel: how much of a picture with an alpha channel is there."""

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """In 0..1."""
        return images[:, -1].flatten(1).mean(1)


def layer_name(layer: Layer) -> str:
    """A layer's name, with its model's where that is another one."""
    if isinstance(layer, OtherLayer):
        return f"{type(layer.model).__name__}.{layer.layer}"
    return layer or "output"


def check_unit(layer: Layer, unit: int, output: torch.Tensor) -> None:
    """A ValueError for a unit that its layer does not have."""
    count = output.shape[1]
    if not 0 <= unit < count:
        name = layer_name(layer)
        raise ValueError(
            f"no neuron {neuron_label(name, unit)!r}: layer {name!r} has {count} units, the last "
            f"is {neuron_label(name, count - 1)!r}"
        )


def at_place(layer: Layer, output: torch.Tensor, y: int | None, x: int | None) -> torch.Tensor:
    """An output at one position, shape (n, units); the middle where none is given."""
    sizes = tuple(output.shape[2:])
    asked = [y, x] if len(sizes) == 2 else [x] if len(sizes) == 1 else [None] * len(sizes)
    place: list[int] = [n // 2 if p is None else p for n, p in zip(sizes, asked, strict=True)]
    given = sum(p is not None for p in (y, x))
    outside = any(not 0 <= p < n for p, n in zip(place, sizes, strict=True))
    if outside or given > sum(p is not None for p in asked):
        raise ValueError(
            f"no position y={y}, x={x} in layer {layer_name(layer)!r}: its positions have shape "
            f"{sizes}"
        )
    for position in place:
        output = output[:, :, position]
    return output


def _place_label(y: int | None, x: int | None) -> str:
    if y is None and x is None:
        return "@middle"
    return "@" + ",".join(str(p) for p in (y, x) if p is not None)
