"""Programs in which a whole region of operations is replaced: values and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.graph.program import stage_program, target_program
from theseus_fx.graph.slices import Placement, slices
from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.models.zoo import SmallResNet

INPUT = InputSpec(name="x", dtype=torch.float32, shape=("batch", 3, 16, 16))
OUTPUT, ENTRY = "layer2_0_relu_1", "layer1_0_relu_1"


def placed(module: nn.Module) -> Placement:
    return Placement(module, (ENTRY,), region=True)


def guide() -> SmallResNet:
    torch.manual_seed(0)
    return SmallResNet(width=4).eval()


def test_a_copy_in_the_place_of_a_region_changes_no_value_and_no_gradient() -> None:
    model = guide()
    block = copy.deepcopy(model.get_submodule("layer2.0"))
    traced = trace(model, [INPUT])
    program = target_program(traced, model, {OUTPUT: placed(block)}, taps=[OUTPUT])
    x = torch.randn(5, 3, 16, 16, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    output, (tap,) = program(x)
    expected = model(y)
    assert torch.equal(output, expected)
    assert tap.shape == (5, 8, 8, 8)
    (output**2).mean().backward()
    (expected**2).mean().backward()
    assert torch.equal(x.grad, y.grad)
    for name, parameter in block.named_parameters():
        twin = model.get_parameter(f"layer2.0.{name}")
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, twin.grad, rtol=1e-5, atol=1e-8), name


def test_a_stage_taps_the_region_in_guide_and_target() -> None:
    class Half(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x) / 2

    model = guide()
    block = copy.deepcopy(model.get_submodule("layer2.0"))
    traced = trace(model, [INPUT])
    program = stage_program(traced, model, {OUTPUT: placed(Half(block))}, taps=[OUTPUT]).eval()
    outputs = program(torch.randn(5, 3, 16, 16))
    assert torch.equal(outputs.guide_taps[0], outputs.target_taps[0] * 2)
    assert not outputs.guide_taps[0].requires_grad
    assert outputs.target_taps[0].requires_grad


def test_the_target_runs_nothing_of_the_region() -> None:
    traced = trace(guide(), [INPUT])
    pieces = slices(traced, {OUTPUT: placed(nn.Identity())}, guide_wants=(), target_wants=[traced.output])
    assert not any(name.startswith("layer2_0") for name in pieces.executed)
    assert pieces.parts == {OUTPUT: (ENTRY,)}


def test_an_output_that_is_neither_of_a_leaf_nor_of_a_region_is_refused() -> None:
    traced = trace(guide(), [INPUT])
    with pytest.raises(ValueError, match="output of no leaf call"):
        slices(
            traced,
            {"add_1": Placement(nn.Identity(), (ENTRY,))},
            guide_wants=(),
            target_wants=[traced.output],
        )
