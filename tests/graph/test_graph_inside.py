"""Values inside of replacements as taps: outputs of the program, equal to a reference without one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.graph.fed import FedStage, fed_program
from theseus_fx.graph.program import stage_program, target_program
from theseus_fx.graph.slices import Compared, Inside, Placement
from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.modules.recipe import Recipe, Step

INPUTS = [InputSpec(name="x", dtype=torch.float32, shape=("batch", 6))]


class Net(nn.Module):
    """Three maps in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))))


def step(kind: str, *inputs: int | str, **arguments: Any) -> Step:
    return Step(kind=kind, arguments=arguments, inputs=inputs)


RECIPE = Recipe(
    name="Two",
    steps=(
        step("Linear", "in", in_features=8, out_features=5, bias=True),
        step("ReLU", 0, inplace=True),
        step("Linear", 1, in_features=5, out_features=8, bias=True),
    ),
    output=2,
    values={"hidden": 0, "after": 1},
    shapes={"hidden": ("batch", 5), "after": ("batch", 5)},
)
TAPS = [Compared("b", "b"), Compared("relu", Inside("b", "hidden")), Compared("a", Inside("b", "after"))]


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def traced(net: Net) -> Trace:
    return trace(net, INPUTS)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(7, 6, generator=torch.Generator().manual_seed(1))


def placed(module: nn.Module) -> dict[str, Placement]:
    return {"b": Placement(RECIPE.tapped(module), ("relu",), values=tuple(RECIPE.values))}


def by_hand(net: Net, module: Any, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Values of guide and target at the taps, written out."""
    with torch.no_grad():
        a = net.a(x)
        entry = torch.relu(a)
        guide = [net.b(entry), entry, a]
    hidden = module.linear_1(entry)
    after = torch.relu(hidden)
    return guide, [module.linear_2(after), hidden, after]


def loss_of(guide: Any, target: Any) -> Tensor:
    pairs = enumerate(zip(guide, target, strict=True), 1)
    return sum(((t.mean(1) - g.mean(1)) ** 2).sum() * n for n, (g, t) in pairs)


@pytest.mark.parametrize("feed", ["target", "guide"])
def test_values_and_gradients_are_those_written_by_hand(
    net: Net, traced: Trace, x: Tensor, feed: str
) -> None:
    module = RECIPE.make(seed=3)
    twin = copy.deepcopy(module)
    if feed == "target":
        outputs = stage_program(traced, net, placed(module), taps=TAPS)(x)
    else:
        stage = FedStage(replacements=placed(module), taps=tuple(TAPS))
        (outputs,) = fed_program(traced, net, [stage])(x)
    guide, target = by_hand(net, twin, x)
    for found, expected in zip((*outputs.guide_taps, *outputs.target_taps), (*guide, *target), strict=True):
        assert torch.equal(found, expected)
    loss_of(outputs.guide_taps, outputs.target_taps).backward()
    loss_of(guide, target).backward()
    for one, other in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert all(p.grad is None for p in net.parameters())


def test_the_whole_target_uses_the_output_of_a_tapped_replacement(net: Net, traced: Trace, x: Tensor) -> None:
    module = RECIPE.make(seed=3)
    found = target_program(traced, net, placed(module))(x)
    assert torch.equal(found, net.c(torch.relu(module(torch.relu(net.a(x))))))


def test_a_tapped_module_is_the_module_itself() -> None:
    module = RECIPE.make(seed=3)
    tapped = RECIPE.tapped(module)
    assert {id(p) for p in tapped.parameters()} == {id(p) for p in module.parameters()}
    tapped.train()
    assert module.training
    chain = Recipe(name="Chain", steps=RECIPE.steps, output=2, values={"hidden": 0}, shapes={"hidden": ()})
    made = chain.make(seed=3)
    assert isinstance(made, nn.Sequential)
    value = torch.randn(4, 8)
    output, hidden = chain.tapped(made)(value)
    assert torch.equal(output, made(value))
    assert torch.equal(hidden, made[0](value))
    assert bool((hidden < 0).any())  # not overwritten by the step that works in place


def test_frozen_replacements_are_in_eval_mode_and_get_no_gradient(net: Net, traced: Trace, x: Tensor) -> None:
    early = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5))
    late = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5))
    replacements = {"a": Placement(early, ("x",)), "b": Placement(late, ("relu",))}
    program = stage_program(traced, net, replacements, taps=["b"], frozen={"a"})
    assert (early.training, late.training) == (False, True)
    program.eval()
    outputs = program(x)
    with torch.no_grad():
        entry = torch.relu(early(x))
    assert torch.equal(outputs.target_taps[0], late(entry))
    outputs.target_taps[0].sum().backward()
    assert all(p.grad is None for p in early.parameters())
    assert all(p.grad is not None for p in late.parameters())
    again = stage_program(traced, net, replacements, taps=["b"])
    again(x).target_taps[0].sum().backward()
    assert all(p.grad is not None for p in early.parameters())
