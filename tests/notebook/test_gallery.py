from __future__ import annotations

import io

import pytest
from PIL import Image

import nbcorr as nc
from nbcorr.notebook.commands import gallery


@pytest.fixture
def pictures(model, images, labels):
    found = nc.exemplars(model, (images, labels), ["conv1:0", "hidden:3"], 9, progress=False)
    made = nc.visualize(model, found, (1, 8, 8), steps=2, exemplars=found, progress=False)
    return made, found


def size(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png)).size


def test_a_row_a_neuron_with_its_exemplars(pictures):
    made, found = pictures
    width, height = size(gallery.gallery_png(made, found))
    assert width > 3 * height
    alone = size(gallery.gallery_png(made, None))
    assert alone[1] < height
    assert size(gallery.gallery_png(None, found))[0] < width


def test_many_visualisations_wrap(model):
    many = {"hidden": range(12), "conv1": range(3)}
    made = nc.visualize(model, many, (1, 8, 8), steps=1, progress=False)
    width, height = size(gallery.gallery_png(made, None))
    assert 1.5 < width / height < 3


def test_what_is_displayed(pictures, monkeypatch):
    shown = []
    monkeypatch.setattr(gallery, "display", lambda bundle, raw: shown.append(bundle))
    made, found = pictures
    gallery.show(made, exemplars=found)
    gallery.show(None, found)
    gallery.show(None, found.drop_vars("image"))
    assert len(shown) == 2
    assert shown[0]["text/plain"].startswith("conv1:0  reached ")
    assert shown[1]["text/plain"].startswith("conv1:0  " + str(found["sample"].values[0, 0]))
