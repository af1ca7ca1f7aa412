"""What a step matches: classes along the MRO, functions by one name, attributes, operands, containers."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from match_written import function, image, module, whole
from torch import Tensor, nn
from torch.nn import functional

from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.operations import (
    AnyOperation,
    Anything,
    Bound,
    Constant,
    Either,
    Input,
    OperationPattern,
    Pattern,
    Step,
    optional,
    repeat,
)
from theseus_fx.match.ops.find import find
from theseus_fx.match.ops.index import Index, make_index
from theseus_fx.match.ops.names import canonical
from theseus_fx.models.zoo import SmallResNet

X = Input("x")


class Calls(nn.Module):
    """A function of one tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def graph(function: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (4,)) -> Index:
    model = Calls(function)
    return make_index(
        trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", *shape))]), model
    )


def outputs(index: Index, result: Pattern, *inputs: Input) -> list[str]:
    return [region.output for region in find(index, whole(result, *inputs)).regions]


def sequence(*modules: nn.Module, width: int = 4) -> Index:
    model = nn.Sequential(*modules)
    return make_index(trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", width))]), model)


@pytest.mark.parametrize(
    "spelt",
    [
        lambda x: x + x.relu(),
        lambda x: x.add(x.relu()),
        lambda x: torch.add(x, torch.relu(x)),
        lambda x: operator.add(x, functional.relu(x)),
        lambda x: x.__add__(functional.relu(x, inplace=False)),
        lambda x: (y := x.abs()).add_(y.relu()),
        lambda x: torch.add(input=x, other=x.relu()),
    ],
)
def test_a_function_has_one_name_however_it_is_called(spelt: Callable[[Tensor], Tensor]) -> None:
    y = Anything()
    assert len(outputs(graph(spelt), function("add", y, function("relu", X)))) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("add", "add"), ("__iadd__", "add"), ("__radd__", "add"), ("add_", "add"), ("truediv", "div"),
        ("__itruediv__", "div"), ("concat", "cat"), ("relu_", "relu"), ("__getitem__", "getitem"),
        ("index_add", "index_add"), ("__invert__", "invert"), ("and_", "bitwise_and"),
        ("repeat_interleave", "repeat_interleave"), ("isfinite", "isfinite"), ("rsub", "rsub"),
    ],
)  # fmt: skip
def test_names_are_canonical(name: str, expected: str) -> None:
    assert canonical(name) == expected


def test_a_class_name_matches_modules_only_and_a_function_name_functions_only() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(x).relu()

    index = image(Both())
    assert outputs(index, module("ReLU", X)) == ["act"]
    assert outputs(index, function("relu", X)) == ["relu"]


def test_a_class_counts_by_its_bases() -> None:
    index = image(SmallResNet())
    assert len(outputs(index, module("_ConvNd", X))) == 9
    assert len(outputs(index, module("Conv2d", X, kernel_size=1))) == 2
    assert len(outputs(index, module("Conv2d", X, kernel_size=(3, 3)))) == 7


def test_a_container_is_one_step() -> None:
    index = image(SmallResNet())
    found = find(index, whole(module("BasicBlock", module("BasicBlock", X))))
    assert [r.output for r in found.regions] == ["layer2_0_relu_1"]
    inside = {call.path for call in found.regions[0].calls(index)}
    assert inside >= {"layer1.0", "layer2.0", "layer2.0.downsample"}
    assert "layer3.0" not in inside


def test_arguments_of_functions_are_attributes_by_keyword_and_by_position() -> None:
    index = graph(lambda x: torch.softmax(functional.softmax(x.softmax(-1), dim=1), 0))
    assert len(outputs(index, function("softmax", X))) == 3
    assert outputs(index, function("softmax", X, dim=-1)) == ["softmax"]
    assert outputs(index, function("softmax", X, dim=1)) == ["softmax_1"]
    assert outputs(index, function("softmax", X, dim=0)) == ["softmax_2"]
    assert outputs(index, function("softmax", X, dim=2)) == []


def test_operands_of_commutative_functions_stand_in_any_order() -> None:
    index = graph(lambda x: (x.relu() + x.tanh()) * (x.tanh() - x.relu()))
    relu, tanh = function("relu", X), function("tanh", X)
    assert outputs(index, function("add", tanh, relu)) == ["add"]
    assert outputs(index, function("sub", relu, tanh)) == []
    assert outputs(index, function("sub", tanh, relu)) == ["sub"]


def test_an_addition_with_a_factor_is_not_commutative() -> None:
    index = graph(lambda x: torch.add(x.relu(), x.tanh(), alpha=2))
    relu, tanh = function("relu", X), function("tanh", X)
    assert outputs(index, function("add", tanh, relu)) == []
    assert outputs(index, function("add", relu, tanh)) == ["add"]


def test_lists_of_tensors_count_one_by_one() -> None:
    index = graph(lambda x: torch.cat([x.relu(), x.tanh()], dim=-1))
    relu, tanh = function("relu", X), function("tanh", X)
    assert outputs(index, function("cat", relu, tanh)) == ["cat"]
    assert outputs(index, function("cat", tanh, relu)) == []
    assert outputs(index, function("cat", relu, tanh, dim=0)) == []


def test_numbers_are_operands_where_the_pattern_has_them() -> None:
    index = graph(lambda x: (0.5 * x.relu() + 1).tanh())
    half = function("mul", Constant(0.5), function("relu", X))
    assert outputs(index, function("add", half, Constant(1))) == ["add"]
    assert outputs(index, function("add", half, Constant(2))) == []
    assert outputs(index, function("tanh", function("add", function("mul", X)))) == ["tanh"]


def test_parameters_are_operands_where_the_pattern_counts_them() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return functional.linear(x.relu() * self.scale, self.scale.expand(4, 4))

    model = Scaled()
    index = make_index(trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", 4))]), model)
    assert outputs(index, function("mul", function("relu", X))) == ["mul"]
    assert outputs(index, function("mul", Anything(), function("relu", X))) == ["mul"]
    assert outputs(index, function("mul", X, function("relu", Input("y"))), Input("y"), X) == []
    (region,) = find(index, whole(function("linear", function("mul", X)))).regions
    assert region.attributes == ("scale",)
    assert region.inputs == ("relu",)


def test_a_wildcard_step_goes_through_whatever_operation_there_is() -> None:
    index = graph(lambda x: (x.relu() + 3).tanh())
    anything = Step(AnyOperation(), (function("relu", X),))
    (region,) = find(index, whole(function("tanh", anything))).regions
    assert region.nodes == ("relu", "add", "tanh")


def test_a_wildcard_value_stays_outside() -> None:
    index = graph(lambda x: x.relu() + x.abs().exp())
    found = find(index, whole(function("add", function("relu", X), Anything())))
    assert found.regions == ()
    assert found.attempts[0].reason == "also takes `exp`, which is computed from its input"


def test_an_optional_step_is_taken_where_it_is_there() -> None:
    index = sequence(nn.Linear(4, 4), nn.Dropout(), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    p = whole(module("ReLU", optional(lambda v: module("Dropout", v), module("Linear", X))))
    assert [len(region.nodes) for region in find(index, p).regions] == [3, 2]


def test_an_optional_last_step_belongs_to_the_match_where_it_is_there() -> None:
    index = sequence(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    p = whole(optional(lambda v: module("ReLU", v), module("Linear", X)))
    assert [region.nodes for region in find(index, p).regions] == [("_0", "_1"), ("_2",)]


@pytest.mark.parametrize(
    ("least", "most", "lengths"), [(1, 4, [4, 2]), (2, 3, [3, 3]), (4, 4, [4]), (1, 9, [6]), (7, 9, [])]
)
def test_a_repeated_step_takes_as_many_as_it_can_from_the_left(
    least: int, most: int, lengths: list[int]
) -> None:
    index = sequence(*(nn.Linear(4, 4) for _ in range(6)))
    p = whole(repeat(lambda v: module("Linear", v), X, least, most))
    assert [len(region.nodes) for region in find(index, p).regions] == lengths


def test_a_step_that_may_be_absent_altogether_matches_everywhere_which_is_refused() -> None:
    index = sequence(nn.Linear(4, 4))
    with pytest.raises(ValueError, match="can end at any value"):
        find(index, whole(repeat(lambda v: module("Linear", v), X, 0, 2)))
    with pytest.raises(ValueError, match="3 to 2 times"):
        repeat(lambda v: v, X, 3, 2)


def test_an_input_used_twice_is_the_same_value() -> None:
    index = graph(lambda x: (x.relu() + x.tanh()) + (x.exp().relu() + x.tanh()))
    p = function("add", function("relu", X), function("tanh", X))
    assert outputs(index, p) == ["add"]


def test_a_bound_value_used_twice_is_the_same_value() -> None:
    index = graph(lambda x: (y := x.relu()) * y.tanh() + x.exp().relu() * x.relu().tanh())
    shared = Bound("s", function("relu", X))
    found = find(index, whole(function("mul", shared, function("tanh", shared)), bindings=("s",)))
    assert [region.output for region in found.regions] == ["mul"]
    assert found.regions[0].names == {"s": "relu"}


def test_two_steps_are_two_operations() -> None:
    index = graph(lambda x: (y := x.relu()) * y)
    assert outputs(index, function("mul", function("relu", X), function("relu", X))) == []
    shared = Bound("s", function("relu", X))
    assert outputs(index, function("mul", shared, shared)) == ["mul"]


def test_what_is_used_outside_does_not_lie_inside() -> None:
    index = graph(lambda x: (y := x.relu()).tanh() + y)
    found = find(index, whole(function("tanh", function("relu", X))))
    assert found.regions == ()
    assert found.attempts[0].reason == "has `relu` inside, which `add` uses outside"


def test_a_value_that_the_model_returns_is_used_outside() -> None:
    class Both(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return (y := x.relu()), y.tanh()

    model = Both()
    index = make_index(trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", 4))]), model)
    assert outputs(index, function("tanh", function("relu", X))) == []


def test_a_failed_attempt_names_the_deepest_step_the_node_and_the_reason() -> None:
    index = sequence(nn.Linear(4, 4), nn.Dropout(), nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU())
    linear = module("Linear", X, out_features=4)
    found = find(index, whole(module("ReLU", linear)))
    assert [(a.anchor, a.depth, a.step, a.node, a.reason) for a in found.attempts] == [
        ("_2", 1, linear, "_1", "is a Dropout, not a Linear"),
        ("_4", 1, linear, "_3", "is a BatchNorm1d, not a Linear"),
    ]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (module("Linear", X, out_features=5), "has out_features = 4, not 5"),
        (module("Linear", X, out_feature=4), "has no attribute `out_feature`, but `out_features`"),
        (module("Linear", X, X), "takes 1 value, not 2"),
        (function("relu", X), "is a Linear, not `relu`"),
    ],
)
def test_reasons_say_what_differs(step: Step, reason: str) -> None:
    index = sequence(nn.Linear(4, 4), nn.ReLU())
    (attempt,) = find(index, whole(module("ReLU", step))).attempts
    assert attempt.reason == reason


def test_a_search_without_end_is_given_up_with_a_reason() -> None:
    def often(x: Tensor) -> Tensor:
        for _ in range(16):
            x = x.relu()
        return x.tanh()

    index = graph(often)
    chain: Pattern = function("exp", X)
    for _ in range(16):
        chain = Either((function("relu", chain), function("relu", chain)))
    p = OperationPattern(name="p", inputs=("x",), result=function("tanh", chain))
    (attempt,) = find(index, p).attempts
    assert "can match in more than" in attempt.reason


def test_what_is_not_wanted_claims_nothing() -> None:
    index = sequence(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    p = whole(module("ReLU", module("Linear", X)))
    found = find(index, p, lambda region: "is the first" if region.nodes[0] == "_0" else None)
    assert [region.output for region in found.regions] == ["_3"]
    assert [(a.anchor, a.reason) for a in found.attempts] == [("_1", "is the first")]
