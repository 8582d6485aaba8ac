from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run = load("run")
SCRIPTS = run.benches(BENCH)

GIVES = """
import sys
from pathlib import Path
print("chatter")
Path(sys.argv[sys.argv.index("--json") + 1]).write_text({figures!r})
"""


def stub(folder: Path, name: str, figures: dict) -> None:
    (folder / f"{name}.py").write_text(GIVES.format(figures=json.dumps(figures)))


def row(value, goal=None, ok=None, how="clock", less=False):
    return {"value": value, "goal": goal, "less": less, "ok": ok, "how": how}


def test_every_bench_is_found_and_the_runner_is_none():
    names = {path.stem for path in SCRIPTS}
    assert names >= {"correlate", "importing", "quickstart", "record"}
    assert "run" not in names
    assert not any(name.startswith("_") for name in names)


@pytest.mark.parametrize("script", [*SCRIPTS, BENCH / "run.py"], ids=lambda path: path.stem)
def test_every_bench_has_the_same_face(script):
    tree = ast.parse(script.read_text("utf-8"))
    assert ast.get_docstring(tree)
    mains = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
    assert [main.args.args[0].arg for main in mains] == ["argv"]
    shown = subprocess.run(
        [sys.executable, str(script), "--help"], check=True, stdout=subprocess.PIPE, text=True
    )
    assert "--json PATH" in shown.stdout


def test_the_table_merges_and_counts(tmp_path, capsys):
    stub(tmp_path, "speed", {"a / b": row(2.5, 2, True), "c, s": row(0.123456)})
    stub(tmp_path, "memory", {"a / b": row(61.0, 50, False, less=True), "peer": row(None)})
    (tmp_path / "_helper.py").write_text("raise SystemExit(3)")
    merged = tmp_path / "all.json"
    assert run.main(["--json", str(merged)], tmp_path) == 0
    out, err = capsys.readouterr()
    assert "chatter" not in out + err
    assert out.splitlines() == [
        "figure         value   goal  ok   how",
        "-------------  -----  -----  ---  ---",
        "memory: a / b     61  <= 50  NO   clock",
        "memory: peer       -              clock",
        "speed: a / b     2.5   >= 2  yes  clock",
        "speed: c, s    0.123              clock",
        "",
        "1 of 2 goals met; 1 not measured.",
    ]
    figures = json.loads(merged.read_text("utf-8"))
    assert figures["memory: a / b"] == row(61.0, 50, False, less=True)
    assert len(figures) == 4


@pytest.mark.parametrize("crash", ["print('about to'); 1 / 0", "pass  # and gives no figures"])
def test_a_bench_that_crashes_fails_the_run_after_the_others(tmp_path, capsys, crash):
    (tmp_path / "broken.py").write_text(crash)
    stub(tmp_path, "whole", {"x": row(1.0)})
    assert run.main([], tmp_path) == 1
    out, err = capsys.readouterr()
    assert "whole: x" in out
    assert out.splitlines()[-1] == "Did not finish: broken.py."
    assert ("ZeroDivisionError" in err) == ("1 / 0" in crash)


def test_figures_are_judged_in_the_direction_of_their_goal(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    helpers = load("_figures")

    def measure(figures, asked):
        figures.add("speed", 3.0, 2, "clock")
        figures.add("seconds", asked.rounds, 2, "clock", less=True)
        figures.add("told", 1.23456789, None, "clock")
        figures.leave_out("peer", "not installed")

    path = tmp_path / "figures.json"
    helpers.command(
        "Title.\n\nMore.", measure, ["--json", str(path), "--rounds", "3"], {"rounds": 1}
    )
    assert json.loads(path.read_text("utf-8")) == {
        "speed": row(3.0, 2, True),
        "seconds": row(3, 2, False, less=True),
        "told": row(1.2346),
        "peer": row(None, how="not installed"),
    }
    assert "MISSED" in capsys.readouterr().out
