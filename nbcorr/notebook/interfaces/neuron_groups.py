"""Neuron groups: a layer's neurons in a few groups that are active together on one image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import traitlets
import xarray as xr
from torch import nn

from nbcorr.network.neurons import neuron_label
from nbcorr.notebook.interfaces import still
from nbcorr.notebook.interfaces.base import STATIC, STEPS, NeuronInterface
from nbcorr.notebook.interfaces.content import ICON, SUBSTRATE, displayable, packed, sprite
from nbcorr.notebook.interfaces.icons import Icons
from nbcorr.visualization import objectives
from nbcorr.visualization.attribute import activations, attribute
from nbcorr.visualization.factorize import factorize
from nbcorr.visualization.semantic_dictionary import one_image
from nbcorr.visualization.visualize import visualize

#: Okabe and Ito's colours, told apart under every common colour blindness; groups have numbers too.
COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (0, 114, 178),
    (213, 94, 0),
    (240, 228, 66),
    (150, 150, 150),
)
#: Neurons named in each group, and the largest number of groups on the curve.
_MEMBERS, _MOST = 4, 8


class NeuronGroups(NeuronInterface):
    """Groups of neurons that are active together, each as a map over the image in its colour.

    Hover a group to see it alone, a position to see how strong each group is there; choose a
    group by its number or in the image, and the number of groups on the curve.

    Parameters
    ----------
    model : torch.nn.Module
    image : array or tensor, shape (channels, height, width)
        As the model takes it.
    layer : str
        One that gives maps or patches.
    k : int
        Groups.
    target : as for ``nc.attribute``, optional
        With it, what each group contributes.
    classes : sequence of str, optional
        Names of the model's classes.
    pictures, exemplars : xarray.Dataset, optional
        Of ``nc.visualize`` and ``nc.exemplars``: the neurons of most weight.
    negative : {"refuse", "split"}, optional
        As for ``nc.factorize``: what becomes of negative activations.
    shown : array, shape (y, x, channel), optional
        The image as people see it, in 0..1. By default the input, brought there linearly.
    preprocess : callable, optional
        For pictures made on demand, as for ``nc.visualize``.
    seed : int
        Of the factorisation.

    Attributes
    ----------
    k : int
        Groups; another number finds others.
    group : int
        The chosen group, from 0; -1 for none.
    neuron : str
        The chosen neuron, ``"layer:unit"``, or ``""``.
    groups : xarray.Dataset
        As ``nc.factorize`` gives it.
    curve : xarray.Dataset
        ``error(k)``, what each number of groups leaves.
    neurons : list of str
        The neurons of most weight.

    Raises
    ------
    ValueError
        If the image is not one image, the layer gives no maps, or what ``nc.factorize`` refuses.

    Notes
    -----
    Source: Olah et al., "The Building Blocks of Interpretability" (Distill 2018), section "Making
    Things Human-Scale". Groups of one image tell little of another.
    """

    _esm = STATIC / "neuron_groups.js"

    k = traitlets.Int(6, help="how many groups").tag(sync=True)
    group = traitlets.Int(-1, help="the chosen group, from 0; -1 for none").tag(sync=True)
    group_pictures = traitlets.Dict(help="what each group sees").tag(sync=True)

    def __init__(
        self,
        model: nn.Module,
        image: Any,
        layer: str,
        k: int = 6,
        *,
        target: Any = None,
        classes: Sequence[str] | None = None,
        pictures: xr.Dataset | None = None,
        exemplars: xr.Dataset | None = None,
        negative: str | None = None,
        shown: Any = None,
        preprocess: Callable[..., Any] | None = None,
        seed: int = 0,
    ) -> None:
        batch = one_image(image)
        if target is None:
            self._data = activations(model, batch, layer, progress=False)
        else:
            self._data = attribute(model, batch, target, layer, classes=classes, progress=False)
        if not {"y", "x"} <= set(self._data["activation"].dims):
            raise ValueError(f"layer {layer!r} gives no maps; expected a layer with positions")
        self._options: dict[str, Any] = {"negative": negative, "seed": seed, "progress": False}
        self._model, self._preprocess, self._layer = model, preprocess, layer
        self._size = tuple(batch.shape[1:])
        self._given = pictures, exemplars
        self._shown = displayable(batch[0]) if shown is None else np.asarray(shown)
        self._pictures: dict[int, xr.Dataset] = {}
        self.curve = self._curve()
        self.groups = self._factorized(k)
        super().__init__(self._new_icons(), k=k, content=self._content())
        self.observe(self._change_k, "k")

    def render_groups(self, *, steps: int = STEPS) -> xr.Dataset:
        """Make a picture of each group's direction with ``nc.visualize`` and show them.

        Parameters
        ----------
        steps : int

        Returns
        -------
        xarray.Dataset
            The pictures, on ``objective``.

        Raises
        ------
        ValueError
            What ``nc.visualize`` raises.
        """
        with self._lock:
            self.busy = True
            self.says = f"Making {self.k} pictures …"
            try:
                directions = [
                    objectives.direction(self._layer, weights) for weights in self._weights()
                ]
                made = visualize(
                    self._model,
                    directions,
                    self._size,
                    steps=steps,
                    preprocess=self._preprocess,
                    progress=False,
                )
                self._pictures[self.k] = made
                self.group_pictures = self._strip()
            finally:
                self.busy, self.says = False, ""
        return made

    @traitlets.validate("k")
    def _valid_k(self, proposal: dict[str, Any]) -> int:
        # Groups that cannot be are refused before anything changes.
        with self._lock:
            if proposal["value"] != self.groups.attrs["k"]:
                self.groups = self._factorized(proposal["value"])
        return int(proposal["value"])

    @traitlets.validate("group")
    def _valid_group(self, proposal: dict[str, Any]) -> int:
        if not -1 <= proposal["value"] < self.groups.sizes["group"]:
            raise ValueError(
                f"group is {proposal['value']}; expected -1 to {self.groups.sizes['group'] - 1}"
            )
        return int(proposal["value"])

    def _change_k(self, _: Any) -> None:
        with self._lock, self.hold_sync():
            self.group = -1
            self._icons = self._icons.of(self._members())
            self.icons = self._icons.content()
            self.group_pictures = self._strip()
            self.content = self._content()

    def _take_message(self, widget: Any, message: dict[str, Any], buffers: Any) -> None:
        if not message.get("groups"):
            super()._take_message(widget, message, buffers)
        elif not self.busy:
            try:
                self.render_groups()
            except Exception as error:
                self.says = f"{type(error).__name__}: {error}"

    def _factorized(self, k: int) -> xr.Dataset:
        return factorize(self._data, k=k, **self._options).isel(sample=0)

    def _curve(self) -> xr.Dataset:
        """As far as there are that many groups to be found."""
        values = self._data["activation"].values.reshape(self._data.sizes["neuron"], -1)
        most = min(_MOST, int(values.any(axis=1).sum()), values.shape[1])
        counts = range(1, max(most, 1) + 1)
        return factorize(self._data, k=counts, **self._options).isel(sample=0)

    def _weights(self) -> np.ndarray:
        return np.asarray(self.groups["weights"].transpose("group", "neuron").values)

    def _members(self) -> list[tuple[str, int]]:
        """Each group's neurons of most weight, every one once."""
        units = [unit for group in self._strongest() for unit in group]
        return [(self._layer, unit) for unit in dict.fromkeys(units)]

    def _strongest(self) -> list[list[int]]:
        weights = np.abs(self._weights())
        order = np.argsort(-weights, axis=1, kind="stable")[:, :_MEMBERS]
        return [
            [unit for unit in units if weights[group, unit] > 0]
            for group, units in enumerate(order.tolist())
        ]

    def _new_icons(self) -> Icons:
        return Icons(self._members(), *self._given, self._model, self._size, self._preprocess)

    def _strip(self) -> dict[str, Any]:
        made = self._pictures.get(self.k)
        return {} if made is None else sprite(list(made["image"].values), ICON)

    def _scaled(self) -> np.ndarray:
        """Maps with 1 at the 99th percentile of them all, as the source has it."""
        maps = self.groups["map"].transpose("group", "y", "x").values
        top = float(np.percentile(maps, 99)) or float(maps.max())
        return np.asarray(np.clip(maps / top if top > 0 else maps, 0, 1), np.float32)

    def _content(self) -> dict[str, Any]:
        groups, members = self.groups, self._members()
        return {
            "layer": self._layer,
            "model": groups.attrs.get("model", ""),
            "target": groups.attrs.get("target", ""),
            "picture": sprite([self._shown], SUBSTRATE),
            "colours": [COLOURS[g % len(COLOURS)] for g in range(groups.sizes["group"])],
            "maps": packed(self._scaled()),
            "explained": groups["explained"].values.tolist(),
            "attribution": groups["attribution"].values.tolist() if "attribution" in groups else [],
            "members": [
                [members.index((self._layer, unit)) for unit in units]
                for units in self._strongest()
            ],
            "error": float(groups["error"]),
            "curve": {
                "k": self.curve["k"].values.tolist(),
                "error": self.curve["error"].values.tolist(),
            },
        }

    def _words(self) -> str:
        named = "; ".join(
            f"group {g + 1}: " + ", ".join(neuron_label(self._layer, unit) for unit in units)
            for g, units in enumerate(self._strongest())
        )
        return f"Neuron groups of {self._layer}, error {float(self.groups['error']):.0%}: {named}"

    def _still(self) -> bytes:
        maps = self._scaled()
        figure = still.new_figure(3 + 1.3 * len(maps), 2.6)
        axes = figure.subplots(1, 1 + len(maps), width_ratios=[2, *[1] * len(maps)])
        still.draw_image(axes[0], self._shown, self._layer)
        for g, one in enumerate(maps):
            still.draw_heat(axes[0], one, self._shown.shape, COLOURS[g % len(COLOURS)])
        made = self._pictures.get(self.k)
        for g, (place, one) in enumerate(zip(axes[1:], maps, strict=True)):
            title = f"{g + 1}: {float(self.groups['explained'][g]):.0%}"
            if made is None:
                still.draw_image(place, self._shown, title)
                still.draw_heat(place, one, self._shown.shape, COLOURS[g % len(COLOURS)])
            else:
                still.draw_image(place, made["image"].values[g], title)
        return still.png(figure)
