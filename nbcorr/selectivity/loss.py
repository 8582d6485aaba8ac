"""The knob: a term of the loss that makes neurons more or less class-selective."""

from __future__ import annotations

import math
import weakref
from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import nn

from nbcorr.network.hooks import captured, first_tensor
from nbcorr.network.layers import Choice, call_label, resolve_layers
from nbcorr.network.reductions import mean
from nbcorr.network.tokens import Tokens
from nbcorr.network.units import governors, unit_axis
from nbcorr.network.wrappers import unwrapped
from nbcorr.stats.selectivity import EPSILON


def batch_selectivity(activation: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The selectivity index of every unit on one batch, differentiable.

    Parameters
    ----------
    activation : torch.Tensor, shape (batch, units)
        Of 0 or more.
    labels : torch.Tensor, shape (batch,)
        Classes that no sample of the batch is of do not count.

    Returns
    -------
    torch.Tensor, shape (units,)
        0 for a unit that is 0 at all samples, as the formula has it.

    Raises
    ------
    ValueError
        If the batch holds fewer than two classes.
    """
    shares = _shares(labels, activation.dtype)
    if len(shares) < 2:
        raise ValueError(f"the batch holds {len(shares)} class; expected at least two")
    return _index(shares @ activation)


def _shares(labels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What each sample adds to the mean of each class that is there, shape (classes, batch)."""
    classes, codes = labels.unique(return_inverse=True)
    members = nn.functional.one_hot(codes, len(classes)).T.to(dtype)
    return members / members.sum(1, keepdim=True)


def _index(means: torch.Tensor) -> torch.Tensor:
    """The index from class means, shape (classes, units)."""
    largest = means.max(0).values
    others = (means.sum(0) - largest) / (len(means) - 1)
    return (largest - others) / (largest + others + EPSILON)


class SelectivityLoss:
    """A term of the training loss that turns class selectivity up or down.

    ``loss = cross_entropy - alpha * SI``: SI is the mean over layers of the mean over units of the
    selectivity index on the minibatch (Leavitt & Morcos 2020, arXiv 2003.01262). The term already
    has its sign: add it.

    Parameters
    ----------
    model : torch.nn.Module
        Plain, compiled or ``DataParallel`` on one device; compiled code runs eagerly as long as
        the term is attached. It gets hooks, which are gone after the ``with`` block, however it
        ends, or after `close`.
    layers : name, glob, kind, class, predicate or several, optional
        Layers that end in a ReLU, or another activation that is never negative; by default all
        activation modules. What the model itself gives, the output layer, never counts.
    alpha : float
        Below 0 discourages selectivity, above 0 encourages it; 0 leaves training bit for bit as it
        is without the term. May be changed at any time: ``term.alpha = ...``.

    Returns
    -------
    SelectivityLoss
        Call it with the labels of the batch the model has just run on, for a tensor without
        dimensions, ``-alpha * SI``. Then ``selectivity`` says the mean index of each layer on that
        batch.

    Raises
    ------
    ValueError
        If a layer does not exist, or alpha is not finite. When called: if the model has not run
        since the last call, the labels do not fit what it ran on, or an activation is negative.

    Notes
    -----
    Activations are averaged over space first, and each call of a reused module is a layer. Classes
    without a sample in the batch are dropped; where fewer than two are left the term is 0. Only
    the last forward pass before the call counts. The index of a dead unit is 0.

    Examples
    --------
    >>> with nc.SelectivityLoss(model, alpha=-1) as term:  # doctest: +SKIP
    ...     for images, labels in loader:
    ...         loss = cross_entropy(model(images), labels) + term(labels)
    ...         loss.backward()
    """

    def __init__(
        self, model: nn.Module, layers: Choice | Collection[Choice] = "auto", *, alpha: float
    ) -> None:
        names = resolve_layers(model, layers)
        self.alpha = alpha
        self.selectivity: dict[str, float] = {}
        self._governors = governors(model, names)
        self._pooled: dict[str, tuple[torch.Tensor, weakref.ref[torch.Tensor]]] = {}
        self._hooks = ExitStack()
        root = unwrapped(model)
        self._hooks.enter_context(captured(model, {n: partial(self._keep, n) for n in names}))
        for handle in (
            root.register_forward_pre_hook(lambda *_: self._pooled.clear()),
            root.register_forward_hook(self._drop_output),
        ):
            self._hooks.callback(handle.remove)

    @property
    def alpha(self) -> float:
        """How much selectivity is encouraged; discouraged below 0."""
        return self._alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"alpha is {value}; expected a finite number, such as -1")
        self._alpha = float(value)

    def __enter__(self) -> SelectivityLoss:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks away; the model is as it was."""
        self._hooks.close()
        self._pooled.clear()

    def __call__(self, labels: torch.Tensor) -> torch.Tensor:
        """``-alpha * SI`` of the batch that the model has just run on.

        Parameters
        ----------
        labels : torch.Tensor of whole numbers, shape (batch,)
        """
        pooled = {name: means.to(labels.device) for name, (means, _) in self._pooled.items()}
        self._pooled.clear()
        _check(pooled, labels)
        shares = _shares(labels, torch.float32)
        self.selectivity = dict.fromkeys(pooled, math.nan)
        if len(shares) < 2:
            return shares.new_zeros(())
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.alpha != 0):
            index = torch.stack(
                [_index(shares.to(means.dtype) @ means).mean() for means in pooled.values()]
            )
        self.selectivity = dict(zip(pooled, index.tolist(), strict=True))
        return -self.alpha * index.mean() if self.alpha else shares.new_zeros(())

    def _keep(self, name: str, output: torch.Tensor, call: int, _: Any) -> None:
        axis = unit_axis(self._governors[name], output)
        pooled = output if output.ndim <= 2 else mean(output, axis, Tokens())
        wide = torch.promote_types(pooled.dtype, torch.float32)
        self._pooled[call_label(name, call)] = (pooled.to(wide), weakref.ref(output))

    def _drop_output(self, _: nn.Module, __: Any, output: Any) -> None:
        """Leave out what the model gives; maps it has let go of are not that."""
        given = first_tensor(output)
        kept = self._pooled.items()
        self._pooled = {name: pair for name, pair in kept if pair[1]() is not given}


def _check(pooled: dict[str, torch.Tensor], labels: torch.Tensor) -> None:
    if not pooled:
        raise ValueError(
            "none of the chosen layers has run since the last call, the output layer aside; "
            "expected a forward pass of the model before each call, in the same process"
        )
    for name, means in pooled.items():
        if labels.shape != means.shape[:1]:
            raise ValueError(
                f"the labels have shape {tuple(labels.shape)} and layer {name!r} gave "
                f"{len(means)} rows; expected one whole-number label for each sample"
            )
    lowest = torch.stack([means.detach().min() for means in pooled.values()])
    if (lowest < 0).any():
        name = list(pooled)[int(lowest.argmin())]
        raise ValueError(
            f"layer {name!r} gave a negative activation ({float(lowest.min()):.3g}); the index is "
            "defined after a ReLU: choose the ReLU behind the layer"
        )
