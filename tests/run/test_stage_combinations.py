"""Stages of every kind with gates, pieces of batches, precision and activations that are computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from broken_runs import assert_same_run, metrics, run, run_broken
from stage_specs import HEAD, PAIR, REGIONS

import theseus_fx
from theseus_fx import api
from theseus_fx.lang.diagnostics import Rejected
from theseus_fx.lang.spec import Compute
from theseus_fx.planning.passes import passes
from theseus_fx.run import checkpoint
from theseus_fx.run.alignment.steps import Steps
from theseus_fx.run.gradients import Work, add_gradients
from theseus_fx.run.recorder import StepOutcome

PARTS = (
    HEAD
    + """\
guide net = small_resnet(width = 2, channels = 1)
module Mine(part) = flatten(start_dim = 1) |> Linear(4) |> BatchNorm1d(4) |> Dropout(P)
  |> Linear(part.out.features) |> reshape(part.out.shape)
rule conv { match Conv2d as c  in "layer3*"  expect 3  replace with Mine(c) }
SCHEDULE
finetune { lr = 1e-3  for = 2 steps }
"""
)
STEPS = "lr = 1e-3  for = 3 steps"


def parts(schedule: str, *, rest: str = "", dropout: float = 0.2, norm: bool = True) -> str:
    text = PARTS.replace("SCHEDULE", f"schedule {schedule}").replace("Dropout(P)", f"Dropout({dropout})")
    return (text if norm else text.replace("|> BatchNorm1d(4) ", "")) + rest


def aligned(folder: Path) -> list[dict[str, Any]]:
    return [line for line in metrics(folder) if line.get("phase") == "align"]


def compare_pieces(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """At every step of a stage from now on: how far the gradient in pieces is from that of the whole batch.

    It is the largest difference in a parameter, as a share of the largest gradient there is.
    """
    found: list[float] = []

    def both(work: Work, step: int, compute: Compute, *, pieces: int, device: torch.device) -> StepOutcome:
        gradients: list[list[torch.Tensor]] = []
        outcome = None
        for count in (1, pieces):
            parameters = [p for module in work.modules for p in module.parameters()]
            for parameter in parameters:
                parameter.grad = None
            outcome = add_gradients(work, step, compute, pieces=count, device=device)
            gradients.append([p.grad.clone() for p in parameters if p.grad is not None])
        assert outcome is not None
        if pieces > 1:
            whole, same = gradients
            most = max(float(g.abs().max()) for g in whole)
            assert most > 0
            found.append(max(float((g - h).abs().max()) for g, h in zip(whole, same, strict=True)) / most)
        return outcome

    monkeypatch.setattr("theseus_fx.run.training.add_gradients", both)
    return found


@pytest.mark.parametrize("metric", ["cka", "mse", "dmnn(k = 5)"])
def test_stages_together_in_pieces_equal_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    schedule = f"independent {{ metric = {metric}  clip = 0.05  {STEPS}  accumulate = 5 }}"
    text = parts(schedule, dropout=0.0, norm=False)
    assert [len(together) for together in passes(api.plan(text))] == [3]
    found = compare_pieces(monkeypatch)
    run(text, tmp_path / "run")
    assert len(found) == 3
    assert max(found) < 1e-5


def test_stages_together_that_compute_again_change_no_number(tmp_path: Path) -> None:
    for name, more in (("plain", ""), ("again", "checkpointing = true")):
        run(parts(f"independent {{ clip = 0.05  {STEPS}  {more} }}"), tmp_path / name)
    assert_same_run(tmp_path / "plain", tmp_path / "again")


def test_pieces_of_stages_together_drop_units_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each draws other numbers than the last, and the second pass over a batch the same as the first."""
    seeds: list[tuple[int, int, int]] = []
    seed = Steps._seed

    def recorded(self: Steps, index: int) -> None:
        seed(self, index)
        seeds.append((self.step, index, torch.initial_seed()))

    monkeypatch.setattr(Steps, "_seed", recorded)
    run(parts(f"independent {{ {STEPS}  accumulate = 2 }}"), tmp_path / "run")
    assert len(seeds) == 3 * 3 * 2 * 2
    assert len(set(seeds)) == 3 * 3 * 2
    for step in range(3):
        of_step = [entry for entry in seeds if entry[0] == step]
        assert of_step[:6] == of_step[6:]


def test_stages_together_in_pieces_come_out_as_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = parts(f"independent {{ {STEPS}  accumulate = 3  checkpointing = true }}")
    together = run(text, tmp_path / "together")
    monkeypatch.setattr(
        "theseus_fx.run.alignment.stages.passes", lambda plan: tuple((stage,) for stage in plan.stages)
    )
    alone = run(text, tmp_path / "alone")
    assert together["stages"] == alone["stages"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("together", "alone")]
    assert weights[0] == weights[1]


DECIDING = [
    "lr = plateau(1e-3, patience = 2 steps, average = 3 steps)  for = 3 steps",
    f"{STEPS}  require cka > 0.1",
    "lr = 1e-3  for = until(loss < 0.01, at_most = 3 steps)",
]


@pytest.mark.parametrize("settings", DECIDING)
def test_a_stage_whose_own_loss_decides_is_trained_alone(settings: str) -> None:
    for schedule, expected in (
        (f"independent {{ {STEPS}  stage 1 {{ {settings} }} }}", [[1], [2, 3]]),
        (f"independent {{ {settings} }}", [[1], [2], [3]]),
    ):
        made = api.plan(parts(schedule))
        assert [[stage.number for stage in together] for together in passes(made)] == expected


def test_parts_that_the_guide_feeds_are_given_back_to_it(tmp_path: Path) -> None:
    """The second stage misses its gate in a pass that comes after that of the third."""
    schedule = f"independent {{ {STEPS}  stage 2 {{ require cka > 0.9999 else extend(1) else keep guide }} }}"
    summary = run(parts(schedule, rest="compare naive, random_start"), tmp_path / "run")
    assert [stage["kept_guide"] for stage in summary["stages"]] == [[], ["conv[2]"], []]
    assert [stage["steps"] for stage in summary["stages"]] == [3, 6, 3]
    assert summary["converted"]["kept_guide"] == ["conv[2]"]
    assert summary["converted"]["steps"] == 3 + 6 + 2
    model = theseus_fx.load(tmp_path / "run")
    made = api.plan(parts(schedule))
    assert [type(model.get_submodule(part.path)) is torch.nn.Conv2d for part in made.parts] == [
        False, True, False,
    ]  # fmt: skip
    naive = summary["baselines"]["naive_equal_total"]
    assert (naive["parameters"], naive["steps"]) == (summary["converted"]["parameters"], 3 + 6 + 2)


@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_sequential_stages_go_on_over_the_guides_part(tmp_path: Path, order: str) -> None:
    gate = "require cka > 0.9999 else keep guide"
    summary = run(parts(f"sequential {{ order = {order}  {STEPS}  stage 2 {{ {gate} }} }}"), tmp_path / "run")
    third = "conv[3]" if order == "forward" else "conv[1]"
    assert [list(stage["taps"]) for stage in summary["stages"]][1:] == [["conv[2]"], [third]]
    assert summary["converted"]["kept_guide"] == ["conv[2]"]
    assert {line["stage"] for line in aligned(tmp_path / "run")} == {1, 2, 3}


UPFRONT = f"""progressive {{ introduce = upfront  {STEPS}  init = random
  stage 1 {{ require cka > 0.9999 else keep guide }} }}"""


def test_all_parts_are_there_although_the_first_is_given_back(tmp_path: Path) -> None:
    summary = run(parts(UPFRONT), tmp_path / "run")
    assert summary["converted"]["kept_guide"] == ["conv[1]"]
    assert [sorted(stage["taps"]) for stage in summary["stages"]] == [
        ["conv[1]"], ["conv[2]"], ["conv[2]", "conv[3]"],
    ]  # fmt: skip


def test_a_baseline_without_the_first_stage_has_all_other_parts(tmp_path: Path) -> None:
    """It is the one that introduces them."""
    rule = "replace with LowRankLinear(c, rank = 4)"
    text = parts(UPFRONT, rest="compare random_start").replace("replace with Mine(c)", rule)
    text = text.replace("init = random", "init = fit(samples = 64, metric = plain)")
    summary = run(text, tmp_path / "run")
    baseline = summary["baselines"]["random_start"]
    assert summary["converted"]["kept_guide"] == baseline["kept_guide"] == ["conv[1]"]
    assert [stage["stage"] for stage in baseline["stages"]] == [2, 3]
    assert [sorted(stage["taps"]) for stage in baseline["stages"]] == [["conv[2]"], ["conv[2]", "conv[3]"]]
    assert baseline["parameters"] == summary["converted"]["parameters"]
    assert api.resume(tmp_path / "run").summary == summary


def test_operations_are_given_back_to_the_guide(tmp_path: Path) -> None:
    gate = "require cka > 0.9999 else keep guide"
    text = REGIONS.replace("SCHEDULE", f"schedule progressive {{ {STEPS}  group = 2  stage 1 {{ {gate} }} }}")
    summary = run(text, tmp_path / "run")
    assert [stage["kept_guide"] for stage in summary["stages"]] == [["block[1]", "block[2]"], []]
    assert list(summary["stages"][1]["taps"]) == ["block[3]", "block[3] main ~ hidden"]
    model = theseus_fx.load(tmp_path / "run")
    names = model.state_dict().keys()
    assert {"layer1.0.conv1.weight", "layer2.0.bn2.running_var", "replaced.block_3.conv2d_1.weight"} <= names
    assert not any(name.startswith(("replaced.block_1", "layer3")) for name in names)
    assert sum(p.numel() for p in model.parameters()) == summary["converted"]["parameters"]


def test_a_pair_that_does_not_pass_stops_the_run(tmp_path: Path) -> None:
    schedule = f"schedule progressive {{ {STEPS}  stage 2 {{ require cka > 0.9999 else extend(1) }} }}"
    with pytest.raises(Rejected) as caught:
        run(PAIR.replace("SCHEDULE", schedule), tmp_path / "run")
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "THX802"
    assert diagnostic.message.endswith("has to be > 0.9999, after 1 extension (block[2])")
    assert [line["step"] for line in aligned(tmp_path / "run") if line["stage"] == 2] == [1, 2, 3, 4, 5, 6]


def test_a_pair_that_passes_goes_on(tmp_path: Path) -> None:
    schedule = f"schedule progressive {{ {STEPS}  require ucka > 0.001 }}"
    summary = run(PAIR.replace("SCHEDULE", schedule), tmp_path / "run")
    assert [stage["require"][0]["passed"] for stage in summary["stages"]] == [True, True, True]
    assert summary["converted"]["kept_guide"] == []


def test_a_pair_cannot_keep_the_guide(tmp_path: Path) -> None:
    schedule = f"schedule progressive {{ {STEPS}  require cka > 0.5 else keep guide }}"
    with pytest.raises(Rejected) as caught:
        api.plan(PAIR.replace("SCHEDULE", schedule))
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["THX220"]


@pytest.mark.parametrize("text", [PAIR, REGIONS], ids=["pair", "regions"])
def test_activations_that_are_computed_again_change_no_number(tmp_path: Path, text: str) -> None:
    for name, more in (("plain", ""), ("again", "checkpointing = true")):
        run(text.replace("SCHEDULE", f"schedule sequential {{ {STEPS}  {more} }}"), tmp_path / name)
    assert_same_run(tmp_path / "plain", tmp_path / "again")


def test_values_inside_of_parts_in_pieces_equal_whole_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compare_pieces(monkeypatch)
    run(REGIONS.replace("SCHEDULE", f"schedule progressive {{ {STEPS}  accumulate = 3 }}"), tmp_path / "run")
    assert len(found) == 9
    assert max(found) < 1e-4


PLATEAU = "plateau(1e-1, factor = 0.1, patience = 1 steps, average = 2 steps)"
BROKEN = {
    "independent": parts(
        f"independent {{ {STEPS}  accumulate = 2  checkpointing = true  "
        f"stage 2 {{ lr = {PLATEAU}  require cka > 0.9999 else extend(1) else keep guide }} }}"
    ),
    "sequential": parts(
        "sequential { optimizer = sgd(momentum = 0.9)  lr = 1e-2  "
        "for = until(cka > 0.02, at_most = 20 steps)  precision = bf16  "
        "stage 2 { for = 2 steps  require cka > 0.9999 else keep guide } }"
    ),
    "upfront": parts(UPFRONT, rest="compare naive"),
    "pair": PAIR.replace(
        "SCHEDULE",
        f"schedule progressive {{ {STEPS}  accumulate = 3  checkpointing = true  precision = bf16  "
        f"stage 2 {{ lr = {PLATEAU} }}  stage 3 {{ require ucka > 0.0001 else extend(1) }} }}",
    ),
    "regions": REGIONS.replace(
        "SCHEDULE",
        f"schedule progressive {{ group = 2  metric = ucka  {STEPS}  checkpointing = true  "
        "require cka > 0.9999 else extend(1) else keep guide }",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_killed_and_resumed_equals_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run(BROKEN[kind], tmp_path / "whole")
    assert run_broken(BROKEN[kind], tmp_path / "broken", monkeypatch, every=3) >= 3
    assert_same_run(tmp_path / "whole", tmp_path / "broken")


def test_a_checkpoint_holds_all_that_a_phase_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[dict[str, Any]] = []
    save = checkpoint.save

    def kept(folder: Path, number: int, state: dict[str, Any]) -> None:
        save(folder, number, state)
        held.append(state)

    monkeypatch.setattr(checkpoint, "save", kept)
    run(BROKEN["independent"], tmp_path / "run")
    ends = [state for state in held if "pass" in state and state["phase"]["step"] == 6]
    assert [(state["pass"], state["phase"]["extensions"]) for state in ends] == [(1, 1)]
    assert ends[0]["phase"]["plateau"] is not None
    assert ends[0]["phase"]["smoothed"]["weight"] > 0
