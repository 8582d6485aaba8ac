"""Example notebooks run top to bottom (two of them in a browser: tests/browser/)."""

from __future__ import annotations

import json
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


def facts_of(name: str, cell: str, root: Path) -> tuple[dict, str]:
    """What a notebook's numbers are at its end, by a cell put behind it, and all it prints."""
    (root / "examples").mkdir()
    (root / "examples" / "run.py").write_bytes((EXAMPLES / "run.py").read_bytes())
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    assert not any(own.get("outputs") for own in notebook.cells)
    notebook.cells.append(nbformat.v4.new_code_cell(cell))
    nbformat.write(notebook, root / "examples" / "looked_into.ipynb")
    command = [sys.executable, str(root / "examples" / "run.py"), "looked_into"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("FACTS"))
    return json.loads(line.removeprefix("FACTS")), done.stdout


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


# What the teaching notebook found, under the names it gave its numbers.
FOUND = """
import json
facts = {
    "live": len(live), "naively": found_naively, "within_class": int(found.sum()),
    "rho": abs(float(strongest["rho"])), "perfect_rho": float(perfect_rho),
    "sparser": [biased[name].values.tolist() for name in ("zeros", "auc", "rho")],
    "noise_auc": float(deviation.max()), "noise_p": p, "noise_found": noise_found,
    "naive_counts": naive_counts.tolist(), "stratified_counts": stratified_counts.tolist(),
    "twin_counts": twin_counts, "beyond_twins": beyond_twins, "beyond_input": beyond_input,
    "before": float(before), "after": float(after), "noise_after": float(halves["noise"][1].mean()),
    "left": list(left.values()), "copies_found": copies_found, "groups_found": groups_found,
    "use": float(use), "percentile": percentile, "pair": sorted(awake[[a, b]].tolist()),
    "heaviest": sorted(heaviest.tolist()), "signs": sorted(float(w) for w in weight[heaviest]),
    "probe": float(probe["auc"]), "control_task": probe["auc_control"].values.tolist(),
    "single": strongest_single, "passed": int(checks["all but the plain test"].sum()),
}
print("FACTS", json.dumps(facts))
"""


def test_how_to_fool_yourself_fools_and_then_does_not(tmp_path):
    facts, _ = facts_of("04_how_to_fool_yourself", FOUND, tmp_path)
    assert facts["live"] > 350
    assert facts["naively"] > 50
    assert facts["within_class"] < facts["naively"]
    assert facts["rho"] < facts["perfect_rho"] < 0.5  # "weak", and nothing could be strong
    # At four of five samples silent the neuron tells less; its rho hides a third of that.
    zeros, auc, rho = facts["sparser"]
    assert zeros[4] == pytest.approx(0.8, abs=0.01)
    assert 0.5 < auc[4] < auc[0]
    assert rho[4] / rho[0] > 1.3 * (auc[4] - 0.5) / (auc[0] - 0.5)
    assert facts["noise_auc"] > 0.1
    assert facts["noise_p"] < 0.001
    assert facts["noise_found"] <= 2
    assert min(facts["naive_counts"]) > 50
    assert max(facts["stratified_counts"]) <= 2
    assert max(facts["twin_counts"]) > facts["within_class"] / 2
    assert max(facts["beyond_twins"], facts["beyond_input"]) < facts["within_class"] / 4
    assert 0 < facts["after"] < 0.8 * facts["before"]
    assert abs(facts["noise_after"]) < 0.015
    whole, _, unusual = facts["left"]
    assert unusual < whole / 4
    assert facts["copies_found"] > 30
    assert facts["groups_found"] <= 2
    assert abs(facts["use"]) < 0.35
    assert max(facts["percentile"].values()) > 0.5
    assert facts["heaviest"] == facts["pair"]
    assert facts["signs"][0] < 0 < facts["signs"][1]
    assert facts["probe"] > facts["single"] + 0.1
    assert facts["probe"] > max(facts["control_task"]) + 0.2
    assert facts["passed"] <= 1


# What "Bring your own model" recorded, under the names it gave its numbers.
BROUGHT = """
import json
facts = {
    "convnet": dict(recording.sizes), "vit": dict(seen.sizes), "own": dict(banded.sizes),
    "bert": dict(read.sizes), "passes": dict(noisy.sizes), "training": noisy.attrs["training"],
    "ink": np.allclose(recording["ink"], Digits.images.mean((1, 2, 3)), atol=1e-6),
    "baseline": float((older[recording["sample"].values] == recording["baseline"].values).mean()),
    "masks": exemplars["mask"].values.mean(axis=(1, 2, 3)).tolist(),
    "interrupted": batches.pressed, "whole": whole.sizes["sample"],
    "told": int((knows["excess"] > 0).sum()), "dead": int(knows.attrs["n_dead"]),
    "hooks": sum(len(m._forward_hooks) for a in (convnet, vit, network, bert) for m in a.modules()),
}
print("FACTS", json.dumps(facts))
"""


def test_bring_your_own_model_records_four_of_them(tmp_path):
    facts, printed = facts_of("05_bring_your_own_model", BROUGHT, tmp_path)
    assert facts["convnet"].items() >= {"pool": 2, "sample": 597, "neuron": 704, "twin": 5}.items()
    assert facts["vit"] == {"pool": 2, "sample": 597, "neuron": 192, "feature": 256}
    assert facts["own"].items() >= {"pool": 2, "sample": 597, "neuron": 72, "twin": 5}.items()
    assert facts["bert"] == {"pool": 2, "twin": 5, "sample": 600, "neuron": 432}
    assert facts["passes"].items() >= {"sample": 4 * 597, "neuron": 72}.items()
    assert facts["training"] == 0
    assert facts["ink"]
    assert facts["baseline"] == 1
    assert all(0 < share < 0.5 for share in facts["masks"])
    assert facts["interrupted"]
    assert facts["whole"] == 597
    assert facts["told"] > 20
    assert facts["dead"] == 48
    assert facts["hooks"] == 0
    for part in (
        "interrupted after 320 samples",
        "on disk: 320 samples",
        "the same: True",
        "did you mean 'layer3.0.act3'?",
        "sample id 'digit 1' repeats",
        "expected pandas.Series(baseline, index=ids)",
        "holds another recording (weights: ",
    ):
        assert part in printed


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
