"""The interfaces of the building blocks in a real JupyterLab: what is pointed at is seen."""

from __future__ import annotations

import numpy as np
from playwright.sync_api import Locator

from .jupyter import JupyterTab, Notebook, eventually

HOSTILE = "<img src=x onerror=alert(1)>"

SETUP = f"""
import numpy as np, torch
import nbcorr as nc
from collections import OrderedDict
from torch import nn
from nbcorr.notebook.interfaces.channel_attribution import ChannelAttribution
from nbcorr.notebook.interfaces.neuron_groups import NeuronGroups
from nbcorr.notebook.interfaces.semantic_dictionary import SemanticDictionary
from nbcorr.notebook.interfaces.spatial_attribution import SpatialAttribution
torch.manual_seed(0); torch.set_num_threads(1)
hostile = {HOSTILE!r}
net = nn.Sequential(OrderedDict([
    ("conv", nn.Conv2d(3, 6, 3, padding=1)), ("early", nn.ReLU()), ("pool", nn.MaxPool2d(2)),
    ("conv2", nn.Conv2d(6, 8, 3, padding=1)), (hostile, nn.ReLU()), ("late", nn.MaxPool2d(2)),
    ("flat", nn.Flatten()), ("out", nn.Linear(8 * 64, 4))]))
y, x = np.mgrid[:32, :32] / 31
ways = [(1, 0), (0, 1), (1, 1), (2, 1)]
waves = np.array([[np.sin(9 * (a * x + b * y) + c) for c in range(3)] for a, b in ways])
bump = np.exp(-((x - 0.6) ** 2 + (y - 0.4) ** 2) * 4)
photos = (0.5 + 0.5 * waves * bump).astype("float32")
neurons = [(hostile, unit) for unit in range(8)]
exemplars = nc.exemplars(net, photos, neurons, k=4, progress=False)
pictures = nc.visualize(net, neurons, (3, 32, 32), steps=8, exemplars=exemplars,
                        progress=False, cache=False)
seen = dict(pictures=pictures, exemplars=exemplars)
"""


def point(tab: JupyterTab, image: Locator, row: float, column: float, of: int = 16) -> None:
    """Move the mouse to the middle of a cell."""
    image.hover(position=_middle(image, row, column, of))


def click(image: Locator, row: float, column: float, of: int = 16) -> None:
    image.click(position=_middle(image, row, column, of))


def _middle(image: Locator, row: float, column: float, of: int) -> dict[str, float]:
    image.scroll_into_view_if_needed()
    box = image.bounding_box()
    assert box is not None
    return {"x": (column + 0.5) / of * box["width"], "y": (row + 0.5) / of * box["height"]}


def labels(view: Locator) -> list[str]:
    return view.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.label)")


def opacities(image: Locator) -> np.ndarray:
    """What the overlay's opacity is in every cell."""
    rows = image.locator("canvas.heat").evaluate(
        """canvas => {
          const {width, height} = canvas;
          const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
          return Array.from({length: height}, (_, y) =>
            Array.from({length: width}, (_, x) => pixels[4 * (y * width + x) + 3]));
        }"""
    )
    return np.array(rows, float)


def frames(image: Locator) -> bool:
    return image.locator(".chosen").is_visible()


def shots(lab: JupyterTab, name: str, view: Locator) -> None:
    """Light, dark and narrow; and nothing may stick out of the cell."""
    page = lab.page
    lab.screenshot(f"{name}-light", view)
    lab.theme("dark")
    lab.screenshot(f"{name}-dark", view)
    lab.theme("light")
    page.set_viewport_size({"width": 640, "height": 1000})
    frame = view.locator(".nbcorr-interface")
    eventually(lambda: frame.evaluate("e => e.clientWidth") < 600)
    assert frame.evaluate("e => e.scrollWidth <= e.clientWidth")
    lab.screenshot(f"{name}-600", view)
    page.set_viewport_size({"width": 1360, "height": 1000})


def value(notebook: Notebook, of: str) -> list[str]:
    """Labels at a position of the dictionary, as Python has them."""
    here = f"w.dictionary['top_unit'].transpose('y', 'x', 'rank').values[{of}]"
    return notebook.python(f"[f'{{hostile}}:{{unit}}' for unit in {here}]")


def test_the_dictionary_follows_mouse_and_keys(lab: JupyterTab) -> None:
    notebook = lab.open_notebook(
        [SETUP, "w = SemanticDictionary(net, photos[0], hostile, **seen)\nw"]
    )
    notebook.run_all()
    view = notebook.output(1)
    image = view.locator(".map")
    image.wait_for()
    start = notebook.python("w.position")
    assert labels(view) == value(notebook, f"{start[0]}, {start[1]}")

    # Hovering shows another position and leaves the chosen one.
    height = view.bounding_box()["height"]
    point(lab, image, 3, 11)
    eventually(lambda: labels(view) == value(notebook, "3, 11"))
    assert view.locator(".where").inner_text() == "row 4, column 12 of 16 × 16"
    assert notebook.python("w.position") == start
    assert view.bounding_box()["height"] == height
    view.locator(".title").hover()
    eventually(lambda: labels(view) == value(notebook, f"{start[0]}, {start[1]}"))

    # A click chooses, arrows go on from there, and Lab's own shortcuts stay out of it.
    click(image, 3, 11)
    eventually(lambda: notebook.python("w.position") == [3, 11])
    image.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "x"):
        image.press(key)
    eventually(lambda: notebook.python("w.position") == [4, 13])
    image.press("Home")
    image.press("PageUp")
    eventually(lambda: notebook.python("w.position") == [0, 0])
    assert notebook.panel.locator(".jp-Notebook .jp-CodeCell").count() == 2
    eventually(lambda: "row 1, column 1: " in (image.locator("output").text_content() or ""))

    # A neuron is chosen by mouse or keyboard and shows where it answers.
    view.locator(".title").hover()
    first = view.locator(".card").first
    first.focus()
    first.press("Enter")
    label = value(notebook, "0, 0")[0]
    eventually(lambda: notebook.python("w.neuron") == label)
    assert first.get_attribute("aria-pressed") == "true"
    unit = int(label.rpartition(":")[2])
    expected = np.array(notebook.python(f"w.dictionary['activation'].values[{unit}].tolist()"))
    drawn = opacities(image)
    np.testing.assert_allclose(drawn / drawn.max(), expected / expected.max(), atol=0.02)

    # What Python sets is shown.
    notebook.python("[setattr(w, 'position', (9, 2)), setattr(w, 'neuron', '')]")
    eventually(lambda: labels(view) == value(notebook, "9, 2"))
    assert view.locator(".card[aria-pressed=true]").count() == 0
    assert view.locator(".card").first.locator(".exemplar").count() == 3
    shots(lab, "interface-dictionary", view)
    notebook.close()
    assert lab.console_errors == []


def test_missing_pictures_are_made_from_within(lab: JupyterTab) -> None:
    notebook = lab.open_notebook([SETUP, "w = SemanticDictionary(net, photos[0], hostile)\nw"])
    notebook.run_all()
    view = notebook.output(1)
    view.get_by_text("No pictures given").wait_for()
    view.get_by_text("No exemplars given").wait_for()
    lab.screenshot("interface-dictionary-bare", view)
    assert view.locator(".card .icon").count() == 0
    view.get_by_role("button", name="Make these 4 pictures").click()
    view.locator(".card .icon canvas").nth(3).wait_for(timeout=60_000)
    view.get_by_role("button", name="Pictures made").wait_for()
    height = view.bounding_box()["height"]
    point(lab, view.locator(".map"), 1, 1)
    eventually(lambda: "row 2, column 2" in view.locator(".where").inner_text())
    assert view.bounding_box()["height"] == height
    assert notebook.python("sum(i >= 0 for i in w.icons['picture'])") == 4
    notebook.python("w.show(exemplars=exemplars)")
    view.locator(".card .exemplar").first.wait_for()
    view.get_by_text("No exemplars given").wait_for(state="detached")
    notebook.close()
    assert lab.console_errors == []


def test_channels_for_and_against(lab: JupyterTab) -> None:
    cell = """
classes = ["a", hostile, "b", "c"]
w = ChannelAttribution(net, photos[0], hostile, (1, 2), k=3, classes=classes, **seen)
w"""
    notebook = lab.open_notebook([SETUP, cell])
    notebook.run_all()
    view = notebook.output(1)
    image = view.locator(".map")
    image.wait_for()
    assert labels(view) == notebook.python("w.neurons")
    assert view.get_by_text(f"for {HOSTILE}", exact=True).is_visible()

    def shown() -> list[str]:
        return view.locator(".card .value").all_inner_texts()

    whole = shown()
    assert [text.startswith("−") for text in whole] == sorted(
        text.startswith("−") for text in whole
    )

    # Under the mouse, the shares of a position; chosen by a click, let go by another or Escape.
    height = view.bounding_box()["height"]
    point(lab, image, 5, 9)
    eventually(lambda: shown() != whole)
    assert view.bounding_box()["height"] == height
    there = notebook.python("w.attribution['attribution'].values[:, 5, 9].tolist()")
    units = [int(label.rpartition(":")[2]) for label in labels(view)]
    for text, unit in zip(shown(), units, strict=True):
        assert abs(float(text.replace("−", "-")) - there[unit]) <= 0.006 * abs(there[unit]) + 1e-12
    click(image, 5, 9)
    eventually(lambda: notebook.python("w.position") == [5, 9])
    image.focus()
    image.press("ArrowLeft")
    eventually(lambda: notebook.python("w.position") == [5, 8])
    image.press("Escape")
    eventually(lambda: notebook.python("w.position") == [])
    view.locator(".title").hover()
    eventually(lambda: shown() == whole)

    # Where the neuron under the mouse contributes; a click keeps it.
    total = opacities(image)
    view.locator(".card").nth(1).hover()
    maps = np.abs(
        np.array(notebook.python(f"w.attribution['attribution'].values[{units[1]}].tolist()"))
    )
    drawn = opacities(image)
    np.testing.assert_allclose(drawn / drawn.max(), maps / maps.max(), atol=0.02)
    view.locator(".card").nth(1).click()
    eventually(lambda: notebook.python("w.neuron") == labels(view)[1])
    view.locator(".title").hover()
    np.testing.assert_array_equal(opacities(image), drawn)
    notebook.python("setattr(w, 'neuron', '')")
    eventually(lambda: (opacities(image) == total).all())
    shots(lab, "interface-channels", view)
    notebook.close()
    assert lab.console_errors == []


def test_where_it_came_from_and_where_it_goes(lab: JupyterTab) -> None:
    cell = 'w = SpatialAttribution(net, photos[0], ["early", hostile, "late"])\nw'
    notebook = lab.open_notebook([SETUP, cell])
    notebook.run_all()
    view = notebook.output(1)
    early, middle, late = (view.locator(".map").nth(i) for i in range(3))
    early.wait_for()
    assert view.locator("h4").all_inner_texts() == ["early", HOSTILE, "late"]
    assert [frames(image) for image in (early, middle, late)] == [False, True, False]

    def agrees(image: Locator, expression: str) -> bool:
        expected = np.abs(np.array(notebook.python(f"({expression}).values.tolist()")))
        if not expected.any():
            return not opacities(image).any()
        drawn = opacities(image)
        return bool(np.allclose(drawn / drawn.max(), expected / expected.max(), atol=0.02))

    # Hover a position of the late layer, then one of the early layer.
    height = view.bounding_box()["height"]
    point(lab, late, 4, 5, of=8)
    pair = "w.pairs[hostile, 'late'].isel(target_y=4, target_x=5)"
    eventually(lambda: agrees(middle, pair))
    assert agrees(early, "w.pairs['early', 'late'].isel(target_y=4, target_x=5)")
    assert [frames(image) for image in (early, middle, late)] == [False, False, True]
    assert view.bounding_box()["height"] == height
    assert notebook.python("w.layer") == HOSTILE
    point(lab, early, 13, 20, of=32)
    eventually(lambda: agrees(middle, "w.pairs['early', hostile].isel(y=13, x=20)"))

    # Choose one by mouse and by keys; Python knows it and its attributions.
    click(late, 2, 6, of=8)
    eventually(lambda: notebook.python("[w.layer, w.position]") == ["late", [2, 6]])
    late.focus()
    late.press("ArrowDown")
    eventually(lambda: notebook.python("w.position") == [3, 6])
    view.locator(".title").hover()
    eventually(lambda: agrees(early, "w.attribution('early')"))
    eventually(
        lambda: "this position: row 4, column 7" in (late.locator("output").text_content() or "")
    )

    # And back from Python.
    notebook.python("[setattr(w, 'layer', hostile), setattr(w, 'position', (8, 8))]")
    eventually(lambda: frames(middle) and agrees(late, "w.attribution('late')"))
    shots(lab, "interface-spatial", view)
    notebook.close()
    assert lab.console_errors == []


def test_groups_in_colours(lab: JupyterTab) -> None:
    notebook = lab.open_notebook(
        [SETUP, "w = NeuronGroups(net, photos[0], hostile, 3, target=1, **seen)\nw"]
    )
    notebook.run_all()
    view = notebook.output(1)
    image, rows = view.locator(".map"), view.locator(".group")
    rows.nth(2).wait_for()
    assert view.locator(".member .unit").count() == notebook.python(
        "sum(map(len, w.content['members']))"
    )

    # Hovering a group shows it alone.
    together = opacities(image)
    rows.nth(1).hover()
    expected = np.array(notebook.python("w._scaled()[1].tolist()"))
    eventually(lambda: np.allclose(opacities(image) / 255, 0.84 * expected, atol=0.01))
    view.locator(".title").hover()
    eventually(lambda: (opacities(image) == together).all())

    # Choosing one by its number, by the keyboard, and by the place where it is strongest.
    rows.nth(1).locator(".swatch").click()
    eventually(lambda: notebook.python("w.group") == 1)
    swatch = rows.nth(2).locator(".swatch")
    swatch.focus()
    swatch.press("Enter")
    eventually(lambda: notebook.python("w.group") == 2)
    row, column = notebook.python(
        "[int(i) for i in np.unravel_index(w._scaled()[0].argmax(), (16, 16))]"
    )
    click(image, row, column)
    strongest = notebook.python(f"int(w._scaled()[:, {row}, {column}].argmax())")
    eventually(lambda: notebook.python("w.group") == strongest)
    assert f"row {row + 1}, column {column + 1}" in view.locator(".where").inner_text()

    # A neuron of a group.
    member = view.locator(".member").first
    member.click()
    label = member.get_attribute("data-label")
    eventually(lambda: notebook.python("w.neuron") == label)
    assert label.startswith(HOSTILE)

    # Pictures of the groups, made here; then another number of groups, by mouse and keyboard.
    view.get_by_role("button", name="Make pictures of the groups").click()
    rows.nth(2).locator("> .icon canvas").wait_for(timeout=60_000)
    shots(lab, "interface-groups", view)
    view.locator(".dot").nth(1).click()
    eventually(lambda: rows.count() == 2)
    eventually(lambda: notebook.python("[w.k, w.group]") == [2, -1])
    chosen = view.locator(".dot[aria-checked=true]")
    chosen.focus()
    chosen.press("ArrowRight")
    eventually(lambda: rows.count() == 3)
    rows.nth(2).locator("> .icon canvas").wait_for()
    assert notebook.python("w.k") == 3
    view.locator(".dot[aria-checked=true]:focus").wait_for()
    notebook.python("setattr(w, 'k', 4)")
    eventually(lambda: rows.count() == 4)
    notebook.close()
    assert lab.console_errors == []
