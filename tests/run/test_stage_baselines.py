"""Baselines of every kind of stage: what they spend, from what they begin, and what a run expects of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from broken_runs import Counting, assert_same_run, metrics, run, run_broken, spec
from stage_specs import PAIR, REGIONS

import theseus_fx
from theseus_fx import api
from theseus_fx.models.zoo import SmallResNet

ALL = "compare naive, random_start, distillation, scratch"
STEPS = "lr = 1e-3  for = 3 steps"
INDEPENDENT = spec(STEPS, rest=ALL).replace("progressive", "independent")


def regions(schedule: str, rest: str = ALL) -> str:
    return REGIONS.replace("SCHEDULE", f"schedule {schedule}") + rest


def pair(schedule: str, rest: str = ALL) -> str:
    return PAIR.replace("SCHEDULE", f"schedule {schedule}") + rest


def fitted(text: str) -> str:
    """The same from a fit, so that the random start is a baseline of its own."""
    return text.replace("init = random", "init = fit(samples = 128, metric = plain)")


def steps_of(baselines: dict[str, Any]) -> dict[str, int]:
    return {name: outcome["steps"] for name, outcome in baselines.items()}


def planned_steps(text: str) -> dict[str, int]:
    """What the plan says that each baseline spends, all of it in steps."""
    listed = api.plan(text).as_json()["compare"]["baselines"]
    return {entry["name"]: sum(amount["count"] for amount in entry["for"]) for entry in listed}


def test_stages_together_spend_their_budget_once(tmp_path: Path) -> None:
    """But for distillation, which goes through the whole model and trains each alone."""
    summary = run(fitted(INDEPENDENT), tmp_path / "run")
    found = steps_of(summary["baselines"])
    assert summary["converted"]["steps"] == 3 + 2
    assert found == planned_steps(INDEPENDENT)
    assert found == {
        "naive_equal_finetune": 2,
        "naive_equal_total": 5,
        "naive_distilled": 5,
        "random_start": 5,
        "distillation": 11,
        "scratch": 5,
    }
    lines = [line for line in metrics(tmp_path / "run") if line.get("phase") == "align"]
    together = {tuple(line["stages"]) for line in lines if line["unit"] == "random_start/align-1"}
    alone = {line["stage"] for line in lines if line["unit"] == "distillation/align-1"}
    assert (together, alone) == ({(1, 2, 3)}, {1, 2, 3})


def test_baselines_of_replaced_operations(tmp_path: Path) -> None:
    text = regions(f"progressive {{ {STEPS}  stage 1 {{ require cka > 0.9999 else keep guide }} }}")
    summary = run(text, tmp_path / "run")
    converted, baselines = summary["converted"], summary["baselines"]
    assert converted["kept_guide"] == ["block[1]"]
    spent = planned_steps(text)
    assert converted["steps"] == spent["naive_equal_total"] == 3 * 3 + 2
    # the first stage of these has nothing to train: its part stays, and no other is there yet
    spent |= {"random_start": 2 * 3 + 2, "distillation": 2 * 3 + 2}
    assert steps_of(baselines) == spent
    for outcome in baselines.values():
        assert outcome["kept_guide"] == ["block[1]"]
        assert outcome["parameters"] == converted["parameters"]
    assert [list(stage["taps"]) for stage in baselines["distillation"]["stages"]] == [["output"]] * 2


def test_baselines_of_a_network_of_its_own(tmp_path: Path) -> None:
    text = pair(f"progressive {{ {STEPS} }}")
    summary = run(text, tmp_path / "run")
    baselines = summary["baselines"]
    assert steps_of(baselines) == planned_steps(text)
    assert baselines["random_start"] == summary["converted"]
    for outcome in baselines.values():
        assert outcome["parameters"] == summary["converted"]["parameters"]
    assert [list(stage["taps"]) for stage in baselines["distillation"]["stages"]] == [["output"]] * 3
    assert [stage["start_similarity"] for stage in summary["stages"]] == [{}, {}, {}]


def test_from_scratch_a_target_has_nothing_of_its_weights(tmp_path: Path) -> None:
    """The naive one begins as the sentence of the target says."""
    made = api.plan(pair(f"progressive {{ {STEPS} }}", rest="compare naive, scratch"))
    api.run_plan(made, out=tmp_path / "run")
    first = {
        line["unit"]: line["loss"]
        for line in metrics(tmp_path / "run")
        if line.get("phase") == "task" and line["step"] == 1
    }
    assert first["naive_equal_total/finetune-1"] != first["scratch/finetune-1"]


FORECASTS = {
    "independent": INDEPENDENT,
    "gates": spec(
        f"{STEPS}  stage 2 {{ require cka > 0.9999 else extend(1) else keep guide }}", rest=ALL
    ).replace("progressive", "independent"),
    "upfront": spec(
        f"introduce = upfront  {STEPS}  stage 1 {{ require cka > 0.9999 else keep guide }}", rest=ALL
    ),
    "pair": pair("progressive { lr = 1e-3  for = until(cka > 0.001, at_most = 20 steps) }"),
    "regions": regions(f"sequential {{ {STEPS} }}"),
}


@pytest.mark.parametrize("kind", FORECASTS)
def test_the_forecast_is_right_in_the_end(tmp_path: Path, kind: str) -> None:
    watching = Counting()
    api.run_plan(api.plan(FORECASTS[kind]), out=tmp_path / "run", observer=watching)
    assert watching.taken == watching.expected[-1]
    again = Counting()
    api.resume(tmp_path / "run", observer=again)
    assert (again.taken, again.expected[-1]) == (0, 0)


def test_a_baseline_goes_on_where_a_stage_introduces_nothing(tmp_path: Path) -> None:
    """The stage whose part is the guide's trains what was introduced before it, for its whole budget."""
    text = spec(
        f"{STEPS}  stage 2 {{ require cka > 0.9999 else keep guide }}",
        rest="compare random_start { align_lr = 1e-4 }",
    ).replace("init = random", "init = fit(samples = 128, metric = plain)")
    summary = run(text, tmp_path / "run")
    stages = summary["baselines"]["random_start"]["stages"]
    assert summary["converted"]["kept_guide"] == ["conv[2]"]
    assert [(stage["parts"], list(stage["taps"]), stage["steps"]) for stage in stages] == [
        (["conv[1]"], ["conv[1]"], 3),
        ([], ["conv[1]"], 3),
        (["conv[3]"], ["conv[1]", "conv[3]"], 3),
    ]


@pytest.mark.parametrize("kind", ["independent", "sequential", "progressive { feed = guide"])
def test_the_similarity_of_every_start(tmp_path: Path, kind: str) -> None:
    text = spec(STEPS).replace("progressive {", f"{kind} {{" if "{" not in kind else kind)
    fitted = text.replace(
        "init = random", "init = fit(samples = 256, metric = plain)  stage 2 { init = random }"
    )
    first, second, third = run(fitted, tmp_path / "run")["stages"]
    for stage, kinds in ((first, ["random", "fit"]), (second, ["random"]), (third, ["random", "fit"])):
        (found,) = stage["start_similarity"].values()
        assert list(found) == kinds
        name = f"conv[{stage['stage']}]"
        assert stage["taps"][name]["before"] == pytest.approx(found[kinds[-1]], abs=1e-9)
    assert first["start_similarity"]["conv[1]"]["fit"] > first["start_similarity"]["conv[1]"]["random"]


def test_killed_and_resumed_equals_never_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = FORECASTS["gates"]
    run(text, tmp_path / "whole")
    assert run_broken(text, tmp_path / "broken", monkeypatch, every=9) >= 2
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_fit_under_taps_inside_of_a_replacement(tmp_path: Path) -> None:
    """The metric of the logits puts other values in the part's place than a replacement would."""
    text = regions("progressive { lr = 1e-3  for = 1 steps }", rest="").replace(
        "return hidden |> relu |> Conv2d(part.out.channels, 1)",
        "return hidden |> flatten(start_dim = 1) |> Linear(2, bias = false) |> Linear(part.out.features) "
        "|> reshape(part.out.shape)",
    )
    text = text.replace(
        "lr = 1e-3  for = 1", "init = fit(samples = 128, metric = logits)  lr = 1e-3  for = 1"
    )
    stages = run(text, tmp_path / "run")["stages"]
    assert [stage["start"] for stage in stages] == ["fit", "fit", "fit"]
    model = theseus_fx.load(tmp_path / "run")
    assert isinstance(model, torch.fx.GraphModule)
    assert not isinstance(model, SmallResNet)
