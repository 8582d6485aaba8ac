"""Stores for tests: all that a run gives, made without the store, and processes to kill."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import xarray as xr

from nbcorr.recording.rows import Layout, Rows
from nbcorr.recording.store import StoreWriter

LAYOUT = Layout({"conv": 5, "features.3/act": 8}, ("mean",), features=("0", "1", "2"))
KEY = {"weights": "a1", "layers": ["conv", "features.3/act"], "pool": ["mean"]}


def numbers(layout: Layout, n_samples: int) -> dict[str, np.ndarray]:
    """All that a run gives, made without the store."""
    rng = np.random.default_rng(n_samples)
    shape = (layout.n_planes, n_samples, layout.n_neurons)
    activation = rng.standard_normal(shape).astype(layout.dtype)
    activation[:, ::7, 0] = np.nan
    return {
        "activation": activation,
        "features": rng.random((n_samples, len(layout.features)), dtype=np.float32),
        "sample": np.array([f"ß{at}" for at in range(n_samples)], dtype=object),
        "label": np.arange(n_samples) % 3,
        "confidence": rng.random(n_samples),
    }


def rows(layout: Layout, run: dict[str, np.ndarray], start: int, stop: int) -> Rows:
    activation = run["activation"][:, start:stop]
    nonfinite = ~np.isfinite(activation[: len(layout.pools)])
    return Rows(
        activation,
        {name: run[name][start:stop] for name in ("sample", "label", "confidence")},
        run["features"][start:stop] if layout.features else None,
        nonfinite.sum(axis=1) if nonfinite.any() else None,
    )


def expected(layout: Layout, run: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The arrays of the recording of the first samples, by the definition of a plane."""
    pools = len(layout.pools)
    shape = (1 + layout.twins, pools, count, layout.n_neurons)
    networks = run["activation"][:, :count].reshape(shape)
    wanted = {"activation": networks[0], "activation_twin": networks[1:]}
    wanted["nonfinite"] = (~np.isfinite(networks[0])).sum(axis=1)
    if pools == 1:
        wanted = {
            name: values.squeeze(-3 if values.ndim > 2 else 0) for name, values in wanted.items()
        }
    if not layout.twins:
        del wanted["activation_twin"]
    wanted |= {name: run[name][:count] for name in ("sample", "label", "confidence")}
    return wanted | ({"input": run["features"][:count]} if layout.features else {})


def check(recording: xr.Dataset, layout: Layout, run: dict[str, np.ndarray], count: int) -> None:
    wanted = expected(layout, run, count)
    assert set(recording.data_vars) <= set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(recording[name].values, values, err_msg=name)
    assert recording["activation"].dtype == np.dtype(layout.dtype)
    assert recording["activation"].dims[-2:] == ("sample", "neuron")
    assert recording["nonfinite"].dtype == np.int64
    pairs = [(layer, unit) for layer, n in layout.units.items() for unit in range(n)]
    assert recording.indexes["neuron"].tolist() == pairs
    if len(layout.pools) > 1:
        assert recording["pool"].values.tolist() == list(layout.pools)


def fill(writer: StoreWriter, layout: Layout, run: dict[str, np.ndarray], sizes) -> None:
    for size in sizes:
        start = writer.count
        writer.append(layout, rows(layout, run, start, start + size), [f"d{start}"])


def files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def start_python(program: str, *arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, **options)


RUN = f"""
    import importlib.util, sys
    spec = importlib.util.spec_from_file_location("helpers", {__file__!r})
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
"""

# One process that has loaded all, and forks the ones that are killed: real ones, without the wait.
SPAWNER = (
    RUN
    + """
    import os, signal, time
    import dask.array, filelock, zarr

    def spawn(work, *arguments):
        child = os.fork()
        if child == 0:
            work(*arguments)
            os._exit(0)
        return child
"""
)


def killed_run() -> tuple[Layout, dict[str, np.ndarray], list[int]]:
    """Big enough that moving a slab takes a while; batches that do not divide it."""
    layout = Layout({"a": 6000, "b": 14000}, ("mean", "max"), twins=1, features=("x", "y"))
    sizes = [13, 1, 30] * 6
    rng = np.random.default_rng(0)
    total = sum(sizes)
    run = numbers(dataclass_small(layout), total)
    block = rng.standard_normal((4, 1, layout.n_neurons), dtype=np.float32)
    run["activation"] = block * np.arange(1, total + 1, dtype=np.float32)[:, None]
    run["activation"][:, ::9, 5] = np.inf
    return layout, run, sizes


def dataclass_small(layout: Layout) -> Layout:
    return Layout({"a": 1}, layout.pools, layout.twins, layout.dtype, layout.features)


STEPS = ["os.rename", "os.remove", "shutil.rmtree", "open", "os.mkdir", "os.truncate"]
