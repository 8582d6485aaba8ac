"""The computations behind the poolings: a layer's output to one number per sample and unit.

Each takes an output with positions, shape (batch, ...), the axis of its units and the batch's
`Tokens`, and gives (batch, units) that share no memory with the output.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from nbcorr.network.tokens import Tokens

# Values sorted at a time for a quantile, so that memory does not grow with the map.
_CHUNK = 1 << 20


def _over(output: torch.Tensor, axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(1, output.ndim) if a != axis)


def mean(output: torch.Tensor, axis: int, tokens: Tokens) -> torch.Tensor:
    """Over the positions; over the tokens that are no padding."""
    kept = tokens.kept(output, axis)
    if kept is not None:
        return _mean_of_kept(output, axis, kept)
    return output.mean(_over(output, axis), dtype=_wide(output))


def _mean_of_kept(output: torch.Tensor, axis: int, kept: torch.Tensor) -> torch.Tensor:
    """The mean over some positions; filled, not multiplied, for padding may be NaN."""
    filled = output.movedim(axis, 2).masked_fill(~kept[:, :, None], 0)
    return filled.sum(1, dtype=_wide(output)) / kept.sum(1, keepdim=True)


def _wide(output: torch.Tensor) -> torch.dtype:
    """The dtype of its means: half precision would round away what they know more."""
    return output.dtype if output.dtype in (torch.float32, torch.float64) else torch.float32


def largest(output: torch.Tensor, axis: int, tokens: Tokens) -> torch.Tensor:
    """Over the positions; over the tokens that are no padding."""
    kept = tokens.kept(output, axis)
    if kept is None:
        return output.amax(_over(output, axis))
    filled = _floating(output).movedim(axis, 2).masked_fill(~kept[:, :, None], -torch.inf)
    return _blank(filled.amax(1), kept)


def quantile(output: torch.Tensor, axis: int, tokens: Tokens, *, share: float) -> torch.Tensor:
    """Of the positions, interpolated linearly; of the tokens that are no padding."""
    places = output.movedim(axis, 1).flatten(2)
    kept = tokens.kept(output, axis)
    if kept is None:
        parts = places.split(max(1, _CHUNK // max(1, places.shape[1] * places.shape[2])))
    else:
        parts = [row[None, :, keep] for row, keep in zip(places, kept, strict=True)]
    return torch.cat([_quantile_of(part, share) for part in parts])


def _quantile_of(places: torch.Tensor, share: float) -> torch.Tensor:
    """Over the last axis, as numpy.quantile has it; NaN where there is one, or no position."""
    count = places.shape[-1]
    if count == 0:
        return torch.full(places.shape[:-1], torch.nan, device=places.device)
    ordered = _sorted(places.to(_wide(places)))
    # 0.28 * 25 is 7.000000000000001: no place between two, and an infinity above would count.
    place = round(share * (count - 1), 9)
    low, weight = int(place), place % 1
    below, above = ordered[..., low], ordered[..., low + 1 if weight else low]
    # Between two that are equal, infinite ones for instance, there is nothing to interpolate.
    between = below * (1 - weight) + above * weight
    value = torch.where(below == above, below, between)
    return value.masked_fill(ordered[..., -1].isnan(), torch.nan)


def _sorted(values: torch.Tensor) -> torch.Tensor:
    """Ascending along the last axis, NaN last."""
    if values.device.type == "cpu" and not values.requires_grad:
        # NumPy sorts in vector registers, four to eleven times as fast.
        return torch.from_numpy(np.sort(values.numpy(), axis=-1))
    return values.sort(dim=-1).values


def center(output: torch.Tensor, axis: int, tokens: Tokens) -> torch.Tensor:
    """The position in the middle: of a map, of the patches' grid, of the tokens kept."""
    if output.ndim != 3:
        for place in reversed(_over(output, axis)):
            output = output.select(place, output.shape[place] // 2)
        return output.clone()
    count = output.shape[3 - axis]
    kept = tokens.kept(output, axis)
    if kept is not None:
        return _kept_token(output, axis, kept, kept.sum(1) // 2)
    patches = tokens.patches(count)
    if patches is not None:
        front, rows, columns = patches
        middle_token = front + rows // 2 * columns + columns // 2
    else:
        front = tokens.front(count)
        middle_token = front + (count - front) // 2
    return output.select(3 - axis, middle_token).clone()


def _kept_token(
    output: torch.Tensor, axis: int, kept: torch.Tensor, number: torch.Tensor | int
) -> torch.Tensor:
    """Of each sample the token with this number among the kept ones."""
    place = kept.long().cumsum(1)
    at = (kept & (place == torch.as_tensor(number + 1, device=kept.device).reshape(-1, 1))).long()
    rows = torch.arange(len(output), device=output.device)
    return _blank(output.movedim(axis, 2)[rows, at.argmax(1)], kept)


def _blank(pooled: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """NaN for samples none of whose tokens are kept."""
    return _floating(pooled).masked_fill(~kept.any(1, keepdim=True), torch.nan)


def _floating(values: torch.Tensor) -> torch.Tensor:
    return values if values.is_floating_point() else values.float()


def none(output: torch.Tensor, axis: int, _: Tokens) -> torch.Tensor:
    """Every position a neuron, unit by unit; shape (batch, units * positions)."""
    return _places(output, axis).flatten(1)


def _places(output: torch.Tensor, axis: int) -> torch.Tensor:
    """A copy of the output, shape (batch, units, positions)."""
    return output.movedim(axis, 1).clone(memory_format=torch.contiguous_format).flatten(2)


def token_mean(output: torch.Tensor, axis: int, tokens: Tokens) -> torch.Tensor:
    """Over the tokens that are neither padding nor in front of the patches."""
    _check_tokens("token_mean", output, axis)
    kept = tokens.kept(output, axis)
    if kept is not None:
        return _mean_of_kept(output, axis, kept)
    return output[:, tokens.front(output.shape[1]) :].mean(1, dtype=_wide(output))


def cls(output: torch.Tensor, axis: int, tokens: Tokens) -> torch.Tensor:
    """The first token that is no padding."""
    _check_tokens("cls", output, axis)
    kept = tokens.kept(output, axis)
    if kept is not None:
        return _kept_token(output, axis, kept, 0)
    patches = tokens.patches(output.shape[1])
    if patches is not None and patches[0] == 0:
        raise ValueError(
            f"pooling 'cls' met {output.shape[1]} tokens that are the model's "
            f"{patches[1]} x {patches[2]} patches; expected a class token before them"
        )
    return output[:, 0].clone()


def _check_tokens(name: str, output: torch.Tensor, axis: int) -> None:
    if output.ndim != 3 or axis != 2:
        raise ValueError(
            f"pooling {name!r} met an output of shape {tuple(output.shape)} with its units on "
            f"axis {axis}; expected a sequence of tokens, shape (batch, tokens, units)"
        )


def by_callable(
    output: torch.Tensor,
    axis: int,
    _: Tokens,
    *,
    function: Callable[[torch.Tensor], torch.Tensor],
    name: str,
) -> torch.Tensor:
    """What a function makes of the positions, with a check of the shape it gives."""
    # Its own copy: whatever it does in place, the model does not see.
    places = _places(output, axis)
    given = tuple(places.shape)
    pooled = function(places)
    is_tensor = isinstance(pooled, torch.Tensor)
    if not is_tensor or tuple(pooled.shape) != given[:2]:
        found = f"shape {tuple(pooled.shape)}" if is_tensor else f"a {type(pooled).__name__}"
        raise ValueError(
            f"pooling {name!r} gave {found} for positions of shape {given}; expected a tensor of "
            f"shape {given[:2]}, one number per sample and unit"
        )
    return pooled.clone()
