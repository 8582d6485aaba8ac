"""``nc.attribute``: how much each neuron and position of a layer contributed to an answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from nbcorr import __version__
from nbcorr.network.batches import Batch, batches, count_samples
from nbcorr.network.hooks import evaluating
from nbcorr.network.names import unknown
from nbcorr.network.tokens import image_of, tokens_of
from nbcorr.network.wrappers import named_modules, unwrapped
from nbcorr.recording.arrays import neuron_coords
from nbcorr.recording.content import fingerprint
from nbcorr.visualization.attribution_arrays import (
    Layout,
    check_finite,
    concatenated,
    labelled,
    summed,
)
from nbcorr.visualization.attribution_gradients import LayerGradients, Reading
from nbcorr.visualization.attribution_paths import LAYER_METHODS, Baseline, Path
from nbcorr.visualization.attribution_pixels import PIXEL_METHODS, Pixels
from nbcorr.visualization.attribution_targets import (
    Position,
    one_layer,
    target_dims,
    targets_of,
)
from nbcorr.visualization.groups import attribution_of_groups

POOLINGS = ("exact", "smooth")


def attribute(
    model: nn.Module,
    inputs: Any,
    target: Any,
    at: str,
    *,
    method: str = "gradient",
    steps: int = 100,
    baseline: Any = 0.0,
    position: Position = None,
    groups: Any = None,
    classes: Sequence[str] | None = None,
    max_pool: str = "exact",
    window: int | None = None,
    batch_size: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """What each neuron, position and group of a layer contributed to an answer of the model.

    The attribution of activation a with baseline b is (a - b) g, a gradient g of the target by
    the activation: the first-order share of that neuron at that position, which may be summed over
    positions, neurons or groups of them.

    Parameters
    ----------
    model : torch.nn.Module
        Left exactly as it was. Used in eval mode.
    inputs : as for ``nc.record``
    target : class, pair of classes, neuron, or list of them
        The logit of a class, by index or name; ``(a, b)``, the logit of a less that of b; a neuron
        of a later layer, ``"layer:unit"``, its mean over positions. A list is several targets, on
        the dimension ``target``.
    at : str
        The layer; ``"input"`` for the pixels (or other input features), by Captum.
    method : str
        At a layer: ``"gradient"``, g at the activation itself; ``"path"``, the mean of g along
        the straight line from the baseline (integrated gradients); ``"stochastic_path"``, the
        same with every channel of every point scaled by a random factor. At the input:
        ``"gradient"``, ``"integrated_gradients"``, ``"occlusion"``. At both: ``"gradcam"``, at
        the input that of the last layer with a map, enlarged.
    steps : int
        Points on a path.
    baseline : float or array, shape (units,) or that of one sample's activation
        What stands for absence; the mean activation of each unit, for example.
    position : (row, column) or "each", optional
        Where in the later layer: of ``"layer:unit"`` its activation there; of a whole
        ``"layer"`` the length of its activation vector there. ``"each"``: every position, on the
        dimensions ``target_y`` and ``target_x``.
    groups : Dataset of ``nc.factorize``, mapping or sequence of sequences of units, optional
        Groups of neurons of the layer to sum over.
    classes : sequence of str, optional
        Names of the model's classes in the order of its logits; those of labelled images are
        known.
    max_pool : {"exact", "smooth"}
        ``"smooth"`` shares the gradient of the ``nn.MaxPool`` modules after the layer among the
        values near the largest: fewer checkerboards, but no longer the model's gradient.
    window : int, optional
        Side of the square (or length of the piece) that is occluded, moved on by half of it; an
        eighth of the input's shorter side by default.
    batch_size : int
        Rows of a forward pass; several points of a path go through in one.
    seed : int
        Of the stochastic path.
    progress : bool

    Returns
    -------
    xarray.Dataset
        float32 on ``sample`` and ``neuron``, with ``y`` and ``x`` where the layer gives maps or
        patches, ``position`` where it gives other sequences: ``attribution``, ``activation`` and
        ``gradient`` (the mean one of a path); sums ``by_neuron``, ``by_position``, ``by_group``
        and ``total``; ``off_map(sample, neuron)``, what class and register tokens contributed,
        which belongs to no position but is in ``by_neuron`` and ``total``; the target's ``score``
        and ``score_baseline``, with the baseline in the layer's place; ``gap``, what is missing
        for completeness: ``score - score_baseline - total``. At the input
        ``attribution(sample, channel, y, x)``, and ``by_position``. Labels stand in ``.attrs``.

    Raises
    ------
    ValueError
        If a target, layer or sample does not fit; the layer is not on the way to the target, or
        something between them has no gradient; a gradient is not finite.
    TypeError
        If the layer gives no floating-point numbers.
    ModuleNotFoundError
        If Captum is needed and not installed.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018), section "How Are
    Concepts Assembled?", and the notebooks AttrChannel and AttrSpatial of its library Lucid, whose
    constants these are; a path is followed by the middles of its 100 pieces, which is nearer to
    the integral than their ends. The attributions of ``"path"`` are complete up to that rule: they
    sum to ``score - score_baseline``. Behind a LayerNorm nearly all of the change lies next to a
    baseline of zero, where no step falls: take another, the mean activation for example, and see
    ``gap``. ``"gradient"`` and ``"stochastic_path"`` are not complete, nor is anything with
    ``max_pool="smooth"``.
    """
    model = unwrapped(model)
    at_input = at == "input" and at not in dict(named_modules(model))
    _check(at_input, method, max_pool, groups, steps=steps, batch_size=batch_size)
    if classes is None:
        classes = inputs.attrs.get("classes", ()) if isinstance(inputs, xr.Dataset) else ()
    targets = targets_of(model, target, classes, position)
    labels = [each.label for each in targets]
    layer = None if at_input else one_layer(model, at)
    lead = target_dims(target, position)
    start = Baseline(baseline)
    part: Callable[[Batch, int], xr.Dataset]
    if layer is None or method == "gradcam":
        part = Pixels(model, targets, lead, layer, method, start, steps, window, batch_size).part
    else:
        path = Path(start, steps, method == "stochastic_path", seed)
        source = LayerGradients(model, layer, targets, max_pool == "smooth")
        part = partial(_part, source, path, method, lead, batch_size)
    data = summed(concatenated(_parts(model, part, inputs, batch_size, progress)))
    if "target" in lead:
        data = data.assign_coords(target=labels)
    if layer is not None and "neuron" in data.dims:
        data = _of_neurons(data, layer)
    if groups is not None:
        data = data.assign(by_group=attribution_of_groups(data, groups))
    return data.assign_attrs(
        model=type(model).__name__,
        fingerprint=fingerprint(model),
        at=layer or "input",
        target=labels if isinstance(target, list) else labels[0],
        method=method,
        steps=steps,
        baseline=start.label,
        max_pool=max_pool,
        seed=seed,
        nbcorr_version=__version__,
    )


def activations(
    model: nn.Module, inputs: Any, at: str, *, batch_size: int = 16, progress: bool = True
) -> xr.Dataset:
    """What a layer gives, ``activation(sample, neuron)`` and its places, as `attribute` has it.

    Raises
    ------
    ValueError, TypeError
        As `attribute` does.
    """
    model = unwrapped(model)
    layer = one_layer(model, at)
    source = LayerGradients(model, layer)

    def part(batch: Batch, first: int) -> xr.Dataset:
        reading = source.read(batch)
        check_finite(f"layer {layer!r}", reading.activation[None], batch, first)
        layout = _layout(source, reading, batch)
        return xr.Dataset({"activation": layout.by_place(reading.activation[None])})

    data = concatenated(_parts(model, part, inputs, batch_size, progress))
    return _of_neurons(data, layer).assign_attrs(
        model=type(model).__name__, fingerprint=fingerprint(model), at=layer
    )


def _parts(
    model: nn.Module,
    part: Callable[[Batch, int], xr.Dataset],
    inputs: Any,
    batch_size: int,
    progress: bool,
) -> list[xr.Dataset]:
    """Every batch's attributions."""
    parts: list[xr.Dataset] = []
    first = 0
    bar = tqdm(total=count_samples(inputs), unit="sample", disable=not progress, leave=False)
    with bar, evaluating(model), torch.inference_mode(False), torch.enable_grad():
        for batch in batches(inputs, batch_size):
            batch = batch.sorted_out(model)
            batch.check_finite(first)
            parts.append(labelled(part(batch, first), batch, first))
            first += len(batch)
            bar.update(len(batch))
    return parts


def _part(
    source: LayerGradients,
    path: Path,
    method: str,
    lead: tuple[str, ...],
    batch_size: int,
    batch: Batch,
    first: int,
) -> xr.Dataset:
    """One batch's attributions at a layer."""
    reading = source.read(batch, gradient=method == "gradient")
    gradient = reading.gradient
    if gradient is None:
        gradient = path.mean_gradient(source, batch, batch_size)
    check_finite(f"layer {source.layer!r}", reading.activation[None], batch, first)
    check_finite(f"the gradient at layer {source.layer!r}", gradient, batch, first)
    from_baseline = source.read(batch, path.baseline.like, gradient=False)
    start = path.baseline.like(reading.activation, reading.axis)
    attribution = (reading.activation - start) * gradient
    # Of one target at each position its score is a map, else each of several has its own.
    sizes = tuple(reading.scores[0].shape[1:]) or (len(gradient),)
    layout = _layout(source, reading, batch)
    of_scores = dataclasses.replace(layout, scores=dict(zip(lead, sizes, strict=False)))
    part = {
        "attribution": of_scores.by_place(attribution),
        "activation": layout.by_place(reading.activation[None]),
        "gradient": of_scores.by_place(gradient),
        "score": of_scores.by_score(reading.scores),
        "score_baseline": of_scores.by_score(from_baseline.scores),
    }
    off_map = of_scores.off_map(attribution)
    return xr.Dataset(part if off_map is None else {**part, "off_map": off_map})


def _layout(source: LayerGradients, reading: Reading, batch: Batch) -> Layout:
    of_image = image_of(batch.inputs) is not None
    return Layout(reading.axis, tokens_of(source.model, batch.inputs), of_image)


def _of_neurons(data: xr.Dataset, layer: str) -> xr.Dataset:
    units = range(data.sizes["neuron"])
    return data.assign_coords(neuron_coords([layer] * len(units), units))


def _check(at_input: bool, method: str, max_pool: str, groups: Any, **counts: int) -> None:
    methods = PIXEL_METHODS if at_input else (*LAYER_METHODS, "gradcam")
    if method not in methods:
        where = "at the input" if at_input else "at a layer"
        raise ValueError(unknown(f"method {where}", method, methods))
    if max_pool not in POOLINGS:
        raise ValueError(unknown("max_pool", max_pool, POOLINGS))
    if max_pool == "smooth" and (at_input or method == "gradcam"):
        raise ValueError("max_pool='smooth' is of gradients at a layer; expected 'exact' here")
    if groups is not None and (at_input or method == "gradcam"):
        raise ValueError("groups are of a layer's neurons; expected none here")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; expected at least 1")
