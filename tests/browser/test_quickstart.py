"""The quickstart, run top to bottom in a real JupyterLab and Notebook 7, and its page opened."""

from __future__ import annotations

from pathlib import Path

from .jupyter import JupyterTab, eventually

QUICKSTART = Path(__file__).parents[2] / "examples" / "01_quickstart.ipynb"


def test_the_quickstart_in_lab(lab: JupyterTab, static_page) -> None:
    notebook = lab.open_notebook(QUICKSTART)
    notebook.run_all()

    # The story holds: something planted is found and used, nothing plain survives.
    counts = "counts(correlates)['… and beyond the twins'], counts(plain_correlates)"
    planted, plain = notebook.python(counts)
    assert planted >= 2
    assert plain["within class"] >= 3
    assert plain["… and beyond the twins"] <= 1
    without, others = notebook.python("still_right(passed), controls[:, 0].min()")
    assert without[0] < 0.5 < others
    assert without[1] > 0.9
    assert notebook.python("sum(len(m._forward_hooks) for m in network.modules())") == 0

    # The explorer, at the end: a layer, the threshold, a brush.
    view = notebook.panel.locator(".nbcorr-explorer")
    view.scroll_into_view_if_needed()
    view.locator(".nbcorr-card figure.seen img").wait_for()
    lab.screenshot("quickstart-light")
    lab.screenshot("explorer", view)
    lab.theme("dark")
    lab.screenshot("quickstart-dark")
    lab.theme("light")
    view.locator(".widget-select select option", has_text="features.3").first.click()
    eventually(lambda: notebook.python("explorer.layers") == ["features.3"])
    lab.drag(view.locator(".noUi-base").first, (0.01, 0.5), (0.5, 0.5))
    eventually(lambda: notebook.python("explorer.threshold") > 0.1)
    eventually(lambda: 0 < notebook.python("explorer.neurons.sizes['neuron']") < 32)
    lab.drag(view.locator(".bqplot").nth(1), (0.5, 0.05), (0.97, 0.6))
    eventually(lambda: notebook.python("len(explorer._map.selected)") > 0)
    assert notebook.python("float(explorer.neurons['auc'].min())") > 0.5

    # The page the notebook left opens without a kernel and asks for nothing.
    page = static_page(lab.server.root / "quickstart.html")
    page.get_by_text("of their layer in 10 untrained twins").first.wait_for()
    page.screenshot(path=lab.shots / "quickstart-page-light.png")
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=lab.shots / "quickstart-page-dark.png")
    notebook.close()
    assert lab.console_errors == []
