"""The small network: its layout, names and shapes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from theseus_fx.models.zoo import ZOO, SmallResNet


def test_nine_convolutions_under_torchvisions_names() -> None:
    convolutions = [name for name, module in SmallResNet().named_modules() if isinstance(module, nn.Conv2d)]
    assert convolutions == [
        "conv1",
        "layer1.0.conv1",
        "layer1.0.conv2",
        "layer2.0.conv1",
        "layer2.0.conv2",
        "layer2.0.downsample.0",
        "layer3.0.conv1",
        "layer3.0.conv2",
        "layer3.0.downsample.0",
    ]


def test_shapes() -> None:
    model = SmallResNet(width=4, classes=7, channels=1)
    sizes: dict[str, tuple[int, ...]] = {}
    for name in ("conv1", "layer1", "layer2", "layer3", "avgpool"):
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: sizes.update({name: tuple(output.shape)})
        )
    assert model(torch.zeros(2, 1, 15, 16)).shape == (2, 7)
    assert sizes == {
        "conv1": (2, 4, 15, 16),
        "layer1": (2, 4, 15, 16),
        "layer2": (2, 8, 8, 8),
        "layer3": (2, 16, 4, 4),
        "avgpool": (2, 16, 1, 1),
    }


def test_a_block_adds_its_shortcut() -> None:
    model = SmallResNet(width=4).eval()
    block = model.layer1[0]
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(block(x), x)


def test_parameters_of_the_default() -> None:
    stem, first, second, third, head = 72 + 16, 1184, 3680, 14528, 330
    count = sum(p.numel() for p in SmallResNet(width=8, classes=10, channels=1).parameters())
    assert count == stem + first + second + third + head
    assert ZOO["small_resnet"] is SmallResNet


def test_blocks_of_each_stage() -> None:
    model = SmallResNet(width=2, blocks=3)
    assert [len(stage) for stage in (model.layer1, model.layer2, model.layer3)] == [3, 3, 3]
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


def test_a_vision_transformer_of_any_size() -> None:
    model = ZOO["small_vit"](size=16, patch=8, width=12, depth=2, heads=3, classes=5)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    assert sum(isinstance(module, nn.MultiheadAttention) for module in model.modules()) == 2
    with pytest.raises(ValueError, match="patches of 5 do not tile 16"):
        ZOO["small_vit"](size=16, patch=5)
