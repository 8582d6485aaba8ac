"""Gradients of later scores by what one layer gives, with something else put in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from nbcorr.network.batches import Batch
from nbcorr.network.hooks import Callback, captured, device_and_dtype
from nbcorr.network.layers import call_label, leaf_modules, module_and_call
from nbcorr.network.tokens import Tokens, tokens_of
from nbcorr.network.units import governor, unit_axis
from nbcorr.network.wrappers import named_modules
from nbcorr.visualization.attribution_targets import Target
from nbcorr.visualization.max_pooling import MAX_POOLS, smoothed

# From a layer's output and the axis of its units to what takes its place.
Move = Callable[[torch.Tensor, int], torch.Tensor]


def unmoved(activation: torch.Tensor, axis: int) -> torch.Tensor:
    """The layer's own output."""
    return activation


class Reading(NamedTuple):
    """What one forward pass told.

    Attributes
    ----------
    activation : torch.Tensor, shape (batch, ...)
        The layer's own output, whatever was put in its place.
    axis : int
        Of its units.
    scores : list of torch.Tensor, one per target
        Each of shape (batch,) or (batch, rows, columns).
    gradient : torch.Tensor, shape (scores, batch, ...), or None
        Of every score, those of a map row by row, by what stood in the layer's place.
    """

    activation: torch.Tensor
    axis: int
    scores: list[torch.Tensor]
    gradient: torch.Tensor | None


class LayerGradients:
    """Reads scores and their gradients by one layer of a model in eval mode.

    To be used inside ``hooks.inference``: gradients are only followed from the layer on, so that
    nothing is kept of what comes before it, and the weights are not asked for theirs.

    Parameters
    ----------
    model : torch.nn.Module
    layer : str
    targets : sequence of Target
    smooth_max_pools : bool
        Whether the ``nn.MaxPool`` modules after the layer have `max_pooling.smoothed` gradients.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        targets: Sequence[Target] = (),
        smooth_max_pools: bool = False,
    ) -> None:
        self.model, self.layer, self.targets = model, layer, list(targets)
        self.module, _ = module_and_call(layer)
        self.governor = governor(model, self.module)
        modules = dict(named_modules(model))
        self.pools = {
            name: module
            for name, module in modules.items()
            if smooth_max_pools and isinstance(module, MAX_POOLS)
        }
        later = [module_and_call(target.layer)[0] for target in targets if target.layer]
        self.names = dict.fromkeys([self.module, *self.pools, *later])

    def read(self, batch: Batch, move: Move = unmoved, gradient: bool = True) -> Reading:
        """One forward pass, with ``move`` of the layer's output in its place.

        Raises
        ------
        ValueError
            If the layer or a target's did not run, no gradient flows between them, a number is
            not finite, or there is no pooling to smooth.
        TypeError
            If the layer's output is no floating-point tensor.
        """
        followed = gradient and bool(self.targets)
        passed = _Pass(self, tokens_of(self.model, batch.inputs), len(batch), move, followed)
        passed.run(batch, dict.fromkeys(self.names, passed.look))
        if followed and self.pools and not passed.smoothed:
            raise ValueError(
                f"no nn.MaxPool ran after layer {self.layer!r}, so there is none to smooth; "
                "expected one (functional poolings cannot be reached)"
            )
        gradients = passed.gradients(batch) if followed else None
        scores = [score.detach() for score in passed.in_order()]
        return Reading(passed.activation, passed.axis, scores, gradients)


class _Pass:
    """One forward pass: what stood in the layer's place, and the scores that came of it."""

    activation: torch.Tensor
    leaf: torch.Tensor
    axis: int

    def __init__(
        self, source: LayerGradients, tokens: Tokens, rows: int, move: Move, followed: bool
    ) -> None:
        self.source, self.tokens, self.rows = source, tokens, rows
        self.move, self.followed = move, followed
        self.scores: dict[int, torch.Tensor] = {}
        self.ran_before: set[int] = set()
        self.smoothed = 0

    def run(self, batch: Batch, looks: dict[str, Callable[..., Any]]) -> None:
        model = self.source.model
        callbacks: dict[str, Callback] = {name: partial(look, name) for name, look in looks.items()}
        # A gradient asked for in the layer's hook is followed from there on, to this block's end.
        with captured(model, callbacks), torch.no_grad():
            output = batch.to(*device_and_dtype(model)).run(model)
            if not hasattr(self, "leaf"):
                raise ValueError(f"layer {self.source.layer!r} did not run in the forward pass")
            self._score(None, output)

    def look(
        self, name: str, output: torch.Tensor, call: int, args: tuple[Any, ...]
    ) -> torch.Tensor | None:
        """Take the layer's output away, put another in its place, read scores of later ones."""
        layer, seen = call_label(name, call), output
        if name in self.source.pools and args and args[0].requires_grad:
            output = smoothed(self.source.pools[name], args[0], output.detach())
            self.smoothed += 1
        if layer == self.source.layer:
            output = self._replaced(output)
        self._score(layer, output)
        return None if output is seen else output

    def _replaced(self, output: torch.Tensor) -> torch.Tensor:
        layer = self.source.layer
        if not output.is_floating_point():
            raise TypeError(f"layer {layer!r} gave {output.dtype}; expected floating-point numbers")
        if output.ndim < 2 or len(output) != self.rows:
            raise ValueError(
                f"layer {layer!r} gave shape {tuple(output.shape)} for {self.rows} samples; "
                "expected the samples along its first axis"
            )
        self.axis = unit_axis(self.source.governor, output)
        self.activation = output.detach().clone()
        self.leaf = self.move(self.activation, self.axis).detach()
        self.ran_before = set(self.scores)
        if self.followed:
            self.leaf.requires_grad_()
            torch.set_grad_enabled(True)
        # A copy, which a later layer may change in place.
        return self.leaf.clone()

    def _score(self, layer: str | None, output: Any) -> None:
        for i, target in enumerate(self.source.targets):
            if target.layer == layer:
                seen = output.clone() if layer else output
                self.scores[i] = target.score(seen, self.tokens)

    def in_order(self) -> list[torch.Tensor]:
        for i, target in enumerate(self.source.targets):
            if i not in self.scores:
                raise ValueError(f"layer {target.layer!r} did not run in the forward pass")
        return [self.scores[i] for i in range(len(self.scores))]

    def gradients(self, batch: Batch) -> torch.Tensor:
        found = []
        for i, score in enumerate(self.in_order()):
            for column in score.reshape(self.rows, -1).unbind(1):
                gradient = None
                if column.requires_grad:
                    (gradient,) = torch.autograd.grad(
                        column.sum(), self.leaf, retain_graph=True, allow_unused=True
                    )
                if gradient is None:
                    raise ValueError(self._why_none(i, batch))
                found.append(gradient)
        return torch.stack(found)

    def _why_none(self, i: int, batch: Batch) -> str:
        layer, target = self.source.layer, self.source.targets[i]
        said = f"no gradient flows from {target.label!r} back to layer {layer!r}: "
        if i in self.ran_before:
            return said + f"layer {target.layer!r} runs before it"
        ending = self._ending(batch)
        if ending:
            return said + f"{ending} gives an output that is not differentiable"
        return said + "it is not on the way to it, or something between them has no gradient"

    def _ending(self, batch: Batch) -> str:
        """The first module that is given numbers with a gradient and gives some without."""
        leaves = leaf_modules(self.source.model)
        ends: list[str] = []

        def look(name: str, output: torch.Tensor, call: int, args: tuple[Any, ...]) -> Any:
            given = any(isinstance(a, torch.Tensor) and a.requires_grad for a in args)
            if name in leaves and given and not output.requires_grad:
                ends.append(f"layer {name!r}, a {type(leaves[name]).__name__},")
            return again.look(name, output, call, args)

        again = _Pass(self.source, self.tokens, self.rows, self.move, True)
        again.run(batch, dict.fromkeys([*leaves, *self.source.names], look))
        return ends[0] if ends else ""
