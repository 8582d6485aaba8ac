"""The magics as a person meets them in JupyterLab: completion, tables, one-line errors."""

from __future__ import annotations

from .jupyter import JupyterTab, eventually
from .test_explorer import MODEL, SETUP

CELLS = [
    SETUP + "\n%load_ext nbcorr",
    MODEL,
    "data = (images, labels)\n%neurcorr attach model --data data --baseline answers",
    "%neurcorr record --twins 2",
    "%neurcorr correlate",
    "%neurcorr top -n 4",
]


def test_completion_a_table_and_an_error_of_one_line(lab: JupyterTab) -> None:
    notebook = lab.open_notebook([*CELLS, "%neurcorr record --la", "%neurcorr corelate"])
    for number in range(len(CELLS)):
        run(lab, notebook, number)
    table = notebook.output(5)
    table.locator("table tbody tr").nth(3).wait_for()
    assert "table = nc.top(correlates, n=4)" in table.inner_text()
    assert notebook.python("table.neurons.sizes['neuron']") == 4
    assert notebook.python("recording.sizes['twin']") == 2

    # Tab at the end of a half-typed option.
    notebook.cell(6).locator(".cm-content").click()
    lab.page.keyboard.press("End")
    lab.page.keyboard.press("Tab")
    menu = lab.page.locator(".jp-Completer-item")
    menu.get_by_text("--layers").wait_for()
    lab.page.keyboard.press("Enter")
    half = notebook.cell(6).locator(".cm-content")
    eventually(lambda: half.inner_text().strip() == "%neurcorr record --layers")
    lab.page.keyboard.type(" ")
    lab.page.keyboard.press("Tab")
    eventually(lambda: {"all", "auto", "1", "3"} <= offered(menu))
    lab.screenshot("magics-completion")
    lab.page.keyboard.press("Escape")

    # A mistyped subcommand: one line, no traceback.
    run(lab, notebook, 7)
    said = notebook.output(7)
    said.get_by_text("did you mean 'correlate'?").wait_for()
    assert len(said.inner_text().strip().splitlines()) == 1
    assert "Traceback" not in said.inner_text()
    lab.screenshot("magics-table")
    notebook.close()


def run(lab: JupyterTab, notebook, number: int) -> None:
    notebook.cell(number).locator(".cm-content").click()
    lab.command("notebook:run-cell")


def offered(menu) -> set[str]:
    return {text.split()[-2] for text in menu.all_inner_texts() if len(text.split()) > 1}
