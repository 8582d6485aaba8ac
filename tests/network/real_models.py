"""Real architectures built from their configuration, small and with random weights.

Sizes are chosen so that units, heads, tokens and places are all different in number: an axis taken
for another one shows.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn

# Schemas live as long as the library object that defined them.
_KEPT: list[torch.library.Library] = []


def torchvision() -> ModuleType:
    """torchvision, also where its compiled part does not fit this torch (a CPU one)."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(library)
    return importlib.import_module("torchvision")


torchvision()


def images(channels: int = 3, size: int = 40, count: int = 5) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def timm_model(name: str, **options: Any) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, num_classes=6, **options)


def timm_vit(**options: Any) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": 40, "patch_size": 8, "embed_dim": 36, "depth": 2, "num_heads": 3}
    return VisionTransformer(**sizes, num_classes=6, **options)


def timm_swin() -> nn.Module:
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        img_size=80,
        patch_size=4,
        window_size=5,
        embed_dim=12,
        depths=(2, 1),
        num_heads=(2, 3),
        num_classes=6,
    )


def timm_convnext() -> nn.Module:
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(depths=(1, 1, 1, 1), dims=(12, 18, 22, 26), num_classes=6)


def torchvision_resnet() -> nn.Module:
    return torchvision().models.resnet18(num_classes=6)


def torchvision_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(12, 18, 1), CNBlockConfig(18, None, 1)], num_classes=6)


def torchvision_vit() -> nn.Module:
    from torchvision.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        image_size=40,
        patch_size=8,
        num_layers=2,
        num_heads=3,
        hidden_dim=36,
        mlp_dim=50,
        num_classes=6,
    )


_TINY = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3}
_PATCHES = {"image_size": 40, "patch_size": 8, "num_labels": 6}


def hf_vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(**_TINY, **_PATCHES, intermediate_size=50))


def hf_deit() -> nn.Module:
    from transformers import DeiTConfig, DeiTModel

    return DeiTModel(DeiTConfig(**_TINY, **_PATCHES, intermediate_size=50))


def hf_dinov2() -> nn.Module:
    from transformers import Dinov2Config, Dinov2ForImageClassification

    return Dinov2ForImageClassification(Dinov2Config(**_TINY, **_PATCHES))


def hf_bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(**_TINY, intermediate_size=50, vocab_size=60, num_labels=6)
    )


def hf_gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    return GPT2ForSequenceClassification(
        GPT2Config(
            **{"n_embd": 36, "n_layer": 2, "n_head": 3, "n_positions": 20, "vocab_size": 60},
            **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "num_labels": 6},
        )
    )


class Recurrent(nn.Module):
    """A recurrent net over sequences, and a classifier of its last step."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.rnn = kind(4, 10, batch_first=True, **options)
        self.head = nn.Linear(10 * (1 + self.rnn.bidirectional), 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class Encoder(nn.Module):
    """torch's own transformer encoder over sequences with padding."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 2, 20, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(12, 6)

    def forward(self, x: torch.Tensor, padding: torch.Tensor | None = None) -> torch.Tensor:
        return self.head(self.encoder(x, src_key_padding_mask=padding).mean(1))


class Generator(nn.Sequential):
    """DCGAN: a latent vector in, an image out."""

    def __init__(self) -> None:
        super().__init__(
            nn.Unflatten(1, (16, 1, 1)),
            nn.ConvTranspose2d(16, 12, 5, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(12, 7, 4, 2, 1, bias=False),
            nn.BatchNorm2d(7),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(7, 3, 4, 2, 1),
            nn.Tanh(),
        )


class Bands(nn.Module):
    """Six bands in; one normalisation and one activation used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(6, 9, 3, padding=1)
        self.norm = nn.BatchNorm2d(9)
        self.act = nn.LeakyReLU(inplace=True)
        self.second = nn.Conv2d(9, 9, 3, stride=2)
        self.head = nn.Linear(9, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.first(x)))
        x = self.act(self.norm(self.second(x)))
        return self.head(x.mean((2, 3)))


class Tied(nn.Module):
    """One block under two names, run under both."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(8, 8), nn.GELU())
        self.decode = self.encode
        self.head = nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.decode(self.encode(x)))


def vectors(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def token_ids(count: int = 5, length: int = 11) -> torch.Tensor:
    return torch.randint(1, 60, (count, length), generator=torch.Generator().manual_seed(0))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "timm resnet": (lambda: timm_model("resnet10t"), images),
    "timm mobilenetv3": (lambda: timm_model("mobilenetv3_small_050"), images),
    "timm efficientnet_lite0": (lambda: timm_model("efficientnet_lite0"), images),
    "timm vit": (timm_vit, images),
    "timm vit without a class token": (
        lambda: timm_vit(class_token=False, global_pool="avg"),
        images,
    ),
    "timm swin": (timm_swin, lambda: images(size=80)),
    "timm convnext": (timm_convnext, lambda: images(size=64)),
    "torchvision resnet18": (torchvision_resnet, images),
    "torchvision convnext": (torchvision_convnext, images),
    "torchvision vit": (torchvision_vit, images),
    "transformers vit": (hf_vit, images),
    "transformers deit": (hf_deit, images),
    "transformers dinov2": (hf_dinov2, images),
    "transformers bert": (hf_bert, lambda: {"input_ids": token_ids()}),
    "transformers gpt2": (hf_gpt2, lambda: {"input_ids": token_ids()}),
    "lstm": (lambda: Recurrent(nn.LSTM, num_layers=2), lambda: vectors(5, 7, 4)),
    "gru in both directions": (
        lambda: Recurrent(nn.GRU, bidirectional=True),
        lambda: vectors(5, 7, 4),
    ),
    "rnn": (lambda: Recurrent(nn.RNN), lambda: vectors(5, 7, 4)),
    "transformer encoder": (Encoder, lambda: vectors(5, 7, 12)),
    "generator": (Generator, lambda: vectors(5, 16)),
    "six bands": (Bands, lambda: images(6, 14)),
    "tied": (Tied, lambda: vectors(5, 8)),
}


def build(name: str) -> tuple[nn.Module, Any]:
    """A model, in eval mode, and a batch it takes."""
    make, data = MODELS[name]
    torch.manual_seed(0)
    net = make().eval()
    # Fresh running statistics would make eval-mode batch norms do nothing.
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net, data()
