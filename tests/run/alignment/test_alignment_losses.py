"""What a stage trains on: every metric, rows of tokens, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from theseus_fx.graph.program import StageOutputs
from theseus_fx.lang import words
from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Alignment, Amount, LearningRate, Metric
from theseus_fx.lang.spec_stages import Rows
from theseus_fx.planning.plan import Stage, Tap
from theseus_fx.run.alignment.losses import StageLoss, metric_losses
from theseus_fx.similarity import (
    cka_loss,
    distillation_loss,
    dmnn_loss,
    mse_loss,
    token_rows,
    ucka_loss,
)

SPAN = Source("<test>", "x").span(0, 1)
CPU = torch.device("cpu")
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "dmnn": {"k": 3, "tau": 0.2, "support": "guide"},
    "distill": {"temperature": 3.0},
}


def metric(name: str) -> Metric:
    return Metric(name=name, arguments=ARGUMENTS.get(name, {}), span=SPAN)


def stage(name: str, *taps: Tap, rows: Rows | None = None) -> Stage:
    settings = Alignment(
        budget=Amount(1, "steps"),
        lr=LearningRate(candidates=(1.0,), span=SPAN),
        metric=metric(name),
        rows=rows or Rows(),
        start=None,
    )
    return Stage(
        number=1,
        introduces=(),
        newest=(),
        trains=(),
        taps=taps,
        alignment=settings,
        starts=(),
        guide_share=1.0,
        trainable_parameters=0,
    )


def tap(name: str, weight: float = 1.0) -> Tap:
    return Tap(part=name, node=name, shape=("batch", 5), weight=weight)


def values(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


EXPECTED: Mapping[str, Any] = {
    "cka": cka_loss,
    "ucka": ucka_loss,
    "dmnn": lambda a, b: dmnn_loss(a, b, k=3, tau=0.2, support="guide"),
    "mse": mse_loss,
    "distill": lambda a, b: distillation_loss(a, b, 3.0),
}


@pytest.mark.parametrize("name", words.METRICS)
def test_every_metric_of_the_language_is_its_loss(name: str) -> None:
    targets = [values(8, 5, seed=n).requires_grad_() for n in (1, 2)]
    guides = [values(8, 5, seed=n) for n in (3, 4)]
    found = metric_losses(metric(name), Rows())(targets, guides)
    twins = [x.detach().clone().requires_grad_() for x in targets]
    expected = torch.stack([EXPECTED[name](a, b) for a, b in zip(twins, guides, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    found.sum().backward()
    expected.sum().backward()
    for a, b in zip(targets, twins, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-6, atol=1e-9)
        assert a.grad.abs().sum() > 0


def test_an_unknown_metric_is_no_silent_one() -> None:
    with pytest.raises(ValueError, match="no loss for the metric `other`"):
        metric_losses(metric("other"), Rows())


@pytest.mark.parametrize("name", ["cka", "ucka", "dmnn"])
def test_rows_of_tokens(name: str) -> None:
    a, b = values(4, 6, 5, seed=1), values(4, 6, 5, seed=2)
    found = metric_losses(metric(name), Rows(kind="tokens", at_most=10))([a], [b])
    assert float(found[0]) == float(EXPECTED[name](token_rows(a, 10), token_rows(b, 10)))
    assert float(found[0]) != float(EXPECTED[name](a, b))


def outputs(targets: list[Tensor], guides: list[Tensor]) -> StageOutputs:
    return StageOutputs(tuple(guides), tuple(targets), None, None)


def test_the_loss_is_the_mean_over_the_taps_by_their_weights() -> None:
    targets = [values(8, 5, seed=n) for n in (1, 2)]
    guides = [values(8, 5, seed=n) for n in (3, 4)]
    first, second = (float(cka_loss(a, b)) for a, b in zip(targets, guides, strict=True))
    even, told = StageLoss.of(stage("cka", tap("a"), tap("b")), CPU)(outputs(targets, guides))
    assert float(even) == pytest.approx((first + second) / 2, rel=1e-14)
    assert {name: float(value) for name, value in told.items()} == {"a": 1 - first, "b": 1 - second}
    uneven, _ = StageLoss.of(stage("cka", tap("a", 1.5), tap("b", 0.5)), CPU)(outputs(targets, guides))
    assert float(uneven) == pytest.approx(0.75 * first + 0.25 * second, rel=1e-14)
    doubled, _ = StageLoss.of(stage("cka", tap("a", 2.0), tap("b", 2.0)), CPU)(outputs(targets, guides))
    assert float(doubled) == float(even)


def test_the_gradient_of_a_tap_is_in_proportion_to_its_weight() -> None:
    guides = [values(8, 5, seed=3)] * 2
    a, b = (values(8, 5, seed=1).requires_grad_() for _ in range(2))
    loss, _ = StageLoss.of(stage("mse", tap("a", 3.0), tap("b", 1.0)), CPU)(outputs([a, b], guides))
    loss.backward()
    torch.testing.assert_close(a.grad, 3 * b.grad)


def test_what_is_no_similarity_is_told_as_it_is() -> None:
    a, b = values(8, 5, seed=1), values(8, 5, seed=2)
    of_mse = StageLoss.of(stage("mse", tap("a")), CPU)
    _, told = of_mse(outputs([a], [b]))
    assert of_mse.measure == "mse"
    assert float(told["a"]) == float(mse_loss(a, b))
    assert StageLoss.of(stage("ucka", tap("a")), CPU).measure == "similarity"
