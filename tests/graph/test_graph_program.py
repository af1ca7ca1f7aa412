"""Stage programs: exact, cut, shared, and with gradients in the replacements only."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from theseus_fx.graph.program import stage_program, target_program
from theseus_fx.graph.slices import Placement
from theseus_fx.graph.surgery import convert
from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec

INPUTS = [InputSpec(name="image", dtype=torch.float32, shape=("batch", 3, 32, 32))]
TAP = "layer3_0_conv1"


@pytest.fixture(scope="module")
def traced() -> Trace:
    with torch.device("meta"):
        return trace(torchvision.models.resnet18(), INPUTS)


@pytest.fixture(scope="module")
def trained() -> Any:
    torch.manual_seed(0)
    return torchvision.models.resnet18().eval()


@pytest.fixture
def guide(trained: Any) -> Any:
    return copy.deepcopy(trained)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def placed(traced: Trace, modules: Mapping[str, nn.Module]) -> dict[str, Placement]:
    """Replacements that take all inputs of the calls in whose places they stand."""
    calls = {call.node: call for call in traced.calls if call.leaf}
    return {node: Placement(module, calls[node].inputs) for node, module in modules.items()}


def other_conv(model: Any) -> nn.Module:
    conv = model.layer3[0].conv1
    return nn.Conv2d(conv.in_channels, conv.out_channels, 3, stride=2, padding=1, bias=False)


def test_an_identity_replacement_changes_no_bit(traced: Trace, guide: Any, x: torch.Tensor) -> None:
    replacements = {
        TAP: copy.deepcopy(guide.layer3[0].conv1),
        "layer1_0_conv2": copy.deepcopy(guide.layer1[0].conv2),
        "fc": copy.deepcopy(guide.fc),
    }
    taps = ["layer1_0_conv2", "layer2_1_conv1", TAP]
    program = stage_program(
        traced, guide, placed(traced, replacements), taps=taps, guide_output=True, target_output=True
    )
    out = program(x)
    assert all(torch.equal(a, b) for a, b in zip(out.guide_taps, out.target_taps, strict=True))
    assert torch.equal(out.guide_logits, guide(x))
    assert torch.equal(out.target_logits, guide(x))


def test_the_target_side_equals_the_converted_model(traced: Trace, guide: Any, x: torch.Tensor) -> None:
    new = other_conv(guide)
    program = stage_program(
        traced, guide, placed(traced, {TAP: new}), taps=[TAP], guide_output=True, target_output=True
    )
    converted = convert(guide, {"layer3.0.conv1": new}).eval()
    out = program.eval()(x)
    assert torch.equal(out.target_logits, converted(x))
    assert torch.equal(out.guide_logits, guide(x))
    assert not torch.equal(out.guide_logits, out.target_logits)
    assert torch.equal(target_program(traced, guide, placed(traced, {TAP: new}))(x), converted(x))


def test_gradients_reach_the_replacements_and_nothing_else(
    traced: Trace, guide: Any, x: torch.Tensor
) -> None:
    early, late = copy.deepcopy(guide.layer1[0].conv1), other_conv(guide)
    program = stage_program(
        traced,
        guide,
        placed(traced, {"layer1_0_conv1": early, TAP: late}),
        taps=[TAP],
        guide_output=True,
        target_output=True,
    )
    out = program(x)
    assert not out.guide_taps[0].requires_grad
    assert not out.guide_logits.requires_grad
    out.target_logits.square().sum().backward()
    for replacement in (early, late):
        assert replacement.weight.grad is not None
        assert replacement.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in guide.parameters())
    trained = {id(parameter) for parameter in program.parameters() if parameter.requires_grad}
    assert trained == {id(early.weight), id(late.weight)}


def test_the_gradient_is_that_of_the_converted_model(traced: Trace, guide: Any, x: torch.Tensor) -> None:
    early = copy.deepcopy(guide.layer1[0].conv1)
    program = stage_program(
        traced, guide, placed(traced, {"layer1_0_conv1": early}), taps=["layer1_0_conv1"], target_output=True
    )
    program(x).target_logits.square().sum().backward()
    reference = copy.deepcopy(guide).requires_grad_(True)
    reference(x).square().sum().backward()
    torch.testing.assert_close(early.weight.grad, reference.layer1[0].conv1.weight.grad, rtol=1e-5, atol=1e-6)


def test_the_shared_prefix_builds_no_autograd_graph(traced: Trace, guide: Any, x: torch.Tensor) -> None:
    program = stage_program(
        traced, guide, placed(traced, {TAP: other_conv(guide)}), taps=["layer2_1_conv2", TAP]
    )
    out = program(x.requires_grad_(True))
    assert not out.target_taps[0].requires_grad
    assert out.target_taps[0] is out.guide_taps[0]
    assert out.target_taps[1].requires_grad


def test_what_no_tap_needs_is_cut(traced: Trace, guide: Any) -> None:
    program = stage_program(traced, guide, placed(traced, {TAP: other_conv(guide)}), taps=[TAP])
    assert "layer3_0_conv1" in program.executed
    assert not any(
        name.startswith(("layer3_0_bn1", "layer4", "fc", "layer3_0_downsample")) for name in program.executed
    )
    assert program.target_only == {TAP}
    assert program.shared == program.executed - {TAP}
    called = [node.target for node in program.program.graph.nodes if node.op == "call_module"]
    assert len(called) == len(set(called)) + 4  # the four blocks before it call their ReLU twice
    assert "guide.layer3.0.bn1" not in called


def test_the_prefix_runs_once_for_both(traced: Trace, guide: Any, x: torch.Tensor) -> None:
    seen: list[str] = []
    for name, module in guide.named_modules():
        module.register_forward_hook(lambda *_, name=name: seen.append(name))
    program = stage_program(
        traced,
        guide,
        placed(traced, {TAP: other_conv(guide)}),
        taps=[TAP],
        guide_output=True,
        target_output=True,
    )
    program(x)
    assert seen.count("layer1.0.conv1") == 1
    assert seen.count("layer3.0.downsample.0") == 1
    assert seen.count("layer3.0.conv2") == 2
    assert seen.count("layer3.0.conv1") == 1
    assert {"layer1_0_conv1", "layer3_0_downsample_0"} <= program.shared
    assert {"layer3_0_conv2", TAP, "fc"} <= program.target_only


def test_modules_keep_their_identity_and_the_guide_its_mode(traced: Trace, guide: Any) -> None:
    new = nn.Sequential(other_conv(guide), nn.Dropout(0.5))
    program = stage_program(traced, guide, placed(traced, {TAP: new}), taps=[TAP], target_output=True)
    assert program.program.get_submodule(f"replacements.{TAP}") is new
    assert program.program.get_submodule("guide.layer1.0.bn1") is guide.layer1[0].bn1
    program.train()
    assert new[1].training
    assert not guide.layer1[0].bn1.training
    program.eval()
    assert not new[1].training


def test_taps_come_in_the_order_asked_for(traced: Trace, guide: Any, x: torch.Tensor) -> None:
    program = stage_program(traced, guide, {}, taps=["layer2_0_conv1", "conv1"])
    out = program(x)
    assert [tuple(tap.shape) for tap in out.guide_taps] == [(3, 128, 4, 4), (3, 64, 16, 16)]
    assert out.guide_logits is None
    assert out.target_logits is None


def test_target_program_gives_taps_of_the_hybrid(traced: Trace, guide: Any, x: torch.Tensor) -> None:
    new = other_conv(guide)
    program = target_program(traced, guide, placed(traced, {TAP: new}), taps=["layer2_1_relu_1", TAP])
    out = program(x)
    assert torch.equal(out.taps[1], new(out.taps[0]))
    assert torch.equal(out.output, convert(guide, {"layer3.0.conv1": new})(x))
    assert guide.conv1.weight.requires_grad


def test_a_part_of_several_outputs_and_inputs() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y, _ = self.mha(x, x, x + 1, need_weights=False)
            return y + x

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
            return (x + shifted) / 2

    model = Attention().eval()
    traced = trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", 4, 8))])
    call = next(call for call in traced.calls if call.path == "mha")
    assert call.inputs == ("x", "add")
    assert call.node is not None
    x = torch.randn(3, 4, 8)
    replaced = target_program(traced, model, placed(traced, {call.node: Mean()}))
    torch.testing.assert_close(replaced(x), (x + x + 1) / 2 + x)


def test_what_is_no_leaf_call_cannot_be_replaced(traced: Trace, guide: Any) -> None:
    with pytest.raises(ValueError, match="output of no leaf call"):
        stage_program(traced, guide, {"add": Placement(nn.Identity(), ("relu",))}, taps=["add"])


@pytest.mark.parametrize("source", [TAP, "layer4_0_conv1", "nowhere"])
def test_what_comes_later_cannot_flow_into_a_replacement(traced: Trace, guide: Any, source: str) -> None:
    with pytest.raises(ValueError, match=f"`{source}` is no node before `{TAP}`"):
        stage_program(traced, guide, {TAP: Placement(nn.Identity(), (source,))}, taps=[TAP])
