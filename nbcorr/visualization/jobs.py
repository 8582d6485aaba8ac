"""The ways people say what they want to see, brought to one: a list of jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from nbcorr.network.layers import module_and_call
from nbcorr.network.names import unknown
from nbcorr.network.neurons import parse_neurons
from nbcorr.network.wrappers import named_modules
from nbcorr.recording.content import code_hash
from nbcorr.visualization.objective import Objective, Outputs, Relative
from nbcorr.visualization.objective_kinds import Channel, Diversity, Opacity

Reading = Callable[[list[str]], Outputs]


class Job(NamedTuple):
    """Pictures made for one objective, together where there are several.

    Attributes
    ----------
    kind : {"image", "negative", "diverse"}
    objective : Objective
        To be maximised.
    measure : Objective
        Of the finished picture.
    size : int
        How many pictures.
    """

    kind: str
    objective: Objective
    measure: Objective
    size: int

    def labels(self) -> list[str]:
        """A name for each picture; its random numbers depend on it."""
        label = self.measure.label if self.kind == "image" else f"{self.measure.label} {self.kind}"
        return [label] if self.size == 1 else [f"{label} {i}" for i in range(self.size)]


class Wanted(NamedTuple):
    """What was asked for: neurons, or objectives of any kind (then ``neurons`` is None)."""

    neurons: list[tuple[str, int]] | None
    objectives: list[Objective]

    def jobs(self, *, negative: bool, diverse: int, alpha: bool) -> list[list[Job]]:
        """For each objective its pictures: the one that maximises it, and the others."""
        return [self._jobs(one, negative, diverse, alpha) for one in self.objectives]

    def _jobs(self, objective: Objective, negative: bool, diverse: int, alpha: bool) -> list[Job]:
        best = lowest = objective
        if self.neurons is not None and isinstance(objective, Channel):
            best, lowest = objective.pooled("max"), objective.pooled("min")
        jobs = [Job("image", objective, best, 1)]
        if negative:
            jobs.append(Job("negative", -objective, lowest, 1))
        if diverse > 1:
            jobs.append(Job("diverse", _diverse(objective), best, diverse))
        if alpha:
            jobs = [job._replace(objective=Relative(job.objective, -Opacity())) for job in jobs]
        return jobs


def wanted(asked: Any, model: nn.Module, outputs: Reading, picture: torch.Tensor) -> Wanted:
    """Neurons, objectives, or objectives of Lucent, brought to objectives of the model's layers.

    Parameters
    ----------
    asked : as for ``nc.visualize``
    model : torch.nn.Module
    outputs : callable
        The outputs of these layers for one picture, to find out which ones an objective reads.
    picture : tensor, shape (1, channels, height, width) or (1, features)

    Raises
    ------
    ValueError
        If it is none of these, or a layer does not exist.
    """
    if isinstance(asked, Objective) or is_lucents(asked):
        asked = [asked]
    elif not isinstance(asked, list | tuple) or not any(
        isinstance(item, Objective) or is_lucents(item) for item in asked
    ):
        neurons = [(layer_of(model, layer), unit) for layer, unit in parse_neurons(asked)]
        neurons = list(dict.fromkeys(neurons))
        return Wanted(neurons, [Channel(*neuron) for neuron in neurons])
    return Wanted(None, [_objective(item, model, outputs, picture) for item in asked])


def is_lucents(item: Any) -> bool:
    """Whether it is an ``Objective`` of the library Lucent."""
    return all(hasattr(item, name) for name in ("objective_func", "name", "description"))


class Lucents(Objective):
    """An objective of the library Lucent, whose loss is minimised.

    Parameters
    ----------
    objective : lucent Objective
        Called with a function from a layer to its output, units along axis 1.
    model : torch.nn.Module
    outputs : callable
        The outputs of these layers for one picture, to find out which ones it reads.
    picture : tensor
        That picture.

    Raises
    ------
    ValueError
        If a layer does not exist, or a unit is past its layer's last.
    """

    def __init__(
        self, objective: Any, model: nn.Module, outputs: Reading, picture: torch.Tensor
    ) -> None:
        self._objective, self._model = objective, model
        self._layers: list[str] = []
        while True:
            try:
                self.value(outputs(self._layers), picture)
            except _Unread as unread:
                self._layers.append(unread.layer)
            except IndexError as error:
                raise ValueError(f"{self.label} cannot be had: {error}") from error
            else:
                return

    @property
    def layers(self) -> tuple[str, ...]:
        """Those it was seen to read."""
        return tuple(self._layers)

    @property
    def label(self) -> str:
        """Lucent's description of it."""
        return str(self._objective.description or self._objective.name)

    @property
    def joint(self) -> bool:  # type: ignore[override]
        """Lucent's may always compare pictures."""
        return True

    def key(self) -> list[Any]:
        """What it does, as far as that can be seen."""
        return ["Lucent", self.label, code_hash(self._objective.objective_func)]

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """Minus the loss, an equal share for each picture."""

        def look(name: str) -> torch.Tensor:
            if name == "input":
                return images
            layer = "" if name == "labels" else layer_of(self._model, name)
            if layer not in outputs:
                raise _Unread(layer)
            return outputs[layer]

        loss = self._objective(look)
        return -loss.float().reshape(1).expand(len(images)) / len(images)


class _Unread(Exception):
    """A layer that an objective reads and that was not given."""

    def __init__(self, layer: str) -> None:
        super().__init__(layer)
        self.layer = layer


def layer_of(model: nn.Module, layer: str) -> str:
    """A layer's name as torch has it; also of Lucent's, with ``_`` for every dot.

    Raises
    ------
    ValueError
        If there is none of that name, or Lucent's name stands for several.
    """
    names = [name for name, _ in named_modules(model) if name]
    module, call = module_and_call(layer)
    if layer == "" or module in names:
        return layer
    meant = [name for name in names if name.replace(".", "_") == module]
    if len(meant) > 1:
        raise ValueError(f"layer {layer!r} may be {' or '.join(map(repr, meant))}; expected one")
    if not meant:
        raise ValueError(unknown("layer", layer, names))
    return meant[0] + (f"#{call + 1}" if call else "")


def _objective(item: Any, model: nn.Module, outputs: Reading, picture: torch.Tensor) -> Objective:
    if isinstance(item, Objective):
        return item
    if is_lucents(item):
        return Lucents(item, model, outputs, picture)
    ((layer, unit),) = parse_neurons([item])
    return Channel(layer_of(model, layer), unit)


def _diverse(objective: Objective) -> Objective:
    """With pictures that differ from each other, unless it compares them itself."""
    own = [layer for layer in objective.layers if isinstance(layer, str)]
    if objective.joint or not own:
        return objective
    return Relative(objective, Diversity(own[-1]))
