"""What chosen layers give in one forward pass, pooled as it passes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from nbcorr.network.derived import LastPooled, Run, agree, derived, needs_a_look
from nbcorr.network.hooks import Callback
from nbcorr.network.layers import call_label
from nbcorr.network.pooling import Pooling
from nbcorr.network.tokens import Tokens
from nbcorr.network.units import governors, unit_axis
from nbcorr.network.wrappers import submodule


class Reader:
    """Pools what the chosen layers of a network give; no map is kept.

    Attributes
    ----------
    units : dict of str to int
        The neurons of each layer, in the order the layers ran; empty before the first pass.
    left_out : dict of str to str
        Layers nobody named that have no numbers per sample, with the reason.
    disbelieved : set of str
        Layers that did not give in the first pass what follows from their kind.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        pools: Sequence[Pooling],
        explicit: frozenset[str] = frozenset(),
    ):
        self.names, self.pools, self.explicit = list(names), tuple(pools), explicit
        self.units: dict[str, int] = {}
        self.left_out: dict[str, str] = {}
        self.disbelieved: set[str] = set()
        self._governors = governors(model, self.names)

    def reading(
        self, network: nn.Module, count: int, device: torch.device, tokens: Tokens
    ) -> _Pass:
        """What to hook to a network, the model or a twin of it, for one pass of ``count`` samples.

        Give its ``callbacks`` and ``leave_out`` to ``hooks.captured``, and take the numbers from
        `finish`.
        """
        return _Pass(self, network, BatchRows(self.units, len(self.pools), count, device), tokens)

    def finish(self, reading: _Pass) -> torch.Tensor:
        """The numbers of a pass that has ended, shape (pools, batch, neurons), float32.

        Raises
        ------
        ValueError
            If a layer has another number of neurons than in the first pass.
        """
        now = reading.rows.units
        if not self.units:
            # In the order they ran, so that depth in the network can be read off.
            self.units = now
        elif now != self.units:
            name = next(n for n in {**self.units, **now} if self.units.get(n) != now.get(n))
            raise ValueError(
                f"layer {name!r} gave {now.get(name)} units in one batch "
                f"and {self.units.get(name)} in the first"
            )
        return reading.rows.block()

    def check_ran(self) -> None:
        """A ValueError that names a layer that was asked for by name and did not run."""
        ran = {name.split("#")[0] for name in self.units}
        missing = [name for name in self.names if name in self.explicit and name not in ran]
        if missing or not ran:
            reasons = [f"; {name}: {why}" for name, why in self.left_out.items()]
            raise ValueError(
                f"layer {', '.join(missing or self.names)} did not run in the forward pass; those "
                f"that did: {', '.join(sorted(ran)) or 'none of the chosen'}{''.join(reasons)}"
            )


class _Pass:
    """One forward pass being read."""

    def __init__(self, reader: Reader, network: nn.Module, rows: BatchRows, tokens: Tokens):
        self.rows = rows
        self._reader, self._tokens, self._last = reader, tokens, LastPooled()
        self._modules = {name: submodule(network, name) for name in reader.names}

    @property
    def callbacks(self) -> dict[str, Callback]:
        """For ``hooks.captured``, one per layer."""
        return {name: partial(self.read, name) for name in self._modules}

    def read(self, name: str, output: torch.Tensor, call: int, args: tuple[Any, ...]) -> None:
        """Pool what the n-th call of a layer gave."""
        label = call_label(name, call)
        if label in self._reader.left_out:
            return
        try:
            if output.is_complex():
                raise ValueError(f"layer {name!r} gave complex numbers; expected real ones")
            self.rows.put(label, self._pooled(name, output, args))
        except ValueError as error:
            self.leave_out(name, call, error)

    def leave_out(self, name: str, call: int, error: Exception) -> None:
        """Go on without a layer that has no numbers, unless it was asked for or had some before."""
        label = call_label(name, call)
        if name in self._reader.explicit or label in self._reader.units:
            raise error
        self._reader.left_out[label] = str(error)

    def _pooled(self, name: str, output: torch.Tensor, args: tuple[Any, ...]) -> list[torch.Tensor]:
        axis = unit_axis(self._reader._governors[name], output)
        run = Run(self._modules[name], args[0] if args else None, output, axis, self._tokens)
        behind = self._last.behind(run.module, run.inputs, axis)
        pooled = [
            self._following(name, run, pool, behind[at] if behind else None)
            for at, pool in enumerate(self._reader.pools)
        ]
        self._last.remember(output, axis, pooled)
        return pooled

    def _following(
        self, name: str, run: Run, pool: Pooling, known: torch.Tensor | None
    ) -> torch.Tensor:
        """A layer's pooled output, from its pooled input where that can be."""
        reader = self._reader
        follows = None if name in reader.disbelieved else derived(run, pool, known)
        if follows is None:
            return pool(run.output, run.axis, self._tokens)
        if not reader.units and needs_a_look(run.module) and not self._agrees(run, pool, follows):
            reader.disbelieved.add(name)
            return pool(run.output, run.axis, self._tokens)
        return follows

    def _agrees(self, run: Run, pool: Pooling, follows: torch.Tensor) -> bool:
        # One sample of maps tells; a sequence of tokens has its padding sample by sample.
        some = slice(1 if run.output.ndim > 3 else None)
        return agree(follows[some], pool(run.output[some], run.axis, self._tokens))


class BatchRows:
    """One batch's numbers, layer by layer.

    Once the layers are known, from the second batch on, they go straight to their places in one
    block: small tensors kept between a network's large ones would break up the heap.
    """

    def __init__(self, known: dict[str, int], pools: int, count: int, device: torch.device):
        self.units: dict[str, int] = {}
        self._known, self._pools, self._count = known, pools, count
        self._starts = dict(zip(known, accumulate([0, *known.values()]), strict=False))
        self._block = torch.empty(pools, count, sum(known.values()), device=device)
        self._parts: list[list[torch.Tensor]] = []

    def put(self, layer: str, values: list[torch.Tensor]) -> None:
        """A layer's numbers, one tensor of shape (batch, units) per pooling, floating dtype.

        Raises
        ------
        ValueError
            If there is not one row per sample.
        """
        for pooled in values:
            if pooled.shape[0] != self._count:
                raise ValueError(
                    f"layer {layer!r} gave {pooled.shape[0]} rows for a batch of {self._count} "
                    "samples; expected one row per sample"
                )
        self.units[layer] = units = values[0].shape[1]
        if not self._known:
            self._parts.append([pooled.to(torch.float32) for pooled in values])
        elif self._known.get(layer) == units:
            start = self._starts[layer]
            for plane, pooled in zip(self._block, values, strict=True):
                plane[:, start : start + units] = pooled

    def block(self) -> torch.Tensor:
        """All of them, shape (pools, batch, neurons), float32."""
        if not self._parts:
            return self._block
        by_pool = zip(*self._parts, strict=True)
        return torch.stack([torch.cat(parts, dim=1) for parts in by_pool])
