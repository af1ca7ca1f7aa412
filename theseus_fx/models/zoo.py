"""The networks that come with the package: small enough to train on a laptop in a minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import cast

from torch import Tensor, nn
from torchvision.models import VisionTransformer


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut around them (He et al. 2016, figure 2).

    Maps (b, channels, h, w) to (b, width, ceil(h / stride), ceil(w / stride)).
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))
            if stride != 1 or channels != width
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block applied to x, (b, channels, h, w)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return cast("Tensor", self.relu(out + shortcut))


def _stage(channels: int, width: int, stride: int, blocks: int) -> nn.Sequential:
    """Blocks of one width, of which the first changes the shape."""
    rest = (BasicBlock(width, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(channels, width, stride), *rest)


class SmallResNet(nn.Module):
    """A residual network for small images: a stem and three stages of `blocks` basic blocks each.

    The stages have `width`, 2 `width` and 4 `width` channels and strides 1, 2 and 2; one block a stage makes
    nine convolutions. Module names are torchvision's (`conv1`, `layer1.0.conv1`, `layer2.0.downsample.0`,
    `fc`). Maps images (b, channels, h, w) of any size to logits (b, classes). Weights start as PyTorch's
    defaults.
    """

    def __init__(self, width: int = 8, classes: int = 10, channels: int = 3, blocks: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, 1, blocks)
        self.layer2 = _stage(width, 2 * width, 2, blocks)
        self.layer3 = _stage(2 * width, 4 * width, 2, blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, classes) of images x, (b, channels, h, w)."""
        x = self.relu(self.bn1(self.conv1(x)))  # (b, width, h, w)
        x = self.layer1(x)  # (b, width, h, w)
        x = self.layer2(x)  # (b, 2 width, h / 2, w / 2)
        x = self.layer3(x)  # (b, 4 width, h / 4, w / 4)
        return cast("Tensor", self.fc(self.avgpool(x).flatten(1)))


def small_vit(
    size: int = 32, patch: int = 4, width: int = 64, depth: int = 3, heads: int = 2, classes: int = 10
) -> nn.Module:
    """torchvision's vision transformer (Dosovitskiy et al. 2021) of any size, with `nn.MultiheadAttention`.

    Maps images (b, 3, size, size) to logits (b, classes); the hidden layers of its perceptrons have 4 `width`
    features. Raises ValueError where `patch` does not divide `size`, or `heads` not `width`.
    """
    if size % patch or width % heads:
        raise ValueError(f"patches of {patch} do not tile {size}, or {heads} heads do not share {width}")
    return VisionTransformer(
        image_size=size,
        patch_size=patch,
        num_layers=depth,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=4 * width,
        num_classes=classes,
    )


ZOO: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"small_resnet": SmallResNet, "small_vit": small_vit}
)
"""What a guide can be called without a library in front of its name."""
