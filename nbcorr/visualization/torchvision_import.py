"""torchvision beside a torch that its compiled part was not built for."""

from __future__ import annotations

import sys
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import torch

# What is defined lives as long as this.
_operators: list[torch.library.Library] = []


def import_torchvision() -> Any:
    """The module torchvision, also where its compiled part was built for another torch.

    Beside a torch without CUDA the usual torchvision fails to import, because operators that it
    describes to torch were never loaded. They are then declared, without a body, and it is
    imported again: models and transforms work, what needs the operators says that it does not.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    try:
        with redirect_stderr(StringIO()):
            import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        _operators.append(library)
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision
