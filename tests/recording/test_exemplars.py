from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn import functional

import nbcorr as nc


def literal(model, images, layer, unit, k, quantile):
    """Exemplars of one neuron from its definition: all maps in memory, one sort."""
    maps = []
    model.eval()
    with torch.no_grad():
        for image in images:
            out = getattr(model, layer)(
                torch.tensor(image[None]) if layer == "conv1" else middle(model, image)
            )
            maps.append(out[0, unit])
    maps = torch.stack(maps)
    scores = maps.flatten(1).amax(1)
    order = np.argsort(-scores.numpy(), kind="stable")[:k]
    limit = np.quantile(maps.numpy(), quantile)
    big = functional.interpolate(maps[order][:, None], (8, 8), mode="bilinear", align_corners=True)
    return order, scores.numpy()[order], (big[:, 0] > limit).numpy(), limit


def middle(model, image):
    return torch.relu(model.norm(model.conv1(torch.tensor(image[None]))))


@pytest.mark.parametrize(("layer", "unit"), [("conv1", 2), ("conv2", 5)])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_exemplars_equal_their_definition(model, images, layer, unit, batch_size):
    order, scores, masks, limit = literal(model, images, layer, unit, 4, 0.9)
    found = nc.exemplars(
        model, images, (layer, unit), 4, quantile=0.9, batch_size=batch_size, progress=False
    )
    np.testing.assert_array_equal(found["sample"].values[0], order)
    np.testing.assert_allclose(found["activation"].values[0], scores, rtol=1e-5)
    np.testing.assert_allclose(found["threshold"].values[0], limit, rtol=1e-4, atol=1e-6)
    assert (found["mask"].values[0] == masks).mean() > 0.99
    np.testing.assert_array_equal(found["image"].values[0, ..., 0], images[order, 0])


def test_order_labels_and_other_layers(untouched, images, labels):
    ids = np.array([f"s{i}" for i in range(40)])
    wanted = ["hidden:3", "act#2:1", "conv1:0", "act:1"]
    found = nc.exemplars(untouched, (images, labels, ids), wanted, 3, progress=False)
    assert [f"{a}:{b}" for a, b in found.indexes["neuron"]] == wanted
    rows = [int(s[1:]) for s in found["sample"].values.ravel()]
    np.testing.assert_array_equal(found["label"].values.ravel(), labels[rows])
    np.testing.assert_array_equal(found["label_count"], np.bincount(labels))
    assert found.attrs["fingerprint"]


def test_a_unit_that_is_always_negative_has_exemplars(model, images):
    with torch.no_grad():
        model.conv1.bias[1] = -100.0
    found = nc.exemplars(model, images, "conv1:1", 5, progress=False)
    assert (found["activation"].values < -50).all()
    assert len(set(found["sample"].values[0].tolist())) == 5


def test_fewer_samples_than_k_and_vectors(model):
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    x = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    found = nc.exemplars(net, x, "0:2", 15, progress=False)
    assert found.sizes["rank"] == 6
    assert "image" not in found
    assert (np.diff(found["activation"].values[0]) <= 0).all()


def test_images_outside_0_to_1_are_brought_there(model, images):
    found = nc.exemplars(model, images * 10 - 5, "conv1:0", 3, progress=False)
    assert float(found["image"].min()) == 0
    assert float(found["image"].max()) == 1


@pytest.mark.parametrize(
    ("neurons", "arguments", "message"),
    [
        ("conv1:4", {}, "no neuron 'conv1:4': layer 'conv1' has 4 units, 0 to 3"),
        ("convv1:0", {}, "no layer 'convv1'; did you mean 'conv1'"),
        ("unused:0", {}, "layer 'unused' did not run"),
        ("act#3:0", {}, "layer 'act#3' did not run"),
        ("conv1:0", {"k": 0}, "k is 0"),
        ("conv1:0", {"quantile": 1.0}, "quantile is 1.0"),
    ],
)
def test_bad_requests_are_named(untouched, images, neurons, arguments, message):
    with pytest.raises(ValueError, match=message):
        nc.exemplars(untouched, images, neurons, progress=False, **arguments)


def test_empty_data_and_interrupt(untouched, images):
    with pytest.raises(ValueError, match="the data is empty"):
        nc.exemplars(untouched, images[:0], "conv1:0", progress=False)

    def interrupted():
        yield torch.tensor(images[:4])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nc.exemplars(untouched, interrupted(), "conv1:0", progress=False)


def test_inputs_that_are_not_finite_are_named(untouched, images):
    images[3, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="sample 3 has NaN or infinite values"):
        nc.exemplars(untouched, images, "conv1:0", progress=False)


def test_the_threshold_stands_on_a_bounded_number_of_values(model, images, monkeypatch):
    whole = nc.exemplars(model, np.tile(images, (8, 1, 1, 1)), "conv1:0", progress=False)
    monkeypatch.setattr("nbcorr.recording.exemplars._VALUES", 2000)
    thinned = nc.exemplars(model, np.tile(images, (8, 1, 1, 1)), "conv1:0", progress=False)
    np.testing.assert_allclose(thinned["threshold"], whole["threshold"], atol=0.1)
    xr.testing.assert_equal(thinned["sample"], whole["sample"])


# Patches of a vision transformer


class TinyViT(nn.Module):
    """A vision transformer that says of itself what timm's do.

    Its first feature is the brightness of a patch, which attention leaves alone; in the class and
    register tokens it is higher than in any patch.
    """

    def __init__(self, grid: tuple[int, int], prefix: int, patch: int = 4, says: bool = True):
        super().__init__()
        self.patch_embed = nn.Conv2d(1, 8, patch, stride=patch)
        if says:
            self.num_prefix_tokens = prefix
            self.patch_embed.grid_size, self.patch_embed.patch_size = grid, (patch, patch)
        self.front = nn.Parameter(torch.randn(1, prefix, 8))
        self.place = nn.Parameter(torch.randn(1, prefix + grid[0] * grid[1], 8) / 10)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.hidden = nn.Linear(8, 5)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, 2)
        with torch.no_grad():
            self.patch_embed.weight[0] = 1 / patch**2
            self.patch_embed.bias[0] = 0
            self.front[..., 0] = 100
            self.place[..., 0] = 0
            self.attention.out_proj.weight[0] = 0
            self.hidden.weight[3] = torch.eye(8)[0]
            self.hidden.bias[3] = 0

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed(pixel_values).flatten(2).mT
        x = torch.cat([self.front.expand(len(patches), -1, -1), patches], 1) + self.place
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.act(self.hidden(x)).mean(1))


def bright_patches(grid: tuple[int, int], patch: int = 4) -> tuple[np.ndarray, list]:
    """Dark images, each with one bright patch, the later the brighter; and where it is."""
    places = [place for _ in range(2) for place in np.ndindex(grid)]
    size = (grid[0] * patch, grid[1] * patch)
    images = np.random.default_rng(0).random((len(places), 1, *size)).astype(np.float32) / 10
    for i, (row, column) in enumerate(places):
        there = images[i, 0, row * patch :, column * patch :][:patch, :patch]
        there += 0.5 + 0.4 * i / len(places)
    return images, places


def share_of_dark(grid: tuple[int, int]) -> float:
    """The share of patches that are dark, and a few of the bright ones."""
    return 1 - 0.9 / (grid[0] * grid[1])


def middle_patch(mask: np.ndarray, patch: int = 4) -> tuple[int, int]:
    row, column = (np.round(axis.mean()) for axis in np.nonzero(mask))
    return int(row) // patch, int(column) // patch


@pytest.mark.parametrize("prefix", [0, 1, 5], ids=["no class token", "class token", "registers"])
@pytest.mark.parametrize("grid", [(4, 4), (2, 3), (3, 2)])
@pytest.mark.parametrize("layer", ["hidden", "act"])
def test_a_unit_that_answers_at_a_patch_has_its_mask_there(grid, prefix, layer):
    torch.manual_seed(0)
    net = TinyViT(grid, prefix)
    images, places = bright_patches(grid)
    k = len(images) // 2
    found = nc.exemplars(
        *(net, images, f"{layer}:3", k),
        quantile=share_of_dark(grid),
        batch_size=5,
        progress=False,
    )
    # The largest of the patches, not what the tokens in front of them have.
    brightness = images.reshape(-1, grid[0], 4, grid[1], 4).mean((2, 4)).max((1, 2))
    order = found["sample"].values[0]
    np.testing.assert_array_equal(order, np.argsort(-brightness)[:k])
    np.testing.assert_allclose(found["activation"].values[0], brightness[order], rtol=1e-5)
    limit = float(found["threshold"][0])
    for i, mask in zip(order, found["mask"].values[0], strict=True):
        assert middle_patch(mask) == places[i]
        assert mask.mean() < 0.3
        at_patches = images[i].reshape(grid[0], 4, grid[1], 4).mean((1, 3))
        literally = functional.interpolate(
            torch.tensor(at_patches)[None, None], mask.shape, mode="bilinear", align_corners=True
        )
        assert (mask == (literally[0, 0].numpy() > limit)).mean() > 0.98


@pytest.mark.parametrize("prefix", [0, 1])
def test_a_square_of_patches_is_found_where_the_model_says_nothing(prefix):
    net = TinyViT((4, 4), prefix, says=False)
    images, places = bright_patches((4, 4))
    found = nc.exemplars(net, images, "hidden:3", 4, quantile=share_of_dark((4, 4)), progress=False)
    for i, mask in zip(found["sample"].values[0], found["mask"].values[0], strict=True):
        assert middle_patch(mask) == places[i]


def test_tokens_without_places_have_the_whole_image():
    net = TinyViT((2, 3), 0, says=False)
    images, _ = bright_patches((2, 3))
    found = nc.exemplars(net, images, "hidden:3", 12, quantile=0.9, progress=False)
    share = found["mask"].values[0].mean((1, 2))
    assert set(share.tolist()) == {0.0, 1.0}


def test_images_of_a_mapping_are_shown_too():
    net = TinyViT((2, 3), 1)
    images, places = bright_patches((2, 3))
    found = nc.exemplars(net, {"pixel_values": images}, "hidden:3", 3, quantile=0.8, progress=False)
    assert middle_patch(found["mask"].values[0, 0]) == places[-1]
    np.testing.assert_array_equal(found["image"].values[0, 0, ..., 0], images[-1, 0])


# Texts


class TinyText(nn.Module):
    """Tokens to a number each; the padding token, 0, answers more than any other."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 3)
        self.hidden = nn.Linear(3, 4)
        with torch.no_grad():
            self.embed.weight[0] = 100
            self.hidden.weight.abs_()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        kept = attention_mask[..., None]
        return (self.hidden(self.embed(input_ids)) * kept).sum(1) / kept.sum(1)


def test_padding_is_no_exemplar_and_texts_may_differ_in_length():
    net, rng = TinyText(), np.random.default_rng(0)
    # As patches, most of these would be squares, with a class token or without.
    texts = [rng.integers(1, 20, length) for length in [16, 3, 17, 5, 9, 2, 4, 70]]

    def padded(two, more):
        ids = np.zeros((2, max(map(len, two)) + more), dtype=np.int64)
        for row, text in zip(ids, two, strict=True):
            row[: len(text)] = text
        return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}

    def exemplars_of(texts, more):
        data = [padded(texts[i : i + 2], more) for i in range(0, len(texts), 2)]
        return nc.exemplars(net, data, ["hidden:1", "hidden:2"], 4, progress=False)

    found = exemplars_of(texts, 0)
    with torch.no_grad():
        tallest = [float(net.hidden(net.embed(torch.tensor(t)))[:, 1].amax()) for t in texts]
    order = np.argsort(-np.array(tallest), kind="stable")[:4]
    np.testing.assert_array_equal(found["sample"].values[0], order)
    np.testing.assert_allclose(found["activation"].values[0], np.array(tallest)[order], rtol=1e-5)
    assert "mask" not in found
    assert "image" not in found
    # Of texts so short that no places are drawn, more padding changes nothing at all.
    found = exemplars_of(texts[:-2], 0)
    xr.testing.assert_allclose(exemplars_of(texts[:-2], 6), found)
    with torch.no_grad():
        values = net.hidden(net.embed(torch.tensor(np.concatenate(texts[:-2]))))
    limits = np.quantile(values.numpy()[:, [1, 2]], 0.99, axis=0)
    np.testing.assert_allclose(found["threshold"], limits, rtol=1e-5)
