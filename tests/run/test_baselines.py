"""Baselines: what each is trained on, for how many steps, and from what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from broken_runs import TUNE, Counting, assert_same_run, metrics, run, run_broken, spec
from torch import nn

import theseus_fx
from theseus_fx import api
from theseus_fx.cli.views.methods import budgeted, called
from theseus_fx.lang import words
from theseus_fx.models.zoo import SmallResNet
from theseus_fx.planning.baselines import MIXED, baselines
from theseus_fx.planning.distilled import distilled
from theseus_fx.planning.plan import Plan
from theseus_fx.run.scratch import reinitialise

ALL = """compare naive, random_start, distillation, scratch {
  lr = choose(1e-3, 3e-3)  align_lr = choose(1e-3, 1e-2)
}"""
FIT = "lr = choose(none, 1e-3)  for = 3 steps"


def plan_of(schedule: str, *, finetune: str = TUNE, rest: str = ALL) -> Plan:
    text = spec(schedule, finetune=finetune, rest=rest)
    return api.plan(text.replace("init = random", "init = fit(samples = 128, metric = plain)"))


def listed(made: Plan) -> dict[str, tuple[list[str], int]]:
    """Budget and candidates of each baseline."""
    found = baselines(made)
    return {b.name: ([str(amount) for amount in b.spends], b.candidates) for b in found}


def test_every_baseline_says_what_it_spends() -> None:
    assert listed(plan_of(FIT)) == {
        "naive_equal_finetune": (["2 steps"], 2),
        "naive_equal_total": (["11 steps"], 2),
        "naive_distilled": (["11 steps"], 2),
        "random_start": (["11 steps"], 4),
        "distillation": (["11 steps"], 4),
        "scratch": (["11 steps"], 2),
    }
    mixed = plan_of("lr = 1e-3  for = 2 epochs", finetune="lr = choose(none, 1e-4)  for = 5 steps")
    assert listed(mixed)["naive_equal_total"] == (["6 epochs", "5 steps"], 2)
    assert listed(plan_of(FIT, rest="compare naive, random_start")) == {
        "naive_equal_finetune": (["2 steps"], 1),
        "naive_equal_total": (["11 steps"], 1),
        "naive_distilled": (["11 steps"], 1),
        "random_start": (["11 steps"], 1),  # the candidate that takes no step is left out
    }


def test_a_naive_baseline_distils_once() -> None:
    tune = "lr = 1e-3  for = 2 steps  loss = cross_entropy + distill(net)"
    assert "naive_distilled" not in listed(plan_of(FIT, finetune=tune))


def test_the_plan_says_them_too() -> None:
    made = plan_of("lr = 1e-3  for = 2 epochs").as_json()["compare"]["baselines"]
    assert budgeted(made[1]) == "naive, same total steps: 6 epochs + 2 steps, 2 candidates"
    assert budgeted({**made[0], "candidates": 1}) == "naive, same fine-tuning: 2 steps, 1 candidate"
    assert all(called(baseline["name"]) != baseline["name"] for baseline in made)


def test_a_distilled_plan_compares_the_output_for_the_whole_budget() -> None:
    tune = "lr = 1e-3  for = 2 steps  loss = cross_entropy + distill(net, temperature = 3)"
    gated = "lr = 1e-3  for = until(loss < 1, at_most = 4 steps)  require cka > 0.5  group = 2"
    made = plan_of(gated, finetune=tune)
    plan = distilled(made)
    for stage, before in zip(plan.stages, made.stages, strict=True):
        assert [(tap.part, tap.node) for tap in stage.taps] == [(None, made.trace.output)]
        assert (stage.alignment.metric.name, stage.alignment.metric.arguments) == (
            "distill",
            {"temperature": 3.0},
        )
        assert (stage.alignment.until, stage.alignment.gates) == (None, ())
        assert stage.alignment.budget == before.alignment.budget
        assert (stage.introduces, stage.trains) == (before.introduces, before.trains)
    fed = distilled(plan_of("lr = 1e-3  for = 4 steps  feed = guide  train = newest"))
    assert fed.spec.schedule.axes.feed == "target"
    assert all(stage.guide_inputs == () for stage in fed.stages)


def of(lines: list[dict[str, Any]], unit: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["unit"] == unit and "lr" in line]


def test_all_baselines_run_beside_the_conversion(tmp_path: Path) -> None:
    text = spec(FIT, rest=ALL).replace("init = random", "init = fit(samples = 128, metric = plain)")
    summary = run(text, tmp_path / "run")
    found: Mapping[str, Any] = summary["baselines"]
    made = api.plan(text)
    assert list(found) == list(listed(made))
    for name, (spends, candidates) in listed(made).items():
        assert (f"{found[name]['steps']} steps", len(found[name]["trials"])) == (spends[0], candidates)
        assert found[name]["parameters"] == summary["converted"]["parameters"]
    lines = metrics(tmp_path / "run")
    # stages of the distillation train on the logits, from the same random replacements as the paper's recipe
    for line in of(lines, "distillation/align-1"):
        assert set(line) >= {"output", "stage"}
        assert line["loss"] == pytest.approx(line["output"])
    assert [(s["stage"], s["steps"]) for s in found["distillation"]["stages"]] == [(1, 3), (2, 3), (3, 3)]
    assert "conv[1]" in of(lines, "random_start/align-1")[0]
    # the mixed loss of naive replacements is another one than that of `finetune`
    one, other = (of(lines, f"naive_{name}/finetune-1") for name in ("equal_total", "distilled"))
    assert one[0]["loss"] != other[0]["loss"]
    assert (MIXED[0].weight, MIXED[1].weight) == (0.1, 0.9)
    # from scratch: no batch statistics of the guide, and another network than the naive one
    assert found["scratch"]["batchnorm"] is None
    assert of(lines, "scratch/finetune-1")[0]["loss"] != one[0]["loss"]


def test_killed_and_resumed_equals_never_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = spec("lr = 1e-3  for = 1 steps", rest="compare distillation, scratch")
    run(text, tmp_path / "whole")
    assert run_broken(text, tmp_path / "broken", monkeypatch, every=7) >= 2
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_every_method_of_the_language_is_a_baseline() -> None:
    made = plan_of(FIT)
    methods = {b.method for b in baselines(made)}
    assert methods == set(words.METHODS)


def test_a_guide_that_was_handed_over_has_a_baseline_from_scratch(tmp_path: Path) -> None:
    model = SmallResNet(width=2, channels=1)
    text = spec("lr = 1e-3  for = 1 steps", rest="compare naive, scratch")
    text = text.replace("guide net = small_resnet(width = 2, channels = 1)\n", "")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = theseus_fx.convert(model, text, out=tmp_path / "run")
    assert done.summary["baselines"]["scratch"]["steps"] == 5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Own(nn.Module):
    """Modules of torch's, attention among them, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.token = nn.Parameter(torch.arange(6.0))


def test_a_network_that_was_handed_over_is_initialised_anew() -> None:
    torch.manual_seed(0)
    net = Own()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(100.0)
        net.bn.running_mean.fill_(7.0)
    before = {name: p.clone() for name, p in net.named_parameters()}
    torch.manual_seed(1)
    assert reinitialise(net) == ["token"]
    for name, parameter in net.named_parameters():
        assert not torch.equal(parameter, before[name]), name
        if name != "token":
            assert parameter.abs().max() < 2, name
    assert torch.equal(net.token.sort().values, before["token"])
    assert net.bn.running_mean.abs().max() == 0


@pytest.mark.parametrize(
    "schedule",
    [
        "lr = choose(none, 1e-3)  for = 3 steps",
        "lr = 1e-3  for = until(cka > 0.001, at_most = 30 steps)",
        "lr = choose(none, 1e-3)  for = 2 steps  require cka > 0.999 else extend(1) else keep guide",
        "lr = choose(1e-3, 1e-2)  for = 2 steps  stage 1 { require loss < LEVEL }",
    ],
)
def test_the_forecast_is_right_in_the_end(tmp_path: Path, schedule: str) -> None:
    rest = "compare naive, distillation, scratch { lr = choose(1e-3, 1e-2) }"
    text = spec(schedule.replace("LEVEL", "0.5"), rest=rest)
    if "LEVEL" in schedule:  # between the losses of the two candidates, so that one is out
        run(text.replace("require loss < 0.5", ""), tmp_path / "plain")
        lines = metrics(tmp_path / "plain")
        first, second = (of(lines, f"converted/align-{i}")[1]["loss"] for i in (1, 2))
        assert first != second
        text = text.replace("0.5", str((first + second) / 2))
    watching = Counting()
    made = api.plan(text)
    done = api.run_plan(made, out=tmp_path / "run", observer=watching)
    if "LEVEL" in schedule:
        assert sum("missed" in trial for trial in done.summary["converted"]["trials"]) == 1
    assert watching.taken == watching.expected[-1]
    again = Counting()
    api.resume(tmp_path / "run", observer=again)
    assert (again.taken, again.expected[-1]) == (0, 0)
