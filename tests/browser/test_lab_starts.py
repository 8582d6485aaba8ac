"""The ground the widgets stand on: Python's state follows what is done in the browser."""

from __future__ import annotations

import pytest

from .jupyter import JupyterTab, Notebook, eventually

CELLS = [
    """
import ipywidgets
slider = ipywidgets.IntSlider(value=3, min=0, max=10)
slider
""",
    """
import bqplot
import numpy as np
xs, ys = bqplot.LinearScale(min=0, max=1), bqplot.LinearScale(min=0, max=1)
grid = np.linspace(0.1, 0.9, 5)
scatter = bqplot.Scatter(x=grid, y=grid, scales={"x": xs, "y": ys})
axes = [bqplot.Axis(scale=xs), bqplot.Axis(scale=ys, orientation="vertical")]
brush = bqplot.interacts.BrushSelector(x_scale=xs, y_scale=ys, marks=[scatter])
figure = bqplot.Figure(marks=[scatter], axes=axes, interaction=brush, title="brush me")
figure.layout.width, figure.layout.height = "600px", "400px"
figure
""",
]


def slide_and_brush(tab: JupyterTab, notebook: Notebook) -> None:
    notebook.run_all()
    track = notebook.output(0).locator(".noUi-base")
    tab.drag(track, (0.3, 0.5), (0.7, 0.5))
    eventually(lambda: notebook.python("slider.value") == 7)
    tab.drag(notebook.output(1).locator(".bqplot").first, (0.3, 0.3), (0.7, 0.7))
    selected = eventually(lambda: notebook.python("brush.selected"))
    chosen = eventually(lambda: notebook.python("scatter.selected.tolist()"))
    assert "array" in str(selected)
    assert 2 in chosen
    assert len(chosen) < 5


def test_lab_follows_a_slider_and_a_brush(lab: JupyterTab) -> None:
    notebook = lab.open_notebook(CELLS)
    slide_and_brush(lab, notebook)
    lab.theme("dark")
    lab.screenshot("lab-dark")
    lab.theme("light")
    lab.screenshot("lab-light")
    notebook.close()
    assert lab.console_errors == []


def test_notebook7_follows_a_slider_and_a_brush(notebook7: JupyterTab) -> None:
    notebook = notebook7.open_notebook(CELLS)
    slide_and_brush(notebook7, notebook)
    notebook7.screenshot("notebook7-light")
    notebook.close()


def test_a_failing_cell_and_a_wrong_expression_are_seen(lab: JupyterTab) -> None:
    notebook = lab.open_notebook(["x = 1", "1 / 0"])
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run_all()
    assert notebook.python("x") == 1
    with pytest.raises(AssertionError, match=r"NameError.*nothing"):
        notebook.python("nothing")
    notebook.close()
