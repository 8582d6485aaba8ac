"""Grids, atlases, caricatures and sprite sheets in a real JupyterLab: by mouse and by keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator

from .jupyter import JupyterTab, Notebook, eventually

SETUP = """
import os, tempfile, time
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
import numpy as np, torch
import nbcorr as nc
from torch import nn
torch.set_num_threads(1)
torch.manual_seed(0)
HOSTILE = '<img src=x onerror="window.hacked = 1">'
model = nn.Sequential()
model.add_module("conv", nn.Conv2d(3, 12, 5, padding=2, stride=2))
model.add_module(HOSTILE.replace(".", ""), nn.ReLU())
model.add_module("pool", nn.AdaptiveAvgPool2d(1))
model.add_module("flat", nn.Flatten())
model.add_module("head", nn.Linear(12, 3))
LAYER = HOSTILE.replace(".", "")
rng = np.random.default_rng(0)
y, x = np.mgrid[:16, :16]
phase, angle = rng.uniform(0, 6, (2, 60, 1, 1, 1))
waves = np.sin(phase + (x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.3, 2, (60, 1, 1, 1)))
images = (0.5 + 0.5 * waves * rng.random((60, 3, 1, 1))).astype("float32")
labels = np.array(["left", "right", HOSTILE])[np.arange(60) % 3]
exemplars = nc.exemplars(model, images, {LAYER: range(12)}, k=4, progress=False)
"""

GRID = """
from nbcorr.notebook.interfaces.activation_grid import ActivationGrid
from nbcorr.visualization.grid import activation_grid
found = activation_grid(model, images[0], LAYER, steps=3, progress=False)
grid = ActivationGrid(found, exemplars=exemplars, model=model)
grid
"""

ATLAS = """
from nbcorr.notebook.interfaces.activation_atlas import ActivationAtlas
from nbcorr.visualization.atlas import activation_atlas
found = activation_atlas(model, (images, labels), LAYER, grid=4, per_image=3, projection="pca",
                         steps=3, progress=False)
atlas = ActivationAtlas(found, exemplars=exemplars)
atlas
"""

CARICATURE = """
from nbcorr.notebook.interfaces.caricature import Caricature
from nbcorr.visualization.caricature import caricature
found = caricature(model, images[1], ["conv", LAYER], steps=3, progress=False)
drawn = Caricature(found, exemplars=exemplars)
drawn
"""

SHEET = """
from nbcorr.notebook.interfaces.sprite_sheet import SpriteSheet
from nbcorr.visualization.sprites import sprites
work = sprites(model, LAYER, (3, 16, 16), steps=150, batch_size=1)
while work.done < 3:
    time.sleep(0.01)
work.stop()
values = nc.from_arrays(np.zeros((2, 12)), layer=LAYER).assign(
    auc=("neuron", np.linspace(0.9, 0.1, 12)[::-1]))
sheet = SpriteSheet(work, values=values, exemplars=exemplars)
sheet
"""


@pytest.fixture(scope="module")
def notebook(lab: JupyterTab) -> Notebook:
    lab.theme("light")
    opened = lab.open_notebook([SETUP, GRID, ATLAS, CARICATURE, SHEET])
    opened.run_all()
    yield opened
    lab.theme("light")
    opened.close()


def view(notebook: Notebook, cell: int) -> Locator:
    found = notebook.output(cell).locator(".nbcorr-interface .frame")
    found.wait_for()
    found.scroll_into_view_if_needed()
    return found


def looked_at(lab: JupyterTab, of: Locator, name: str) -> None:
    """Pictures of it, light, dark and narrow, to be looked at."""
    lab.screenshot(f"{name}-light", of)
    lab.theme("dark")
    lab.screenshot(f"{name}-dark", of)
    lab.theme("light")
    lab.page.set_viewport_size({"width": 640, "height": 1000})
    assert of.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    lab.screenshot(f"{name}-narrow", of)
    lab.page.set_viewport_size({"width": 1360, "height": 1000})


def unhurt(notebook: Notebook) -> bool:
    """Whether hostile names stayed text."""
    of_images = notebook.panel.locator(".nbcorr-interface img").count()
    return of_images == 0 and notebook.page.evaluate("() => window.hacked === undefined")


def test_grid_by_mouse_and_keyboard(lab: JupyterTab, notebook: Notebook) -> None:
    grid = view(notebook, 1)
    assert notebook.python("grid.position")
    pictures = grid.locator(".pictures")
    pictures.click(position={"x": 5, "y": 5})
    eventually(lambda: notebook.python("list(grid.position)") == [0, 0])
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        pictures.press(key)
    eventually(lambda: notebook.python("list(grid.position)") == [1, 2])
    assert "row 2, column 3" in (grid.locator(".where").text_content() or "")
    assert notebook.page.locator(".jp-Cell").count() >= 5

    # Hovering shows another position and chooses none.
    box = grid.locator(".map").bounding_box()
    lab.page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] - 3)
    eventually(lambda: "row 8, column 8" in (grid.locator(".where").text_content() or ""))
    assert notebook.python("list(grid.position)") == [1, 2]
    lab.page.mouse.move(0, 0)

    # A neuron is chosen on both sides, and laid over the image.
    first = grid.locator(".card").first
    first.click()
    label = first.get_attribute("data-label")
    eventually(lambda: notebook.python("grid.neuron") == label)
    assert grid.locator(".map.laid").count() == 1
    notebook.python("setattr(grid, 'neuron', '')")
    first.blur()
    lab.page.mouse.move(0, 0)
    eventually(lambda: grid.locator(".map.laid").count() == 0)

    scaled = ".pictures .tile[style*='scale']"
    assert grid.locator(scaled).count() > 0
    grid.get_by_label("size by strength").uncheck()
    assert grid.locator(scaled).count() == 0
    grid.get_by_label("size by strength").check()
    assert unhurt(notebook)
    looked_at(lab, grid, "interface-grid")


def test_pictures_of_neurons_are_made_on_demand(lab: JupyterTab, notebook: Notebook) -> None:
    grid = view(notebook, 1)
    assert "No pictures given" in (grid.locator("footer").text_content() or "")
    grid.get_by_role("button", name="Make these 4 pictures").click()
    eventually(lambda: grid.locator(".card .icon:not(.none) canvas").count() == 4, 60)
    assert unhurt(notebook)


def test_atlas_shows_cells_patches_and_where_a_class_lies(
    lab: JupyterTab, notebook: Notebook
) -> None:
    atlas = view(notebook, 2)
    where = atlas.locator(".where")
    row, column = notebook.python("list(atlas.cell)")
    number = notebook.python("int(atlas.atlas['count'].values[atlas.cell])")
    assert f"row {row + 1}, column {column + 1}: {number} positions" in (where.text_content() or "")
    assert atlas.locator(".patch").count() == min(4, number)
    pictures = atlas.locator(".pictures")
    pictures.focus()
    for key in ("Home", "PageUp"):
        pictures.press(key)
    eventually(lambda: notebook.python("list(atlas.cell)") == [0, 0])

    notebook.python(f"setattr(atlas, 'cell', ({row}, {column}))")
    eventually(lambda: f"row {row + 1}, column {column + 1}" in (where.text_content() or ""))
    line = atlas.locator(".class", has_text="onerror")
    line.click()
    eventually(lambda: "onerror" in notebook.python("atlas.shown_class"))
    assert atlas.locator(".pictures .heat").is_visible()
    assert line.get_attribute("aria-pressed") == "true"
    assert atlas.get_by_text("orange: share of images labelled <img").is_visible()
    line.press("Enter")
    eventually(lambda: notebook.python("atlas.shown_class") == "")
    assert atlas.locator(".pictures .heat").is_hidden()
    atlas.locator(".card").first.click()
    eventually(lambda: notebook.python("atlas.neuron").startswith("<img"))
    assert unhurt(notebook)
    looked_at(lab, atlas, "interface-atlas")


def test_caricature_is_wiped_and_layers_chosen(lab: JupyterTab, notebook: Notebook) -> None:
    drawn = view(notebook, 3)
    over, wipe = drawn.locator(".over"), drawn.locator(".wipe")
    half = over.evaluate("e => e.style.clipPath")
    wipe.press("ArrowRight")
    assert over.evaluate("e => e.style.clipPath") != half
    lab.drag(drawn.locator(".stage"), (0.5, 0.5), (0.1, 0.5))
    assert int(wipe.input_value()) > 85
    drawn.locator(".layer-choice").nth(1).click()
    eventually(lambda: notebook.python("drawn.layer").startswith("<img"))
    assert drawn.locator(".layer-choice[aria-pressed='true']").count() == 1
    notebook.python("setattr(drawn, 'layer', 'conv')")
    eventually(lambda: "conv:" in (drawn.locator(".where").text_content() or ""))
    drawn.locator(".card").first.click()
    eventually(lambda: notebook.python("drawn.neuron").startswith("conv:"))
    assert unhurt(notebook)
    looked_at(lab, drawn, "interface-caricature")


def test_sheet_is_resumed_sorted_and_chosen_from(lab: JupyterTab, notebook: Notebook) -> None:
    sheet = view(notebook, 4)
    eventually(lambda: not notebook.python("work.running"))
    before = notebook.python("work.done")
    assert before < 12
    eventually(lambda: sheet.locator(".sprite:not(.none)").count() == before)
    assert f"{before} of 12 pictures, stopped" in (sheet.locator(".working").text_content() or "")
    lab.screenshot("interface-sheet-stopped", sheet)

    sheet.get_by_role("button", name="Go on").click()
    sheet.get_by_role("button", name="Stop").click()
    eventually(lambda: not notebook.python("work.running"))
    assert before < notebook.python("work.done") < 12
    sheet.get_by_role("button", name="Go on").click()
    eventually(lambda: notebook.python("work.done") == 12, 60)
    eventually(lambda: sheet.locator(".sprite:not(.none)").count() == 12)
    assert sheet.locator("progress").is_hidden()

    sheet.locator("select").select_option("auc")
    eventually(lambda: notebook.python("sheet.sort") == "auc")
    assert (sheet.locator(".sprite").first.get_attribute("aria-label") or "").endswith(
        ":11, auc 0.900"
    )
    sheet.locator("input[type=number]").fill("0.5")
    eventually(lambda: sheet.locator(".sprite").count() == 6)
    assert len(notebook.python("sheet.shown")) == 6

    first = sheet.locator(".sprite").first
    first.focus()
    first.press("ArrowRight")
    lab.page.keyboard.press("Enter")
    eventually(lambda: notebook.python("sheet.neuron").endswith(":10"))
    assert sheet.locator(".detail .patch").count() == 4
    assert notebook.panel.locator(".jp-Cell").count() == 5
    assert unhurt(notebook)
    looked_at(lab, sheet, "interface-sheet")


def test_nothing_was_wrong_in_the_page(lab: JupyterTab, notebook: Notebook) -> None:
    assert lab.console_errors == []
