"""FLOPs of graphs, replacements and slices."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from theseus_fx.graph.cost import executed_share, forward_flops, module_flops
from theseus_fx.graph.trace import trace
from theseus_fx.graph.values import InputSpec, ValueInfo


def test_flops_of_resnet18_are_those_of_the_literature() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet18()
    inputs = [InputSpec(name="image", dtype=torch.float32, shape=("batch", 3, 224, 224))]
    traced = trace(model, inputs)
    flops = forward_flops(traced, model)
    assert list(flops) == list(traced.nodes)
    assert flops["conv1"] == 2 * 64 * 3 * 49 * 112 * 112
    assert flops["fc"] == 2 * 512 * 1000
    assert flops["relu"] == 0
    assert sum(flops.values()) == pytest.approx(2 * 1.814e9, rel=1e-3)  # torchvision: 1.814 GMAC


def test_the_share_of_a_tap_is_what_lies_upstream_of_it() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 8), nn.Linear(8, 4))
    traced = trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", 4))])
    flops = forward_flops(traced, model)
    assert executed_share(traced, flops, ["_1"]) == pytest.approx((16 + 32) / (16 + 32 + 32))
    assert executed_share(traced, flops, [traced.output]) == 1.0
    assert executed_share(traced, flops, []) == 0.0


def test_flops_of_a_replacement_are_for_one_sample() -> None:
    replacement = nn.Sequential(nn.Linear(12, 5, bias=False), nn.Linear(5, 7))
    value = ValueInfo(shape=("batch", 12), dtype=torch.float32)
    assert module_flops(replacement, value) == 2 * (12 * 5 + 5 * 7)


def test_a_replacement_may_take_several_inputs() -> None:
    class Product(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x @ y.mT

    value = ValueInfo(shape=("batch", 3, 4), dtype=torch.float32)
    assert module_flops(Product(), value, value) == 2 * 3 * 4 * 3


def test_attention_counts_its_matrix_products() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x, x, x, need_weights=False)[0]

    traced = trace(Attention(), [InputSpec(name="x", dtype=torch.float32, shape=("batch", 5, 8))])
    projections, products = 2 * 5 * 8 * 4 * 8, 2 * 2 * 5 * 5 * 8
    assert sum(forward_flops(traced, Attention()).values()) == projections + products


def test_a_model_that_reads_a_number_from_a_tensor_can_be_counted() -> None:
    class Normed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / x.max().item()

    model = nn.Sequential(nn.Linear(4, 4), Normed())
    traced = trace(model, [InputSpec(name="x", dtype=torch.float32, shape=("batch", 4))])
    assert sum(forward_flops(traced, model).values()) == 32
