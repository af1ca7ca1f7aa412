"""The plan's JSON: its keys, that it is plain, and that it is the same every time and everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from theseus_fx import api
from theseus_fx.modules.recipe import Recipe
from theseus_fx.planning.plan import SCHEMA

ROOT = Path(__file__).resolve().parents[2]

FULL = """theseus 1
use "std/low_rank.thx"
param rank = 4
guide net = small_resnet(width = 4, channels = 1) trained by { lr = 3e-3  for = 5 steps }
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
rule conv { match Conv2d as c in "layer3"  replace with LowRankLinear(c, rank = rank) }
schedule progressive {
  lr = choose(none, 1e-3)  for = 2 epochs
  stage 2 {
    init = random  lr = plateau(1e-4, min = 1e-6)  optimizer = sgd(momentum = 0.9)
    for = until(loss < 0.01, at_most = 9 steps)
    require cka > 0.85 else extend(2)
  }
}
recalibrate BatchNorm2d { over = 2 batches }
finetune {
  lr = cosine(1e-3, warmup = 1 steps)  for = 3 steps
  loss = 0.5 * cross_entropy + 0.5 * distill(net, temperature = 2)
}
compare naive, random_start { lr = choose(1e-3, 1e-2)  align_lr = 1e-4 }
"""

KEYS = {
    "": "kind schema spec guide batch_size schedule parts target pairs stages recalibrate "
    "finetune compare totals notes",
    "spec": "path files assignments params",
    "spec.files.0": "path sha256 text",
    "spec.params": "rank",
    "guide": "name model fingerprint trained_by inputs",
    "guide.inputs.0": "name dtype shape",
    "guide.trained_by": "for lr optimizer weight_decay clip accumulate precision checkpointing loss",
    "parts.0": "name rule path node guide_module replacement recipe inputs takes input_shape output_shape "
    "parameters flops",
    "parts.0.recipe": "name dtype steps output",
    "parts.0.recipe.steps.1": "kind arguments inputs",
    "parts.0.parameters": "before after",
    "parts.0.flops": "before after",
    "schedule": "kind introduce train feed order group",
    "stages.0": "number group introduces newest trains taps guide_inputs metric rows for until lr optimizer "
    "weight_decay clip accumulate precision checkpointing init require guide_share target_share "
    "trainable_parameters",
    "stages.0.taps.0": "part node shape value target target_shape weight",
    "stages.0.metric": "name",
    "stages.0.for": "count unit",
    "stages.0.rows": "kind",
    "stages.0.lr": "candidates shape warmup plateau",
    "stages.0.optimizer": "name",
    "stages.0.init.0": "part kind samples metric ridge reason method memory",
    "stages.1.init.0": "part kind reason",
    "stages.1.guide_inputs": "",
    "stages.1.until": "measure operator level",
    "stages.1.until.measure": "name",
    "stages.1.require.0": "measure operator level extend keep_guide",
    "stages.1.lr.plateau": "factor patience average min",
    "stages.1.optimizer": "name momentum",
    "recalibrate.0": "module_class modules over",
    "finetune": "for lr optimizer weight_decay clip accumulate precision checkpointing loss",
    "finetune.lr.warmup": "count unit",
    "finetune.loss.0": "kind weight",
    "finetune.loss.1": "kind weight temperature",
    "compare": "methods lr align_lr baselines",
    "compare.baselines.0": "name method for candidates",
    "compare.baselines.0.for.0": "count unit",
    "totals": "parameters flops",
    "totals.parameters": "guide target",
    "totals.flops": "guide target",
}
"""Every object of schema 2 and its keys in order. A change here is a change of `SCHEMA`."""


@pytest.fixture(scope="module")
def plan() -> Mapping[str, Any]:
    return api.plan(FULL, set={"rank": "3"}).as_json()


def at(value: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        value = value[int(step)] if step.isdigit() else value[step]
    return value


@pytest.mark.parametrize("path", KEYS)
def test_the_keys_of_the_schema(plan: Mapping[str, Any], path: str) -> None:
    assert [*at(plan, path)] == KEYS[path].split()


def test_the_schema_is_the_second() -> None:
    assert SCHEMA == 2


def test_values_are_what_the_spec_says(plan: Mapping[str, Any]) -> None:
    assert (plan["kind"], plan["schema"], plan["schedule"]["kind"], plan["batch_size"]) == (
        "theseus-fx plan", 2, "progressive", 64)  # fmt: skip
    assert plan["spec"]["path"] == "<string>"
    assert [file["path"] for file in plan["spec"]["files"]] == ["<string>", "std/low_rank.thx"]
    assert plan["spec"]["files"][0]["text"] == FULL
    assert plan["spec"]["assignments"] == {"rank": "3"}
    assert plan["spec"]["params"] == {"rank": 3}
    assert plan["guide"]["model"] == "small_resnet"
    (read,) = plan["guide"]["inputs"]
    assert (read["dtype"], read["shape"]) == ("float32", ["batch", 1, 8, 8])
    assert plan["stages"][0]["for"] == {"count": 2, "unit": "epochs"}
    assert plan["stages"][0]["lr"]["candidates"] == [None, 1e-3]
    assert plan["stages"][0]["init"][0]["kind"] == "fit"
    assert plan["stages"][1]["init"] == [{"part": "conv[2]", "kind": "random", "reason": "as the spec says"}]
    assert plan["stages"][1]["lr"]["candidates"] == [1e-4]
    assert plan["finetune"]["loss"][1] == {"kind": "distill", "weight": 0.5, "temperature": 2.0}
    assert plan["compare"]["align_lr"]["candidates"] == [1e-4]


def test_it_is_plain_json(plan: Mapping[str, Any]) -> None:
    text = json.dumps(plan, allow_nan=False)
    assert json.loads(text) == plan


def test_what_the_spec_leaves_out_is_null() -> None:
    text = FULL.partition("recalibrate")[0]
    made = api.plan(text.replace(" trained by { lr = 3e-3  for = 5 steps }", "")).as_json()
    assert made["guide"]["trained_by"] is None
    assert (made["finetune"], made["compare"], made["recalibrate"]) == (None, None, [])


def test_recipes_are_read_back(plan: Mapping[str, Any]) -> None:
    made = api.plan(FULL, set={"rank": "3"})
    for part, value in zip(made.parts, plan["parts"], strict=True):
        assert Recipe.from_json(json.loads(json.dumps(value["recipe"]))) == part.recipe


def test_planning_again_gives_the_same_text(plan: Mapping[str, Any]) -> None:
    assert json.dumps(api.plan(FULL, set={"rank": "3"}).as_json()) == json.dumps(plan)


def test_another_process_gives_the_same_text(plan: Mapping[str, Any]) -> None:
    program = (
        "import json, sys; from theseus_fx import api; "
        "print(json.dumps(api.plan(sys.stdin.read(), set={'rank': '3'}).as_json()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=FULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "77"},
    )
    assert done.stdout.strip() == json.dumps(plan)
