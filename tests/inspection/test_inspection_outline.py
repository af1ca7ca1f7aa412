"""The outline of models that no library has: demoted modules, modules without a tensor, order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from theseus_fx.graph.values import InputSpec
from theseus_fx.inspection.narrowed import narrowed
from theseus_fx.inspection.outline import ModuleLine, Outline, outline
from theseus_fx.inspection.subject import Subject
from theseus_fx.lang.standalone import read_model


class Writes(nn.Module):
    """Sets items of a tensor, which has no form in a graph."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, 0] = 0
        return y


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.writes = Writes()
        self.unused = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        self.unused(y)
        a, b = self.writes(y).split(2, dim=1)
        return torch.cat([a * 2, b], dim=1)


def outlined(model: nn.Module) -> Outline:
    inputs = (InputSpec(name="x", dtype=torch.float32, shape=("batch", 4)),)
    return outline(Subject(name="net", invocation=read_model("small_resnet"), model=model, inputs=inputs))


def test_a_demoted_module_is_one_operation_with_a_reason() -> None:
    found = outlined(Net()).as_json()
    assert found["demoted"] == [{"path": "writes", "class": "Writes", "reason": "it sets items of a tensor"}]


def test_lines_stand_in_the_order_of_execution() -> None:
    root = outlined(Net()).root
    names = [e.call.path if isinstance(e, ModuleLine) else e.name for e in root.inside]
    assert names == ["first", "unused", "relu", "writes", "split", "getitem", "getitem", "mul", "cat"]


def test_a_module_whose_output_nothing_uses_has_none() -> None:
    unused = outlined(Net()).root.inside[1]
    assert isinstance(unused, ModuleLine)
    assert (unused.call.path, unused.output, unused.flops) == ("unused", None, 0)


def test_nothing_is_lost_by_narrowing() -> None:
    whole = outlined(Net())
    count = whole.root.operations()
    for depth in range(3):
        for filters in ((), ("first",), ("mul", "Writes")):
            assert narrowed(whole, filters=filters, depth=depth).root.operations() == count
