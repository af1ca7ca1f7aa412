"""Parts that the guide feeds: one pass of the guide, no further than needed, and parts that never meet."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.graph.fed import FedStage, fed_program
from theseus_fx.graph.sliced import sliced
from theseus_fx.graph.slices import Compared, Placement
from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec

INPUTS = [InputSpec(name="x", dtype=torch.float32, shape=("batch", 6))]


class Net(nn.Module):
    """Four maps in a row, with dropout that a frozen guide does not apply."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(6, 6) for _ in range(4))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.d(torch.relu(self.c(torch.relu(self.b(self.drop(torch.relu(self.a(x))))))))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def traced(net: Net) -> Trace:
    return trace(net, INPUTS)


def stage(traced: Trace, node: str, module: nn.Module) -> FedStage:
    source = traced.node(node).all_input_nodes[0].name
    return FedStage(replacements={node: Placement(module, (source,))}, taps=(Compared(node, node),))


def test_two_stages_over_one_pass_are_each_as_if_alone(net: Net, traced: Trace) -> None:
    x = torch.randn(5, 6)
    modules = {"a": nn.Linear(6, 6), "c": nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))}
    twins = copy.deepcopy(modules)
    seen: list[str] = []
    for name, child in net.named_children():
        child.register_forward_hook(lambda *_, name=name: seen.append(name))
    program = fed_program(traced, net, [stage(traced, node, module) for node, module in modules.items()])
    outputs = program(x, before=lambda index: torch.manual_seed(index))
    assert seen == ["a", "drop", "b", "c"]  # once, and nothing behind the last tap
    total = sum((out.target_taps[0] - out.guide_taps[0]).square().mean() for out in outputs)
    total.backward()
    net.eval()
    for index, (node, twin) in enumerate(twins.items()):
        alone = fed_program(traced, net, [stage(traced, node, twin)])
        (out,) = alone(x, before=lambda _, index=index: torch.manual_seed(index))
        assert torch.equal(out.target_taps[0], outputs[index].target_taps[0])
        assert torch.equal(out.guide_taps[0], outputs[index].guide_taps[0])
        (out.target_taps[0] - out.guide_taps[0]).square().mean().backward()
        for one, other in zip(modules[node].parameters(), twin.parameters(), strict=True):
            assert torch.equal(one.grad, other.grad)
    with torch.no_grad():
        entry = torch.relu(net.b(torch.relu(net.a(x))))
        assert torch.equal(outputs[1].guide_taps[0], net.c(entry))
    assert all(p.grad is None for p in net.parameters())


def test_modes(net: Net, traced: Trace) -> None:
    module = nn.Dropout(0.5)
    program = fed_program(traced, net, [stage(traced, "b", module)])
    assert (module.training, net.drop.training) == (True, False)
    program.eval()
    assert not module.training


def test_a_tap_of_what_is_not_replaced_is_refused() -> None:
    with pytest.raises(ValueError, match="`c` is not replaced"):
        FedStage(replacements={"a": Placement(nn.Identity(), ("x",))}, taps=(Compared("c", "c"),))


def test_a_slice_has_the_values_of_the_network(net: Net, traced: Trace) -> None:
    net.eval()
    x = torch.randn(5, 6)
    slice_ = sliced(traced, net, ["relu_1", "a"])
    relu, a = slice_(x)
    assert torch.equal(a, net.a(x))
    assert torch.equal(relu, torch.relu(net.b(torch.relu(a))))
    assert set(dict(slice_.named_parameters())) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert slice_.get_submodule("a") is net.a
