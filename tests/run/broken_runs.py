"""Whole runs in this process, killed at checkpoints and taken up again, to be compared with unbroken ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from theseus_fx import api
from theseus_fx.run import checkpoint
from theseus_fx.run.events import Observer, Silent
from theseus_fx.run.interrupt import StopRequest
from theseus_fx.run.session import Session

SPEC = """\
theseus 1
use "std/low_rank.thx"
guide net = small_resnet(width = 2, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv {{
  match Conv2d as c  in "layer3*"  expect 3
  replace with LowRankLinear(c, rank = 4)
}}
schedule progressive {{ init = random  {schedule} }}
finetune {{ {finetune} }}
{rest}
"""
TUNE = "lr = 1e-3  for = 2 steps"


class Killed(BaseException):
    """The process is gone: nothing handles this."""


class Counting(Silent):
    """Counts the steps that it is told of, and what it is told to expect."""

    def __init__(self) -> None:
        self.expected: list[int] = []
        self.taken = 0
        self._phase = ("", 0)

    def expect(self, steps: int) -> None:
        self.expected.append(steps)

    def begin(self, title: str, *, steps: int, done: int, measure: str = "similarity") -> None:
        if title != self._phase[0]:
            self.taken += done
        self._phase = (title, done)

    def step(self, *, done: int, loss: float, values: Mapping[str, float], samples: int) -> None:
        self.taken += done - self._phase[1]
        self._phase = (self._phase[0], done)


def spec(schedule: str, *, finetune: str = TUNE, rest: str = "") -> str:
    """A conversion of three parts that takes about a second."""
    return SPEC.format(schedule=schedule, finetune=finetune, rest=rest)


def run(text: str, folder: Path) -> dict[str, Any]:
    """The summary of an unbroken run."""
    return dict(api.run_plan(api.plan(text), out=folder, cache=folder.parent / "cache").summary)


def run_broken(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, every: int) -> int:
    """Runs with a checkpoint after each step, killed after every `every`-th; how often it was."""
    count = 0
    save = checkpoint.save

    def save_and_die(unit: Path, number: int, state: dict[str, Any]) -> None:
        nonlocal count
        save(unit, number, state)
        count += 1
        if count % every == 0:
            raise Killed

    def session(where: Path, device: torch.device, seed: int, observer: Observer | None) -> Session:
        return Session(
            folder=where,
            device=device,
            seed=seed,
            observer=observer or Silent(),
            stop=StopRequest(),
            checkpoint_seconds=0.0,
        )

    kills = 0
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", save_and_die)
        patched.setattr(api, "_session", session)
        made = api.plan(text)
        try:
            api.run_plan(made, out=folder, cache=folder.parent / "cache")
        except Killed:
            kills += 1
        else:
            return kills
        while True:
            try:
                api.resume(folder, cache=folder.parent / "cache")
            except Killed:
                kills += 1
            else:
                return kills


def without_times(value: Any) -> Any:
    """Everything but how long it took."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key != "seconds"}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(one: Path, other: Path) -> None:
    """Summary, model and every recorded step are equal."""
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (one, other)]
    assert without_times(summaries[0]) == without_times(summaries[1])
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
