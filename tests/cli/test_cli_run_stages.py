"""`theseus-fx run` with every kind of stage: metrics, taps, axes, regions, networks of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Command, Said

import theseus_fx
from theseus_fx.lang.diagnostics import Rejected

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


REGIONS = """\
use "std/patterns.thx"
module Mine(part, wide) {
  hidden = Conv2d(wide, 3, padding = 1, stride = part.in.shape[2] // part.out.shape[2])
  return hidden |> relu |> Conv2d(part.out.channels, 1)
}
rule block {
  match residual as r in "layer2*"  expect 1
  replace with Mine(r, wide = 6)
  align r.out  weight = 2
  align r.main ~ hidden  weight = 0.5
}
rule conv { match Conv2d as c in "layer3.0.conv1"  replace with LowRankLinear(c, rank = 3) }
"""


def test_operations_are_replaced_and_values_inside_are_taps(command: Command, tmp_path: Path) -> None:
    schedule = f"schedule progressive {{ init = random  {STEPS} }}\n"
    text = HEAD + REGIONS + schedule + TAIL + "compare naive\n"
    said, summary = run(command, tmp_path, text)
    assert [list(stage["taps"]) for stage in summary["stages"]] == [
        ["block[1]", "block[1] main ~ hidden"],
        ["block[1]", "block[1] main ~ hidden", "conv[1]"],
    ]
    first = lines(tmp_path)[0]
    apart = [1 - first["block[1]"], 1 - first["block[1] main ~ hidden"]]
    assert first["loss"] == pytest.approx(0.8 * apart[0] + 0.2 * apart[1], rel=1e-9)
    assert "similarity" in said.err

    model = theseus_fx.load(tmp_path / "run")
    assert isinstance(model, torch.fx.GraphModule)
    assert not model.training
    names = model.state_dict().keys()
    assert {"conv1.weight", "layer1.0.bn2.running_var", "layer3.0.bn1.weight", "fc.bias"} <= names
    assert {"replaced.block_1.conv2d_1.weight", "layer3.0.conv1.linear_1.weight"} <= names
    assert not any(name.startswith("layer2") for name in names)
    assert sum(p.numel() for p in model.parameters()) == summary["converted"]["parameters"]
    about = json.loads((tmp_path / "run" / "architecture.json").read_text())
    assert (about["form"], about["guide_class"]) == ("graph", "theseus_fx.models.zoo.SmallResNet")
    accuracy = command("resume", tmp_path / "run", "--json")
    assert json.loads(accuracy.out) == summary

    with torch.no_grad():
        assert model(torch.randn(5, 1, 8, 8)).shape == (5, 10)


def test_a_guide_that_has_changed_cannot_hold_replaced_operations(command: Command, tmp_path: Path) -> None:
    run(command, tmp_path, HEAD + REGIONS + f"schedule joint {{ init = random  {STEPS} }}\n" + TAIL)
    path = tmp_path / "run" / "architecture.json"
    architecture = json.loads(path.read_text())
    architecture["guide"]["keywords"]["width"] = 3
    path.write_text(json.dumps(architecture))
    with pytest.raises(Rejected, match="the graph of the guide is another one"):
        theseus_fx.load(tmp_path / "run")


KINDS = [
    "sequential { order = reverse  STEPS }",
    "independent { STEPS }",
    "progressive { introduce = upfront  STEPS }",
    "progressive { feed = guide  group = 2  STEPS }",
]


@pytest.mark.parametrize("schedule", KINDS)
def test_every_kind_of_schedule(command: Command, tmp_path: Path, schedule: str) -> None:
    text = HEAD + RULE + f"schedule {schedule.replace('STEPS', STEPS)}\n" + TAIL + "compare naive\n"
    said, summary = run(command, tmp_path, text)
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert [stage["parts"] for stage in summary["stages"]] == [stage["newest"] for stage in plan["stages"]]
    for stage, planned in zip(summary["stages"], plan["stages"], strict=True):
        assert list(stage["taps"]) == [tap["part"] for tap in planned["taps"]]
        assert 0 <= stage["validation"] <= 1
        assert stage["steps"] == 3
        assert f"stage {stage['stage']}: {stage['parts'][-1]}: similarity " in said.err
    together = schedule.startswith("independent")
    trained = {tuple(line.get("stages", [line.get("stage")])) for line in lines(tmp_path)}
    stages = [stage["number"] for stage in plan["stages"]]
    assert trained == ({tuple(stages)} if together else {(number,) for number in stages})
    steps = 3 if together else 3 * len(stages)
    assert summary["baselines"]["naive_equal_total"]["steps"] == steps + 2


NETWORK = """\
theseus 1
guide  big   = small_resnet(width = 4, channels = 1)
target small = small_resnet(width = 2, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
pair block { guide BasicBlock in big  target BasicBlock in small }
"""


@pytest.mark.parametrize("schedule", ["progressive", "sequential", "joint"])
def test_a_network_of_its_own(command: Command, tmp_path: Path, schedule: str) -> None:
    text = f"{NETWORK}schedule {schedule} {{ {STEPS} }}\n{TAIL}compare naive, random_start\n"
    said, summary = run(command, tmp_path, text)
    many = 1 if schedule == "joint" else 3
    assert len(summary["stages"]) == many
    for stage in summary["stages"]:
        assert stage["start"] == "given"
        assert stage["validation"] is None  # nothing can be asked of it before its head is trained
    assert "hybrid" not in said.err
    assert set(summary["converted"]["batchnorm"]) == {"before", "after"}
    model = theseus_fx.load(tmp_path / "run")
    assert sum(p.numel() for p in model.parameters()) == summary["converted"]["parameters"]
    assert type(model).__name__ == "SmallResNet"
    architecture = json.loads((tmp_path / "run" / "architecture.json").read_text())
    assert (architecture["form"], architecture["network"]["name"]) == ("network", "small_resnet")
    assert summary["baselines"]["random_start"] == summary["converted"]
    assert summary["baselines"]["naive_equal_total"]["steps"] == 3 * many + 2


WORDS = """\
theseus 1
guide net = transformers.GPT2LMHeadModel(
  n_layer = 2, n_head = 2, n_embd = 8, n_positions = 16, vocab_size = 256, bos_token_id = 0, eos_token_id = 0
)
data = textfile("text.txt", tokenizer = "bytes", length = 16, batch = 8)
task = language_modelling
rule mlp { match GPT2MLP as m  expect 2  replace with Linear(8) }
"""


@pytest.mark.parametrize(
    "metric",
    ["ucka  rows = tokens(at_most = 64)", "dmnn(k = 20)  rows = tokens", "distill", "ucka"],
)
def test_language_models_by_tokens_and_by_outputs(command: Command, tmp_path: Path, metric: str) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 80)
    schedule = f"schedule sequential {{ metric = {metric}  {STEPS} }}\n"
    _, summary = run(command, tmp_path, WORDS + schedule + "finetune { lr = 1e-3  for = 2 steps }\n")
    for stage in summary["stages"]:
        for tap in stage["taps"].values():
            assert 0 <= tap["before"] <= 1
            assert 0 <= tap["chance"] < 1


def test_one_gpt2_learns_from_another_through_tied_weights(command: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 80)
    small = "n_layer = 1, n_head = 2, n_embd = 4, n_positions = 16, vocab_size = 256, bos_token_id = 0"
    target = f"target small = transformers.GPT2LMHeadModel({small}, eos_token_id = 0)\n"
    pair = "pair block { guide GPT2Block in net every 2  target GPT2Block in small }\n"
    text = WORDS.replace("data =", target + "data =").replace("rule mlp { match", "#") + pair
    schedule = f"schedule progressive {{ metric = ucka  {STEPS} }}\n"
    _, summary = run(command, tmp_path, text + schedule + "finetune { lr = 1e-3  for = 2 steps }\n")
    (stage,) = summary["stages"]
    assert (stage["steps"], stage["validation"]) == (3, None)
    model: Any = theseus_fx.load(tmp_path / "run")
    assert model.lm_head.weight is model.transformer.wte.weight


def test_too_few_held_out_samples_for_the_metric(command: Command, tmp_path: Path) -> None:
    text = HEAD + RULE + f"schedule progressive {{ metric = dmnn(k = 63, support = soft)  {STEPS} }}\n" + TAIL
    (tmp_path / "spec.thx").write_text(text)
    said = command("plan", tmp_path / "spec.thx")
    assert said.code == 1
    assert "error[THX523]: `dmnn` looks at 63 neighbours, and there are 63 other rows" in said.err
    assert "write a `k` below 63" in said.err
