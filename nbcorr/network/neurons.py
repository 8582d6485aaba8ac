"""The ways people name neurons, brought to one: a list of (layer, unit)."""

from __future__ import annotations

from typing import Any


def neuron_label(layer: str, unit: int) -> str:
    """``"layer:unit"``, the way a neuron is written for people."""
    return f"{layer}:{unit}"


def parse_neurons(neurons: Any) -> list[tuple[str, int]]:
    """Neurons as a list of (layer, unit), in the order given and each once.

    Parameters
    ----------
    neurons : str, tuple, dict, iterable or xarray object
        ``"layer:unit"``, ``(layer, unit)``, ``{layer: [units]}``, an iterable of the first two,
        or any Dataset or DataArray with a ``neuron`` MultiIndex of layer and unit.

    Raises
    ------
    ValueError
        If nothing was named, something is not of these forms, or the neurons are the positions of
        a recording with ``pool="none"``.
    """
    parsed = list(dict.fromkeys(_pairs(neurons)))
    if not parsed:
        raise ValueError("no neurons given; expected for example 'features.3:17'")
    return parsed


def _pairs(neurons: Any) -> list[tuple[str, int]]:
    if hasattr(neurons, "indexes"):
        if "neuron" not in neurons.indexes and "neuron" not in neurons.coords:
            over = ", ".join(map(str, neurons.dims)) or "nothing"
            raise ValueError(f"expected a Dataset over 'neuron', found one over {over}")
        if neurons.attrs.get("pool") == "none":
            raise ValueError(
                "the neurons are positions of units (pool='none'), which a model cannot be asked "
                "for; expected units by name, for example 'features.3:17'"
            )
        return [_pair(v) for v in neurons["neuron"].values.reshape(-1)]
    if isinstance(neurons, dict):
        return [_pair((layer, unit)) for layer, units in neurons.items() for unit in units]
    if isinstance(neurons, str) or _is_pair(neurons):
        return [_pair(neurons)]
    return [_pair(n) for n in neurons]


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], str)
        and not isinstance(value[1], str)
    )


def _pair(value: Any) -> tuple[str, int]:
    if isinstance(value, str):
        layer, _, unit = value.rpartition(":")
        if unit.isdigit():
            return layer, int(unit)
    elif _is_pair(value) and int(value[1]) == value[1] and value[1] >= 0:
        return value[0], int(value[1])
    raise ValueError(f"{value!r} is no neuron; expected 'layer:unit', for example 'features.3:17'")
