"""The activation atlas: positions of many images laid out, averaged and rendered."""

from __future__ import annotations

import builtins
import importlib.util

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from nbcorr.visualization.atlas import activation_atlas, averaged, laid_out
from nbcorr.visualization.atlas_points import cut
from nbcorr.visualization.attribute import activations, attribute

from .nets import assert_untouched, reused, state


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((40, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(1).choice(["cat", "dog", "owl"], 40)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return reused()


@pytest.fixture(scope="module")
def atlas(net, images, labels, tmp_path_factory) -> xr.Dataset:
    before = state(net)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        found = activation_atlas(
            net,
            (images, labels),
            "act#2",
            grid=3,
            per_image=3,
            projection="pca",
            targets=[0, (1, 2)],
            steps=2,
            batch_size=7,
            progress=False,
        )
    assert_untouched(net, before)
    return found


def test_every_cell_is_the_mean_of_its_positions(net, images, atlas):
    assert atlas.attrs["positions"] == atlas.sizes["position"] == 120
    assert int(atlas["count"].sum()) == 120
    cube = activations(net, images, "act#2", progress=False)["activation"].values
    sample, y, x = (atlas[name].values for name in ("sample", "map_row", "map_column"))
    vectors = cube[sample, :, y, x]
    places = set(zip(sample.tolist(), y.tolist(), x.tolist(), strict=True))
    assert len(places) == 120
    for index in range(atlas.sizes["direction"]):
        (row,), (column,) = np.nonzero(atlas["picture"].values == index)
        inside = atlas["cell"].values == index
        assert int(inside.sum()) == int(atlas["count"][row, column]) >= 3
        right, down = np.minimum(np.floor(atlas["projection"].values[inside] * 3), 2).T
        assert (right == column).all()
        assert (down == row).all()
        np.testing.assert_allclose(
            atlas["vector"][index], vectors[inside].mean(0), rtol=1e-4, atol=1e-6
        )
    small = atlas["count"].values < 3
    assert (atlas["picture"].values[small] == -1).all()
    assert (atlas["picture"].values[~small] >= 0).all()


def test_one_position_of_each_image_is_drawn_and_its_vector_averaged(net, images):
    found = activation_atlas(
        net, images, "act#2", grid=1, projection="pca", steps=1, progress=False
    )
    assert found["sample"].values.tolist() == list(range(40))
    assert found["picture"].values.tolist() == [[0]]
    cube = activations(net, images, "act#2", progress=False)["activation"]
    low, high = cube.min(["y", "x"]).mean("sample"), cube.max(["y", "x"]).mean("sample")
    mean = found["vector"].isel(direction=0)
    assert bool(((low - 1e-6 <= mean) & (mean <= high + 1e-6)).all())


def test_with_all_positions_the_mean_is_that_of_the_whole_layer(net, images):
    """Literally: no draw is left, so that vector, gradient and best position are known."""
    found = activation_atlas(
        net,
        images,
        "conv1",
        grid=1,
        per_image=99,
        projection="pca",
        targets=[3],
        steps=2,
        progress=False,
    )
    data = attribute(net, images, 3, "conv1", progress=False)
    places = ["sample", "y", "x"]
    mean = data["activation"].mean(places)
    np.testing.assert_allclose(found["vector"][0], mean, rtol=1e-4, atol=1e-6)
    expected = float((mean * data["gradient"].mean(places)).sum())
    assert found["attribution"].item() == pytest.approx(expected, rel=1e-4)
    unit = mean / np.linalg.norm(mean)
    best = float((data["activation"] * unit).sum("neuron").max())
    assert found["best_real"].item() == pytest.approx(best, rel=1e-4)
    shown = found["image"].values.transpose(0, 3, 1, 2)
    made = activations(net, shown, "conv1", progress=False)["activation"]
    reached = float((made * unit.values[:, None, None].reshape(1, -1, 1, 1)).sum("neuron").max())
    assert found["reached"].item() == pytest.approx(reached, rel=1e-4)


def test_classes_are_counted_and_attributed(atlas, labels):
    assert atlas["class"].values.tolist() == ["cat", "dog", "owl"]
    assert atlas["target"].values.tolist() == ["0", "1 - 2"]
    np.testing.assert_array_equal(atlas["label"], labels[atlas["sample"]])
    for index in range(atlas.sizes["direction"]):
        inside = atlas["label"].values[atlas["cell"].values == index]
        counted = [(inside == name).sum() for name in atlas["class"].values]
        assert atlas["label_count"].values[index].tolist() == counted


def test_patches_are_real_pieces_of_the_images_most_like_the_cell(atlas, images):
    side = atlas.sizes["patch_y"]
    for index in range(atlas.sizes["direction"]):
        members = atlas["sample"].values[atlas["cell"].values == index]
        for rank in range(min(4, len(members))):
            sample = int(atlas["patch_sample"][index, rank])
            assert sample in members
            patch = atlas["patch"].values[index, rank]
            whole = images[sample].transpose(1, 2, 0)
            windows = [
                whole[y : y + side, x : x + side] for y in range(9 - side) for x in range(9 - side)
            ]
            assert any(np.allclose(patch, window) for window in windows)


def test_a_planted_map_shows_colours_where_they_belong():
    """Three colours of images, a layer with one unit each: three cells, each with its picture."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[:, :, None, None])
    rng = np.random.default_rng(0)
    colour = np.arange(60) % 3
    images = rng.uniform(0, 0.1, (60, 3, 8, 8)).astype(np.float32)
    images[np.arange(60), colour] += 0.8
    names = np.array(["red", "green", "blue"])[colour]
    found = activation_atlas(
        net, (images, names), "1", grid=2, projection="pca", steps=30, progress=False
    )
    assert found.sizes["direction"] == 3
    for index in range(3):
        unit = int(found["vector"].values[index].argmax())
        assert found["image"].values[index].mean((0, 1)).argmax() == unit
        shares = found["label_count"].values[index]
        assert found["class"].values[shares.argmax()] == ["red", "green", "blue"][unit]
        assert shares.sum() == shares.max()


def test_umap_lays_neighbours_together_and_is_seeded():
    rng = np.random.default_rng(0)
    group = np.arange(60) % 3
    vectors = np.eye(3)[group] + rng.normal(0, 0.05, (60, 3))
    plane, method = laid_out(vectors, "auto", 0)
    assert method == "umap"
    assert plane.min() == 0
    assert plane.max() == 1
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=2)
    same = group[:, None] == group[None]
    assert apart[same].mean() < apart[~same].mean() / 2
    np.testing.assert_array_equal(plane, laid_out(vectors, "umap", 0)[0])


def test_without_umap_it_is_pca_which_says_so(monkeypatch):
    real_import, real_find = builtins.__import__, importlib.util.find_spec

    def without(name, *arguments, **options):
        if name == "umap":
            raise ModuleNotFoundError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "umap" else real_find(name, *a),
    )
    vectors = np.random.default_rng(0).normal(size=(50, 4))
    assert laid_out(vectors, "auto", 0)[1] == "pca"
    with pytest.raises(ModuleNotFoundError, match="pip install umap-learn"):
        laid_out(vectors, "umap", 0)


def test_pca_keeps_the_directions_of_largest_variance():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0.2, 1.2, 80)
    vectors = np.stack([np.cos(angle), np.sin(angle), np.full(80, 0.1)], 1) * rng.uniform(
        1, 5, (80, 1)
    )
    plane, _ = laid_out(vectors, "pca", 0)
    order = np.argsort(angle)[2:-2]
    first = plane[order, 0]
    assert (np.diff(first) > 0).all() or (np.diff(first) < 0).all()
    one = laid_out(np.ones((4, 1)), "pca", 0)[0]
    assert (one == 0).all()


def test_means_of_cells_against_a_loop():
    rng = np.random.default_rng(0)
    vectors, plane = rng.normal(size=(90, 5)), rng.random((90, 2))
    plane[0] = 1
    cells, means, counts = averaged(vectors, plane, 4, 5)
    number = 0
    for row in range(4):
        for column in range(4):
            inside = [
                i
                for i, (x, y) in enumerate(plane)
                if min(int(x * 4), 3) == column and min(int(y * 4), 3) == row
            ]
            assert counts[row, column] == len(inside)
            if len(inside) >= 5:
                np.testing.assert_allclose(means[number], vectors[inside].mean(0))
                assert (cells[inside] == number).all()
                number += 1
            else:
                assert (cells[inside] == -1).all()
    assert number == len(means) > 3


def test_patches_lie_around_their_place():
    image = torch.arange(64.0).reshape(1, 1, 8, 8).expand(3, 1, 8, 8)
    pieces = cut(image, np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5, 1.0]), cells=16)
    assert pieces.shape == (3, 2, 2, 1)
    assert pieces[:, 0, 0, 0].tolist() == [0, 27, 54]
    large = cut(torch.rand(1, 3, 256, 256), np.array([0.5]), np.array([0.5]), cells=1)
    assert large.shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "head"}, "gives no maps of images, but one number per neuron"),
        ({"grid": 0}, "grid is 0"),
        ({"projection": "tsne"}, "no projection 'tsne'"),
        ({"least": 41}, "none of 10 x 10 cells has 41 of the 40 positions"),
        ({"targets": [9]}, "9"),
        ({"data": np.zeros((0, 3, 8, 8), np.float32)}, "empty"),
    ],
)
def test_what_cannot_be_had_is_told(net, images, change, message):
    arguments = {"data": images, "layer": "act#2", "projection": "pca", **change}
    with pytest.raises(ValueError, match=message):
        activation_atlas(
            net, arguments.pop("data"), arguments.pop("layer"), progress=False, **arguments
        )
