"""Losses inside of torch.compile: one graph, the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from theseus_fx.similarity import Cka, Dmnn, Metric, tap_losses

METRICS = [Cka(), Cka(unbiased=True), Dmnn(k=3), Dmnn(k=3, kind="dist", support="soft")]


class Stage(nn.Module):
    """A stage as the programs of a run are: a frozen guide, a target, two taps."""

    def __init__(self, metric: Metric) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.guide = nn.Sequential(nn.Linear(9, 20), nn.ReLU(), nn.Linear(20, 12)).requires_grad_(False)
        self.target = nn.Sequential(nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 5))
        self.metric = metric

    def forward(self, x: Tensor) -> Tensor:
        theirs, mine = self.guide[:2](x), self.target[:2](x)
        taps = tap_losses([mine, self.target[2](mine)], [theirs, self.guide[2](theirs)], self.metric)
        return taps.mean()

    def gradients(self) -> list[Tensor]:
        return [p.grad for p in self.target.parameters() if p.grad is not None]


def check(metric: Metric, backend: str) -> None:
    x = torch.randn(16, 9, generator=torch.Generator().manual_seed(1))
    eager, compiled = Stage(metric), Stage(metric)
    expected = eager(x)
    expected.backward()
    torch.compiler.reset()
    got = torch.compile(compiled, fullgraph=True, backend=backend)(x)
    got.backward()
    assert float(got.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert len(compiled.gradients()) == 4
    for mine, theirs in zip(compiled.gradients(), eager.gradients(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_a_stage_with_its_loss_is_one_graph(metric: Metric) -> None:
    check(metric, "aot_eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch._prims_common.check` is deprecated:FutureWarning")
def test_inductor_gives_the_same_numbers() -> None:
    check(Cka(), "inductor")
