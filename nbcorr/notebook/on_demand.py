"""Exemplars and visualisations of single neurons, made when they are first looked at."""

from __future__ import annotations

from typing import Any

import xarray as xr

from nbcorr.recording.exemplars import exemplars as find_exemplars
from nbcorr.visualization.visualize import visualize


class Pictures:
    """What is known of each neuron's pictures, and the means to make more.

    Parameters
    ----------
    exemplars, visualizations : xarray.Dataset, optional
        Pictures already made.
    model, data : optional
        With both, missing ones can be made.
    options : dict
        For ``nc.visualize``.
    """

    def __init__(
        self,
        exemplars: xr.Dataset | None,
        visualizations: xr.Dataset | None,
        model: Any,
        data: Any,
        options: dict[str, Any],
    ) -> None:
        self._exemplars = [exemplars] if exemplars is not None else []
        self._visualizations = [visualizations] if visualizations is not None else []
        self._model, self._data, self._options = model, data, options

    def exemplars(self, neuron: tuple[str, int]) -> xr.Dataset | None:
        """The Dataset that holds the neuron's exemplars, if there is one."""
        return _holding(self._exemplars, neuron)

    def visualizations(self, neuron: tuple[str, int]) -> xr.Dataset | None:
        """The Dataset that holds the neuron's visualisation, if there is one."""
        return _holding(self._visualizations, neuron)

    def missing(self, neuron: tuple[str, int]) -> bool:
        """Whether a picture of the neuron can be made that is not there."""
        can_make = self._model is not None and self._data is not None
        return can_make and None in (self.exemplars(neuron), self.visualizations(neuron))

    def make(self, neuron: tuple[str, int]) -> str:
        """Make what is missing; what went wrong is returned, to be said on the card."""
        try:
            driven = self.exemplars(neuron)
            if driven is None:
                driven = find_exemplars(self._model, self._data, neuron, k=9, progress=False)
                self._exemplars.append(driven)
            if "image" not in driven:
                return "no pictures: the samples are not images"
            if self.visualizations(neuron) is None:
                self._visualizations.append(self._visualization(neuron, driven))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _visualization(self, neuron: tuple[str, int], driven: xr.Dataset) -> xr.Dataset:
        shape = tuple(driven.sizes[dim] for dim in ("channel", "y", "x"))
        return visualize(
            self._model, neuron, shape, exemplars=driven, progress=False, **self._options
        )


def _holding(datasets: list[xr.Dataset], neuron: tuple[str, int]) -> xr.Dataset | None:
    return next((d for d in datasets if neuron in d.indexes["neuron"]), None)
