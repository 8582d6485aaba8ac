"""What bench/visualize.py and bench/visualize_quality.py have in common: nets, Lucent, views."""

from __future__ import annotations

import copy
import itertools
import math
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

Clock = Callable[[], float]

# Convolutions of EfficientNet-lite and the normalisations that follow them.
PAIRS = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)


class Network(NamedTuple):
    """A network, the layers that are looked into, and how to run it only that far."""

    model: nn.Module
    layers: dict[str, str]
    up_to: Callable[[nn.Module, str], Callable[[torch.Tensor], torch.Tensor]]


def networks() -> dict[str, Network]:
    """EfficientNet-lite0 and a small convnet, which both take images of 0 to 1."""
    from nbcorr import zoo

    blocks = {"early": 3, "middle": 8, "late": 15}
    return {
        "lite0": Network(
            zoo.efficientnet_lite0(),
            {name: f"network._blocks.{block}" for name, block in blocks.items()},
            _lite_up_to,
        ),
        "convnet": Network(
            small_convnet(), {"early": "b0.2", "middle": "b1.2", "late": "b3.2"}, _convnet_up_to
        ),
    }


def small_convnet() -> nn.Sequential:
    """Four times convolution, batch norm, ReLU and all but once a pooling; not trained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks, widths = [], (3, 32, 64, 128, 256)
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            parts = [conv, nn.BatchNorm2d(after), nn.ReLU()]
            pool = [] if i == 3 else [nn.MaxPool2d(2)]
            blocks.append((f"b{i}", nn.Sequential(*parts, *pool)))
        return nn.Sequential(OrderedDict(blocks)).eval()


def _lite_up_to(model: nn.Module, layer: str) -> Callable[[torch.Tensor], torch.Tensor]:
    net, last = model.network, int(layer.rpartition(".")[2])

    def run(images: torch.Tensor) -> torch.Tensor:
        values = net._swish(net._bn0(net._conv_stem(model.preprocess(images))))
        for block in net._blocks[: last + 1]:
            values = block(values)
        return values

    return run


def _convnet_up_to(model: nn.Module, layer: str) -> Callable[[torch.Tensor], torch.Tensor]:
    last = int(layer[1])
    return nn.Sequential(*list(model)[:last], model[last][:3])


def floor(network: Network, layer: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The network up to a layer as nothing is quicker: folded, channels last, no more weights."""
    model = copy.deepcopy(network.model).requires_grad_(False)
    for module in list(model.modules()):
        for conv, norm in PAIRS:
            if hasattr(module, conv) and hasattr(module, norm):
                folded = fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm))
                setattr(module, conv, folded)
                setattr(module, norm, nn.Identity())
        if isinstance(module, nn.Sequential) and isinstance(module[0], nn.Conv2d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[1] = nn.Identity()
    return network.up_to(model.to(memory_format=torch.channels_last), layer)


# Lucent


class Lucent:
    """The library as its own documentation runs it, on a copy of the model each time.

    A copy, because it leaves its hooks behind, and each picture would make the next one slower.
    """

    def __init__(self, model: nn.Module) -> None:
        from nbcorr.visualization.lucent import imported

        self._library = imported()
        self._model = model

    @property
    def crop(self) -> list[Any]:
        """Its shifts by whole pixels alone."""
        return [self._library.transform.jitter(8)]

    def picture(
        self,
        layer: str,
        unit: int,
        size: int,
        steps: int,
        *,
        transforms: list[Any] | None = None,
        enlarging: bool = False,
        tell: Callable[[], object] = lambda: None,
        seed: int = 0,
    ) -> torch.Tensor:
        """One picture (channels, size, size), its standard transforms if not others.

        ``enlarging``: with its own default, which shows the network 224 by 224 pixels.
        """

        def told(images: torch.Tensor) -> torch.Tensor:
            tell()
            return images

        given = self._library.transform.standard_transforms if transforms is None else transforms
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (image,) = self._library.render.render_vis(
                copy.deepcopy(self._model),
                f"{layer.replace('.', '_')}:{unit}",
                param_f=lambda: self._library.param.image(size),
                transforms=[told, *given],
                thresholds=(steps,),
                preprocess=False,
                progress=False,
                show_image=False,
                fixed_image_size=None if enlarging else size,
            )
        return torch.as_tensor(image[0]).permute(2, 0, 1)


def ours(
    model: nn.Module,
    layer: str,
    units: Sequence[int],
    size: int,
    channels: int = 3,
    **options: Any,
) -> xr.Dataset:
    """Pictures of ``nc.visualize``."""
    import nbcorr as nc

    neurons = [(layer, int(unit)) for unit in units]
    shape = (channels, size, size)
    return nc.visualize(model, neurons, shape, progress=False, cache=False, **options)


def as_tensor(images: xr.DataArray) -> torch.Tensor:
    """Pictures (neuron, y, x, channel) as (n, channels, height, width)."""
    return torch.as_tensor(images.transpose("neuron", "channel", "y", "x").values)


# Looking at pictures


def activations(
    network: Network, layer: str, images: torch.Tensor, pool: str = "mean"
) -> torch.Tensor:
    """Of all units on all images, the mean or the maximum over positions, (n, units)."""
    run = network.up_to(network.model, layer)
    with torch.inference_mode():
        maps = torch.cat([run(part) for part in images.split(16)])
    return maps.mean((2, 3)) if pool == "mean" else maps.amax((2, 3))


def fresh_views(images: torch.Tensor, count: int, seed: int = 0) -> list[torch.Tensor]:
    """Each image seen anew: nearer, turned, shifted, lighter and with more contrast, a little.

    As nobody optimised it to be seen; never beyond its border, where tools fill in differently.
    """
    generator = torch.Generator().manual_seed(seed)
    views = []
    for _ in range(count):
        draw = 2 * torch.rand(6, len(images), generator=generator) - 1
        zoom, angle = 0.85 + 0.03 * draw[0], math.radians(6) * draw[1]
        cosine, sine = zoom * angle.cos(), zoom * angle.sin()
        x, y = 0.05 * draw[2], 0.05 * draw[3]
        theta = torch.stack([cosine, -sine, x, sine, cosine, y], dim=1).view(-1, 2, 3)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        seen = functional.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
        contrast, light = (1 + 0.1 * draw[4], 0.05 * draw[5])
        seen = 0.5 + contrast.view(-1, 1, 1, 1) * (seen - 0.5) + light.view(-1, 1, 1, 1)
        views.append(seen.clamp(0, 1))
    return views


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean, by the bootstrap."""
    draws = np.random.default_rng(seed).integers(len(values), size=(4000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


class Stopwatch:
    """Times of the process at which a step began."""

    def __init__(self, clock: Clock = time.process_time) -> None:
        self._clock = clock
        self.begins: list[float] = []

    def __call__(self) -> None:
        self.begins.append(self._clock())

    def seconds(self) -> list[float]:
        """From each step to the next."""
        return [b - a for a, b in itertools.pairwise(self.begins)]
