"""The explorer in a real JupyterLab: what is clicked is what Python knows."""

from __future__ import annotations

import base64

import nbformat
from playwright.sync_api import Locator

import nbcorr as nc
from tests.conftest import planted_recording

from .jupyter import JupyterTab, eventually

SETUP = """
import numpy as np, torch
import nbcorr as nc
from tests.conftest import planted_recording
"""

MODEL = """
torch.manual_seed(0); torch.set_num_threads(1)
from torch import nn
model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.ReLU(),
                      nn.Flatten(), nn.Linear(12 * 16, 4))
rng = np.random.default_rng(0)
images = rng.random((400, 1, 8, 8)).astype("float32")
labels = model(torch.tensor(images)).argmax(1).numpy()
answers = np.where(rng.random(400) < 0.3, (labels + 1) % 4, labels)
recording = nc.record(model, (images, labels), twins=2, baseline=answers, progress=False)
"""

EXPLORE = """
explorer = nc.explore(recording, model=model, data=(images, labels))
explorer
"""


def test_python_follows_layer_threshold_and_brush(lab: JupyterTab) -> None:
    notebook = lab.open_notebook([SETUP, MODEL, EXPLORE])
    notebook.run_all()
    view = notebook.output(2)
    view.locator(".nbcorr-card img").first.wait_for()
    assert notebook.python("explorer.neurons.sizes['neuron']") >= 0
    lab.screenshot("explorer-light")

    # Pick a layer in the list.
    view.locator(".widget-select select option", has_text="3  (12)").first.click()
    assert eventually(lambda: notebook.python("explorer.layers")) == ["3"]

    # Move the threshold up, by mouse, and to its lowest, by keyboard.
    live = notebook.python("int((~nc.correlate(recording).sel(layer='3')['dead']).sum())")
    assert notebook.python("explorer.neurons.sizes['neuron']") == live
    lab.drag(view.locator(".noUi-base").first, (0.01, 0.5), (0.1, 0.5))
    rho = "abs(nc.correlate(recording).sel(layer='3')['rho'])"

    def python_and_page_agree() -> bool:
        passing = f"int(({rho} >= explorer.threshold).sum())"  # while the last steps still arrive
        kept, expected = notebook.python(f"[explorer.neurons.sizes['neuron'], {passing}]")
        shown = view.get_by_text(f"{kept} of {live} live neurons").count()
        return shown == 1 and kept == expected < live

    eventually(python_and_page_agree)
    handle = view.locator(".noUi-handle").first
    handle.focus()
    handle.press("Home")
    eventually(lambda: notebook.python("explorer.neurons.sizes['neuron']") == live)

    # Brush the left half of the map.
    figures = view.locator(".bqplot")
    lab.drag(figures.nth(1), (0.16, 0.06), (0.5, 0.8))
    chosen = eventually(lambda: 0 < notebook.python("explorer.neurons.sizes['neuron']") < live)
    assert chosen
    assert notebook.python("float(explorer.neurons['auc'].max())") < 0.5
    below = "int((nc.correlate(recording).sel(layer='3')['auc'] < 0.5).sum())"
    assert notebook.python("explorer.neurons.sizes['neuron']") <= notebook.python(below)

    # Choose another neuron in the list: the card and Python follow.
    name = view.locator(".widget-select select").nth(1).locator("option").last
    label = name.inner_text().split()[0]
    name.click()
    eventually(lambda: notebook.python("explorer.neuron") == label)
    view.locator(".nbcorr-card h3", has_text=label).wait_for()
    view.locator(".nbcorr-card figure.seen img").wait_for()
    lab.screenshot("explorer-brushed")

    # Another measure: the threshold is now on q.
    view.locator(".widget-toggle-button", has_text="q").last.click()
    eventually(lambda: notebook.python("explorer.measure") == "q")
    lab.theme("dark")
    lab.screenshot("explorer-dark")
    lab.theme("light")

    # And back: what Python sets is what the page shows.
    notebook.python("[setattr(explorer, 'measure', 'auc'), setattr(explorer, 'threshold', 0.55)]")
    view.get_by_text("AUC ≥ 0.550").wait_for()
    notebook.close()
    assert lab.console_errors == []


RECORDING = """
from tests.browser import synthetic
recording = synthetic.recording(n=2400, twins=1)
rng = np.random.default_rng(3)
recording = recording.assign_coords(
    confidence=("sample", rng.random(2400)), loss=("sample", rng.random(2400) * 2)
)
explorer = nc.explore(recording)
explorer
"""


def test_samples_are_selected_by_keyboard_and_by_lasso(lab: JupyterTab) -> None:
    notebook = lab.open_notebook([SETUP, RECORDING])
    notebook.run_all()
    view = notebook.output(1)
    view.locator(".nbcorr-card").wait_for()
    signal = notebook.python("explorer.neurons['auc'].values.tolist()")

    # Open the row with the keyboard; nothing is selected by that.
    opener = view.locator(".widget-toggle-button", has_text="Samples")
    opener.focus()
    opener.press("Space")
    plot = view.locator(".bqplot").nth(2)
    plot.wait_for()
    assert notebook.python("explorer.samples") == []
    back = view.get_by_role("button", name="Back to relative_performance")
    assert back.is_disabled()

    # "only A" by the keyboard: Python, the map's line and the sentence follow.
    group = view.get_by_label("Select")
    group.focus()
    for key in ("Space", "ArrowDown", "Enter"):  # opened first: a bare arrow belongs to Lab
        group.press(key)
    only_a = "recording.sample.values[recording.relative_performance.values == 1].tolist()"
    eventually(lambda: notebook.python(f"explorer.samples == tuple({only_a})"))
    view.get_by_text("for the selected samples").wait_for()
    view.get_by_text("selected samples of 2400 against the others of the same label").wait_for()
    assert notebook.python("explorer.measure") == "auc"
    plot.scroll_into_view_if_needed()
    lab.screenshot("explorer-samples-only-a")

    # A lasso around the upper left of the plot takes samples of high loss and low confidence.
    draw_lasso(lab, plot, [(0.1, 0.06), (0.5, 0.06), (0.5, 0.4), (0.1, 0.4)])
    taken = "recording.sel(sample=list(explorer.samples))"
    eventually(lambda: notebook.python(f"float({taken}['loss'].min())") > 1)
    assert notebook.python(f"float({taken}['confidence'].max())") < 0.6
    inside = (
        "(recording.loss > 1.4) & (recording.loss < 1.9) & (abs(recording.confidence - 0.3) < .1)"
    )
    assert notebook.python("len(explorer._samples.map.drawn)") == 2000
    assert notebook.python(f"set(recording.sample.values[{inside}]) <= set(explorer.samples)")
    points = "sorted(round(float(v), 9) for mark in explorer._map._places for v in mark.x)"
    live = "sorted(round(float(v), 9) for v in explorer.neurons['auc'].values)"
    eventually(lambda: notebook.python(f"{points} == {live}"))
    assert notebook.python("explorer.neurons['auc'].values.tolist()") != signal
    assert group.input_value() == "…"
    lab.screenshot("explorer-samples-light")
    lab.theme("dark")
    lab.screenshot("explorer-samples-dark")
    view.locator(".nbcorr-card").scroll_into_view_if_needed()
    lab.screenshot("explorer-samples-dark-top")
    lab.theme("light")

    # A second lasso adds to the first; a group chosen takes both away.
    first = notebook.python("len(explorer.samples)")
    draw_lasso(lab, plot, [(0.6, 0.5), (0.9, 0.5), (0.9, 0.8), (0.6, 0.8)])
    eventually(lambda: notebook.python("len(explorer.samples)") > first)
    group.select_option(index=6)  # after the four cells: "label 1"
    eventually(lambda: notebook.python(f"bool(({taken}.label == 1).all())"))
    eventually(lambda: plot.locator(".lassoselector path").count() == 0)
    view.get_by_text("against the others: ").wait_for()

    # And back to the signal.
    back.click()
    eventually(lambda: notebook.python("explorer.samples") == [])
    eventually(lambda: notebook.python("explorer.neurons['auc'].values.tolist()") == signal)
    assert group.input_value() == "…"
    notebook.close()
    assert lab.console_errors == []


SLOW = """
import threading
from nbcorr.correlation.live import LiveCorrelates
go_on, rank = threading.Event(), LiveCorrelates._rank
LiveCorrelates._seconds = lambda self: 100.0
LiveCorrelates._rank = lambda self: (go_on.wait(60), rank(self))
"""


def test_an_approximate_answer_is_replaced_on_the_page_by_itself(lab: JupyterTab) -> None:
    notebook = lab.open_notebook([SETUP, SLOW, RECORDING])
    notebook.run_all()
    view = notebook.output(2)
    view.get_by_role("button", name="Samples").click()
    view.get_by_label("Select").select_option(index=1)
    view.get_by_text("Approximate (AUC ± ").wait_for()
    view.get_by_text("AUC about ").wait_for()
    lab.screenshot("explorer-samples-approximate")
    notebook.python("go_on.set()")
    eventually(lambda: view.get_by_text("Approximate (AUC ± ").count() == 0)
    view.get_by_text("selected samples of 2400 against").wait_for()
    assert view.get_by_text("AUC about ").count() == 0
    assert notebook.python("explorer.neurons.attrs['approximate']") == 0
    notebook.close()
    assert lab.console_errors == []


def draw_lasso(tab: JupyterTab, plot: Locator, corners: list[tuple[float, float]]) -> None:
    """Drag the mouse around these corners, given as shares of the plot's size."""
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    path = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    tab.page.mouse.move(*path[0])
    tab.page.mouse.down()
    for x, y in path[1:]:
        tab.page.mouse.move(x, y, steps=4)
    tab.page.mouse.up()


def test_notebook7_shows_the_explorer_and_python_follows(notebook7: JupyterTab) -> None:
    notebook = notebook7.open_notebook([SETUP, MODEL, EXPLORE])
    notebook.run_all()
    view = notebook.output(2)
    view.locator(".nbcorr-card figure.seen img").wait_for()
    view.locator(".widget-select select option", has_text="1  (8)").first.click()
    eventually(lambda: notebook.python("explorer.layers") == ["1"])
    shown = notebook.python("explorer.neurons.sizes['neuron']")
    notebook7.drag(view.locator(".bqplot").nth(1), (0.16, 0.06), (0.6, 0.8))
    eventually(lambda: 0 < notebook.python("explorer.neurons.sizes['neuron']") < shown)
    notebook7.screenshot("explorer-notebook7")
    notebook.close()


def test_a_picture_stands_in_where_there_is_no_kernel(lab: JupyterTab) -> None:
    """A notebook from elsewhere, opened and not run: Lab does not trust its widgets."""
    bundle = saved_outputs()
    cell = nbformat.v4.new_code_cell(EXPLORE, execution_count=1)
    cell.outputs = [nbformat.v4.new_output("execute_result", data=bundle, execution_count=1)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel}
    content = nbformat.writes(nbformat.v4.new_notebook(cells=[cell], metadata=metadata))
    saved = lab.server.root / "saved-elsewhere.ipynb"
    saved.write_text(content, encoding="utf-8")
    notebook = lab.open_notebook(saved)
    notebook.output(0).locator("img").wait_for()
    lab.screenshot("explorer-without-kernel")
    assert notebook.output(0).locator(".nbcorr-explorer").count() == 0
    notebook.close()


def saved_outputs() -> dict:
    """The mimebundle a notebook keeps of the explorer, its picture as base64."""
    explorer = nc.explore(planted_recording(twins=2))
    bundle = dict(explorer._repr_mimebundle_()[0])
    bundle["image/png"] = base64.b64encode(bundle["image/png"]).decode()
    return bundle
