"""Every example notebook runs top to bottom (the quickstart in a browser: tests/browser/)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, root: Path) -> subprocess.CompletedProcess:
    """The command of `make demo`, on a copy so that out/ stays as it was."""
    (root / "examples").mkdir()
    for file in ("run.py", f"{name}.ipynb"):
        (root / "examples" / file).write_bytes((EXAMPLES / file).read_bytes())
    command = [sys.executable, str(root / "examples" / "run.py"), name]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def test_the_demo_prints_the_top_neurons_and_leaves_a_page(tmp_path):
    done = run("01_quickstart", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    header = next(i for i, line in enumerate(lines) if line.startswith("neuron"))
    rows = [line for line in lines[header + 1 : header + 11] if "→" in line]
    assert len(rows) == 10
    assert {"AUC", "held out", "untrained twins"} <= {
        word for word in ("AUC", "held out", "untrained twins") if word in lines[header]
    }
    assert "out/quickstart.html" in done.stdout
    assert "make lab" in lines[-1]
    page = (tmp_path / "out" / "quickstart.html").read_text(encoding="utf-8")
    assert "http://" not in page.replace("http://www.w3.org/", "")
    executed = nbformat.read(tmp_path / "out" / "01_quickstart.ipynb", as_version=4)
    bundles = [
        output["data"]
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    ]
    assert any("image/png" in bundle for bundle in bundles)


def test_natural_images(tmp_path):
    done = run("02_natural_images", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "neurons in" in done.stdout
    assert "reached / best exemplar" in done.stdout


def test_a_failing_notebook_fails_the_command(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "run.py").write_bytes((EXAMPLES / "run.py").read_bytes())
    nbformat.write(notebook, tmp_path / "examples" / "broken.ipynb")
    command = [sys.executable, str(tmp_path / "examples" / "run.py"), "broken"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("name", ["03_cifar10"])
def test_notebooks_kept_with_their_outputs_hold_no_error(name):
    """What needs a download and minutes of training is run by hand and kept as it came out."""
    cells = [c for c in nbformat.read(EXAMPLES / f"{name}.ipynb", 4).cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert any("image/png" in o.get("data", {}) for o in outputs)
