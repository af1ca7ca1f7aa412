"""Boundaries: inputs by parameter, the primary one, and which leaves of a returned structure are used."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.graph.boundary import Constant, Group, Handed, Leaf, Opaque
from theseus_fx.graph.trace import ModuleCall, bind, trace
from theseus_fx.graph.values import InputSpec

INPUTS = [
    InputSpec(name="x", dtype=torch.float32, shape=("batch", 4)),
    InputSpec(name="ids", dtype=torch.int64, shape=("batch", 4)),
]
Pair = namedtuple("Pair", "first second")


@dataclass
class Output:
    hidden: Tensor
    rest: Tensor | None = None


class Part(nn.Module):
    """A module with a forward of every kind of parameter."""

    def __init__(self, returns: Callable[..., Any]) -> None:
        super().__init__()
        self.returns = returns

    def forward(
        self, ids: Tensor, x: Tensor, pair: Any = None, *more: Tensor, scale: Any = None, **rest: Any
    ) -> Any:
        return self.returns(x * 2, x, ids)


class Around(nn.Module):
    def __init__(self, call: Callable[[Part, Tensor, Tensor], Any], returns: Callable[..., Any]) -> None:
        super().__init__()
        self.part = Part(returns)
        self.call = call

    def forward(self, x: Tensor, ids: Tensor) -> Any:
        return self.call(self.part, x, ids)


def bare(y: Tensor, *_: Tensor) -> Tensor:
    return y


def called(
    call: Callable[[Part, Tensor, Tensor], Any], returns: Callable[..., Any] = bare, *, leaf: bool = True
) -> ModuleCall:
    """The call of the part; what is recorded computes what the model computes."""
    model = Around(call, returns).eval()
    traced = trace(model, INPUTS, leaves=["Part"] if leaf else ())
    x, ids = torch.randn(3, 4), torch.randint(0, 9, (3, 4))
    torch.testing.assert_close(bind(traced, model)(x, ids), model(x, ids), rtol=0, atol=0)
    (found,) = (call for call in traced.calls if call.path == "part")
    assert found.leaf is leaf
    return found


def names(call: ModuleCall) -> list[tuple[str, str]]:
    return [(entry.name, entry.node) for entry in call.arguments]


both = pytest.mark.parametrize("leaf", [True, False])


def test_inputs_have_the_names_of_parameters_in_the_order_of_the_signature() -> None:
    call = called(lambda p, x, ids: p(x=x, ids=ids, mask=x + 1, scale=x - 1))
    assert names(call) == [("ids", "ids"), ("x", "x"), ("scale", "sub"), ("mask", "add")]
    assert call.primary is not None
    assert call.primary.name == "x"


def test_structures_are_flattened_and_every_value_counts_once() -> None:
    call = called(lambda p, x, ids: p(ids, x, (x + 1, x, {"a": x * 3}), x, x - 1))
    nested = [("pair.0", "add"), ("pair.2.a", "mul"), ("more.1", "sub")]
    assert names(call) == [("ids", "ids"), ("x", "x"), *nested]


def test_where_the_inside_is_recorded_only_what_is_used_flows_in() -> None:
    call = called(lambda p, x, ids: p(ids, x, (x + 1, x)), lambda y, x, ids: y + ids, leaf=False)
    assert names(call) == [("ids", "ids"), ("x", "x")]


def test_places_say_where_a_call_has_a_value() -> None:
    call = called(lambda p, x, ids: p(ids, x, (x + 1, x), x - 1, scale=x * 3))
    assert [(e.place.parameter, e.place.position, e.place.steps) for e in call.arguments] == [
        ("ids", 0, ()),
        ("x", 1, ()),
        ("pair", 2, (0,)),
        ("more.0", 3, ()),
        ("scale", None, ()),
    ]


def test_without_a_floating_input_the_primary_is_the_first_with_a_batch() -> None:
    call = called(lambda p, x, ids: p(torch.arange(4), ids) + x)
    assert call.primary is not None
    assert call.primary.name == "x"
    assert call.primary.node == "ids"
    call = called(lambda p, x, ids: p(torch.arange(4), torch.ones(4)) + x)
    assert call.primary is None
    assert len(call.arguments) == 2


@both
@pytest.mark.parametrize(
    ("take", "returns", "used"),
    [
        (lambda out: out, bare, [""]),
        (lambda out: out[0], lambda y, x, ids: (y, None), ["0"]),
        (lambda out: out[0], lambda y, x, ids: (y, y + 1), ["0"]),
        (lambda out: out[1], lambda y, x, ids: (y, y + 1), ["1"]),
        (lambda out: out[0] + out[1], lambda y, x, ids: (y, y + 1), ["0", "1"]),
        (lambda out: out["b"][1], lambda y, x, ids: {"a": y, "b": [3, y + 1]}, ["b.1"]),
        (lambda out: out.hidden, lambda y, x, ids: Output(y, y + 1), ["hidden"]),
        (lambda out: out.second, lambda y, x, ids: Pair(y, y + 1), ["1"]),
        (lambda out: torch.ones(1), lambda y, x, ids: (y, y + 1), []),
    ],
)
def test_used_are_the_leaves_that_something_after_the_call_needs(
    leaf: bool, take: Callable[[Any], Tensor], returns: Callable[..., Any], used: list[str]
) -> None:
    call = called(lambda p, x, ids: take(p(ids, x)) + x, returns, leaf=leaf)
    assert list(call.used) == used
    assert (call.node is None) == (len(used) != 1)


@both
def test_one_value_in_two_leaves_is_one_output(leaf: bool) -> None:
    call = called(lambda p, x, ids: sum(p(ids, x)), lambda y, x, ids: (y, y), leaf=leaf)
    assert call.node is not None
    assert call.used == ("0", "1")


@both
def test_an_argument_that_is_handed_through_is_no_output(leaf: bool) -> None:
    def after(p: Part, x: Tensor, ids: Tensor) -> Tensor:
        y, same = p(ids, x)
        return y + same + x

    call = called(after, lambda y, x, ids: (y, x), leaf=leaf)
    assert call.used == ("0",)
    assert isinstance(call.returns, Group)
    assert [type(item) for item in call.returns.items] == [Leaf, Handed]


@both
def test_the_structure_keeps_constants_and_kinds(leaf: bool) -> None:
    call = called(
        lambda p, x, ids: p(ids, x)[0]["h"],
        lambda y, x, ids: [{"h": y, "n": 3}, Output(y + 1), y.shape[0], object()],
        leaf=leaf,
    )
    assert isinstance(call.returns, Group)
    first, second, number, thing = call.returns.items
    assert isinstance(first, Group)
    assert (first.kind, first.keys, first.items[1]) == (dict, ("h", "n"), Constant(3))
    assert isinstance(second, Group)
    assert (second.kind, second.keys) == (Output, ("hidden", "rest"))
    assert number == Opaque("2", "a number that depends on the batch")
    assert thing == Opaque("3", "a `object`")


def test_a_bare_call_is_one_positional_tensor_for_a_bare_tensor() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor, y: Any = None) -> Any:
            return x * 2

    def bare_of(call: Callable[[nn.Module, Tensor], Tensor]) -> bool:
        class Model(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.plain = Plain()

            def forward(self, x: Tensor) -> Tensor:
                return call(self.plain, x)

        return trace(Model(), INPUTS[:1], leaves=["Plain"]).calls[1].bare

    assert bare_of(lambda plain, x: plain(x))
    assert not bare_of(lambda plain, x: plain(x=x))
    assert not bare_of(lambda plain, x: plain(x, None))
    assert not called(lambda p, x, ids: p(ids, x)[0], lambda y, x, ids: (y,)).bare
