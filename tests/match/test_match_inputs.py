"""Parts with several inputs: what a site and the expressions of a rule see of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.graph.convention import convention_of
from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.match.matcher import Site

Match = Callable[..., tuple[Site, ...]]
Refuse = Callable[..., tuple[Diagnostic, ...]]


class Mixer(nn.Module):
    """Takes a mask, a value and a pair; returns what it is told to."""

    def __init__(self, returns: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.returns = returns

    def forward(self, mask: Tensor, hidden: Tensor, *, pair: Any = None) -> Any:
        return self.returns(hidden * mask)


class Net(nn.Module):
    def __init__(self, returns: Callable[[Tensor], Any], take: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.mixer = Mixer(returns)
        self.take = take

    def forward(self, x: Tensor) -> Tensor:
        pair = (None, x[:, :2, None])
        return self.take(self.mixer(x > 0, x, pair=pair)).sum() + x


def tupled() -> nn.Module:
    return Net(lambda y: (y, None), lambda out: out[0])


def rule(where: str = "") -> str:
    return f"rule r {{ match Mixer as m {where} replace with identity }}"


def test_a_site_knows_its_inputs(sites: Match) -> None:
    (site,) = sites(tupled(), rule(), (4,), ["Mixer"])
    assert [(i.name, i.value.shape, i.value.dtype) for i in site.inputs] == [
        ("mask", ("batch", 4), torch.bool),
        ("hidden", ("batch", 4), torch.float32),
        ("pair.1", ("batch", 2, 1), torch.float32),
    ]
    assert site.input_node == site.inputs[1].node == "x"
    assert site.input is site.inputs[1].value
    assert (site.operation, site.output.shape) == ("mixer", ("batch", 4))
    assert site.node != site.operation
    convention = convention_of(site.call, (site.input_node,))
    assert convention is not None
    assert [place.name for place in convention.takes] == ["hidden"]


@pytest.mark.parametrize(
    "where",
    [
        "m.inputs.mask.shape[1] == 4",
        "m.inputs.hidden.features == m.in.features",
        "m.inputs.pair[1].rank == 3 and m.inputs.pair[0] == none",
        "m.out.shape[1] == m.inputs.pair[1].shape[1] + 2",
    ],
)
def test_a_rule_refers_to_inputs_by_parameter(sites: Match, where: str) -> None:
    assert len(sites(tupled(), rule(f"where {where}"), (4,), ["Mixer"])) == 1


def test_an_input_that_is_not_there_gets_near_names(refused: Refuse) -> None:
    (diagnostic,) = refused(tupled(), rule("where m.inputs.hiden.rank == 2"), (4,), ["Mixer"])
    assert diagnostic.code == "THX201"
    assert diagnostic.message == "`m.inputs` has no `hiden`"
    assert "`hidden`" in diagnostic.help[0]


def test_a_module_called_with_one_tensor_has_no_convention(sites: Match) -> None:
    (site,) = sites(nn.Sequential(nn.Linear(4, 4)), "rule r { match Linear replace with identity }", (4,))
    assert convention_of(site.call, (site.input_node,)) is None
    assert [entry.name for entry in site.inputs] == ["input"]
    assert site.operation == site.node


REFUSED: dict[str, tuple[Net, str]] = {
    "two used": (
        Net(lambda y: (y, y + 1), lambda out: out[0] + out[1]),
        "`mixer` returns 2 tensors that the model uses, [0] and [1]; a part has one",
    ),
    "two used by name": (
        Net(lambda y: {"a": y, "b": y + 1}, lambda out: out["a"] + out["b"]),
        "`mixer` returns 2 tensors that the model uses, `a` and `b`; a part has one",
    ),
    "none used": (
        Net(lambda y: (y, None), lambda _: torch.zeros(1)),
        "`mixer` returns no tensor that the model uses; a part has one output",
    ),
    "batch not first": (
        Net(lambda y: (y.T, 1), lambda out: out[0]),
        "`mixer` returns (4, b); the output of a part has its batch first",
    ),
    "a size": (
        Net(lambda y: (y, y.shape[0]), lambda out: out[0] * out[1]),
        "`mixer` returns a number that depends on the batch as [1], which no replacement can",
    ),
    "an object": (
        Net(lambda y: (y, object()), lambda out: out[0]),
        "`mixer` returns a `object` as [1], which no replacement can",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_part_is_said_precisely(refused: Refuse, name: str, whole: bool) -> None:
    model, message = REFUSED[name]
    (diagnostic,) = refused(model, rule(), (4,), ["Mixer"] if whole else [])
    assert (diagnostic.code, diagnostic.message) == ("THX405", message)


def test_a_module_without_a_tensor_is_no_part(refused: Refuse) -> None:
    class Batch(nn.Module):
        def forward(self, size: int) -> Tensor:
            return torch.zeros(size, 4)

    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.batch = Batch()

        def forward(self, x: Tensor) -> Tensor:
            return x + self.batch(x.shape[0])

    (diagnostic,) = refused(Made(), "rule r { match Batch replace with identity }", (4,))
    assert (diagnostic.code, diagnostic.message) == ("THX405", "`batch` takes no tensor; a part has an input")
