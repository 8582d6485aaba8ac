"""The kinds of things a ``%neurcorr`` line takes and makes, recognised without importing torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

_INTERFACES = "nbcorr.notebook.interfaces"


class Kind(NamedTuple):
    """How a kind is recognised, and how people are told what was expected."""

    test: Callable[[Any], bool]
    words: str
    it: str = "one"


def _is_instance(value: Any, module: str, name: str) -> bool:
    """Whether a value is of a class; none is where the class's module was never imported."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def _is_dataset(value: Any, variable: str, dims: set[str]) -> bool:
    return (
        _is_instance(value, "xarray", "Dataset")
        and variable in value.variables
        and dims == set(value[variable].dims)
    )


KINDS = {
    "any": Kind(lambda value: True, "anything"),
    "model": Kind(lambda v: _is_instance(v, "torch.nn", "Module"), "a torch.nn.Module"),
    "layers": Kind(lambda v: _is_dataset(v, "kind", {"layer"}), "the layers of nc.layers"),
    "recording": Kind(
        lambda v: (
            _is_dataset(v, "activation", {"sample", "neuron"})
            or _is_dataset(v, "activation", {"pool", "sample", "neuron"})
        ),
        "a recording, as nc.record or nc.from_arrays make it",
    ),
    "correlates": Kind(
        lambda v: _is_dataset(v, "auc", {"neuron"}) or _is_dataset(v, "auc", {"signal", "neuron"}),
        "correlates, as nc.correlate makes them",
        "them",
    ),
    "probe": Kind(lambda v: _is_dataset(v, "weight", {"neuron"}), "a probe, as nc.probe makes it"),
    "table": Kind(
        lambda v: _is_instance(v, "nbcorr.correlation.table", "Table"), "a table of nc.top"
    ),
    "exemplars": Kind(
        lambda v: _is_dataset(v, "activation", {"neuron", "rank"}),
        "exemplars, as nc.exemplars makes them",
        "them",
    ),
    "visualizations": Kind(
        lambda v: _is_dataset(v, "image", {"neuron", "y", "x", "channel"}),
        "visualizations, as nc.visualize makes them",
        "them",
    ),
    "dictionary": Kind(
        lambda v: _is_instance(v, f"{_INTERFACES}.semantic_dictionary", "SemanticDictionary"),
        "a semantic dictionary",
    ),
    "groups": Kind(
        lambda v: _is_instance(v, f"{_INTERFACES}.neuron_groups", "NeuronGroups"), "neuron groups"
    ),
    "atlas": Kind(
        lambda v: _is_dataset(v, "picture", {"row", "column"}),
        "an atlas, as nc.activation_atlas makes it",
    ),
    "responses": Kind(
        lambda v: _is_dataset(v, "activation", {"neuron"}),
        "responses, as nc.responses makes them",
        "them",
    ),
    "explorer": Kind(
        lambda v: _is_instance(v, "nbcorr.notebook.explore", "Explorer"), "an explorer"
    ),
    "page": Kind(lambda v: isinstance(v, Path), "the path of a page"),
}
