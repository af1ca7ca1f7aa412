"""`theseus-fx run` and `resume`: the run folder, the same numbers again, kills, Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Command

import theseus_fx


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def without_times(value: Any) -> Any:
    """Everything but how long it took."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key != "seconds"}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def assert_same_run(one: Path, other: Path) -> None:
    assert without_times(summary_of(one)) == without_times(summary_of(other))
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


def forget_guides(tiny: Path) -> None:
    """Empties the cache, so that the next run trains its guide itself."""
    shutil.rmtree(tiny.parent / "cache", ignore_errors=True)


def start(tiny: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "theseus_fx", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tiny.parent,
        env={**os.environ, "THESEUS_FX_CACHE": str(tiny.parent / "cache")},
    )


def test_a_whole_run(command: Command, tiny: Path) -> None:
    said = command("run", tiny)
    assert said.code == 0, said.err
    folder = tiny.parent / "runs" / "tiny"
    for name in (
        "spec.thx",
        "resolved.thx",
        "plan.json",
        "run.json",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "model.safetensors",
        "architecture.json",
    ):
        assert (folder / name).is_file(), name
    assert (folder / "spec.thx").read_text() == tiny.read_text()

    summary = summary_of(folder)
    assert summary["metric"]["name"] == "accuracy"
    assert summary["metric"]["direction"] == "higher"
    assert set(summary["baselines"]) == {"naive_equal_finetune", "naive_equal_total", "random_start"}
    for outcome in (summary["guide"], summary["converted"], *summary["baselines"].values()):
        assert 0 <= outcome["value"] <= 1
        assert {"value", "parameters", "flops", "steps", "seconds"} <= set(outcome)
    assert summary["guide"]["steps"] == 3
    assert summary["baselines"]["naive_equal_finetune"]["steps"] == 4
    assert summary["baselines"]["naive_equal_total"]["steps"] == 3 * 3 + 4
    assert summary["baselines"]["random_start"]["steps"] == 3 * 3 + 4
    assert summary["converted"]["steps"] in (9, 13)
    assert [stage["start"] for stage in summary["stages"]] == ["fit", "random", "fit"]
    for stage in summary["stages"]:
        for tap in stage["taps"].values():
            assert -1e-9 <= tap["before"] <= 1
            assert 0 <= tap["chance"] < tap["after"]

    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    aligned = [r for r in lines if r["unit"] == "converted/align-1" and r.get("phase") == "align"]
    assert [(r["stage"], r["step"]) for r in aligned] == [(s, n) for s in (1, 2, 3) for n in (1, 2, 3)]
    assert {"conv[1]", "conv[2]", "conv[3]"} <= set(aligned[-1])
    assert "converted" in said.out
    assert "naive, same total steps" in said.out


def test_the_model_loads_as_an_ordinary_module(command: Command, tiny: Path) -> None:
    assert command("run", tiny, "--out", "run").code == 0
    model = theseus_fx.load(tiny.parent / "run")
    assert type(model).__name__ == "SmallResNet"
    assert not model.training
    images = torch.randn(5, 1, 8, 8)
    assert model(images).shape == (5, 10)
    linear = model.get_submodule("layer3.0.conv1.linear_1")
    assert isinstance(linear, torch.nn.Linear)
    assert isinstance(model.get_submodule("layer1.0.conv1"), torch.nn.Conv2d)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_does_not(command: Command, tiny: Path) -> None:
    for out, seed in (("one", "3"), ("two", "3"), ("other", "4")):
        assert command("run", tiny, "--out", out, "--seed", seed).code == 0
        forget_guides(tiny)
    assert_same_run(tiny.parent / "one", tiny.parent / "two")
    assert without_times(summary_of(tiny.parent / "one")) != without_times(summary_of(tiny.parent / "other"))


def test_a_saved_plan_runs(command: Command, tiny: Path) -> None:
    assert command("plan", tiny, "--out", "plan.json", "--set", "rank=3").code == 0
    assert command("run", "--out", "run").code == 0
    model = theseus_fx.load(tiny.parent / "run")
    assert model.get_parameter("layer3.0.conv1.linear_1.weight").shape[0] == 3


def test_a_finished_run_resumed_says_the_same(command: Command, tiny: Path) -> None:
    first = command("run", tiny, "--out", "run", "--json")
    again = command("resume", "run", "--json")
    assert again.code == 0
    assert json.loads(again.out) == json.loads(first.out)


@pytest.mark.parametrize("delay", [0.0, 0.6])
def test_killed_and_resumed_equals_never_killed(command: Command, tiny: Path, delay: float) -> None:
    text = tiny.read_text().replace("for    = 3 steps", "for    = 40 steps")
    tiny.write_text(text)
    assert command("run", tiny, "--out", "whole").code == 0
    forget_guides(tiny)
    kills = 0
    process = start(tiny, "run", str(tiny), "--out", "killed")
    while True:
        wait_for_work(process, tiny.parent / "killed" / "metrics.jsonl")
        time.sleep(delay)
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
        if kills == 3:
            break
        process = start(tiny, "resume", "killed")
    process.communicate()
    assert kills >= 1
    assert command("resume", "killed").code == 0
    assert_same_run(tiny.parent / "whole", tiny.parent / "killed")


def wait_for_work(process: subprocess.Popen[str], metrics: Path) -> None:
    """Returns once the process has written more metrics than there were, or has ended."""
    before = metrics.stat().st_size if metrics.exists() else 0
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        now = metrics.stat().st_size if metrics.exists() else 0
        if now != before and now > 0:
            return
        time.sleep(0.01)


def test_ctrl_c_leaves_a_run_that_can_be_resumed(command: Command, tiny: Path) -> None:
    text = tiny.read_text().replace("for    = 3 steps", "for    = 120 steps")
    tiny.write_text(text)
    process = start(tiny, "run", str(tiny), "--out", "stopped")
    stages = tiny.parent / "stopped" / "work" / "converted" / "align-1"
    deadline = time.monotonic() + 90
    while not list(stages.glob("checkpoint-*.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)  # into the middle of the stage
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "theseus-fx resume stopped" in err
    assert "Traceback" not in err
    assert not (tiny.parent / "stopped" / "summary.json").exists()
    assert command("resume", "stopped").code == 0
    forget_guides(tiny)
    assert command("run", tiny, "--out", "whole").code == 0
    assert_same_run(tiny.parent / "whole", tiny.parent / "stopped")


def test_a_trained_guide_is_taken_from_the_cache(command: Command, tiny: Path) -> None:
    assert command("run", tiny, "--out", "one").code == 0
    said = command("run", tiny, "--out", "two")
    assert "the trained guide comes from the cache" in said.err
    assert without_times(summary_of(tiny.parent / "one")) == without_times(summary_of(tiny.parent / "two"))
    lines = (tiny.parent / "two" / "metrics.jsonl").read_text().splitlines()
    units = {json.loads(line)["unit"] for line in lines}
    assert "guide" not in units


def test_a_changed_copy_of_the_plan_is_refused(command: Command, tiny: Path) -> None:
    assert command("run", tiny, "--out", "run").code == 0
    path = tiny.parent / "run" / "plan.json"
    plan = json.loads(path.read_text())
    plan["parts"][0]["parameters"]["after"] += 1
    path.write_text(json.dumps(plan))
    said = command("resume", "run")
    assert said.code == 1
    assert "THX704" in said.err
    assert "parts" in said.err


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_taps(command: Command, tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("lr     = 1e-3", "lr     = 1e15"))
    said = command("run", tiny, "--out", "run")
    assert said.code == 1
    assert "THX801" in said.err
    assert "not finite: conv[1]" in said.err
    assert "stage 1 of 3" in said.err


def test_a_damaged_result_is_named(command: Command, tiny: Path) -> None:
    assert command("run", tiny, "--out", "run").code == 0
    state = tiny.parent / "run" / "work" / "converted" / "align-1" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:50])
    said = command("resume", "run")
    assert said.code == 1
    assert "THX705" in said.err
    assert "converted/align-1" in said.err
    (state.parent / "result.json").unlink()
    assert command("resume", "run").code == 0


def test_a_full_disk_is_said_and_nothing_is_lost(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync
    written = 0

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 12:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        said = command("run", tiny, "--out", "run")
    assert said.code == 1
    assert "THX702" in said.err
    assert "No space left on device" in said.err
    assert "theseus-fx resume" in said.err
    assert command("resume", "run").code == 0
    forget_guides(tiny)
    assert command("run", tiny, "--out", "whole").code == 0
    assert_same_run(tiny.parent / "whole", tiny.parent / "run")


EVERYTHING = """\
schedule progressive {
  init       = random
  optimizer  = sgd(momentum = 0.9)
  lr         = plateau(choose(1e-1, 1e-2), factor = 0.5, patience = 1 steps, average = 2 steps)
  for        = until(loss < 1e-6, at_most = 4 steps)
  accumulate = 2
  require cka > 0.999 else extend(1) else keep guide
  stage 1 { optimizer = adam  lr = linear(1e-3)  checkpointing = true  require cka > 0.001 }
}
finetune { lr = plateau(1e-3)  for = 3 steps  precision = bf16 }
compare naive, distillation, scratch { lr = 1e-3  align_lr = 1e-3 }
"""


def test_gates_budgets_and_every_baseline_in_one_run(command: Command, tiny: Path) -> None:
    head, _, _ = tiny.read_text().partition("schedule progressive")
    tiny.write_text(head + EVERYTHING)
    said = command("run", tiny, "--out", "run")
    assert said.code == 0, said.err
    summary = summary_of(tiny.parent / "run")
    assert [stage["kept_guide"] for stage in summary["stages"]] == [[], ["conv[2]"], ["conv[3]"]]
    assert [stage["steps"] for stage in summary["stages"]] == [4, 8, 8]
    assert "its budget is spent again" in said.err
    assert "the guide's still, for their stages did not pass: conv[2], conv[3]" in " ".join(said.out.split())
    for shown in ("naive, same total steps, distilled", "progressive distillation", "from scratch"):
        assert shown in " ".join(said.out.split())
    # the chosen candidate took more than the plan says, and so did those that are compared with all of it
    assert summary["converted"]["steps"] == 23
    steps = {name: outcome["steps"] for name, outcome in summary["baselines"].items()}
    assert steps == {
        "naive_equal_finetune": 3,
        "naive_equal_total": 23,
        "naive_distilled": 23,
        "distillation": 3 * 4 + 3,
        "scratch": 23,
    }
    again = command("resume", "run", "--json")
    assert again.code == 0
    assert json.loads(again.out) == summary
