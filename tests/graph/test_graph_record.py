"""What a person's own forward may do: each of these is recorded, or made a leaf, and computes the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from theseus_fx.graph.trace import Trace, bind, trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import Rejected

INPUTS = [InputSpec(name="image", dtype=torch.float32, shape=("batch", 3, 8, 8))]
Forward = Callable[[Any, torch.Tensor], Any]


class Net(nn.Module):
    """A module of the given children and forward."""

    def __init__(self, forward: Forward, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)
        self._own = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self._own(self, x)


def conv() -> nn.Conv2d:
    return nn.Conv2d(3, 3, 3, padding=1)


def add_in_place(net: Any, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)
    y += x
    y *= 2
    return y


def relu_result_unused(net: Any, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)
    net.relu(y)
    return y + 1


def skip_after_in_place(net: Any, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)
    return net.relu(y) + y


def view_written_base_dropped(net: Any, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)[:, :1]
    y += 1
    return y.sum(1)


def functional_in_place(net: Any, x: torch.Tensor) -> torch.Tensor:
    y = functional.dropout(net.conv(x), 0.5, net.training, inplace=True)
    y = functional.leaky_relu(y, 0.1, inplace=True)
    return functional.relu_(y.mul_(2).clamp_(max=1))


def operators(_: Any, x: torch.Tensor) -> torch.Tensor:
    return (2**x) + (1 - x) / 2 + 2 / (x + 9) - x // 2 + (-x) + abs(x) @ x.mT + x**2 + x % 3


def catches_an_error(net: Any, x: torch.Tensor) -> torch.Tensor:
    try:
        return net.wrong(x)
    except RuntimeError:
        return x * 3


RECORDED: dict[str, Callable[[], nn.Module]] = {
    "in-place addition": lambda: Net(add_in_place, conv=conv()),
    "in-place module, result unused": lambda: Net(
        relu_result_unused, conv=conv(), relu=nn.ReLU(inplace=True)
    ),
    "in-place module, then a skip": lambda: Net(skip_after_in_place, conv=conv(), relu=nn.ReLU(inplace=True)),
    "in-place on the input": lambda: Net(lambda net, x: net.relu(x) + x, relu=nn.ReLU(inplace=True)),
    "in-place on a view": lambda: Net(view_written_base_dropped, conv=conv()),
    "in-place functions": lambda: Net(functional_in_place, conv=conv()),
    "in-place dropout of a view": lambda: Net(
        lambda net, x: net.drop(net.conv(x).flatten(1)), conv=conv(), drop=nn.Dropout(0.3, inplace=True)
    ),
    "flatten by size": lambda: Net(
        lambda net, x: net.fc(net.conv(x).view(x.size(0), -1)), conv=conv(), fc=nn.Linear(192, 4)
    ),
    "cat, chunk and split": lambda: Net(lambda _, x: torch.cat([x.chunk(3, 1)[2], *x.split(1, 1)], 1)),
    "branch on a shape": lambda: Net(
        lambda net, x: net.conv(x) if x.shape[-1] > 4 else net.other(x), conv=conv(), other=nn.Identity()
    ),
    "module called twice": lambda: Net(lambda net, x: net.conv(net.conv(x)), conv=conv()),
    "sequential and list": lambda: Net(
        lambda net, x: sum((layer(x) for layer in net.layers), x),
        layers=nn.ModuleList([nn.Sequential(conv(), nn.ReLU(inplace=True)), conv()]),
    ),
    "operators": lambda: Net(operators),
    "sizes in arithmetic": lambda: Net(
        lambda _, x: x.reshape(x.shape[0] * x.shape[1] // 3 * 2, -1).sum(1)[: x.shape[0]] / x.shape[0]
    ),
    "constants": lambda: Net(
        lambda _, x: x * torch.tensor([2.0]) + torch.arange(8, device=x.device, dtype=x.dtype)
    ),
    "lstm": lambda: Net(lambda net, x: net.rnn(x.flatten(2))[0], rnn=nn.LSTM(64, 5, batch_first=True)),
    "gru": lambda: Net(lambda net, x: net.rnn(x.flatten(2))[0], rnn=nn.GRU(64, 5, batch_first=True)),
    "attention": lambda: Net(
        lambda net, x: net.mha(x.flatten(2), x.flatten(2), x.flatten(2))[0],
        mha=nn.MultiheadAttention(64, 4, batch_first=True),
    ),
    "padding by nothing": lambda: Net(lambda _, x: functional.pad(x, (0, 0, 0, 0)) + 1),
    "weight of a leaf": lambda: Net(
        lambda net, x: functional.linear(net.fc(x), net.fc.weight, net.fc.bias), fc=nn.Linear(8, 8)
    ),
    "error caught": lambda: Net(catches_an_error, wrong=nn.Conv2d(4, 4, 1)),
    "model that is one layer": lambda: nn.Linear(8, 3),
}


def assert_same(model: nn.Module, traced: Trace) -> None:
    bound = bind(traced, model)
    for batch in (2, 5):
        x = torch.randn(batch, 3, 8, 8)
        with torch.no_grad():
            assert torch.equal(bound(x.clone()), model(x.clone()))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded(name: str) -> None:
    torch.manual_seed(0)
    model = RECORDED[name]().eval()
    traced = trace(model, INPUTS)
    assert not [call for call in traced.calls if call.demoted]
    assert_same(model, traced)


def test_a_tap_sees_the_value_before_an_in_place_operation() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(conv(), nn.ReLU(inplace=True)).eval()
    traced = trace(model, INPUTS)
    graph = bind(traced, model).graph
    graph.erase_node(next(iter(reversed(graph.nodes))))
    convolved = next(node for node in graph.nodes if node.name == "_0")
    graph.output((convolved, next(iter(reversed(graph.nodes)))))
    before, after = torch.fx.GraphModule(bind(traced, model), graph)(torch.randn(2, 3, 8, 8))
    assert before.min() < 0
    assert after.min() == 0


def test_two_calls_of_a_module_have_two_names() -> None:
    calls = trace(RECORDED["module called twice"](), INPUTS).calls
    assert [call.name for call in calls] == ["", "conv#1", "conv#2"]


def test_a_call_that_raised_is_not_in_the_tree() -> None:
    assert [call.path for call in trace(RECORDED["error caught"](), INPUTS).calls] == [""]


def test_a_keyword_only_call_and_its_inputs() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, *, scale: float, other: torch.Tensor) -> torch.Tensor:
            return x * scale + other

    model = Net(lambda net, x: net.scaled(x, scale=2.0, other=x + 1), scaled=Scaled())
    traced = trace(model, INPUTS)
    assert traced.calls[1].inputs == ("image", "add")
    assert_same(model, traced)
    named = trace(model, INPUTS, leaves=["Scaled"])
    assert named.node("scaled").kwargs == {"scale": 2.0, "other": named.node("add")}
    assert_same(model, named)


def test_parameters_buffers_and_plain_tensors_keep_their_names() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.randn(3, 1, 1))
            self.register_buffer("shift", torch.randn(3, 1, 1))
            self.factor = torch.full((1,), 2.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.scale + self.shift) * self.factor

    model = Net(lambda net, x: net.own(x), own=Own())
    traced = trace(model, INPUTS)
    targets = [node.target for node in traced.graph.nodes if node.op == "get_attr"]
    assert targets == ["own.scale", "own.shift", "own.factor"]
    assert_same(model, traced)


def test_what_is_made_on_the_inputs_device_follows_the_input() -> None:
    model = Net(lambda _, x: x + torch.arange(8, device=x.device) * torch.ones(1, device=x.device))
    bound = bind(trace(model, INPUTS), model)
    assert bound(torch.zeros(2, 3, 8, 8, device="meta")).device.type == "meta"
    assert torch.equal(bound(torch.zeros(2, 3, 8, 8)), model(torch.zeros(2, 3, 8, 8)))


def sets_items(net: Any, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)
    y[:, 0] = 0
    return y


def base_used_after_its_view_was_written(net: Any, x: torch.Tensor) -> torch.Tensor:
    y = net.conv(x)
    y.view(x.size(0), -1).mul_(2)
    return y


def without_gradients(net: Any, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net.conv(x)


def hidden_tensor() -> nn.Module:
    constants = [torch.full((1,), 2.0)]
    return Net(lambda _, x: x * constants[0])


DEMOTED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "items set": (lambda: Net(sets_items, conv=conv()), "sets items"),
    "view written": (lambda: Net(base_used_after_its_view_was_written, conv=conv()), "another view of it"),
    "item": (lambda: Net(lambda _, x: x / x.max().item()), "depends on the values"),
    "masking": (lambda: Net(lambda _, x: x * x[x > 0].sum()), "shape depends on values"),
    "no_grad": (lambda: Net(without_gradients, conv=conv()), "gradient or autocast mode"),
    "batch as a number": (lambda: Net(lambda _, x: torch.zeros(int(x.shape[0]), 1, 1, 1) + x), "batch, 3"),
    "branch on the batch": (lambda: Net(lambda _, x: x if x.shape[0] > 3 else -x), "batch <= 3"),
    "loop over the batch": (lambda: Net(lambda _, x: torch.stack([y * 2 for y in x])), "symbolic batch"),
    "hidden tensor": (hidden_tensor, "neither an attribute"),
}


@pytest.mark.parametrize("name", DEMOTED)
def test_demoted(name: str) -> None:
    torch.manual_seed(0)
    make, reason = DEMOTED[name]
    model = Net(lambda net, x: net.after(net.inner(x) + 1), inner=make(), after=conv()).eval()
    traced = trace(model, INPUTS)
    calls = {call.path: call for call in traced.calls}
    assert reason in (calls["inner"].demoted or "")
    assert calls["inner"].leaf
    assert calls["after"].demoted is None
    assert_same(model, traced)


@pytest.mark.parametrize("name", DEMOTED)
def test_what_only_the_model_itself_does_is_rejected(name: str) -> None:
    with pytest.raises(Rejected) as caught:
        trace(DEMOTED[name][0](), INPUTS)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "THX302"
    assert DEMOTED[name][1] in diagnostic.message


def test_a_class_that_fails_twice_is_demoted_as_a_class() -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x[:, 0] = 0
            return x

    model = nn.Sequential(*(Odd() for _ in range(6)))
    with pytest.raises(Rejected, match="writes to its input in place"):
        trace(model, INPUTS)
    around = nn.Sequential(*(Net(lambda net, x: net.odd(x + 1), odd=Odd()) for _ in range(6)))
    demoted = [call.path for call in trace(around, INPUTS).calls if call.demoted]
    assert demoted == [str(index) for index in range(6)]


def decides_by_values(_: Any, x: torch.Tensor) -> torch.Tensor:
    return x if x.sum() > 0 else -x


def has_a_bug(net: Any, _: torch.Tensor) -> torch.Tensor:
    return net.missing


REJECTED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "wrong channels": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1)), "THX304", "`0` (Conv2d): Given groups=1"),
    "wrong arguments": (lambda: Net(lambda net, x: net.two(x), two=nn.Bilinear(8, 8, 8)), "THX304", "`two`"),
    "values decide": (
        lambda: Net(lambda net, x: net.inner(x), inner=Net(decides_by_values)),
        "THX302",
        "`inner`",
    ),
    "a bug": (lambda: Net(has_a_bug), "THX302", "no attribute 'missing'"),
    "no tensor": (lambda: Net(lambda _, x: x.shape[1]), "THX302", "returns a `int`"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejected_with_the_models_own_message(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, code, text = REJECTED[name]
    with pytest.raises(Rejected) as caught:
        trace(make(), INPUTS)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert text in diagnostic.message
    assert "\n" not in diagnostic.message
    assert capfd.readouterr() == ("", "")


def test_a_lazy_module_is_rejected_with_what_to_do() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of torch warn of lazy modules
        model = nn.Sequential(nn.LazyConv2d(4, 1))
    with pytest.raises(Rejected, match="run the lazy module once"):
        trace(model, INPUTS)


def test_functions_and_methods_are_named_plainly() -> None:
    traced = trace(Net(lambda _, x: functional.softmax(x + 1, dim=1).transpose(1, 2)), INPUTS)
    assert [(node.op, node.target) for node in traced.graph.nodes][1:-1] == [
        ("call_method", "add"),
        ("call_function", functional.softmax),
        ("call_method", "transpose"),
    ]
    assert traced.node("softmax").kwargs == {"dim": 1}
