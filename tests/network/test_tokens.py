"""What a model and its batches say of tokens, and patches laid back to their map."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from nbcorr.network.tokens import Tokens, as_map, has_places, image_of, tokens_of


class Saying(nn.Module):
    """A model that says things of itself, as libraries' models do."""

    def __init__(self, patch_embed=None, **said):
        super().__init__()
        self.patch_embed = nn.Identity()
        vars(self.patch_embed).update(patch_embed or {})
        vars(self).update(said)

    @property
    def grid_size(self):
        raise AssertionError("a property of the user's is not to be run")


def timm(prefix, grid, **more):
    embed = {"grid_size": grid, "patch_size": (8, 8), **more}
    return Saying(embed, num_prefix_tokens=prefix)


def config(kind, **said):
    return Saying(config=SimpleNamespace(model_type=kind, **said))


IMAGES = torch.zeros(2, 3, 32, 48)


@pytest.mark.parametrize(
    ("model", "inputs", "prefix", "grid"),
    [
        (timm(1, (14, 14)), IMAGES, 1, (14, 14)),
        (timm(0, (4, 6)), IMAGES, 0, (4, 6)),
        (
            timm(5, (14, 14), strict_img_size=False, dynamic_feat_size=lambda s: (s[0], s[1])),
            IMAGES,
            5,
            (32, 48),
        ),
        (nn.Sequential(timm(2, (4, 6))), IMAGES, 2, (4, 6)),
        (Saying(num_prefix_tokens=3), IMAGES, 3, None),
        (Saying({"grid_size": (7, 7), "patch_size": (4, 4)}), IMAGES, 0, (7, 7)),
        (config("vit", patch_size=16, image_size=224), IMAGES, 1, (2, 3)),
        (config("vit", patch_size=16, image_size=224), {"pixel_values": IMAGES}, 1, (2, 3)),
        (config("deit", patch_size=(16, 8), image_size=[64, 32]), None, 2, (4, 4)),
        (
            config("dinov2_with_registers", patch_size=8, image_size=32, num_register_tokens=4),
            None,
            5,
            (4, 4),
        ),
        (config("siglip_vision_model", patch_size=8, image_size=32), None, 0, (4, 4)),
        (config("bert"), {"input_ids": torch.zeros(2, 5)}, 0, None),
        (nn.Linear(2, 2), IMAGES, 0, None),
    ],
)
def test_prefix_and_grid_are_what_the_model_says(model, inputs, prefix, grid):
    tokens = tokens_of(model, inputs)
    assert (tokens.prefix, tokens.grid, tokens.mask) == (prefix, grid, None)


def test_the_mask_is_that_of_the_batch():
    ids = torch.zeros(2, 3, dtype=torch.long)
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    for key in ("attention_mask", "mask"):
        for given_mask in (mask, mask.bool(), mask.float()):
            found = tokens_of(nn.Linear(1, 1), {"input_ids": ids, key: given_mask}).mask
            assert torch.equal(found, mask.bool())
    for inputs in ({"input_ids": ids}, ids, {"ids": ids, "mask": torch.ones(2, 1, 3, 3)}):
        assert tokens_of(nn.Linear(1, 1), inputs).mask is None


def test_the_images_of_a_batch():
    assert image_of(IMAGES) is IMAGES
    many = {"attention_mask": torch.ones(2, 1, 5, 5, dtype=torch.bool), "pixel_values": IMAGES}
    assert image_of(many) is IMAGES
    for inputs in (torch.zeros(2, 3), {"ids": torch.zeros(2, 3)}, None):
        assert image_of(inputs) is None


@pytest.mark.parametrize(
    ("count", "tokens", "front", "sides"),
    [
        (6, Tokens(grid=(2, 3)), 0, (2, 3)),
        (7, Tokens(prefix=1, grid=(2, 3)), 1, (2, 3)),
        (6, Tokens(prefix=1, grid=(2, 3)), 0, (2, 3)),
        (7, Tokens(grid=(2, 3)), 1, (2, 3)),
        (11, Tokens(prefix=5, grid=(2, 3)), 5, (2, 3)),
        # A pyramid; 64 is a square too, but not this one's.
        (64, Tokens(grid=(8, 32)), 0, (4, 16)),
        (15, Tokens(grid=(5, 9)), 0, (3, 5)),
        (196, Tokens(), 0, (14, 14)),
        (197, Tokens(), 1, (14, 14)),
        (198, Tokens(prefix=2), 2, (14, 14)),
        (201, Tokens(prefix=5), 5, (14, 14)),
        # Images were enlarged on the way: the grid of the input does not fit.
        (197, Tokens(prefix=1, grid=(2, 2)), 1, (14, 14)),
        (201, Tokens(), None, None),
        (0, Tokens(prefix=1, grid=(0, 0)), None, None),
        (1, Tokens(), 0, (1, 1)),
    ],
)
@pytest.mark.parametrize("axis", [1, 2])
def test_patches_are_laid_back_to_their_map(count, tokens, front, sides, axis):
    output = torch.randn(2, count, 3)
    maps = as_map(output.movedim(2, axis), axis, tokens)
    assert has_places(output.movedim(2, axis), axis, tokens) == (sides is not None)
    if sides is None:
        assert torch.equal(maps, output.mT[:, :, None])
        return
    assert maps.shape == (2, 3, *sides)
    for row, column in np.ndindex(sides):
        token = front + row * sides[1] + column
        assert torch.equal(maps[:, :, row, column], output[:, token])


def test_maps_stay_maps_and_what_has_no_places_is_a_row():
    output = torch.randn(2, 3, 4, 5)
    assert torch.equal(as_map(output, 1), output)
    assert torch.equal(as_map(output.movedim(1, 3), 3), output)
    assert has_places(output, 1, Tokens())
    dense, films = torch.randn(2, 3), torch.randn(2, 3, 4, 5, 6)
    assert torch.equal(as_map(dense, 1), dense[:, :, None, None])
    assert torch.equal(as_map(films, 1), films.flatten(2)[:, :, None])
    assert not has_places(dense, 1, Tokens())
    assert not has_places(films, 1, Tokens())
