"""Grids, atlases, caricatures and sprite sheets as Python sees them, and on a page without it."""

from __future__ import annotations

import base64
import io
import time

import numpy as np
import pytest
import torch
import traitlets
import xarray as xr
from PIL import Image
from torch import nn

import nbcorr as nc
from nbcorr.notebook.interfaces.activation_atlas import ActivationAtlas
from nbcorr.notebook.interfaces.activation_grid import ActivationGrid
from nbcorr.notebook.interfaces.caricature import Caricature
from nbcorr.notebook.interfaces.sheets import mosaic, sheet
from nbcorr.notebook.interfaces.sprite_sheet import SpriteSheet
from nbcorr.visualization.atlas import activation_atlas
from nbcorr.visualization.caricature import caricature
from nbcorr.visualization.grid import activation_grid
from nbcorr.visualization.sprites import sprites

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(3, 8, 3, padding=1, stride=2))
    model.add_module(HOSTILE, nn.ReLU())
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    return model


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((30, 3, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def grid(net, images) -> xr.Dataset:
    return activation_grid(net, images[0], HOSTILE, steps=2, progress=False)


@pytest.fixture(scope="module")
def atlas(net, images) -> xr.Dataset:
    labels = np.array(["a", HOSTILE, "c"])[np.arange(30) % 3]
    return activation_atlas(
        net, (images, labels), HOSTILE, grid=3, projection="pca", steps=2, progress=False
    )


@pytest.fixture(scope="module")
def drawn(net, images) -> xr.Dataset:
    return caricature(net, images[0], ["conv", HOSTILE], steps=2, progress=False)


@pytest.fixture(scope="module")
def work(net):
    made = sprites(net, HOSTILE, (3, 12, 12), steps=2, batch_size=3)
    made.wait()
    return made


@pytest.fixture(scope="module")
def exemplars(net, images) -> xr.Dataset:
    return nc.exemplars(net, images, {HOSTILE: range(8)}, k=4, progress=False)


def assert_stands_alone(widget) -> None:
    """A picture and words for a page without a kernel, hostile names escaped in them."""
    data, _ = widget._repr_mimebundle_()
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert np.asarray(picture.convert("RGB")).std() > 5
    assert HOSTILE in data["text/plain"]
    assert HOSTILE not in data["text/html"]
    assert "&lt;script&gt;" in data["text/html"]
    assert data["text/html"].startswith("<img alt=")


def numbers(packed: dict) -> np.ndarray:
    return np.frombuffer(packed["bytes"], packed["kind"]).reshape(packed["shape"])


# The activation grid


def test_grid_names_the_neurons_that_answer_most(grid, exemplars):
    widget = ActivationGrid(grid, exemplars=exemplars, k=3)
    assert_stands_alone(widget)
    row, column = widget.position
    assert float(grid["strength"][row, column]) == float(grid["strength"].max())
    values = grid["activation"].transpose("row", "column", "neuron").values
    shown, sizes = numbers(widget.content["neurons"]), numbers(widget.content["values"])
    assert shown.shape == (6, 6, 3)
    for y, x in ((0, 0), (2, 5)):
        order = np.argsort(-values[y, x], kind="stable")[:3]
        names = [widget.neurons[i] for i in shown[y, x]]
        assert names == [f"{HOSTILE}:{unit}" for unit in order]
        np.testing.assert_allclose(sizes[y, x], values[y, x][order])


def test_grid_position_is_checked(grid):
    widget = ActivationGrid(grid)
    widget.position = (5, 0)
    for wrong in ((6, 0), (0, -1)):
        with pytest.raises(ValueError, match="expected a row from 0 to 5 and a column from 0 to 5"):
            widget.position = wrong
    assert widget.position == (5, 0)


def test_grid_makes_pictures_of_its_neurons(grid, net):
    widget = ActivationGrid(grid, model=net)
    assert any("No pictures given" in note for note in widget.icons["notes"])
    made = widget.render(widget.neurons[:2], steps=2)
    assert made.sizes["neuron"] == 2
    assert sum(place >= 0 for place in widget.icons["picture"]) == 2


# The activation atlas


def test_atlas_shows_classes_patches_and_counts(atlas, exemplars):
    widget = ActivationAtlas(atlas, exemplars=exemplars)
    assert_stands_alone(widget)
    row, column = widget.cell
    rendered = atlas["picture"].values >= 0
    assert atlas["count"].values[row, column] == atlas["count"].values[rendered].max()
    assert widget.content["classes"] == sorted(["a", HOSTILE, "c"])
    share = numbers(widget.content["class_values"])
    np.testing.assert_allclose(share.sum(1), 1, rtol=1e-5)
    places = widget.content["patch_places"]
    assert [len(each) for each in places] == [
        min(4, int((atlas["cell"] == i).sum())) for i in range(atlas.sizes["direction"])
    ]
    assert sorted(i for each in places for i in each) == list(
        range(widget.content["patches"]["count"])
    )
    widget.shown_class = HOSTILE
    with pytest.raises(ValueError, match="no class 'zebra' on the map"):
        widget.shown_class = "zebra"
    with pytest.raises(ValueError, match="cell is"):
        widget.cell = (9, 9)


def test_atlas_prefers_attributions_and_needs_neither_labels_nor_patches(atlas):
    some = atlas.assign(
        attribution=(("direction", "target"), np.ones((atlas.sizes["direction"], 2)))
    )
    some = some.assign_coords(target=["x", "y"])
    assert ActivationAtlas(some).content["class_measure"] == "attribution"
    bare = atlas.drop_vars(["label_count", "patch", "patch_sample", "label"])
    content = ActivationAtlas(bare).content
    assert (content["classes"], content["patches"]["count"]) == ([], 0)


# Caricatures


def test_caricature_follows_the_layer(drawn, exemplars):
    widget = Caricature(drawn, exemplars=exemplars)
    assert_stands_alone(widget)
    assert widget.layer == "conv"
    widget.layer = HOSTILE
    with pytest.raises(ValueError, match="no layer 'conv2'; did you mean 'conv'"):
        widget.layer = "conv2"
    for place, layer in enumerate(["conv", HOSTILE]):
        names = [widget.neurons[i] for i in widget.content["neurons"][place]]
        units = drawn["top_unit"].values[place]
        assert names == [f"{layer}:{unit}" for unit in units]


# Sprite sheets


def test_sheet_of_finished_work_shows_everything(work, exemplars):
    widget = SpriteSheet(work, exemplars=exemplars)
    assert_stands_alone(widget)
    assert widget.progress == {"done": 8, "total": 8, "running": False}
    assert numbers(widget.made["places"]).tolist() == list(range(8))
    assert widget.made["sheet"]["count"] == 8
    assert all("best exemplar" in reach for reach in widget.made["reach"])
    assert widget.content["exemplar_ends"] == list(range(0, 36, 4))
    assert widget.content["note"] == ""


def test_sheet_is_sorted_and_filtered_by_any_numbers(work):
    auc = np.array([0.5, 0.9, np.nan, 0.2, 0.7, 0.1, 0.6, 0.4])
    values = nc.from_arrays(np.zeros((2, 8)), layer=HOSTILE).assign(auc=("neuron", auc))
    widget = SpriteSheet(work, values=values.isel(neuron=[7, 6, 5, 4, 3, 2, 1]))
    assert widget.shown == widget.neurons
    widget.sort = "auc"
    assert [int(label.rpartition(":")[2]) for label in widget.shown] == [1, 4, 6, 7, 3, 5, 0, 2]
    widget.least = 0.4
    assert [int(label.rpartition(":")[2]) for label in widget.shown] == [1, 4, 6, 7]
    with pytest.raises(ValueError, match="no value 'rho'"):
        widget.sort = "rho"
    with pytest.raises(ValueError, match="values have none of the neurons"):
        SpriteSheet(work, values=nc.from_arrays(np.zeros((2, 3)), layer="other"))
    with pytest.raises(ValueError, match="expected a Dataset over 'neuron'"):
        SpriteSheet(work, values=xr.Dataset({"auc": ("unit", auc)}))


def test_sheet_follows_the_work_as_pictures_are_made(net):
    made = sprites(net, HOSTILE, (3, 12, 12), steps=3, batch_size=1, seed=5)
    widget = SpriteSheet(made)
    counts = []
    widget.observe(lambda change: counts.append(change["new"]["sheet"]["count"]), "made")
    while made.done == 0:
        time.sleep(0.001)
    widget._take_message(None, {"do": "stop"}, [])
    made.wait()
    widget._take_message(None, {"do": "start"}, [])
    made.wait()
    assert made.done == 8
    assert widget.progress == {"done": 8, "total": 8, "running": False}
    assert widget.made["sheet"]["count"] == 8
    assert counts == sorted(counts)


def test_sheet_says_what_went_wrong(net):
    broken = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    made = sprites(broken, "1", (3, 12, 12), steps=1, transforms="nonsense")
    with pytest.raises(ValueError, match="nonsense"):
        made.wait()
    widget = SpriteSheet(made)
    assert "nonsense" in widget.says
    widget._take_message(None, {"do": "start"}, [])
    with pytest.raises(ValueError, match="nonsense"):
        made.wait()
    assert "nonsense" in widget.says
    assert widget._repr_mimebundle_()[0]["image/png"]


def test_sheet_of_pictures_there_are_already(work, net, exemplars):
    widget = SpriteSheet(work.pictures.isel(neuron=slice(1, 4)), exemplars=exemplars)
    assert widget.progress == {"done": 3, "total": 3, "running": False}
    assert widget.neurons == [f"{HOSTILE}:{unit}" for unit in (1, 2, 3)]
    assert widget.made["sheet"]["count"] == 3
    with pytest.raises(ValueError, match=r"expected the Dataset that nc\.visualize gives"):
        SpriteSheet(exemplars.drop_vars("image"))
    of_objectives = nc.visualize(
        net, [nc.objectives.channel("conv", 0)], (3, 12, 12), steps=1, progress=False
    )
    with pytest.raises(ValueError, match="expected those of neurons"):
        SpriteSheet(of_objectives)


def test_sheet_takes_exemplars_later(work, exemplars):
    widget = SpriteSheet(work)
    assert widget.content["note"].startswith("No exemplars given")
    widget.show(exemplars)
    assert widget.content["note"] == ""
    assert widget.content["exemplars"]["count"] == 32


# What they have in common


def test_views_of_one_model_follow_each_other_by_the_neuron(grid, drawn, work):
    sheet, image, caricatures = SpriteSheet(work), ActivationGrid(grid), Caricature(drawn)
    traitlets.link((sheet, "neuron"), (image, "neuron"))
    traitlets.link((image, "neuron"), (caricatures, "neuron"))
    sheet.neuron = f"{HOSTILE}:3"
    assert caricatures.neuron == f"{HOSTILE}:3"
    caricatures.neuron = "conv:0"
    assert sheet.neuron == "conv:0"


@pytest.mark.parametrize(
    ("widget", "verb"),
    [
        (ActivationGrid, "activation_grid"),
        (ActivationAtlas, "activation_atlas"),
        (Caricature, "caricature"),
    ],
)
def test_another_dataset_is_refused(widget, verb, exemplars):
    with pytest.raises(ValueError, match=rf"expected the Dataset that nc\.{verb} gives"):
        widget(exemplars)
    with pytest.raises(ValueError, match="is str; expected the Dataset"):
        widget("nothing")


@pytest.mark.parametrize("side", [16, 64])
def test_a_sheet_holds_every_picture_in_its_place(side):
    rng = np.random.default_rng(0)
    colours = rng.random((7, 1, 1, 3))
    images = list(np.broadcast_to(colours, (7, side, side, 3)))
    packed = sheet(images, 80)
    assert packed["mime"] == ("image/png" if side <= 32 else "image/jpeg")
    picture = np.asarray(Image.open(io.BytesIO(packed["bytes"])).convert("RGB")) / 255
    assert (packed["count"], packed["columns"]) == (7, 3)
    assert picture.shape == (3 * side, 3 * side, 3)
    for i, colour in enumerate(colours):
        y, x = (i // 3) * side, (i % 3) * side
        tile = picture[y : y + side, x : x + side]
        np.testing.assert_allclose(tile, np.broadcast_to(colour[0, 0], tile.shape), atol=0.02)
    assert sheet([], 80)["count"] == 0
    see_through = np.ones((64, 64, 4))
    see_through[0, 0, 3] = 0
    assert sheet([see_through], 80)["mime"] == "image/png"


def test_a_mosaic_is_laid_in_rows_and_columns():
    images = np.arange(3)[:, None, None, None] / 10 * np.ones((3, 2, 2, 3))
    found = xr.Dataset(
        {
            "image": (("direction", "y", "x", "channel"), images),
            "picture": (("row", "column"), [[2, -1], [0, 1]]),
        }
    )
    laid = mosaic(found, blank=1)
    assert laid.shape == (4, 4, 3)
    np.testing.assert_allclose(laid[::2, ::2, 0], [[0.2, 1], [0, 0.1]])
