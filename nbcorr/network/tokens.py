"""What is known of the tokens of a sequence: padding, class tokens, the grid of the patches."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

# Class and distillation tokens in front of the patches, by the `model_type` of a transformers
# config; its `num_register_tokens` come on top.
_CLASS_TOKENS = {
    "beit": 1,
    "blip_vision_model": 1,
    "clip_vision_model": 1,
    "data2vec-vision": 1,
    "deit": 2,
    "dinov2": 1,
    "dinov2_with_registers": 1,
    "dinov3_vit": 1,
    "dpt": 1,
    "vit": 1,
    "vit_msn": 1,
}


@dataclasses.dataclass(frozen=True)
class Tokens:
    """What a batch and its model say of token sequences.

    Attributes
    ----------
    mask : torch.Tensor, shape (batch, tokens), bool, or None
        True for the tokens that are no padding.
    prefix : int
        Class, distillation and register tokens in front of the patches.
    grid : (rows, columns) or None
        How the patches lie in the image.
    """

    mask: torch.Tensor | None = None
    prefix: int = 0
    grid: tuple[int, int] | None = None

    def kept(self, output: torch.Tensor, axis: int) -> torch.Tensor | None:
        """The mask on the output's device where it is one of this output's tokens, else None."""
        if self.mask is None or output.ndim != 3:
            return None
        fits = self.mask.shape == (output.shape[0], output.shape[3 - axis])
        return self.mask.to(output.device) if fits else None

    @property
    def _fronts(self) -> tuple[int, int]:
        """What may stand in front: the prefix or nothing yet; a class token nobody told of."""
        return (self.prefix, 0) if self.prefix else (0, 1)

    def patches(self, count: int) -> tuple[int, int, int] | None:
        """Tokens in front, rows and columns of ``count`` tokens that fill the model's grid.

        Or the grid halved some times, as pyramids of patches are. The prefix may be missing, as
        it is before it was put in front; one more token is a class token not declared as such.
        """
        rows, columns = self.grid or (0, 0)
        while rows and columns:
            for front in self._fronts:
                if rows * columns == count - front:
                    return front, rows, columns
            if rows == columns == 1:
                break
            rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        return None

    def layout(self, count: int) -> tuple[int, int, int] | None:
        """As `patches`, but a square where the grid is unknown or does not fit; None otherwise."""
        known = self.patches(count)
        if known is not None:
            return known
        for front in self._fronts:
            side = math.isqrt(max(count - front, 0))
            if side and side * side == count - front:
                return front, side, side
        return None

    def front(self, count: int) -> int:
        """How many of ``count`` tokens are no patches and stand in front of them."""
        known = self.layout(count) if self.prefix else self.patches(count)
        if known is not None:
            return known[0]
        # With a grid known, what does not fit it is another sequence: a text beside the image.
        return self.prefix if self.grid is None and count > self.prefix else 0


def tokens_of(model: nn.Module, inputs: Any) -> Tokens:
    """What is known of the tokens of a batch on its way through a model.

    Parameters
    ----------
    model : torch.nn.Module
        The prefix is timm's ``num_prefix_tokens`` or goes by the ``config`` of a transformers
        vision model; 0 for text models and for anything unknown. The grid is that of timm's patch
        embedding, or follows from the config's ``patch_size`` and the size of the image.
    inputs : tensor or mapping of keyword arguments
        The mask is a mapping's ``attention_mask`` or ``mask`` of two axes, nonzero where a token
        is to be kept.
    """
    mask = None
    if isinstance(inputs, Mapping):
        mask = inputs.get("attention_mask", inputs.get("mask"))
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
        mask = None
    image = image_of(inputs)
    prefix, grid = _patches_of(model, None if image is None else tuple(image.shape[-2:]))
    return Tokens(None if mask is None else mask != 0, prefix, grid)


def image_of(inputs: Any) -> torch.Tensor | None:
    """The images of a batch, shape (batch, channels, y, x); None where it holds none."""
    if isinstance(inputs, torch.Tensor):
        return inputs if inputs.ndim == 4 else None
    if isinstance(inputs, Mapping):
        for value in inputs.values():
            # A mask of attention may have four axes too.
            if isinstance(value, torch.Tensor) and value.ndim == 4 and value.is_floating_point():
                return value
    return None


def has_places(output: torch.Tensor, axis: int, tokens: Tokens) -> bool:
    """Whether an output's positions lie in rows and columns: a map, or patches of an image."""
    if output.ndim == 3:
        return tokens.layout(output.shape[3 - axis]) is not None
    return output.ndim == 4


def as_map(output: torch.Tensor, axis: int, tokens: Tokens | None = None) -> torch.Tensor:
    """A layer's output as maps, the patches of a vision transformer where they lie in the image.

    Parameters
    ----------
    output : torch.Tensor, shape (batch, ...)
    axis : int
        The axis of the units.
    tokens : Tokens, optional
        Class and register tokens are left out. Where the model says nothing, the tokens are a
        square or a class token and a square.

    Returns
    -------
    torch.Tensor, shape (batch, units, rows, columns)
        A view where that is possible. What does not lie in rows and columns is one row.
    """
    if output.ndim == 2:
        return output[:, :, None, None]
    maps = output.movedim(axis, 1)
    if output.ndim == 4:
        return maps
    places = maps.flatten(2)
    layout = (tokens or Tokens()).layout(places.shape[2]) if output.ndim == 3 else None
    if layout is None:
        return places.unsqueeze(2)
    front, rows, columns = layout
    return places[:, :, front:].unflatten(2, (rows, columns))


def _patches_of(
    model: nn.Module, size: tuple[int, ...] | None
) -> tuple[int, tuple[int, int] | None]:
    """The prefix and the grid by what the model's modules say of themselves."""
    counts = next(_storing(model, "num_prefix_tokens"), None)
    embedding = next(_storing(model, "grid_size", "patch_size"), None)
    if counts is not None or embedding is not None:
        prefix = 0 if counts is None else int(vars(counts)["num_prefix_tokens"])
        return prefix, None if embedding is None else _grid_of_embedding(embedding, size)
    for module in _storing(model, "config"):
        config = vars(module)["config"]
        patch = _pair(getattr(config, "patch_size", None))
        if patch is not None:
            whole = _pair(size or getattr(config, "image_size", None))
            grid = None if whole is None else (whole[0] // patch[0], whole[1] // patch[1])
            return _prefix_of_config(config), grid
    return 0, None


def _storing(model: nn.Module, *names: str) -> Iterator[nn.Module]:
    """The modules that have these attributes of their own, outermost first.

    Only what is stored on a module is looked at: asking for more could run a user's property.
    """
    for module in model.modules():
        if all(vars(module).get(name) is not None for name in names):
            yield module


def _grid_of_embedding(embedding: Any, size: tuple[int, ...] | None) -> tuple[int, int] | None:
    """A patch embedding's grid; for this size of image where it takes several."""
    takes_any = vars(embedding).get("strict_img_size") is False
    if takes_any and size is not None and hasattr(embedding, "dynamic_feat_size"):
        return _pair(embedding.dynamic_feat_size(size))
    return _pair(embedding.grid_size)


def _prefix_of_config(config: Any) -> int:
    classes = _CLASS_TOKENS.get(getattr(config, "model_type", ""), 0)
    return classes and classes + int(getattr(config, "num_register_tokens", 0))


def _pair(size: Any) -> tuple[int, int] | None:
    """A size as (rows, columns); None where it is neither a number nor two of them."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Sequence) and len(size) == 2 and all(isinstance(x, int) for x in size):
        return size[0], size[1]
    return None
