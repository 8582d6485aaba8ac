"""Recording as a person does it in JupyterLab: into a store, again, and a loop of one's own."""

from __future__ import annotations

from pathlib import Path

from .jupyter import JupyterTab
from .test_explorer import MODEL, SETUP

CELLS = [
    SETUP + "\n%load_ext nbcorr",
    MODEL,
    "data = (images, labels)\n%neurcorr attach model --data data --baseline answers",
    "%neurcorr record --pool mean max --store {store}",
    "%neurcorr record --pool mean max --store {store} --name again",
    "%%neurcorr record --name seen\nimport torch\nwith torch.no_grad():\n"
    "    for part in torch.tensor(images).split(100):\n        model(part)",
    'top = nc.top(nc.correlate(recording.sel(pool="max")), 4)\ntop',
    "%neurcorr record --store {store}",
]


def test_a_store_and_a_loop_of_ones_own(lab: JupyterTab, tmp_path: Path) -> None:
    store = f"'{tmp_path / 'run.zarr'}'"
    notebook = lab.open_notebook([cell.replace("{store}", store) for cell in CELLS])
    notebook.run_all()
    shown = notebook.output(3).inner_text()
    assert 'pool=["mean", "max"], baseline=answers, store=' in shown
    assert notebook.python("recording.equals(again)") is True
    assert notebook.python("recording.activation.chunks is not None") is True
    assert "with nc.watch(model" in notebook.output(5).inner_text()
    assert notebook.python("seen.sizes['sample'] == len(images)") is True
    notebook.output(6).locator("tbody tr").nth(3).wait_for()
    refused = notebook.output(7).inner_text()
    assert "holds another recording (pool:" in refused
    assert "Traceback" not in refused
    lab.screenshot("recording")
    notebook.close()
