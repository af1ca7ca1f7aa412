"""Two networks with nothing in common but their inputs: values, gradients, modes and batch statistics."""

from __future__ import annotations

import copy

import pytest
import torch

from theseus_fx.graph.regions import regions
from theseus_fx.graph.side_by_side import SideBySide, side_by_side
from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.models.zoo import SmallResNet

INPUT = InputSpec(name="x", dtype=torch.float32, shape=("batch", 3, 8, 8))
BLOCKS = ["layer1_0_relu_1", "layer2_0_relu_1", "layer3_0_relu_1"]


@pytest.fixture
def guide() -> SmallResNet:
    torch.manual_seed(0)
    return SmallResNet(width=4)


@pytest.fixture
def target() -> SmallResNet:
    torch.manual_seed(1)
    return SmallResNet(width=2)


def program(guide: SmallResNet, target: SmallResNet, *trained: int) -> SideBySide:
    """The stage that trains those blocks and compares the last of them."""
    of_target = trace(target, [INPUT])
    cut = regions(of_target, target, BLOCKS).of_taps
    target.requires_grad_(False)
    for index in trained:
        for name in cut[index].parameters:
            target.get_parameter(name).requires_grad_(True)
    return side_by_side(
        (trace(guide, [INPUT]), guide),
        (of_target, target),
        guide_taps=[BLOCKS[trained[-1]]],
        target_taps=[BLOCKS[trained[-1]]],
        trained=frozenset(name for index in trained for name in cut[index].nodes),
    )


def test_values_gradients_and_statistics_are_those_by_hand(guide: SmallResNet, target: SmallResNet) -> None:
    x = torch.randn(6, 3, 8, 8)
    twin = copy.deepcopy(target)
    outputs = program(guide, target, 1)(x)
    guide.eval()
    with torch.no_grad():
        expected = guide.layer2(guide.layer1(guide.relu(guide.bn1(guide.conv1(x)))))
    assert torch.equal(outputs.guide_taps[0], expected)

    twin.eval()
    with torch.no_grad():
        entry = twin.layer1(twin.relu(twin.bn1(twin.conv1(x))))
    twin.layer2.train()
    found = twin.layer2(entry)
    assert torch.equal(outputs.target_taps[0], found)
    for value in (outputs.target_taps[0], found):
        value.square().sum().backward()
    for name, parameter in target.named_parameters():
        other = twin.get_parameter(name)
        if name.startswith("layer2"):
            assert torch.equal(parameter.grad, other.grad)
        else:
            assert parameter.grad is None
    for name, buffer in target.named_buffers():
        assert torch.equal(buffer, twin.get_buffer(name)), name
    assert not torch.equal(target.get_buffer("layer2.0.bn1.running_mean"), torch.zeros(4))
    assert torch.equal(target.get_buffer("layer1.0.bn1.running_mean"), torch.zeros(2))
    assert all(p.grad is None for p in guide.parameters())


def test_the_first_stage_has_the_stem_and_later_blocks_do_not_run(
    guide: SmallResNet, target: SmallResNet
) -> None:
    seen: list[str] = []
    made = program(guide, target, 0)
    for net, role in ((guide, "guide"), (target, "target")):
        for name, module in net.named_modules():
            module.register_forward_hook(lambda *_, name=f"{role}.{name}": seen.append(name))
    made(torch.randn(4, 3, 8, 8))
    assert {"guide.conv1", "target.conv1", "target.layer1.0.conv2"} <= set(seen)
    assert not any("layer2" in name or name.endswith("fc") for name in seen)
    assert target.bn1.training
    made.eval()
    assert not target.bn1.training


def test_earlier_blocks_build_no_graph_and_later_stages_train_them_together(
    guide: SmallResNet, target: SmallResNet
) -> None:
    x = torch.randn(4, 3, 8, 8)
    alone = program(guide, target, 2)(x)
    alone.target_taps[0].sum().backward()
    assert target.conv1.weight.grad is None
    program(guide, target, 0, 1, 2)(x).target_taps[0].square().sum().backward()
    assert target.conv1.weight.grad.abs().sum() > 0
    assert target.fc.weight.grad is None
