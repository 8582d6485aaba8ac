"""What pictures of ``nc.visualize`` are worth, beside those of Lucent, horama and real exemplars.

Random channels of a middle layer of EfficientNet-lite0, all tools at equal steps and size:

reached   the largest activation of the picture relative to that of the best of all photograph
          crops; clean, and under views that nobody optimised for. Clean alone rewards noise.
2AFC      of two crops that are no exemplars, one of the tenth that drives the neuron most (by the
          mean over positions) and one of the tenth that drives it least: how often is the first
          the one that is more like the picture (share of all such pairs)? Judged by cosines of
          the last block's pooled outputs, a machine in the place of people: a later layer of the
          same net. Once the crops come from the photographs that exemplars come from, once from
          others, which is harder.
transfer  pictures of the ten classes of a digit net, shown to two nets trained from other seeds:
          the probability of the class.

horama's is magnitude-constrained (MaCo), with the magnitudes of the same photographs as ours; it
optimises a picture four times as wide, of which the middle is judged.

    python bench/visualize_quality.py [--json PATH] [--channels N] [--steps S] [--size PX]

About five minutes. Needs the extras ``imagenet`` and ``lucent``; horama (``pip install --no-deps
horama==0.3.0``) is left out where it is missing.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import chdir
from typing import TYPE_CHECKING, Any

from _figures import Figures, command

if TYPE_CHECKING:
    import numpy as np
    import torch

N_CROPS = 560
VIEWS = 8
EXEMPLARS = 9
TENTH = 0.1
WIDER = 4
OURS = {
    "ours": {},
    "ours, crop": {"transforms": "crop"},
    "ours, pixel": {"parametrization": "pixel"},
    "ours, maco": {"parametrization": "maco"},
    "ours, cppn": {"parametrization": "cppn"},
}


class Photos:
    """Crops of photographs.

    Attributes
    ----------
    images : tensor, shape (n, 3, size, size)
    asked : dict of tensor of bool, shape (n,)
        Those that are asked about, in two ways; exemplars are among the others.
    """

    def __init__(self, size: int) -> None:
        import numpy as np
        import torch

        from nbcorr import zoo

        data = zoo.photos(N_CROPS, size)
        self.images = torch.as_tensor(data["image"].values)
        names = data["photo"].values
        draws = torch.rand(N_CROPS, generator=torch.Generator().manual_seed(0))
        self.asked = {
            "same photographs": draws < 0.5,
            "other photographs": torch.as_tensor(np.isin(names, np.unique(names)[::2])),
        }


# Pictures


def pictures_of_all(
    figures: Figures, network: Any, layer: str, units: Sequence[int], photos: Photos, steps: int
) -> dict[str, torch.Tensor]:
    """Of every tool that is installed, (units, 3, size, size)."""
    import _visualizers as v
    import torch

    from nbcorr.visualization.colours import image_statistics

    size = photos.images.shape[-1]
    statistics = image_statistics(photos.images)
    found = {}
    for name, options in OURS.items():
        learnt = {"statistics": statistics} if "maco" in name else {}
        seen = v.ours(network.model, layer, units, size, steps=steps, **options, **learnt)
        found[name] = v.as_tensor(seen["image"].sel(neuron=[(layer, int(u)) for u in units]))
    lucent = v.Lucent(network.model)
    found["lucent"] = torch.stack([lucent.picture(layer, int(u), size, steps) for u in units])
    if importlib.util.find_spec("horama") and importlib.util.find_spec("einops"):
        magnitude = statistics["magnitude"].values
        found["horama"] = pictures_of_horama(network, layer, units, size, steps, magnitude)
    else:
        figures.leave_out("horama", "not installed, left out")
    noise = torch.rand(found["ours"].shape, generator=torch.Generator().manual_seed(0))
    return found | {"noise": noise}


def pictures_of_horama(
    network: Any, layer: str, units: Sequence[int], size: int, steps: int, magnitude: np.ndarray
) -> torch.Tensor:
    import horama
    import numpy as np
    import torch
    from torchvision.ops import roi_align

    # Its boxes are smaller than what is sampled of them, which means one sample a place; said so,
    # torchvision's own Python needs no memory for more.
    horama.common.roi_align = functools.partial(roi_align, sampling_ratio=1)
    run = network.up_to(network.model, layer)
    wide, margin = WIDER * size, (WIDER * size - size) // 2
    found = []
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        # Where it would put the magnitudes that it downloads.
        np.save("spectrum_decorrelated.npy", magnitude)
        for unit in units:
            torch.manual_seed(0)
            image, _ = horama.maco(
                lambda images, unit=int(unit): run(images)[:, unit].mean(),
                total_steps=steps,
                image_size=wide,
                model_input_size=size,
                values_range=(0, 1),
                device="cpu",
            )
            found.append(image.detach()[:, margin : margin + size, margin : margin + size])
    return torch.stack(found)


# How much they drive the neuron


def reached(
    figures: Figures,
    network: Any,
    layer: str,
    units: Sequence[int],
    photos: Photos,
    pictures: dict[str, torch.Tensor],
) -> None:
    import _visualizers as v
    import torch

    best = v.activations(network, layer, photos.images, "max").amax(0)[list(units)]
    rows = torch.arange(len(units))

    def relative(images: torch.Tensor) -> np.ndarray:
        return (v.activations(network, layer, images, "max")[rows, list(units)] / best).numpy()

    means = {}
    for name, images in pictures.items():
        for kind in ("clean", "fresh"):
            views = [images] if kind == "clean" else v.fresh_views(images, VIEWS)
            values = sum(relative(view) for view in views) / len(views)
            low, high = v.interval(values)
            means[name, kind] = float(values.mean())
            how = f"mean of {len(units)} channels, 95 % interval {low:.2f} to {high:.2f}"
            figures.add(f"reached / best exemplar, {kind}, {name}", means[name, kind], None, how)
    for peer in ("lucent", "horama"):
        for kind in ("clean", "fresh"):
            if (peer, kind) in means:
                ratio = means["ours", kind] / means[peer, kind]
                figures.add(f"reached, ours / {peer}, {kind}", ratio, 1.0, "of the means above")


# How much they tell of it


def told(
    figures: Figures,
    network: Any,
    layer: str,
    units: Sequence[int],
    photos: Photos,
    pictures: dict[str, torch.Tensor],
) -> None:
    import _visualizers as v
    import numpy as np

    # By what pictures are made for: the largest position favours crops of high contrast.
    activation = v.activations(network, layer, photos.images)[:, list(units)]
    encode = encoder(network, photos)
    crops = encode(photos.images)
    shown = {name: encode(images)[:, None] for name, images in pictures.items()}
    for whose, asked in photos.asked.items():
        order = activation[~asked].argsort(0, descending=True)
        for count in (1, EXEMPLARS):
            name = "best exemplar" if count == 1 else f"{count} exemplars"
            shown[name] = crops[~asked][order[:count].T]
        for name, codes in shown.items():
            shares = np.array(
                [
                    share_right(crops[asked] @ code.T, activation[asked, at])
                    for at, code in enumerate(codes)
                ]
            )
            low, high = v.interval(shares)
            how = f"{len(units)} channels, 95 % interval {low:.2f} to {high:.2f}; chance .5"
            figures.add(f"2AFC, {whose}, {name}", float(shares.mean()), None, how)


def encoder(network: Any, photos: Photos) -> Callable[[torch.Tensor], torch.Tensor]:
    """Images as unit vectors: pooled outputs of the last block, less those of photographs."""
    import _visualizers as v
    from torch.nn import functional

    last = network.layers["late"]
    mean = v.activations(network, last, photos.images).mean(0)
    return lambda images: functional.normalize(v.activations(network, last, images) - mean, dim=1)


def share_right(similarity: torch.Tensor, activation: torch.Tensor) -> float:
    """Of all pairs of one image that drives the neuron and one that does not.

    ``similarity`` (images, pictures): to each of the pictures shown, of which the mean counts.
    """
    count = max(1, round(TENTH * len(activation)))
    order = activation.argsort()
    likeness = similarity.mean(1)
    least, most = likeness[order[:count]], likeness[order[-count:]]
    return float((most[:, None] > least[None, :]).float().mean())


# Whether other networks see it too


def transfer(figures: Figures, steps: int) -> None:
    import _visualizers as v
    import numpy as np
    import torch

    from nbcorr import zoo
    from nbcorr.visualization.lucent import render_lucent

    first, *others = (zoo.digit_convnet(seed) for seed in range(3))
    layer = list(first.named_modules())[-1][0]
    size = 8
    pictures = {
        name: v.as_tensor(
            v.ours(first, layer, range(10), size, channels=1, steps=steps, transforms=name)["image"]
        )
        for name in ("none", "crop", "robust")
    }
    for transforms in ("none", "robust"):
        options = {"shape": (1, size, size), "steps": steps, "transforms": transforms}
        theirs = [render_lucent(first, (layer, digit), **options).images for digit in range(10)]
        pictures[f"lucent, {transforms}"] = torch.as_tensor(np.concatenate(theirs)).movedim(-1, 1)
    real = zoo.digits("test").isel(sample=slice(300))
    how = "probability of the class, two nets of other seeds, ten pictures"
    for name, images in pictures.items():
        label = name if name.startswith("lucent") else f"ours, {name}"
        value = probability(others, images, torch.arange(10))
        figures.add(f"transfer across seeds, {label}", value, None, how)
    labels = torch.as_tensor(real["label"].values).long()
    value = probability(others, torch.as_tensor(real["image"].values), labels)
    figures.add("transfer across seeds, real digits", value, None, "300 of the test set")


def probability(networks: Sequence[Any], images: torch.Tensor, labels: torch.Tensor) -> float:
    import torch

    with torch.inference_mode():
        found = [net(images).softmax(1)[torch.arange(len(labels)), labels] for net in networks]
    return float(torch.stack(found).mean())


def measure(figures: Figures, asked: argparse.Namespace) -> None:
    # What horama and Lucent take from torchvision runs without a compiler and without bars.
    os.environ |= {"TORCHDYNAMO_DISABLE": "1", "TQDM_DISABLE": "1"}
    import _visualizers as v
    import numpy as np
    import torch

    from nbcorr.visualization.torchvision_import import import_torchvision

    torch.set_num_threads(1)
    import_torchvision()
    network = v.networks()["lite0"]
    layer = network.layers["middle"]
    photos = Photos(asked.size)
    n_units = v.activations(network, layer, photos.images[:1]).shape[1]
    units = np.random.default_rng(0).choice(n_units, min(asked.channels, n_units), replace=False)
    units = [int(unit) for unit in units]
    pictures = pictures_of_all(figures, network, layer, units, photos, asked.steps)
    reached(figures, network, layer, units, photos, pictures)
    told(figures, network, layer, units, photos, pictures)
    transfer(figures, 2 * asked.steps)


def main(argv: Sequence[str] | None = None) -> None:
    command(__doc__, measure, argv, {"channels": 12, "steps": 64, "size": 96})


if __name__ == "__main__":
    main()
