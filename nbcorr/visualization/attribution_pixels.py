"""Attributions at the input, and Grad-CAM, by Captum."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
import xarray as xr
from torch import nn
from torch.nn import functional

from nbcorr.network.batches import Batch
from nbcorr.network.hooks import captured, device_and_dtype
from nbcorr.network.layers import call_label, leaf_modules, module_and_call
from nbcorr.network.tokens import tokens_of
from nbcorr.network.wrappers import submodule
from nbcorr.visualization.attribution_arrays import check_finite, to_array
from nbcorr.visualization.attribution_paths import Baseline
from nbcorr.visualization.attribution_targets import Target

PIXEL_METHODS = ("gradient", "integrated_gradients", "occlusion", "gradcam")
INSTALL_COMMAND = 'pip install "nbcorr[attribution]"'
# Names of a sample's axes by their number.
_AXES = {1: ("feature",), 2: ("position", "feature"), 3: ("channel", "y", "x")}


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Attributes targets of a model to its inputs, or by Grad-CAM to a layer's positions.

    To be used with the model in eval mode and gradients switched on.
    """

    model: nn.Module
    targets: Sequence[Target]
    lead: tuple[str, ...]
    layer: str | None
    method: str
    baseline: Baseline
    steps: int
    window: int | None
    batch_size: int

    def part(self, batch: Batch, first: int) -> xr.Dataset:
        """A batch's ``attribution`` and scores.

        Raises
        ------
        ValueError
            If the inputs do not fit the method, or there is no gradient or none that is finite.
        """
        if "target_y" in self.lead:
            raise ValueError("position='each' is at a layer; expected one position here")
        x = self._input(batch)
        found = torch.stack([self._attributed(target, x) for target in self.targets])
        check_finite("the attribution", found, batch, first)
        places = ("y", "x") if self.method == "gradcam" else _AXES[x.ndim - 1]
        over = (*self.lead, "sample")
        variables = {"attribution": ((*over, *places), self._by_target(found))}
        variables["score"] = (over, self._by_target(self._scores(x)))
        if self.method != "gradcam":
            start = self.baseline.like(x, 1)
            variables["score_baseline"] = (over, self._by_target(self._scores(start)))
        return xr.Dataset(variables)

    def score(self, target: Target, x: torch.Tensor) -> torch.Tensor:
        """The target of each input, shape (batch,); with its gradient where one is followed."""
        found: list[torch.Tensor] = []

        def look(output: torch.Tensor, call: int, _: Any) -> None:
            if target.layer == call_label(name, call):
                found.append(target.score(output.clone(), tokens))

        name = module_and_call(target.layer)[0] if target.layer else ""
        tokens = tokens_of(self.model, x)
        with captured(self.model, {name: look} if target.layer else {}):
            # A copy, which the model may change in place.
            output = Batch(x.clone()).run(self.model)
        if target.layer is None:
            return target.score(output, tokens)
        if not found:
            raise ValueError(f"layer {target.layer!r} did not run in the forward pass")
        return found[0]

    def _attributed(self, target: Target, x: torch.Tensor) -> torch.Tensor:
        methods: Mapping[str, Callable[..., torch.Tensor]] = {
            "gradient": self._gradient,
            "integrated_gradients": self._integrated_gradients,
            "occlusion": self._occlusion,
            "gradcam": self._gradcam,
        }

        def score(x: torch.Tensor) -> torch.Tensor:
            found = self.score(target, x)
            if self.method != "occlusion" and not found.requires_grad:
                raise ValueError(
                    f"no gradient flows from {target.label!r} back to the input: something "
                    "between them is not differentiable"
                )
            return found

        return methods[self.method](captum(), score, x).detach()

    def _gradient(self, attr: Any, score: Any, x: torch.Tensor) -> torch.Tensor:
        gradient = attr.Saliency(score).attribute(x.clone().requires_grad_(), abs=False)
        return (x - self.baseline.like(x, 1)) * gradient

    def _integrated_gradients(self, attr: Any, score: Any, x: torch.Tensor) -> torch.Tensor:
        return attr.IntegratedGradients(score).attribute(
            x.clone().requires_grad_(),
            baselines=self.baseline.like(x, 1),
            n_steps=self.steps,
            internal_batch_size=max(self.batch_size, len(x)),
        )

    def _occlusion(self, attr: Any, score: Any, x: torch.Tensor) -> torch.Tensor:
        sides = x.shape[2:] or x.shape[1:]
        side = max(1, min(sides) // 8) if self.window is None else self.window
        if not 1 <= side <= min(sides):
            raise ValueError(f"window is {side}; expected 1 to {min(sides)}")
        whole = x.shape[1:2] if x.ndim > 2 else ()
        with torch.no_grad():
            return attr.Occlusion(score).attribute(
                x,
                sliding_window_shapes=(*whole, *[side] * len(sides)),
                strides=(*whole, *[max(1, side // 2)] * len(sides)),
                baselines=self.baseline.like(x, 1),
                perturbations_per_eval=max(1, self.batch_size // len(x)),
            )

    def _gradcam(self, attr: Any, score: Any, x: torch.Tensor) -> torch.Tensor:
        name = _map_layer(self.model, x, self.layer)
        gradcam = attr.LayerGradCam(score, submodule(self.model, name))
        maps = gradcam.attribute(x.clone().requires_grad_(), relu_attributions=True)
        if self.layer is None:
            maps = functional.interpolate(maps, x.shape[2:], mode="bilinear", align_corners=False)
        return maps[:, 0]

    def _input(self, batch: Batch) -> torch.Tensor:
        x = batch.to(*device_and_dtype(self.model)).inputs
        if not isinstance(x, torch.Tensor) or not x.is_floating_point() or x.ndim - 1 not in _AXES:
            kind = (
                f"{x.dtype} of shape {tuple(x.shape)}"
                if isinstance(x, torch.Tensor)
                else (type(x).__name__)
            )
            raise ValueError(
                f"the inputs are {kind}; expected floating-point images, sequences or vectors in "
                "one tensor. Of others name a layer with at="
            )
        return x

    def _scores(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.stack([self.score(target, x) for target in self.targets])

    def _by_target(self, values: torch.Tensor) -> Any:
        return to_array(values if self.lead else values[0])


def captum() -> Any:
    """Captum's attribution methods.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed; the message says how to.
    """
    try:
        import captum.attr
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"attributions at the input and Grad-CAM need the package {error.name}: "
            f"{INSTALL_COMMAND}",
            name=error.name,
        ) from error
    return captum.attr


def _map_layer(model: nn.Module, x: torch.Tensor, layer: str | None) -> str:
    """The layer that Grad-CAM is of: the one named, or the last that gives a map."""
    shapes: dict[str, list[tuple[int, ...]]] = {}

    def look(name: str, output: torch.Tensor) -> None:
        shapes.setdefault(name, []).append(tuple(output.shape))

    names = leaf_modules(model) if layer is None else [module_and_call(layer)[0]]
    with torch.no_grad(), captured(model, {n: lambda o, *_, n=n: look(n, o) for n in names}):
        Batch(x[:1].clone()).run(model)
    fitting = [
        name
        for name, seen in shapes.items()
        if len(seen) == 1 and len(seen[0]) == 4 and (layer or prod(seen[0][2:]) > 1)
    ]
    if not fitting or (layer and layer not in fitting):
        found = [f"{name!r} gave {seen}" for name, seen in shapes.items()]
        raise ValueError(
            f"Grad-CAM needs a layer that runs once and gives maps, shape (batch, units, y, x); "
            f"{', '.join(found[-2:]) or f'{layer!r} did not run'}"
        )
    return fitting[-1]
