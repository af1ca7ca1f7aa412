"""Budgets, learning rates, and the average that a plateau is seen in."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from broken_runs import assert_same_run, metrics, run, run_broken, spec
from torch import nn
from torch.optim import SGD

from theseus_fx.lang.source import Source
from theseus_fx.lang.spec import Amount, LearningRate, Plateau
from theseus_fx.run.rates import PlateauRate, rate_schedule, steps_of
from theseus_fx.run.smoothing import Smoothed

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


def test_a_line_falls_by_equal_steps_to_one_step_above_zero() -> None:
    rate = LearningRate(candidates=(2.0,), shape="linear", warmup=Amount(2, "steps"), span=SPAN)
    assert rates(rate, 6, 2.0) == pytest.approx([1.0, 2.0, 2.0, 1.5, 1.0, 0.5])


@pytest.mark.parametrize("shape", ["cosine", "linear"])
def test_a_budget_that_is_all_warmup(shape: str) -> None:
    rate = LearningRate(candidates=(1.0,), shape=shape, warmup=Amount(4, "epochs"), span=SPAN)  # type: ignore[arg-type]
    assert rates(rate, 4) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_the_average_begins_as_the_mean_and_forgets_by_its_window() -> None:
    smoothed = Smoothed(9)
    assert math.isnan(smoothed.value())
    values = [3.0, 1.0, 2.0, 8.0]
    for value in values:
        smoothed.add(torch.tensor(value))
    weights = [0.8 ** (len(values) - 1 - i) for i in range(len(values))]
    expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert smoothed.value() == pytest.approx(expected, rel=1e-12)


def plateau_rates(losses: list[float], plateau: Plateau, *, resumed_at: int | None = None) -> list[float]:
    """The rate after each step; at `resumed_at` everything is made anew from its state."""

    def fresh() -> tuple[SGD, PlateauRate, Smoothed]:
        optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        rate = PlateauRate(plateau, optimizer, steps_per_epoch=4)
        return optimizer, rate, Smoothed(steps_of(plateau.average, 4))

    optimizer, rate, smoothed = fresh()
    found: list[float] = []
    for step, loss in enumerate(losses, 1):
        smoothed.add(torch.tensor(loss))
        rate.look(step, smoothed)
        found.append(optimizer.param_groups[0]["lr"])
        if step == resumed_at:
            states = optimizer.state_dict(), rate.state_dict(), smoothed.state_dict()
            optimizer, rate, smoothed = fresh()
            for thing, state in zip((optimizer, rate, smoothed), states, strict=True):
                thing.load_state_dict(state)
    return found


def plateau(patience: Amount, *, average: int = 1, least: float = 0.0) -> Plateau:
    return Plateau(factor=0.5, patience=patience, average=Amount(average, "steps"), least=least)


def test_a_rate_falls_once_the_loss_has_stood_still_for_the_patience() -> None:
    losses = [4.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]
    found = plateau_rates(losses, plateau(Amount(3, "steps")))
    assert found == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_patience_may_be_in_epochs_and_the_rate_has_a_least_value() -> None:
    found = plateau_rates([1.0] * 13, plateau(Amount(1, "epochs"), least=0.3))
    assert found == [1] * 4 + [0.5] * 4 + [0.3] * 5


def test_a_falling_loss_keeps_the_rate() -> None:
    losses = [1.0 - 0.01 * i for i in range(40)]
    assert plateau_rates(losses, plateau(Amount(2, "steps"), average=20)) == [1.0] * 40


def test_the_loss_is_looked_at_ten_times_in_a_window_and_once_in_the_patience() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    long = PlateauRate(plateau(Amount(400, "steps"), average=500), optimizer, steps_per_epoch=4)
    short = PlateauRate(plateau(Amount(20, "steps"), average=500), optimizer, steps_per_epoch=4)
    assert (long.every, short.every) == (50, 20)


@pytest.mark.parametrize("resumed_at", range(1, 20))
def test_a_plateau_that_is_resumed_goes_on_as_if_it_had_not_been(resumed_at: int) -> None:
    losses = [1.0 + 0.1 * math.sin(i) for i in range(20)]
    setting = plateau(Amount(5, "steps"), average=30)
    whole = plateau_rates(losses, setting)
    assert whole[-1] < 1
    assert plateau_rates(losses, setting, resumed_at=resumed_at) == whole


PLATEAU = "plateau(RATE, factor = 0.1, patience = 1 steps, average = 2 steps, min = 1e-5)"


def test_a_run_with_plateaus_killed_and_resumed_equals_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = spec(  # rates high enough for the loss to stand still
        f"lr = {PLATEAU.replace('RATE', '1e-1')}  optimizer = sgd(momentum = 0.9)  for = 6 steps",
        finetune=f"lr = {PLATEAU.replace('RATE', '3e-1')}  optimizer = adam  for = 8 steps  "
        "loss = cross_entropy + 0.5 * mse(net)",
        rest="compare naive { lr = linear(choose(1e-3, 3e-3)) }",
    )
    run(text, tmp_path / "whole")
    assert run_broken(text, tmp_path / "broken", monkeypatch, every=8) > 3
    assert_same_run(tmp_path / "whole", tmp_path / "broken")
    rates: dict[str, list[float]] = {}
    for line in metrics(tmp_path / "whole"):
        if "lr" in line:
            rates.setdefault(line["unit"], []).append(line["lr"])
    assert min(rates["converted/align-1"]) == pytest.approx(0.01)
    assert min(rates["converted/align-1-finetune-1"]) < 0.3
    assert rates["naive_equal_finetune/finetune-2"] == pytest.approx([3e-3 * (8 - i) / 8 for i in range(8)])
