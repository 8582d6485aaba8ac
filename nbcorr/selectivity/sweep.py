"""Networks trained at many strengths of the selectivity term, and what becomes of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from nbcorr.network.batches import batches
from nbcorr.network.layers import Choice, resolve_layers
from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label
from nbcorr.recording.content import fingerprint, forward_hash
from nbcorr.recording.hashing import Digest
from nbcorr.selectivity.corruptions import CORRUPTIONS, SEVERITIES, check_images
from nbcorr.selectivity.robustness import ATTACKS, Corrupted, Tests, tested
from nbcorr.selectivity.training import Plan, seeded, trained, write_whole

Arrays = tuple[np.ndarray, np.ndarray]


def selectivity_sweep(
    build_model: Callable[[], nn.Module],
    data: tuple[Any, Any],
    alphas: Sequence[float],
    seeds: int | Sequence[int] = 5,
    *,
    layers: Choice | Collection[Choice] = "auto",
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 0.1,
    weight_decay: float = 1e-4,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    eps: Sequence[float] = (2 / 255, 8 / 255),
    pgd_steps: int = 10,
    store: str | os.PathLike[str] | None = None,
    n_jobs: int = 1,
    progress: bool = True,
) -> xr.Dataset:
    """Train networks that differ only in how much selectivity is encouraged, and test them.

    The experiment of Leavitt & Morcos, *Selectivity considered harmful* (2020, arXiv 2003.01262),
    with the robustness of *On the relationship between class selectivity, dimensionality, and
    robustness* (arXiv 2007.04440).

    Parameters
    ----------
    build_model : callable
        Without arguments; gives a model with fresh weights whose outputs are logits of the
        classes. Images come to it with values from 0 to 1: a normalisation belongs into it.
    data : (train, test)
        Each labelled images (``image``, ``label``), a tuple (images, labels) or anything else
        that gives batches of both. Labels are whole numbers from 0, as the model's outputs.
    alphas : sequence of float
        Strengths of the term; below 0 discourages selectivity. With 0 among them there is
        something to compare with.
    seeds : int or sequence of int
        Networks per alpha, or their seeds. Of the same seed all have the same first weights and
        see the samples in the same order.
    layers : as for ``nc.SelectivityLoss``
    epochs, batch_size, learning_rate, weight_decay
        Of the training: SGD with momentum .9 and a one-cycle learning rate.
    corruptions : sequence of str
        Of ``nbcorr.selectivity.corruptions.CORRUPTIONS``; none for an empty one.
    severities : sequence of int
        1 to 5.
    eps : sequence of float
        Largest changes of a value by FGSM and PGD.
    pgd_steps : int
    store : path, optional
        A folder where weights and numbers are kept. A call that was cut short, even killed, goes
        on after the last finished epoch; one with other data, models or training starts anew
        beside it, and one with other tests only tests.
    n_jobs : int
        Networks trained side by side, each on one thread, in processes of joblib; the numbers do
        not depend on it.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        Over ``alpha`` and ``seed``: ``accuracy``; ``selectivity(layer)``, the mean index of the
        units that are not dead, on the test images, and ``dead(layer)``, the share of those that
        are; ``unit_selectivity(neuron)``; ``accuracy_corrupted(corruption, severity)``;
        ``accuracy_attacked(attack, eps)``. What a diverged network has no number for is NaN. In
        attrs what made it.

    Raises
    ------
    ValueError
        If labels are missing, images leave 0 to 1, a choice does not exist, or an alpha or seed
        repeats.

    Notes
    -----
    The output layer's selectivity is neither turned nor told.
    """
    plan, tests = _plans(
        layers,
        epochs,
        batch_size,
        learning_rate,
        weight_decay,
        corruptions,
        severities,
        eps,
        pgd_steps,
    )
    train, test = _arrays("training", data[0]), _arrays("test", data[1])
    alphas = [float(alpha) for alpha in alphas]
    chosen = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
    _check_runs(alphas, chosen)
    with seeded(0):
        model = build_model()
    resolve_layers(model, plan.layers)
    key = _digest(fingerprint(model), forward_hash(model), *train, *_settings(plan))
    folder = None if store is None else Path(store) / key
    work = partial(_run, build_model, train, Corrupted(test[0]), test[1], plan, tests, folder)
    found = _all_runs(work, list(product(alphas, chosen)), n_jobs, progress)
    attrs = {
        "model": type(model).__name__,
        "n_train": len(train[1]),
        "n_test": len(test[1]),
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "pgd_steps": pgd_steps,
        "store": "" if folder is None else str(folder),
    }
    return _dataset(found, alphas, chosen, tests).assign_attrs(attrs)


def swept_model(
    sweep: xr.Dataset, build_model: Callable[[], nn.Module], alpha: float, seed: int
) -> nn.Module:
    """One of the trained networks of a sweep that was kept.

    Parameters
    ----------
    sweep : xarray.Dataset
        Made with ``store=``.
    build_model : callable
        The one the sweep was made with.
    alpha : float
    seed : int

    Returns
    -------
    torch.nn.Module
        In eval mode.

    Raises
    ------
    ValueError
        If the sweep was not kept, or there is no such network in it.
    """
    if not sweep.attrs.get("store"):
        raise ValueError("the sweep was made without store=, so its networks are gone")
    path = Path(sweep.attrs["store"]) / _run_name(alpha, seed) / "training.pt"
    if not path.exists():
        there = [_run_name(a, s) for a in sweep["alpha"].values for s in sweep["seed"].values]
        raise ValueError(unknown("network", path.parent.name, there))
    with seeded(0):
        model = build_model()
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
    return model.eval()


def _plans(
    layers: Any,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    corruptions: Sequence[str],
    severities: Sequence[int],
    eps: Sequence[float],
    pgd_steps: int,
) -> tuple[Plan, Tests]:
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("pgd_steps", pgd_steps)):
        if value < 1:
            raise ValueError(f"{name} is {value}; expected 1 or more")
    for kind in corruptions:
        if kind not in CORRUPTIONS:
            raise ValueError(unknown("corruption", kind, CORRUPTIONS))
    wrong = [severity for severity in severities if severity not in SEVERITIES]
    if wrong:
        raise ValueError(f"severity is {wrong[0]}; expected 1 to 5")
    if not all(value >= 0 for value in eps):
        raise ValueError(f"eps are {list(eps)}; expected 0 or more, such as 2 / 255")
    several = isinstance(layers, Collection) and not isinstance(layers, str)
    plan = Plan(
        tuple(layers) if several else layers, epochs, batch_size, learning_rate, weight_decay
    )
    return plan, Tests(tuple(corruptions), tuple(severities), tuple(eps), pgd_steps)


def _settings(plan: Plan) -> tuple[Any, ...]:
    return plan.layers, plan.epochs, plan.batch_size, plan.learning_rate, plan.weight_decay


def _arrays(what: str, data: Any) -> Arrays:
    parts = list(batches(data))
    if any(part.label is None for part in parts):
        raise ValueError(f"the {what} images have no labels; expected one for each")
    if not parts:
        raise ValueError(f"there are no {what} images")
    images = np.concatenate([np.asarray(part.inputs, dtype=np.float32) for part in parts])
    labels = np.concatenate([np.asarray(part.label) for part in parts])
    check_images(images)
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ValueError(
            f"the {what} labels are {labels.dtype}, first {labels[0]!r}; expected whole numbers "
            "from 0, the place of the class among the model's outputs"
        )
    if len(np.unique(labels)) < 2:
        raise ValueError(f"the {what} images are all of one class; expected at least two")
    return images, labels.astype(np.int64)


def _check_runs(alphas: list[float], seeds: list[int]) -> None:
    for name, values in (("alpha", alphas), ("seed", seeds)):
        if not values:
            raise ValueError(f"no {name} was given; expected at least one")
        if len(set(values)) < len(values):
            raise ValueError(f"the {name}s {values} repeat; expected each once")
        if not np.isfinite(values).all():
            raise ValueError(f"the {name}s are {values}; expected finite numbers")


def _digest(*parts: Any) -> str:
    digest = Digest()
    for part in parts:
        digest.add(part)
    return str(digest)


def _run_name(alpha: float, seed: int) -> str:
    return f"alpha={float(alpha):g},seed={int(seed)}"


def _all_runs(
    work: Callable[[float, int], dict[str, Any]],
    runs: list[tuple[float, int]],
    n_jobs: int,
    progress: bool,
) -> list[dict[str, Any]]:
    bar = partial(tqdm, total=len(runs), unit="network", desc="sweep", disable=not progress)
    if n_jobs == 1:
        return list(bar(work(*run) for run in runs))
    from joblib import Parallel, delayed

    # Large images reach the processes as files in memory; torch takes only what may be written.
    parallel = Parallel(n_jobs=n_jobs, return_as="generator", mmap_mode="c")
    return list(bar(parallel(delayed(work)(*run) for run in runs)))


def _run(
    build_model: Callable[[], nn.Module],
    train: Arrays,
    corrupted: Corrupted,
    labels: np.ndarray,
    plan: Plan,
    tests: Tests,
    folder: Path | None,
    alpha: float,
    seed: int,
) -> dict[str, Any]:
    """The numbers of one network: read, where they are there, else made."""
    own = None if folder is None else folder / _run_name(alpha, seed)
    key = _digest(
        corrupted.images, labels, tests.corruptions, tests.severities, tests.eps, tests.pgd_steps
    )
    kept = None if own is None else own / f"{key}.json"
    if kept is not None and kept.exists():
        return dict(json.loads(kept.read_text("utf-8")))
    model = trained(build_model, *train, alpha, seed, plan, own)
    with seeded(seed):
        found = tested(model, corrupted, labels, plan.layers, tests)
    if kept is not None:
        text = json.dumps(found).encode()
        write_whole(kept, lambda file: file.write(text))
    return found


def _dataset(
    found: list[dict[str, Any]], alphas: list[float], seeds: list[int], tests: Tests
) -> xr.Dataset:
    first = found[0]
    neurons = [
        neuron_label(layer, unit)
        for layer, units in zip(first["layers"], first["units"], strict=True)
        for unit in range(len(units))
    ]

    def over(name: str, *dims: str, flat: bool = False) -> tuple[Any, np.ndarray]:
        rows = [np.concatenate(run[name]) if flat else np.asarray(run[name]) for run in found]
        values = np.array(rows, dtype=np.float64)
        return ("alpha", "seed", *dims), values.reshape(len(alphas), len(seeds), *values.shape[1:])

    data: dict[str, Any] = {
        "accuracy": over("accuracy"),
        "selectivity": over("selectivity", "layer"),
        "dead": over("dead", "layer"),
        "unit_selectivity": over("units", "neuron", flat=True),
    }
    coords: dict[str, Any] = {
        "alpha": alphas,
        "seed": seeds,
        "layer": first["layers"],
        "neuron": neurons,
    }
    if tests.corruptions and tests.severities:
        data["accuracy_corrupted"] = over("corrupted", "corruption", "severity")
        coords |= {"corruption": list(tests.corruptions), "severity": list(tests.severities)}
    if tests.eps:
        data["accuracy_attacked"] = over("attacked", "attack", "eps")
        coords |= {"attack": list(ATTACKS), "eps": list(tests.eps)}
    return xr.Dataset(data, coords)
