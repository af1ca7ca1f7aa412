"""`theseus-fx run` with every kind of stage: metrics, taps, axes, regions, networks of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import Command, Said

HEAD = """\
theseus 1
use "std/low_rank.thx"
guide net = small_resnet(width = 2, classes = 10, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
"""
RULE = 'rule conv { match Conv2d as c  in "layer3*"  expect 3  replace with LowRankLinear(c, rank = 4) }\n'
TAIL = "recalibrate BatchNorm2d { over = 2 batches }\nfinetune { lr = 1e-3  for = 2 steps }\n"
STEPS = "lr = 1e-3  for = 3 steps"


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def run(command: Command, folder: Path, text: str, *more: str) -> tuple[Said, Mapping[str, Any]]:
    (folder / "spec.thx").write_text(text)
    said = command("run", folder / "spec.thx", "--out", folder / "run", *more)
    assert said.code == 0, said.err
    return said, summary_of(folder / "run")


def lines(folder: Path, unit: str = "converted/align-1") -> list[dict[str, Any]]:
    """The records of gradient steps of a unit."""
    records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return [r for r in records if r["unit"] == unit and r.get("phase") == "align"]


METRICS = ["ucka", "dmnn(k = 5, tau = 0.2, support = soft)", "mse", "distill(temperature = 2)"]


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_trains_and_is_reported(command: Command, tmp_path: Path, metric: str) -> None:
    schedule = f"schedule progressive {{ metric = {metric}  init = random  lr = 1e-3  for = 12 steps }}\n"
    _, summary = run(command, tmp_path, HEAD + RULE + schedule + TAIL)
    name = metric.partition("(")[0]
    for stage in summary["stages"]:
        assert set(stage["taps"]) == (
            {"output"} if name == "distill" else set(stage["parts"]) | set(stage["taps"])
        )
        for tap in stage["taps"].values():
            assert 0 <= tap["before"] <= 1
            assert 0 <= tap["after"] <= 1
            assert set(tap) == {"before", "after", "unbiased", "chance", name}
    last = summary["stages"][-1]["taps"].values()
    better = [tap[name]["after"] > tap[name]["before"] for tap in last]
    assert all(better if name == "ucka" else [not b for b in better])
