"""``nc.caricature``: an image as a layer sees it, with what it sees exaggerated."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.nn import functional

from nbcorr import __version__
from nbcorr.network.wrappers import unwrapped
from nbcorr.visualization.attribute import activations
from nbcorr.visualization.grid import displayable, without_exemplars
from nbcorr.visualization.objective import Outputs, short_hash
from nbcorr.visualization.objective_kinds import LEAST_SIMILARITY, OfLayer, layer_name
from nbcorr.visualization.render import on_grey
from nbcorr.visualization.semantic_dictionary import one_image
from nbcorr.visualization.visualize import visualize

STEPS = 256
# Neurons named of each layer.
TOP = 4


def caricature(
    model: nn.Module,
    image: Any,
    layers: str | Sequence[str],
    shape: Sequence[int] | None = None,
    *,
    steps: int = STEPS,
    cossim_pow: float = 1,
    transforms: str = "crop",
    seed: int = 0,
    **options: Any,
) -> xr.Dataset:
    """An image made anew from what a layer says of it.

    From noise, the layer is driven at every position in the direction in which the image drives
    it, as far as possible: what the layer is sensitive to comes out exaggerated, what it is blind
    to does not come back.

    Parameters
    ----------
    model : torch.nn.Module
        Left exactly as it was.
    image : array or tensor, shape (channels, height, width) or (1, channels, height, width)
        As the model takes it.
    layers : str or sequence of str
        One picture each.
    shape : (channels, height, width), optional
        Of the picture. None: that of the image. Of another size, the image's map is stretched to
        the picture's.
    steps : int
    cossim_pow : float
        The dot product of the two activations is multiplied by their cosine, at least 0.1, to
        this power: 0 exaggerates most, more keeps closer to the image.
    transforms : as for ``nc.visualize``
        Turns and zooms would move the picture away from the image's positions.
    seed : int
    **options
        Further ones of ``nc.visualize``: ``preprocess``, ``parametrization`` …

    Returns
    -------
    xarray.Dataset
        On ``picture``, with the coordinate ``layer``: ``image(picture, y, x, channel)`` in 0..1;
        ``likeness``, the cosine between the layer's activation on it and on the image; and
        ``relative``, how far the activation goes in the image's own direction, 1 being as far as
        the image itself goes. The neurons that have the largest part in that: ``top_unit``,
        ``top_share``, and their mean activation on the image and on the picture, ``top_image``
        and ``top_picture(picture, rank)``. ``input(input_y, input_x, input_channel)``, the image
        in 0..1. float32.

    Raises
    ------
    ValueError
        If the image is not one image or a layer is silent on it; and what ``nc.visualize`` raises.

    Notes
    -----
    Source: the recipe ``caricature`` and ``feature_inversion`` of Lucid (Olah et al. 2017, 2018);
    inversion of features goes back to Mahendran and Vedaldi, "Understanding deep image
    representations by inverting them" (CVPR 2015).
    """
    model = unwrapped(model)
    batch = one_image(image)
    names = [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))
    real = {name: _activation(model, batch, name) for name in names}
    wanted = [Likeness(name, _checked(name, real[name]), float(cossim_pow)) for name in names]
    size = tuple(batch.shape[1:]) if shape is None else tuple(int(side) for side in shape)
    made = visualize(model, wanted, size, steps=steps, transforms=transforms, seed=seed, **options)
    labels = made["objective"].values.tolist()
    kept = [each for each in wanted if each.label in labels]
    made = made[["image"]].isel(objective=[labels.index(each.label) for each in kept])
    made = made.rename(objective="picture").drop_vars("picture")
    preprocess = options.get("preprocess") or (lambda pictures: pictures)
    images = torch.from_numpy(made["image"].transpose("picture", "channel", "y", "x").values)
    images = on_grey(images, bool(options.get("alpha")))
    compared = [
        _compared(_activation(model, [preprocess(images[[i]])], each.layer), each)
        for i, each in enumerate(kept)
    ]
    columns = {
        name: (("picture", "rank")[: np.ndim(compared[0][name]) + 1], _stacked(compared, name))
        for name in compared[0]
    }
    columns["input"] = (("input_y", "input_x", "input_channel"), displayable(batch[0]))
    return (
        made.assign(columns)
        .assign_coords(layer=("picture", [layer_name(each.layer) for each in kept]))
        .assign_attrs(
            without_exemplars(made),
            objective=f"dot product with the image's activation x cosine^{cossim_pow:g}",
            cossim_pow=cossim_pow,
            nbcorr_version=__version__,
        )
    )


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Likeness(OfLayer):
    """The dot product with a given activation of the layer, times a power of the cosine."""

    layer: str
    target: torch.Tensor
    cossim_pow: float

    @property
    def label(self) -> str:
        """``layer:likeness-`` and eight letters of the activation's hash."""
        return f"{layer_name(self.layer)}:likeness-{short_hash(self.target)}"

    def value(self, outputs: Outputs, images: torch.Tensor) -> torch.Tensor:
        """The mean over positions."""
        output = outputs[self.layer].float()
        target = self.like(output)
        places = max(1, output[0, 0].numel())
        dots = (output * target).flatten(1).sum(1)
        lengths = output.flatten(1).norm(dim=1) * target.norm()
        cosine = (dots / lengths.clamp(min=1e-6)).clamp(min=LEAST_SIMILARITY)
        return dots / places * cosine**self.cossim_pow

    def like(self, output: torch.Tensor) -> torch.Tensor:
        """The activation, stretched to an output's positions.

        Raises
        ------
        ValueError
            If the output has positions of another kind.
        """
        target = self.target.to(output)
        if target.shape == output.shape[1:]:
            return target
        if target.ndim != 3 or output.ndim != 4:
            raise ValueError(
                f"layer {layer_name(self.layer)!r} gives {tuple(output.shape[1:])} for the picture "
                f"and {tuple(target.shape)} for the image; expected the same, or maps"
            )
        size = tuple(output.shape[2:])
        return functional.interpolate(target[None], size, mode="bilinear", align_corners=False)[0]


def _activation(model: nn.Module, inputs: Any, layer: str) -> torch.Tensor:
    """Of one image, shape (units, ...)."""
    found = activations(model, inputs, layer, progress=False)["activation"]
    values = found.isel(sample=0).transpose("neuron", ...).values
    return torch.from_numpy(np.ascontiguousarray(values))


def _checked(layer: str, activation: torch.Tensor) -> torch.Tensor:
    if not activation.any():
        raise ValueError(f"layer {layer!r} is silent on this image; there is nothing to exaggerate")
    return activation


def _compared(found: torch.Tensor, wanted: Likeness) -> dict[str, np.ndarray]:
    """How a picture's activation compares with the image's, and which neurons make it so."""
    target = wanted.like(found[None])
    found, target = (each.reshape(len(each), -1).double() for each in (found, target))
    parts = (found * target).sum(1)
    dot, length = parts.sum(), target.norm()
    top = parts.argsort(descending=True, stable=True)[:TOP]
    values = {
        "likeness": dot / (found.norm() * length).clamp(min=1e-12),
        "relative": dot / length**2,
        "top_share": parts[top] / dot if dot > 0 else torch.full((len(top),), torch.nan),
        "top_image": target[top].mean(1),
        "top_picture": found[top].mean(1),
    }
    columns = {name: value.numpy().astype(np.float32) for name, value in values.items()}
    return {**columns, "top_unit": top.numpy().astype(np.int32)}


def _stacked(compared: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    """One row a picture; layers with fewer neurons have NaN, or unit -1, at the end."""
    rows = [each[name] for each in compared]
    if rows[0].ndim == 0:
        return np.stack(rows)
    fill = -1 if rows[0].dtype.kind == "i" else np.nan
    width = max(map(len, rows))
    return np.stack([np.pad(row, (0, width - len(row)), constant_values=fill) for row in rows])
