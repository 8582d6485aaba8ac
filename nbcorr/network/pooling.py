"""Poolings by name: from a layer's output to one number per sample and unit."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from nbcorr.network import reductions
from nbcorr.network.names import unknown
from nbcorr.network.tokens import Tokens

POOLINGS = ("mean", "max", "quantile(0.9)", "center", "none", "token_mean", "cls")
_NAMED: dict[str, Callable[[torch.Tensor, int, Tokens], torch.Tensor]] = {
    "mean": reductions.mean,
    "max": reductions.largest,
    "center": reductions.center,
    "none": reductions.none,
    "token_mean": reductions.token_mean,
    "cls": reductions.cls,
}
# They have no meaning for an output without positions.
_OF_TOKENS = {"token_mean", "cls"}


@dataclasses.dataclass(frozen=True)
class Pooling:
    """How a layer's output becomes one number per sample and unit.

    Attributes
    ----------
    name : str
        What it is called in a recording.
    compute : callable
        Of an output with positions, the axis of its units and `Tokens`.
    function : callable or None
        A pooling of the user's own, as it was given.
    """

    name: str
    compute: Callable[[torch.Tensor, int, Tokens], torch.Tensor]
    function: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __call__(
        self, output: torch.Tensor, axis: int, tokens: Tokens | None = None
    ) -> torch.Tensor:
        """The pooled output, shape (batch, units); a copy, which no in-place layer can change.

        Parameters
        ----------
        output : torch.Tensor, shape (batch, ...)
            What a layer gave. Without positions, shape (batch, units), it is passed on as it is.
        axis : int
            The axis of the units.
        tokens : Tokens, optional
            Of the batch, see `tokens_of`. Padding is left out where the mask is of this output's
            tokens; a sample that is all padding gives NaN.

        Returns
        -------
        torch.Tensor, shape (batch, units)
            For "none" (batch, units * positions). Means and quantiles of half precision are
            float32, other dtypes stay.

        Raises
        ------
        ValueError
            If "cls" or "token_mean" meet what is no sequence of tokens, "cls" a sequence without
            a class token, or a callable gives another shape.
        """
        if output.ndim <= 2 and self.name not in _OF_TOKENS:
            return output.reshape(output.shape[0] if output.ndim else 1, -1).clone()
        return self.compute(output, axis % max(output.ndim, 1), tokens or Tokens())


def poolings(pool: str | Callable[..., torch.Tensor] | Sequence[Any]) -> tuple[Pooling, ...]:
    """The poolings that are asked for, by name or as callables.

    Parameters
    ----------
    pool : str, callable or sequence of them
        "mean" and "max" over the positions (space, time, tokens that are no padding);
        "quantile(q)", q from 0 to 1, interpolated linearly; "center", the position in the middle
        (``size // 2`` along each axis; of patches in the image); "none", every position a neuron
        of its own, those of the first unit first, not to be combined with others; "token_mean",
        the mean without padding, class and register tokens; "cls", the first token; or a callable
        from positions, shape (batch, units, positions), to (batch, units), named as it is.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If a name does not exist, two are the same, or "none" is combined.
    """
    asked: Sequence[Any]
    if isinstance(pool, str) or callable(pool):
        asked = [pool]
    elif isinstance(pool, Sequence):
        asked = pool
    else:
        raise TypeError(
            f"pool is a {type(pool).__name__}; expected a name, a callable or a sequence of them"
        )
    found = tuple(_pooling(each) for each in asked)
    _check_together([pooling.name for pooling in found])
    return found


def _check_together(names: list[str]) -> None:
    if not names:
        raise ValueError(f"no pooling was given; expected at least one of {', '.join(POOLINGS)}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        hint = "; give it a name with def" if twice == "<lambda>" else ""
        raise ValueError(f"two poolings are called {twice!r}; expected different names{hint}")
    if "none" in names and len(names) > 1:
        other = next(name for name in names if name != "none")
        raise ValueError(
            f"pooling 'none' keeps every position and {other!r} one number per unit, so they "
            "cannot stand in one recording; expected one of them"
        )


def _pooling(pool: Any) -> Pooling:
    if isinstance(pool, Pooling):
        return pool
    if isinstance(pool, str):
        return Pooling(pool, _NAMED[pool]) if pool in _NAMED else _named_quantile(pool)
    if not callable(pool):
        raise TypeError(f"a pooling is a {type(pool).__name__}; expected a name or a callable")
    name = getattr(pool, "__name__", type(pool).__name__)
    if name in _NAMED:
        raise ValueError(
            f"a callable is called {name!r} as a pooling of nbcorr is; expected another name, "
            f"or pool={name!r}"
        )
    return Pooling(name, partial(reductions.by_callable, function=pool, name=name), pool)


def _named_quantile(name: str) -> Pooling:
    match = re.fullmatch(r"quantile\(\s*([-+.\w]+)\s*\)", name)
    try:
        share = float(match[1]) if match else None
    except ValueError:
        share = None
    if share is None:
        raise ValueError(unknown("pooling", name, POOLINGS))
    if not 0 <= share <= 1:
        raise ValueError(f"pooling {name!r}: expected a share between 0 and 1, as quantile(0.9)")
    canonical = f"quantile({abs(share)!r})".replace(".0)", ")")
    return Pooling(canonical, partial(reductions.quantile, share=abs(share)))
