"""torchvision beside a torch that its compiled part was not built for."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr
from io import StringIO

import torch

# What is defined lives as long as this.
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")


def import_torchvision() -> None:
    """torchvision, also where its compiled part was built for another torch than there is."""
    try:
        with redirect_stderr(StringIO()):
            import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            _OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
