"""The guide's graph with regions replaced: the same values, names and gradients as the guide's own."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.graph.rewritten import free_name, rewritten
from theseus_fx.graph.slices import Placement
from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.models.zoo import SmallResNet

INPUT = InputSpec(name="x", dtype=torch.float32, shape=("batch", 3, 16, 16))
OUTPUT, ENTRY = "layer2_0_relu_1", "layer1_0_relu_1"


@pytest.fixture
def guide() -> SmallResNet:
    torch.manual_seed(0)
    return SmallResNet(width=4).eval()


@pytest.fixture
def traced(guide: SmallResNet) -> Trace:
    return trace(guide, [INPUT])


def test_nothing_replaced_is_the_guide_with_all_its_names(guide: SmallResNet, traced: Trace) -> None:
    model = rewritten(traced, guide, {}, {})
    x = torch.randn(3, 3, 16, 16)
    assert torch.equal(model(x), guide(x))
    assert model.state_dict().keys() == guide.state_dict().keys()
    assert {id(p) for p in model.parameters()}.isdisjoint(id(p) for p in guide.parameters())


def test_a_copy_of_a_block_in_the_place_of_its_operations(guide: SmallResNet, traced: Trace) -> None:
    block = copy.deepcopy(guide.get_submodule("layer2.0"))
    replacement = {OUTPUT: Placement(block, (ENTRY,), region=True)}
    model = rewritten(traced, guide, replacement, {OUTPUT: "replaced.block_1"})
    x = torch.randn(3, 3, 16, 16)
    assert torch.equal(model(x), guide(x))
    expected = {name.replace("layer2.0.", "replaced.block_1.") for name in guide.state_dict()}
    assert set(model.state_dict()) == expected
    for net in (model, guide):
        net.train().requires_grad_(True)
        net(x).square().sum().backward()
    for name, parameter in guide.named_parameters():
        twin = model.get_parameter(name.replace("layer2.0.", "replaced.block_1."))
        torch.testing.assert_close(twin.grad, parameter.grad, rtol=1e-5, atol=1e-6)
    for name, buffer in guide.named_buffers():
        assert torch.equal(buffer, model.get_buffer(name.replace("layer2.0.", "replaced.block_1.")))


def test_it_is_copied_and_saved_whole(guide: SmallResNet, traced: Trace) -> None:
    model = rewritten(traced, guide, {}, {})
    x = torch.randn(2, 3, 16, 16)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    assert torch.equal(copy.deepcopy(model).eval()(x), guide(x))
    assert torch.equal(torch.load(buffer, weights_only=False).eval()(x), guide(x))


def test_buffers_stay_in_or_out_of_the_state() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kept", torch.tensor([2.0]))
            self.register_buffer("derived", torch.tensor([3.0]), persistent=False)

        def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as modules of torch call it
            return input * self.kept + self.derived

    net = Net()
    made = rewritten(
        trace(net, [InputSpec(name="input", dtype=torch.float32, shape=("batch", 2))]), net, {}, {}
    )
    assert list(made.state_dict()) == ["kept"]
    assert torch.equal(made(torch.ones(2, 2)), torch.full((2, 2), 5.0))


def test_a_name_that_the_guide_has_is_not_taken() -> None:
    net = nn.Module()
    net.replaced = nn.Identity()
    assert free_name(net, "replaced") == "replaced_"
    assert free_name(net, "other") == "other"
