"""How long the quickstart notebook computes, cell by cell, in a fresh kernel.

Wall time. The first cell holds the imports and is not counted as computation; what later cells
import on first use is.

    python bench/quickstart.py [--json PATH]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _figures import Figures, command

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "01_quickstart.ipynb"


def cell_times(notebook: Any) -> list[float]:
    """Seconds of every code cell, in order."""
    from nbclient import NotebookClient

    started: dict[int, float] = {}
    seconds: dict[int, float] = {}

    def start(cell: Any, cell_index: int) -> None:
        if cell.cell_type == "code":
            started[cell_index] = time.perf_counter()

    def stop(cell: Any, cell_index: int, execute_reply: Any) -> None:
        seconds[cell_index] = time.perf_counter() - started[cell_index]

    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=600,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            on_cell_execute=start,
            on_cell_executed=stop,
        ).execute()
    return [seconds[index] for index in sorted(seconds)]


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    started = time.perf_counter()
    seconds = cell_times(notebook)
    whole = time.perf_counter() - started
    longest = max(seconds[1:])
    how = f"wall time of {len(seconds) - 1} cells, longest {longest:.1f} s; {os.cpu_count()} cores"
    figures.add("quickstart's computation, s", sum(seconds[1:]), 30, how, less=True)
    figures.add("quickstart's imports, s", seconds[0], None, "its first cell")
    figures.add("quickstart, whole, s", whole, None, "starting and ending the kernel included")


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv)


if __name__ == "__main__":
    main()
