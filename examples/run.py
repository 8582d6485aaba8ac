"""Run an example notebook top to bottom, print what it prints, and keep it and its pages in out/.

Usage: python examples/run.py 01_quickstart
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent


def run(name: str) -> Path:
    """Execute the notebook and write it, with its outputs, to out/; returns its new path."""
    out = ROOT / "out"
    out.mkdir(exist_ok=True)
    notebook = nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(out)}},
        on_cell_executed=lambda cell, cell_index, execute_reply: show(cell),
    )
    try:
        client.execute()
    finally:
        nbformat.write(notebook, out / f"{name}.ipynb")
    return out / f"{name}.ipynb"


def show(cell: nbformat.NotebookNode) -> None:
    """Print the text a cell gave."""
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream" and output["name"] == "stdout":
            print(output["text"], end="", flush=True)
        elif output["output_type"] == "execute_result":
            print(output["data"].get("text/plain", ""), end="\n\n", flush=True)


def main() -> int:
    """Run the notebook named on the command line."""
    start = time.perf_counter()
    name = sys.argv[1]
    try:
        done = run(name)
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\nDone in {time.perf_counter() - start:.0f} s.")
    for path in [*sorted(done.parent.glob("*.html")), done]:
        print(f"  {path.relative_to(ROOT)}")
    print("Open the page in a browser, or the live notebook with: make lab")
    return 0


if __name__ == "__main__":
    sys.exit(main())
