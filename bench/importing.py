"""What ``import nbcorr`` and ``%load_ext nbcorr`` cost, and what they pull in.

Fresh interpreters in turn, wall time; each figure is the median over the rounds of the difference
to the bare interpreter (for the extension: to an IPython shell without it) of the same round.

    python bench/importing.py [--json PATH] [--rounds R]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from _figures import Figures, command

HEAVY = ("torch", "IPython", "matplotlib", "xarray")

SHELL = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
"""
SHELL_WITH_EXTENSION = SHELL + "shell.run_line_magic('load_ext', 'nbcorr')\n"

PROGRAMS = {
    "bare": "pass",
    "numpy": "import numpy",
    "nbcorr": "import nbcorr",
    "shell": SHELL,
    "extension": SHELL_WITH_EXTENSION,
}


def wall_time(program: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def loaded(program: str, names: Sequence[str]) -> list[str]:
    """Those of the modules that a fresh interpreter has after the program."""
    shown = f"{program}\nimport sys\nprint(*[n for n in {tuple(names)!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", shown], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.split()


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    for program in PROGRAMS.values():
        wall_time(program)  # files into the page cache
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(asked.rounds):
        for name, program in PROGRAMS.items():
            seconds[name].append(wall_time(program))

    def above(name: str, below: str) -> float:
        return statistics.median(a - b for a, b in zip(seconds[name], seconds[below], strict=True))

    how = f"median of {asked.rounds}, above the bare interpreter"
    figures.add("import nbcorr, s", above("nbcorr", "bare"), 0.3, how, less=True)
    figures.add("import numpy, s", above("numpy", "bare"), None, how)
    how = f"median of {asked.rounds}, above an IPython shell"
    figures.add("%load_ext nbcorr, s", above("extension", "shell"), None, how)
    modules = loaded(PROGRAMS["nbcorr"], HEAVY)
    how = f"of {', '.join(HEAVY)}: {', '.join(modules) or 'none'}"
    figures.add("heavy modules after import nbcorr", len(modules), 0, how, less=True)
    heavy = [name for name in HEAVY if name != "IPython"]
    modules = loaded(PROGRAMS["extension"], heavy)
    how = f"of {', '.join(heavy)}: {', '.join(modules) or 'none'}"
    figures.add("heavy modules after %load_ext nbcorr", len(modules), 0, how, less=True)


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"rounds": 11})


if __name__ == "__main__":
    main()
