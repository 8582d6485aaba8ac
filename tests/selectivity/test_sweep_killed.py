"""A sweep that is killed with SIGKILL while it trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nbcorr.selectivity.sweep import selectivity_sweep
from tests.selectivity.sweeps import FEW, build, same, small_data

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from nbcorr.selectivity.sweep import selectivity_sweep
from tests.selectivity.sweeps import FEW, build, small_data
data = small_data()
print("ready", flush=True)
selectivity_sweep(build, data, [-1, 1], 1, epochs=4, store={store!r}, progress=False, **FEW)
print("done", flush=True)
"""


def test_killed_again_and_again_it_ends_where_it_would_have(tmp_path):
    """Each process is killed as soon as it has finished an epoch more."""
    program = PROGRAM.format(root=str(ROOT), store=str(tmp_path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills = 0
    for _ in range(2):
        before = _written(tmp_path)
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None and _written(tmp_path) == before:
            time.sleep(0.001)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
    assert kills == 2
    assert len(list(tmp_path.rglob("*.json"))) < 2
    plain, ended = (
        selectivity_sweep(
            build, small_data(), [-1, 1], 1, epochs=4, store=store, progress=False, **FEW
        )
        for store in (None, tmp_path)
    )
    same(plain, ended)


def _written(folder: Path) -> set[tuple[str, int]]:
    return {(str(p), p.stat().st_mtime_ns) for p in folder.rglob("*.pt")}
