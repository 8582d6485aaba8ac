"""The statistics engine against this machine's sort and against its peers.

One thread, processor time, the candidates called in turn within one process; what is printed are
medians of the ratios of each round. 10,000 samples, 1,000 neurons, 120 positives; slow peers are
timed on fewer neurons and scaled.

    python bench/correlate.py [--json PATH] [--neurons N] [--rounds R]

Requirements for every line (a peer that is missing is named and left out):
    numba polars torchmetrics bottleneck illico anndata
"""

# ruff: noqa: E402 -- the libraries below read these variables when they load
from __future__ import annotations

import os

for _library in ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "NUMBA_NUM", "POLARS_MAX", "RAYON_NUM"):
    os.environ.setdefault(f"{_library}_THREADS", "1")

import argparse
import contextlib
import functools
import importlib.util
import io
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats
from _figures import Figures, command

from nbcorr.stats import RankedNeurons, associate, max_t
from nbcorr.stats.association import associate_many
from nbcorr.stats.centred import doubled_ranks
from nbcorr.stats.sorting import numba_available

N_SAMPLES, N_POSITIVE = 10_000, 120
SORT_ROWS = 6  # 256 KB of float32
FEW = 60  # neurons a slow peer is timed on

Call = Callable[[], object]


def processor_time(call: Call) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def per_neuron(calls: dict[str, tuple[Call, int]], rounds: int) -> dict[str, list[float]]:
    """Seconds per neuron of every call (with its number of neurons), in turn, round by round."""
    for call, _ in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (call, n_neurons) in calls.items():
            seconds[name].append(processor_time(call) / n_neurons)
    return seconds


def ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def sort_in_blocks(x: np.ndarray) -> Call:
    return lambda: [np.sort(x[at : at + SORT_ROWS], axis=1) for at in range(0, len(x), SORT_ROWS)]


def rank_in_blocks(x: np.ndarray) -> Call:
    compiled = numba_available()
    return lambda: [
        doubled_ranks(x[at : at + SORT_ROWS], compiled) for at in range(0, len(x), SORT_ROWS)
    ]


def peers(x: np.ndarray, y: np.ndarray) -> dict[str, tuple[Call, int]]:
    """Each peer by its own best call; only those that are installed."""
    found: dict[str, tuple[Call, int]] = {}
    few, signal = x[:FEW], y.astype(np.float32)

    found["scipy spearmanr loop"] = (
        lambda: [scipy.stats.spearmanr(row, signal) for row in few],
        FEW,
    )
    if importlib.util.find_spec("pandas"):
        import pandas as pd

        frame, series = pd.DataFrame(few.T), pd.Series(signal)
        found["pandas corrwith"] = (lambda: frame.corrwith(series, method="spearman"), FEW)
    if importlib.util.find_spec("torchmetrics"):
        import torch

        from nbcorr.visualization.torchvision_import import import_torchvision

        if importlib.util.find_spec("torchvision"):
            # torchmetrics imports it.
            import_torchvision()
        from torchmetrics.regression import SpearmanCorrCoef

        torch.set_num_threads(1)
        rows = torch.from_numpy(np.ascontiguousarray(few.T))
        target = torch.from_numpy(signal)[:, None].expand(-1, FEW).contiguous()
        found["torchmetrics"] = (lambda: SpearmanCorrCoef(num_outputs=FEW)(rows, target), FEW)
    if importlib.util.find_spec("polars"):
        import polars as pl

        table = pl.DataFrame({**{f"n{i}": row for i, row in enumerate(few)}, "y": signal})
        asked = [pl.corr(f"n{i}", "y", method="spearman").alias(f"n{i}") for i in range(FEW)]
        found["polars"] = (lambda: table.select(asked), FEW)
    if importlib.util.find_spec("xarray") and importlib.util.find_spec("bottleneck"):
        import xarray as xr

        array = xr.DataArray(few, dims=("neuron", "sample"))
        outcome = xr.DataArray(signal, dims="sample")
        found["xarray rank + corr"] = (
            lambda: xr.corr(array.rank("sample"), outcome.rank("sample"), "sample"),
            FEW,
        )
    if importlib.util.find_spec("illico") and importlib.util.find_spec("anndata"):
        found.update(_illico(x[: 4 * FEW], y))
    return found


def _illico(x: np.ndarray, y: np.ndarray) -> dict[str, tuple[Call, int]]:
    import anndata
    import pandas as pd
    import scipy.sparse
    from illico import asymptotic_wilcoxon
    from loguru import logger

    logger.remove()
    groups = pd.DataFrame({"y": np.where(y, "one", "zero")}, index=[str(i) for i in range(len(y))])
    formats = {
        "dense": np.asfortranarray(x.T),
        "CSC": scipy.sparse.csc_matrix(x.T),
        "CSR": scipy.sparse.csr_matrix(x.T),
    }
    calls: dict[str, tuple[Call, int]] = {}
    for name, matrix in formats.items():
        data = anndata.AnnData(matrix, obs=groups)
        calls[f"illico {name}"] = (
            functools.partial(
                asymptotic_wilcoxon,
                data,
                is_log1p=False,
                group_keys="y",
                reference="zero",
                n_threads=1,
            ),
            len(x),
        )
    return calls


PEER_GOALS = {
    "scipy spearmanr loop": 40,
    "pandas corrwith": 50,
    "torchmetrics": 70,
    "polars": 18,
    "xarray rank + corr": 18,
}


def against_sort_and_peers(figures: Figures, n_neurons: int, rounds: int) -> None:
    rng = np.random.default_rng(0)
    gauss = rng.normal(size=(n_neurons, N_SAMPLES)).astype(np.float32)
    y = np.zeros(N_SAMPLES, dtype=bool)
    y[rng.choice(N_SAMPLES, N_POSITIVE, replace=False)] = True
    kinds = {"gauss": 0.0, "relu50": 0.0, "relu90": 1.2816}
    for kind, threshold in kinds.items():
        x = gauss if kind == "gauss" else np.maximum(gauss - np.float32(threshold), 0)
        ours = (lambda x=x: associate(x, y), n_neurons)
        mine = {
            "associate": ours,
            "np.sort": (sort_in_blocks(x), n_neurons),
            "ranks": (rank_in_blocks(x), n_neurons),
        }
        seconds = per_neuron(mine, rounds)
        nanoseconds = statistics.median(seconds["associate"]) / N_SAMPLES * 1e9
        figures.add(f"associate {kind}, ns per value", nanoseconds, None, "processor time")
        sort = statistics.median(seconds["np.sort"]) / N_SAMPLES * 1e9
        figures.add(f"np.sort {kind}, ns per value", sort, None, "processor time, 256 KB blocks")
        speed = ratio(seconds["np.sort"], seconds["associate"])
        figures.add(f"binary signal / np.sort, {kind}", speed, 0.75, "whole of associate()")
        speed = ratio(seconds["np.sort"], seconds["ranks"])
        figures.add(f"general ranks / np.sort, {kind}", speed, 0.45, "doubled_ranks()")

        rivals = peers(x, y)
        # Progress bars and remarks of the peers are no figures.
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds = per_neuron({"associate": ours, **rivals}, max(3, rounds // 3))
        times = {name: ratio(seconds[name], seconds["associate"]) for name in rivals}
        for name, goal in PEER_GOALS.items():
            if name in times:
                figures.add(f"{name} / ours, {kind}", times[name], goal, "its documented call")
            else:
                figures.leave_out(f"{name} / ours, {kind}", "not installed, left out")
        formats = [name for name in times if name.startswith("illico")]
        for name in formats:
            figures.add(f"{name} / ours, {kind}", times[name], None, "conversion excluded")
        if formats:
            goal = 8 if kind == "relu90" else 15
            best = min(times[name] for name in formats)
            figures.add(f"illico / ours, {kind}", best, goal, "its best format")
        else:
            figures.leave_out(f"illico / ours, {kind}", "not installed, left out")


def many_signals_and_permutations(figures: Figures, n_neurons: int, rounds: int) -> None:
    rng = np.random.default_rng(1)
    x = np.maximum(rng.normal(size=(n_neurons, N_SAMPLES)), 0).astype(np.float32)
    signals = np.zeros((100, N_SAMPLES), dtype=bool)
    for signal in signals:
        signal[rng.choice(N_SAMPLES, N_POSITIVE, replace=False)] = True
    kept = RankedNeurons(x)
    calls = {
        "one shot": (lambda: associate(x, signals[0]), n_neurons),
        "in one call": (lambda: associate_many(x, signals), n_neurons),
        "one": (lambda: RankedNeurons(x).associate(signals[0]), n_neurons),
        "hundred": (lambda: RankedNeurons(x).associate(signals), n_neurons),
        "build": (lambda: RankedNeurons(x), n_neurons),
        "cached": (lambda: [kept.associate(signal) for signal in signals[:20]], 20 * n_neurons),
    }
    seconds = per_neuron(calls, rounds)
    hundred = ratio(seconds["hundred"], seconds["one"])
    figures.add("100 signals / one", hundred, 1.3, "RankedNeurons, ranking included", less=True)
    hundred = ratio(seconds["in one call"], seconds["one shot"])
    figures.add("100 signals / one, intervals", hundred, None, "associate_many()", less=True)
    gain = ratio(seconds["one shot"], seconds["cached"])
    figures.add("one shot / cached signal", gain, 100, "RankedNeurons.associate()")
    saved = statistics.median(
        build / (one - cached)
        for build, one, cached in zip(
            seconds["build"], seconds["one shot"], seconds["cached"], strict=True
        )
    )
    figures.add("signals that repay the cache", saved, 5, "build / (one shot - cached)", less=True)

    permuted = {"max-T": (lambda: max_t(x, signals[0], n_permutations=1000), n_neurons)}
    seconds = per_neuron(permuted, max(3, rounds // 3))
    figures.add(
        "max-T of 1,000 permutations, us per neuron",
        statistics.median(seconds["max-T"]) * 1e6,
        80,
        "max_t(), permutations and first pass included",
        less=True,
    )


def strata(figures: Figures, n_neurons: int, rounds: int) -> None:
    """What it costs to compare within classes: told, for 120 positives and for half of all."""
    rng = np.random.default_rng(3)
    x = np.maximum(rng.normal(size=(n_neurons, N_SAMPLES)), 0).astype(np.float32)
    few = np.zeros(N_SAMPLES, dtype=bool)
    few[rng.choice(N_SAMPLES, N_POSITIVE, replace=False)] = True
    for name, y in {"few": few, "half": rng.random(N_SAMPLES) < 0.5}.items():
        calls = {"none": (lambda y=y: associate(x, y), n_neurons)}
        for n_strata in (10, 100, 1000):
            classes = rng.integers(0, n_strata, N_SAMPLES)
            calls[n_strata] = (lambda y=y, c=classes: associate(x, y, c), n_neurons)
        seconds = per_neuron(calls, max(3, rounds // 3))
        for n_strata in (10, 100, 1000):
            cost = ratio(seconds[n_strata], seconds["none"])
            how = f"{name} positives; of associate() without strata"
            figures.add(f"{n_strata} strata / none, {name}", cost, None, how, less=True)


def threads_and_memory(figures: Figures, n_neurons: int, rounds: int) -> None:
    rng = np.random.default_rng(2)
    x = np.maximum(rng.normal(size=(n_neurons, N_SAMPLES)), 0).astype(np.float32)
    y = rng.random(N_SAMPLES) < N_POSITIVE / N_SAMPLES
    wall: dict[int, float] = {1: np.inf, 2: np.inf}
    for _ in range(3 * rounds):
        for threads in wall:
            started = time.perf_counter()
            associate(x, y, threads=threads)
            wall[threads] = min(wall[threads], time.perf_counter() - started)
    figures.add(
        "two threads, wall time", wall[1] / wall[2], 1.8, "best of rounds; needs idle cores"
    )
    x_wide = np.resize(x[:, :1000], (20_000, 1000))
    for name, rows in {f"{n_neurons}": x, "20,000": x_wide}.items():
        tracemalloc.start()
        associate(rows, y[: rows.shape[1]])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        figures.add(
            f"memory beyond the input, {name} neurons, MB", peak / 1e6, 10, "peak", less=True
        )


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    if not numba_available():
        figures.leave_out("numba", "not to be had: these are the figures of plain NumPy")
    against_sort_and_peers(figures, asked.neurons, asked.rounds)
    many_signals_and_permutations(figures, asked.neurons, asked.rounds)
    strata(figures, asked.neurons, asked.rounds)
    threads_and_memory(figures, asked.neurons, asked.rounds)


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"neurons": 1000, "rounds": 9})


if __name__ == "__main__":
    main()
