"""Stages from end to end: together as alone, killed and resumed as never killed, the same seed the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import theseus_fx
from theseus_fx import api
from theseus_fx.planning.passes import passes
from theseus_fx.planning.plan import Plan, Stage
from theseus_fx.run.alignment import stages
from theseus_fx.run.events import Silent
from theseus_fx.run.folder import read_json
from theseus_fx.run.session import Session

PARTS = """\
theseus 1
use "std/low_rank.thx"
guide net = small_resnet(width = 2, classes = 10, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
module Dropping(part) =
  flatten(start_dim = 1) |> Linear(4) |> BatchNorm1d(4) |> Dropout(0.2) |> Linear(part.out.features)
  |> reshape(part.out.shape)
rule late  { match Conv2d as c  in "layer3*"  expect 3  replace with Dropping(c) }
rule early { match Conv2d as c  in "layer1*"  replace with LowRankLinear(c, rank = 4) }
SCHEDULE
recalibrate BatchNorm2d { over = 2 batches }
finetune { lr = 1e-3  for = 2 steps }
"""
PAIR = """\
theseus 1
guide  big   = small_resnet(width = 4, channels = 1)
target small = small_resnet(width = 2, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
pair block {
  guide  BasicBlock in big
  target BasicBlock in small
}
SCHEDULE
recalibrate BatchNorm2d { over = 2 batches }
finetune { lr = 1e-3  for = 2 steps }
"""
STEPS = "lr = 1e-3  for = 3 steps"
INDEPENDENT = f"schedule independent {{ clip = 0.01  {STEPS}  stage 3 {{ for = 2 steps }} }}"
UPFRONT = f"schedule progressive {{ introduce = upfront  group = 2  {STEPS} }}"
RUNS = {
    "sequential": PARTS.replace("SCHEDULE", f"schedule sequential {{ {STEPS} }}"),
    "independent": PARTS.replace("SCHEDULE", INDEPENDENT),
    "upfront": PARTS.replace("SCHEDULE", UPFRONT),
    "network": PAIR.replace("SCHEDULE", f"schedule progressive {{ {STEPS} }}"),
    "network_newest": PAIR.replace("SCHEDULE", f"schedule sequential {{ {STEPS} }}"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THESEUS_FX_CACHE", str(tmp_path / "cache"))
    return tmp_path


class KilledError(Exception):
    """Stands in for a process that ends in the middle of its work."""


class Killer(Silent):
    """Ends the run when it is told of something for the n-th time."""

    def __init__(self, after: int) -> None:
        self.left = after

    def _one(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KilledError

    def step(self, **_: Any) -> None:
        self._one()

    def begin(self, title: str, **_: Any) -> None:
        self._one()

    def end(self, title: str, outcome: str) -> None:
        self._one()


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key != "seconds"}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def assert_same(one: str, other: str, *, metrics: bool = True) -> None:
    summaries = [without_times(read_json(Path(name) / "summary.json")) for name in (one, other)]
    assert summaries[0] == summaries[1]
    files = ["model.safetensors", *(["metrics.jsonl"] if metrics else [])]
    for file in files:
        assert (Path(one) / file).read_bytes() == (Path(other) / file).read_bytes(), file


def run(text: str, out: str, **more: Any) -> Any:
    return theseus_fx.convert(None, text, out=out, device="cpu", **more)


@pytest.mark.parametrize("kind", RUNS)
def test_killed_at_any_instant_and_resumed_equals_never_killed(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def always(*arguments: Any) -> Session:
        return replace(session(*arguments), checkpoint_seconds=0.0)

    session = api._session
    monkeypatch.setattr(api, "_session", always)
    run(RUNS[kind], "whole")
    kills = 0
    try:
        run(RUNS[kind], "killed", observer=Killer(3))
    except KilledError:
        kills += 1
    for after in killing():
        try:
            theseus_fx.resume("killed", observer=Killer(after))
        except KilledError:
            kills += 1
        else:
            break
    assert kills >= 3
    assert_same("whole", "killed")


def killing() -> Iterator[int]:
    """Ever different numbers of events; each lets a run come further than its last checkpoint."""
    for number in range(100):
        yield 4 + number % 4


def one_by_one(plan: Plan) -> tuple[tuple[Stage, ...], ...]:
    return tuple((stage,) for stage in plan.stages)


def test_stages_together_come_out_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clipped part by part, with dropout and BatchNorm in the replacements."""
    text = RUNS["independent"]
    made = theseus_fx.plan(text)
    numbers = [[stage.number for stage in together] for together in passes(made)]
    assert numbers == [[1, 2, 4, 5], [3]]
    together = run(text, "together").summary
    monkeypatch.setattr(stages, "passes", one_by_one)
    alone = run(text, "alone").summary
    assert [stage["steps"] for stage in together["stages"]] == [3, 3, 2, 3, 3]
    assert without_times(together["stages"]) == without_times(alone["stages"])
    one, other = (Path(name) / "model.safetensors" for name in ("together", "alone"))
    assert one.read_bytes() == other.read_bytes()
    taken = [s["converted"]["trials"][0]["steps"] for s in (together, alone)]
    assert taken == [3 + 2 + 2, 3 * 4 + 2 + 2]  # of optimizers, fine-tuning included


def test_pieces_of_a_batch_and_computing_again_change_nothing() -> None:
    """As far as arithmetic allows; BatchNorm would see the pieces."""
    text = RUNS["independent"].replace("|> BatchNorm1d(4) |> Dropout(0.2) ", "")
    whole = run(text, "whole").summary["stages"]
    pieces = text.replace("clip = 0.01", "clip = 0.01  accumulate = 3  checkpointing = true")
    for one, other in zip(whole, run(pieces, "pieces").summary["stages"], strict=True):
        for name, tap in one["taps"].items():
            assert other["taps"][name]["after"] == pytest.approx(tap["after"], abs=1e-4)


def test_a_stage_that_does_not_pass_gives_its_part_back() -> None:
    """Parts that the guide feeds: the stage with a gate is trained alone, and only its part stays."""
    gate = "stage 2 { require ucka > 0.999 else keep guide }"
    made = theseus_fx.plan(PARTS.replace("SCHEDULE", f"schedule independent {{ {STEPS}  {gate} }}"))
    assert [[s.number for s in together] for together in passes(made)] == [[1, 3, 4, 5], [2]]
    done = api.run_plan(made, out="run", device="cpu")
    (kept,) = done.summary["converted"]["kept_guide"]
    assert [stage["kept_guide"] for stage in done.summary["stages"]] == [[], [kept], [], [], []]
    path = made.part(kept).path
    loaded = theseus_fx.load("run")
    assert isinstance(loaded.get_submodule(path), torch.nn.Conv2d)
    assert loaded.state_dict().keys() == done.model.state_dict().keys()
    assert theseus_fx.resume("run").summary == done.summary


def test_operations_that_do_not_pass_stay() -> None:
    rules = """use "std/patterns.thx"
rule block { match residual as r in "layer*"  expect 3
  replace with Conv2d(r.out.channels, 1, stride = r.in.shape[2] // r.out.shape[2]) }"""
    lines = PARTS.splitlines()
    start, end = (next(i for i, line in enumerate(lines) if line.startswith(w)) for w in ("module", "SCHED"))
    gate = "stage 2 { require ucka > 0.999 else keep guide }"
    schedule = f"schedule sequential {{ {STEPS}  {gate} }}"
    text = "\n".join([*lines[:start], rules, schedule, *lines[end + 1 :]]).replace(
        "std/low_rank", "std/tokens"
    )
    done = run(text, "run")
    assert done.summary["converted"]["kept_guide"] == ["block[2]"]
    names = theseus_fx.load("run").state_dict().keys()
    assert {"layer2.0.conv1.weight", "replaced.block_1.conv2d.weight"} <= names
    assert not any(name.startswith("layer1") for name in names)


def test_a_stage_of_a_network_ends_early() -> None:
    text = PAIR.replace("SCHEDULE", f"schedule progressive {{ {STEPS.replace('3 steps', UNTIL)} }}")
    first, *_ = run(text, "run").summary["stages"]
    assert (first["ended"], first["steps"]) == ("until", 2)  # it is looked at every second step


UNTIL = "until(cka > 0.01, at_most = 20 steps)"
DIFFERENT = [
    "stage 2 { metric = ucka }",
    "stage 2 { lr = 3e-3 }",
    "stage 2 { clip = 0.5 }",
    "stage 2 { weight_decay = 0 }",
    "stage 2 { lr = cosine(1e-3) }",
]


@pytest.mark.parametrize("override", DIFFERENT)
def test_only_equal_settings_are_trained_together(override: str) -> None:
    schedule = f"schedule independent {{ {STEPS}  {override} }}"
    made = theseus_fx.plan(PARTS.replace("SCHEDULE", schedule))
    numbers = [[stage.number for stage in together] for together in passes(made)]
    assert numbers == [[1, 3, 4, 5], [2]]


@pytest.mark.parametrize("schedule", ["sequential", "progressive { feed = guide", "progressive"])
def test_stages_that_see_each_other_are_trained_alone(schedule: str) -> None:
    text = schedule if "{" in schedule else schedule + " {"
    made = theseus_fx.plan(PARTS.replace("SCHEDULE", f"schedule {text}  {STEPS} }}"))
    assert all(len(together) == 1 for together in passes(made))
    assert len(passes(made)) == 5


def test_another_seed_gives_other_numbers() -> None:
    one, other = (run(RUNS["network"], f"run-{seed}", seed=seed).summary for seed in (3, 4))
    assert one["stages"] != other["stages"]
