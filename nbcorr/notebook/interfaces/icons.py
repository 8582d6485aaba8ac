"""The neurons an interface shows: their pictures, the real images beside them, what is missing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nbcorr.network.neurons import neuron_label
from nbcorr.notebook import pictures as drawing
from nbcorr.notebook.interfaces.content import EXEMPLAR, ICON, sprite
from nbcorr.visualization.visualize import visualize

Neuron = tuple[str, int]
#: Exemplars beside a picture; four where they stand in its place.
BESIDE, INSTEAD = 3, 4


class Icons:
    """Pictures and exemplars of some neurons, and the means to make more pictures.

    Parameters
    ----------
    neurons : sequence of (layer, unit)
        All that can be shown.
    pictures, exemplars : xarray.Dataset, optional
        Of ``nc.visualize`` and ``nc.exemplars``; they may hold other neurons too.
    model, shape, preprocess : optional
        With a model, pictures of this shape can be rendered.
    """

    def __init__(
        self,
        neurons: Sequence[Neuron],
        pictures: xr.Dataset | None = None,
        exemplars: xr.Dataset | None = None,
        model: Any = None,
        shape: tuple[int, ...] = (3, 64, 64),
        preprocess: Callable[..., Any] | None = None,
    ) -> None:
        self.neurons = list(neurons)
        self._model, self._shape, self._preprocess = model, shape, preprocess
        self._pictures: dict[Neuron, xr.Dataset] = {}
        self._exemplars: dict[Neuron, xr.Dataset] = {}
        self.add(pictures, exemplars)

    def of(self, neurons: Sequence[Neuron]) -> Icons:
        """The same pictures, of other neurons."""
        other = Icons(neurons, None, None, self._model, self._shape, self._preprocess)
        other._pictures, other._exemplars = self._pictures, self._exemplars
        return other

    @property
    def labels(self) -> list[str]:
        """The neurons as people write them."""
        return [neuron_label(*neuron) for neuron in self.neurons]

    def add(self, pictures: xr.Dataset | None = None, exemplars: xr.Dataset | None = None) -> None:
        """Take in more of them; a later picture of a neuron replaces the one before.

        Raises
        ------
        ValueError
            If one is not a Dataset over ``neuron``, or the pictures hold no ``image``.
        """
        for kind, given, known in (
            ("pictures", pictures, self._pictures),
            ("exemplars", exemplars, self._exemplars),
        ):
            if given is None:
                continue
            needed = "image" if kind == "pictures" else "activation"
            if needed not in given or "neuron" not in given.indexes:
                verb = "visualize" if kind == "pictures" else "exemplars"
                raise ValueError(
                    f"{kind}= has {sorted(map(str, given.data_vars))}; expected the Dataset over "
                    f"'neuron' that nc.{verb} gives, with {needed!r}"
                )
            known |= {
                neuron: given.isel(neuron=place)
                for place, neuron in enumerate(given.indexes["neuron"])
            }

    def missing(self, neurons: Sequence[Neuron]) -> list[Neuron]:
        """Those of them that have no picture yet."""
        return [neuron for neuron in neurons if neuron not in self._pictures]

    def render(self, neurons: Sequence[Neuron], steps: int) -> xr.Dataset:
        """Make pictures of these neurons, anew where there are some."""
        made = visualize(
            self._model,
            list(neurons),
            self._shape,
            steps=steps,
            preprocess=self._preprocess,
            progress=False,
        )
        self.add(pictures=made)
        return made

    def picture(self, neuron: Neuron) -> np.ndarray | None:
        """Its optimised picture, (y, x, channel) in 0..1."""
        one = self._pictures.get(neuron)
        return None if one is None else np.asarray(one["image"].values)

    def real(self, neuron: Neuron, count: int = BESIDE) -> list[np.ndarray]:
        """Its strongest exemplars, dark where they do not drive it."""
        one = self._exemplars.get(neuron)
        if one is None or "image" not in one:
            return []
        ranks = [one.isel(rank=rank) for rank in range(min(count, one.sizes["rank"]))]
        return [drawing.with_mask(each["image"].values, each["mask"].values) for each in ranks]

    def content(self) -> dict[str, Any]:
        """What the page needs to show them (``IconContent`` in icons.ts)."""
        shown = [self.picture(neuron) for neuron in self.neurons]
        there = [picture for picture in shown if picture is not None]
        places = iter(range(len(there)))
        count = BESIDE if there else INSTEAD
        real = [self.real(neuron, count) for neuron in self.neurons]
        ends = np.cumsum([0, *map(len, real)]).tolist()
        return {
            "labels": self.labels,
            "picture": [-1 if picture is None else next(places) for picture in shown],
            "pictures": sprite(there, ICON),
            "reach": [self.reach(neuron) for neuron in self.neurons],
            "exemplar": [list(range(a, b)) for a, b in itertools.pairwise(ends)],
            "exemplars": sprite([image for images in real for image in images], EXEMPLAR),
            "notes": self.notes(),
            "can_render": self._model is not None,
        }

    def notes(self) -> list[str]:
        """What is not there, in a line each, and how to get it."""
        return [
            *_note(
                "pictures",
                self._pictures,
                self.neurons,
                ".show(pictures=nc.visualize(model, widget.neurons, …))",
            ),
            *_note(
                "exemplars",
                self._exemplars,
                self.neurons,
                ".show(exemplars=nc.exemplars(model, data, widget.neurons))",
            ),
        ]

    def reach(self, neuron: Neuron) -> str:
        """What its picture reaches, relative to the best real sample, where both are known."""
        one, driven = self._pictures.get(neuron), self._exemplars.get(neuron)
        if one is None or "reached" not in one:
            return ""
        best = float(one["best_exemplar"]) if "best_exemplar" in one else math.nan
        if not math.isfinite(best) and driven is not None:
            best = float(driven["activation"][0])
        if not math.isfinite(best) or best <= 0:
            return "no exemplar to compare the picture with"
        return f"picture: {float(one['reached']) / best:.1f} × the best exemplar"


def _note(
    kind: str, known: dict[Neuron, xr.Dataset], neurons: Sequence[Neuron], how: str
) -> list[str]:
    held = sum(neuron in known for neuron in neurons)
    if held == len(neurons):
        return []
    found = f"No {kind} given" if held == 0 else f"{kind.capitalize()} of {held} of {len(neurons)}"
    return [f"{found}: widget{how} adds them."]
