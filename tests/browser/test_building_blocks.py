"""The notebook of the building blocks, run top to bottom in a real JupyterLab, its widgets used."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from .jupyter import JupyterTab, eventually

NOTEBOOK = Path(__file__).parents[2] / "examples" / "06_building_blocks.ipynb"


def test_the_building_blocks_on_one_image_in_lab(lab: JupyterTab) -> None:
    notebook = lab.open_notebook(NOTEBOOK)
    notebook.run_all()

    assert "cat" in notebook.python("classes[int(answer.argmax())]")
    # The attribution's claim holds against other neurons, and says too much.
    claimed, found, others, whole = notebook.python("said, fallen, float(low), whole")
    assert claimed < found < others < whole + 0.5
    assert notebook.python("len(random)") == 50
    curve = notebook.python("curve.values.tolist()")
    assert all(before > after for before, after in pairwise(curve))
    assert notebook.python("float(pictures['reached_fresh'].min())") > 4
    assert notebook.python("float(caricature['likeness'].min())") > 0.6
    assert notebook.python("atlas.sizes['direction']") >= 10
    assert notebook.python("float(unusual['p_familywise'][0])") < 0.05
    assert notebook.python("sum(len(m._forward_hooks) for m in model.modules())") == 0

    panel = notebook.panel
    for place, name in enumerate(
        ("dictionary", "channels", "spatial", "groups", "grid", "caricature", "atlas")
    ):
        view = panel.locator(".nbcorr-interface").nth(place)
        view.scroll_into_view_if_needed()
        view.wait_for()
        lab.screenshot(f"blocks-{name}", view)
    # A group is chosen in the page, and Python knows.
    panel.locator(".nbcorr-interface").nth(3).get_by_role("button", name="group 2,").click()
    eventually(lambda: notebook.python("groups.group") == 1)
    lab.theme("dark")
    panel.locator(".nbcorr-interface").first.scroll_into_view_if_needed()
    lab.screenshot("blocks-dark")
    lab.theme("light")
    notebook.close()
    assert lab.console_errors == []
