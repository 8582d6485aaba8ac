"""Run every bench of this folder, one after another, and print one table of their figures.

A missed goal is a figure like any other; only a bench that does not finish is an error.

    python bench/run.py [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

Row = dict[str, Any]


def benches(folder: Path) -> list[Path]:
    """The scripts that measure; those with an underscore only help them."""
    paths = sorted(folder.glob("*.py"))
    return [path for path in paths if path.name != "run.py" and not path.name.startswith("_")]


def measure(script: Path) -> dict[str, Row] | None:
    """One bench's figures, or None, with its last words on stderr, where it did not finish."""
    print(f"measuring {script.stem} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        done = subprocess.run(
            [sys.executable, str(script), "--json", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode == 0 and path.exists():
            return json.loads(path.read_text("utf-8"))
    print(done.stdout[-4000:], file=sys.stderr)
    print(f"{script.name} ended with {done.returncode} and gave no figures", file=sys.stderr)
    return None


def table(figures: dict[str, Row]) -> str:
    """Figure, value, goal, verdict and how it was measured, in columns."""
    head = ("figure", "value", "goal", "ok", "how")
    verdicts = {None: "", True: "yes", False: "NO"}
    lines = [head]
    for name, row in figures.items():
        value = "-" if row["value"] is None else f"{row['value']:.3g}"
        sign = "<=" if row["less"] else ">="
        goal = "" if row["goal"] is None else f"{sign} {row['goal']:g}"
        lines.append((name, value, goal, verdicts[row["ok"]], row["how"]))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    lines.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2], "-" * widths[3], "---"))
    return "\n".join(
        f"{name:{widths[0]}}  {value:>{widths[1]}}  {goal:>{widths[2]}}  {ok:{widths[3]}}  {how}"
        for name, value, goal, ok, how in lines
    )


def count(figures: dict[str, Row]) -> str:
    judged = [row["ok"] for row in figures.values() if row["ok"] is not None]
    missing = sum(row["value"] is None for row in figures.values())
    rest = f"; {missing} not measured" if missing else ""
    return f"{sum(judged)} of {len(judged)} goals met{rest}."


def main(argv: Sequence[str] | None = None, folder: Path = HERE) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", metavar="PATH", help="write all figures to this file")
    asked = parser.parse_args(argv)
    figures: dict[str, Row] = {}
    failed: list[str] = []
    for script in benches(folder):
        rows = measure(script)
        if rows is None:
            failed.append(script.name)
        else:
            figures |= {f"{script.stem}: {name}": row for name, row in rows.items()}
    print(table(figures))
    print()
    print(count(figures))
    if failed:
        print(f"Did not finish: {', '.join(failed)}.")
    if asked.json:
        Path(asked.json).write_text(json.dumps(figures, indent=1), "utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
