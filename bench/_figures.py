"""What every bench gives: named figures, each with its goal and how it was measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence


class Figures:
    """Named figures with their goals; a goal of None is only told."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, object]] = {}

    def add(
        self, name: str, value: float, goal: float | None, how: str, *, less: bool = False
    ) -> None:
        met = None if goal is None else bool(value <= goal if less else value >= goal)
        self._keep(name, round(value, 4), goal, met, how, less)
        sign = "" if goal is None else f"  goal {'<=' if less else '>='} {goal:g}"
        verdict = {None: "", True: "  met", False: "  MISSED"}[met]
        print(f"{name:44s} {value:10.3g}{sign}{verdict}", flush=True)

    def leave_out(self, name: str, why: str) -> None:
        """A figure that cannot be had on this machine is named, not passed over."""
        self._keep(name, None, None, None, why, False)
        print(f"{name}: {why}", flush=True)

    def _keep(
        self,
        name: str,
        value: float | None,
        goal: float | None,
        ok: bool | None,
        how: str,
        less: bool,
    ) -> None:
        self.rows[name] = {"value": value, "goal": goal, "less": less, "ok": ok, "how": how}


def command(
    doc: str | None,
    measure: Callable[[Figures, argparse.Namespace], None],
    argv: Sequence[str] | None,
    options: dict[str, int] | None = None,
) -> None:
    """A bench's command line: ``--json`` and its own whole-number options."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", metavar="PATH", help="write the figures to this file")
    for name, default in (options or {}).items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    asked = parser.parse_args(argv)
    figures = Figures()
    measure(figures, asked)
    if asked.json:
        with open(asked.json, "w", encoding="utf-8") as file:
            json.dump(figures.rows, file, indent=1)
