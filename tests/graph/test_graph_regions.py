"""Regions of a network between taps: every parameter is in exactly one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.graph.regions import regions
from theseus_fx.graph.trace import Trace, trace
from theseus_fx.graph.values import InputSpec
from theseus_fx.models.zoo import SmallResNet


class Tangled(nn.Module):
    """A parameter used bare, one shared by two modules, one that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.unused = nn.Parameter(torch.ones(9))
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4, bias=False)
        self.head = nn.Linear(4, 4)
        self.head.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, 4) to (b, 4)."""
        out: Tensor = self.head(self.b(self.a(x) * self.scale))
        return out


def traced(model: nn.Module, shape: Sequence[int]) -> Trace:
    return trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", *shape))])


def test_shared_bare_and_unused_parameters_are_in_one_region_each() -> None:
    model = Tangled()
    graph = traced(model, (4,))
    (first, second), behind, unused = (
        (cut := regions(graph, model, ["a", "b"])).of_taps,
        cut.behind,
        cut.unused,
    )
    assert first.parameters == ("a.weight", "a.bias")
    assert second.parameters == ("scale", "b.weight")
    assert behind.parameters == ("head.bias",)
    assert unused.parameters == ("unused",)
    assert [r.size for r in (first, second, behind, unused)] == [20, 20, 4, 9]
    assert unused.nodes == frozenset()


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "taps", [(), ("layer1.0",), ("layer1.0", "layer2.0", "layer3.0"), ("layer3.0", "layer1.0")]
)
def test_regions_are_disjoint_and_cover_the_network(device: str, taps: tuple[str, ...]) -> None:
    with torch.device(device):
        model = SmallResNet(width=2)
    graph = traced(model, (3, 8, 8))
    nodes = [call.node for name in taps for call in graph.calls if call.path == name]
    cut = regions(graph, model, [node for node in nodes if node])
    every = [*cut.of_taps, cut.behind, cut.unused]
    names = [name for region in every for name in region.parameters]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert sum(region.size for region in every) == sum(p.numel() for p in model.parameters())
    assert sum(len(region.nodes) for region in every) == len(frozenset().union(*(r.nodes for r in every)))
    assert "fc.weight" in cut.behind.parameters
    if taps and taps[0] == "layer3.0":
        assert cut.of_taps[1].parameters == ()
