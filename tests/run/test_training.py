"""Budgets and learning rates."""

from __future__ import annotations

from itertools import pairwise

import pytest

from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Amount, LearningRate
from theseus_fx.run.training import rate_schedule, steps_of

SPAN = Source("<test>", "lr").span(0, 2)


def rates(rate: LearningRate, steps: int, peak: float = 1.0) -> list[float]:
    at = rate_schedule(rate, peak, steps=steps, steps_per_epoch=5)
    return [at(step) for step in range(steps)]


def test_epochs_become_steps() -> None:
    assert steps_of(Amount(3, "epochs"), 7) == 21
    assert steps_of(Amount(3, "steps"), 7) == 3
    assert steps_of(Amount(3, "batches"), 7) == 3


def test_a_constant_rate() -> None:
    assert rates(LearningRate(candidates=(2.0,), span=SPAN), 3, 2.0) == [2.0, 2.0, 2.0]


def test_warmup_reaches_the_peak_at_its_last_step_and_the_cosine_ends_near_zero() -> None:
    rate = LearningRate(candidates=(1.0,), shape="cosine", warmup=Amount(1, "epochs"), span=SPAN)
    found = rates(rate, 105)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[5] == pytest.approx(1.0)
    assert found[55] == pytest.approx(0.5)
    assert all(a >= b for a, b in pairwise(found[5:]))
    assert 0 < found[-1] < 1e-3


def test_a_budget_that_is_all_warmup() -> None:
    rate = LearningRate(candidates=(1.0,), shape="cosine", warmup=Amount(4, "epochs"), span=SPAN)
    assert rates(rate, 4) == pytest.approx([0.25, 0.5, 0.75, 1.0])
