"""Call conventions: what a replacement takes and returns where code was written for another module."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from transformers.modeling_outputs import BaseModelOutput

from theseus_fx.graph.adopted import adopted
from theseus_fx.graph.boundary import Constant, Group, Handed, Leaf, Opaque, Place
from theseus_fx.graph.convention import Convention, convention_of
from theseus_fx.graph.surgery import convert
from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec

HIDDEN = Place(parameter="hidden", position=0)
MASK = Place(parameter="mask", position=None, steps=("inner", 1))
RETURNS = Group(tuple, (0, 1, 2), (Leaf("", None), Group(dict, ("a",), (Constant(None),)), Handed(MASK)))
PLAIN = Convention(takes=(HIDDEN,), returns=RETURNS)
OTHER = Convention(
    takes=(MASK, HIDDEN),
    returns=Group(BaseModelOutput, ("last_hidden_state",), (Leaf("", None),)),
)
INPUTS = [InputSpec(name="x", dtype=torch.float32, shape=("batch", 3))]
X, M = torch.ones(2, 3), torch.zeros(2, 3)


def replacement() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(first=nn.Linear(3, 3), drop=nn.Dropout(0.5)))


@pytest.mark.parametrize("convention", [PLAIN, OTHER, Convention(takes=(), returns=Leaf("", None))])
def test_json_is_read_back(convention: Convention) -> None:
    assert Convention.from_json(json.loads(json.dumps(convention.as_json()))) == convention


def test_a_model_output_is_made_again() -> None:
    convention = Convention(takes=(HIDDEN,), returns=OTHER.returns)
    out = adopted(replacement().eval(), convention)(X)
    assert type(out) is BaseModelOutput
    assert torch.equal(out.last_hidden_state, replacement().eval()(X))
    assert torch.equal(out[0], out["last_hidden_state"])


def test_json_of_something_else_is_refused() -> None:
    with pytest.raises(TypeError, match="is no structure"):
        Convention.from_json({"takes": [], "returns": {"outputs": 1}})


@pytest.mark.parametrize("hidden_by_keyword", [False, True])
def test_arguments_come_by_position_or_keyword(hidden_by_keyword: bool) -> None:
    new = adopted(replacement().eval(), PLAIN)
    kwargs: dict[str, Any] = {"mask": {"inner": (X, M)}, "unknown": 5}
    out = new(hidden=X, **kwargs) if hidden_by_keyword else new(X, None, **kwargs)
    assert type(out) is tuple
    assert torch.equal(out[0], replacement().eval()(X))
    assert out[1] == {"a": None}
    assert out[2] is M


def test_an_argument_that_is_not_there_is_named() -> None:
    with pytest.raises(TypeError, match="without the argument `hidden`"):
        adopted(replacement(), PLAIN)(mask=X)


def test_it_is_a_twin_of_the_same_class_and_names() -> None:
    own = replacement()
    new = adopted(own, PLAIN)
    assert isinstance(new, nn.Sequential)
    assert type(new).__name__ == "Sequential"
    assert list(new.state_dict()) == list(own.state_dict())
    assert new.get_parameter("first.weight") is own.first.weight
    assert type(own) is nn.Sequential
    assert torch.equal(own.eval()(X), new.eval()(X, mask={"inner": (X, M)})[0])
    assert "Linear(in_features=3" in repr(new)
    assert new[:1](X).shape == X.shape  # a slice is an ordinary module


def copied(module: nn.Module, how: str) -> nn.Module:
    if how == "deepcopy":
        return copy.deepcopy(module)
    if how == "pickle":
        return pickle.loads(pickle.dumps(module))
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_it_survives_copies(how: str) -> None:
    new = nn.ModuleDict({"inside": adopted(replacement(), PLAIN)}).eval()
    other = copied(copied(new, how), how)
    arguments = {"mask": {"inner": (X, M)}}
    assert torch.equal(other["inside"](X, **arguments)[0], new["inside"](X, **arguments)[0])
    assert other["inside"].call_convention == PLAIN
    assert not {id(p) for p in other.parameters()} & {id(p) for p in new.parameters()}
    assert not other["inside"].training
    other.load_state_dict(new.state_dict())


def test_a_convention_can_be_changed() -> None:
    twice = adopted(adopted(replacement().eval(), PLAIN), Convention(takes=(HIDDEN,), returns=Leaf("", None)))
    assert torch.equal(twice(X), replacement().eval()(X))


def test_a_graph_module_is_refused() -> None:
    with pytest.raises(TypeError, match="GraphModule"):
        adopted(fx.symbolic_trace(replacement()), PLAIN)


class Attention(nn.Module):
    """Returns a tuple, and is called with a keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 3)

    def forward(self, x: Tensor, *, mask: Tensor, whole: bool = True) -> Any:
        return (self.mix(x) * mask, mask) if whole else (self.mix(x), x.shape[0])


class Net(nn.Module):
    def __init__(self, *, whole: bool = True) -> None:
        super().__init__()
        self.inner = Attention()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        y, mask = self.inner(x, mask=x > 0, whole=self.whole)
        return y + mask


def test_the_convention_of_a_call() -> None:
    traced = trace(Net(), INPUTS, leaves=["Attention"])
    call = traced.calls[1]
    mask = call.arguments[1]
    convention = convention_of(call, [mask.node, "x"])
    assert convention is not None
    assert [place.name for place in convention.takes] == ["mask", "x"]
    assert convention.returns == Group(tuple, (0, 1), (Leaf("", None), Handed(mask.place)))
    with pytest.raises(ValueError, match="no input `y`"):
        convention_of(call, ["y"])


def test_what_no_replacement_can_return_has_no_convention() -> None:
    call = trace(Net(whole=False), INPUTS, leaves=["Attention"]).calls[1]
    assert isinstance(call.returns, Group)
    assert isinstance(call.returns.items[1], Opaque)
    with pytest.raises(ValueError, match="no replacement can return"):
        convention_of(call, ["x"])


@pytest.mark.parametrize("share", [False, True])
def test_surgery_adopts_where_a_convention_is_given(share: bool) -> None:
    model, new = Net().eval(), replacement().eval()
    traced = trace(model, INPUTS, leaves=["Attention"])
    convention = convention_of(traced.calls[1], ["x"])
    assert convention is not None
    converted = convert(model, {"inner": new}, conventions={"inner": convention}, share=share)
    x = torch.randn(4, 3)
    assert torch.equal(converted(x), new(x) + (x > 0))
    assert list(converted.state_dict()) == ["inner.first.weight", "inner.first.bias"]
    assert converted.get_parameter("inner.first.weight") is new.first.weight
