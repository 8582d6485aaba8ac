"""The class selectivity index of every neuron, and what else it tells of classes."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from nbcorr.network.names import unknown
from nbcorr.network.neurons import neuron_label
from nbcorr.recording.arrays import over_neurons
from nbcorr.recording.blocks import map_blocks
from nbcorr.selectivity.measures import MEASURES, RowMeasures
from nbcorr.selectivity.streaming import streamed_class_sums
from nbcorr.stats.class_means import ClassSums
from nbcorr.stats.selectivity import drawn_within, selectivity_index
from nbcorr.stats.tuning import sparseness

# Of the samples at which a neuron is most active, so many are looked at for its precision.
TOP = 60


def selectivity(
    recording: xr.Dataset,
    measures: str | Iterable[str] = (),
    *,
    layers: str | Sequence[str] | None = None,
    rectify: bool = False,
    n_resamples: int = 200,
    level: float = 0.95,
    k: int | None = None,
    n_bins: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """How strongly each neuron prefers one class to the mean of the others.

    ``SI = (mu_max - mu_rest) / (mu_max + mu_rest + 1e-7)``, mu_max the largest class mean of the
    activation and mu_rest the mean of the other classes' means (Morcos et al. 2018; Leavitt &
    Morcos 2020, arXiv 2003.01262, section 2). 0: the same for all classes; 1: active for one only.

    Parameters
    ----------
    recording : xarray.Dataset
        Mean-pooled activations that are nowhere negative (after a ReLU), with ``label``. Of a
        recording on disk the class means are found in one pass over its stored blocks, and no
        more is held than these and a number per neuron and class.
    measures : str or iterable of {"class_mean", "auroc", "mutual_information", "sparseness", \
"precision"}
        What else to tell: the index misses neurons that are informative about several classes.
    layers : str or sequence of str, optional
        Names or globs of layers; all by default.
    rectify : bool
        Whether to take negative activations for 0, rather than to refuse them. Pooled ones: the
        mean of a map is rectified, not the map.
    n_resamples : int
        Of the bootstrap; 0 for the index without intervals, in one pass.
    level : float
        Coverage of the intervals.
    k : int, optional
        For ``precision``; 60, or all samples where there are fewer.
    n_bins : int
        For ``mutual_information``.
    seed : int
        Of the bootstrap.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    xarray.Dataset
        Over ``neuron``: ``selectivity`` with ``selectivity_low`` and ``selectivity_high`` (NaN
        where dead), ``preferred_class`` (None where dead), ``dead`` (never active). In attrs
        ``classes``, ``class_count`` (the samples each mean stands on) and ``n_dead``. By measure:

        - ``class_mean(neuron, class)``;
        - ``auroc(neuron, class)``: the probability to be larger at a sample of the class than at
          another one;
        - ``mutual_information`` of class and activation in bits, less the bias of so few samples;
        - ``sparseness`` of the class means and ``sparseness_samples`` of all activations (Vinje &
          Gallant 2000);
        - ``precision``: the largest share that one class, ``precision_class``, has of the k
          samples at which the neuron is most active.

    Raises
    ------
    ValueError
        If labels are missing, there are fewer than two classes, a class has one sample only and
        intervals are asked for, an activation is negative, NaN or infinite, or an argument is out
        of range.

    Notes
    -----
    The interval is the bootstrap's, within classes, of the index of the preferred class: which one
    that is is held, so the lower end may be below 0. Simulated with ten classes of 10 and 60
    samples, 2 to 9 of 100 intervals miss the truth; but 20 of 100 miss the 0 of a neuron that
    prefers nothing, since its class was chosen from the same samples. For the same reason the
    index is too high where classes have few samples.

    A selective neuron is not thereby an important one: that is the finding of the paper.
    """
    asked = (measures,) if isinstance(measures, str) else tuple(dict.fromkeys(measures))
    _check_arguments(asked, n_resamples, level)
    recording = of_layers(over_neurons(recording), layers)
    activation = recording["activation"]
    codes, classes = classes_of(recording)
    counts = np.bincount(codes)
    _check_counts(counts, classes, n_resamples)
    k = min(TOP, len(codes)) if k is None else k
    sums = streamed_class_sums(activation, codes, len(classes), rectify=rectify)
    _check_sums(activation, sums, rectify)
    means = (sums.sums / counts[:, None]).T
    draws = drawn_within(codes, n_resamples, seed) if n_resamples else None
    work = RowMeasures(codes, asked, draws, level, k, n_bins, rectify)
    columns = _index_columns(means, classes) | _measured(activation, work, means, progress)
    if "precision" in asked:
        columns["precision_class"] = classes[columns["precision_class"]].astype(object)
    return _labelled(recording, columns, classes).assign_attrs(
        n=len(codes),
        classes=classes.tolist(),
        class_count=counts.tolist(),
        n_dead=int(columns["dead"].sum()),
        pool=recording.attrs.get("pool", ""),
        rectify=rectify,
        n_resamples=n_resamples,
        **({"level": level, "seed": seed} if n_resamples else {}),
        **({"k": k} if "precision" in asked else {}),
        **({"n_bins": n_bins} if "mutual_information" in asked else {}),
    )


def _check_arguments(measures: tuple[str, ...], n_resamples: int, level: float) -> None:
    for name in measures:
        if name not in MEASURES:
            raise ValueError(unknown("measure", name, MEASURES))
    if n_resamples < 0 or n_resamples == 1:
        raise ValueError(f"n_resamples is {n_resamples}; expected 2 or more, such as 200, or 0")
    if not 0 < level < 1:
        raise ValueError(f"level is {level:g}; expected a coverage between 0 and 1, such as 0.95")


def of_layers(recording: xr.Dataset, layers: str | Sequence[str] | None) -> xr.Dataset:
    """The neurons of layers by name or glob; a ValueError with the nearest name for another."""
    if layers is None:
        return recording
    own = recording.indexes["neuron"].get_level_values("layer")
    names = list(own.unique())
    chosen: set[str] = set()
    for pattern in [layers] if isinstance(layers, str) else layers:
        matched = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
        if not matched:
            raise ValueError(unknown("layer", pattern, names))
        chosen.update(matched)
    return recording.isel(neuron=np.flatnonzero(own.isin(chosen)))


def classes_of(recording: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The class of each sample as a number, and the classes; a ValueError without two of them."""
    if "label" not in recording.coords:
        raise ValueError("the recording has no label; selectivity is about classes")
    codes, classes = pd.factorize(recording["label"].values, sort=True)
    if (codes < 0).any():
        missing = recording["sample"].values[codes < 0].tolist()
        raise ValueError(
            f"{len(missing)} of {len(codes)} samples have no label, first {missing[0]!r}; "
            "expected one for every sample"
        )
    if len(classes) < 2:
        raise ValueError(f"all samples have label {classes[0]!s}; expected at least two classes")
    return codes, np.asarray(classes)


def _check_counts(counts: np.ndarray, classes: np.ndarray, n_resamples: int) -> None:
    if n_resamples and counts.min() < 2:
        raise ValueError(
            f"class {classes[counts.argmin()]!s} has one sample; an interval needs two or more of "
            "every class: leave it out, or n_resamples=0 gives the index without intervals"
        )


def _check_sums(activation: xr.DataArray, sums: ClassSums, rectify: bool) -> None:
    broken = ~np.isfinite(sums.sums).all(axis=0)
    if broken.any():
        raise ValueError(
            f"{int(broken.sum())} of {len(broken)} neurons are NaN or infinite for some samples, "
            f"first {_label(activation, int(broken.argmax()))}; expected finite activations: leave "
            "these neurons or samples out"
        )
    if not rectify and (sums.lowest < 0).any():
        at = int(sums.lowest.argmin())
        raise ValueError(
            f"neuron {_label(activation, at)} is negative for some samples "
            f"({sums.lowest[at]:.3g}); the index is defined for activations after a ReLU: record "
            "the layer behind it, or rectify=True takes negative ones for 0"
        )


def _label(activation: xr.DataArray, at: int) -> str:
    return neuron_label(*activation.indexes["neuron"][at])


def _index_columns(means: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    index = selectivity_index(means)
    dead = index.preferred_class < 0
    preferred = classes[index.preferred_class].astype(object)
    preferred[dead] = None
    return {"selectivity": index.selectivity, "preferred_class": preferred, "dead": dead}


def _measured(
    activation: xr.DataArray, work: RowMeasures, means: np.ndarray, progress: bool
) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    if "class_mean" in work.measures:
        columns["class_mean"] = means
    if "sparseness" in work.measures:
        columns["sparseness"] = sparseness(means)
    if work.needed:
        blocks = map_blocks(work, activation, "selectivity" if progress else "")
        columns |= {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    return columns


def _labelled(
    recording: xr.Dataset, columns: dict[str, np.ndarray], classes: np.ndarray
) -> xr.Dataset:
    """The columns over neurons, those with two dimensions over classes as well."""
    result = recording[["neuron"]].drop_dims("sample", errors="ignore")
    if any(column.ndim == 2 for column in columns.values()):
        result = result.assign_coords({"class": classes})
    dims: dict[int, Any] = {1: "neuron", 2: ("neuron", "class")}
    return result.assign({name: (dims[own.ndim], own) for name, own in columns.items()})
