"""Taps inside of parts on the command line: planned, shown, explained, laid out, and trained on by a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

SPEC = """\
theseus 1

use "std/patterns.thx"

param weight = 0.5

guide net = small_resnet(width = 4, channels = 1)
data      = digits(canvas = 8, batch = 64)
task      = classification(classes = 10)

module Mine(part, wide) {
  hidden = Conv2d(wide, 3, padding = 1, stride = part.in.shape[2] // part.out.shape[2])
  return hidden |> relu |> Conv2d(part.out.channels, 1)
}

rule block {
  match residual as r in "layer*"  expect 3
  replace with Mine(r, wide = 8)
  align r.out  weight = 2
  align r.main ~ hidden  weight = weight
}

schedule progressive {
  lr  = 1e-3
  for = 2 steps
}

finetune {
  lr  = 1e-3
  for = 2 steps
}
"""
MODULES = SPEC.replace("residual as r", "BasicBlock as r").replace("r.main", 'r["bn2"]')


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "aligned.thx"
    path.write_text(SPEC)
    return path


def test_the_plan_has_the_taps_of_every_trained_part(command: Command, spec: Path) -> None:
    said = command("plan", spec, "--json", "--set", "weight=0.25")
    assert (said.code, said.err) == (0, "")
    stages = json.loads(said.out)["stages"]
    assert [len(stage["taps"]) for stage in stages] == [2, 4, 6]
    named = [(tap["part"], tap["value"], tap["target"], tap["weight"]) for tap in stages[1]["taps"]]
    assert named == [
        ("block[1]", None, None, 2.0),
        ("block[1]", "main", "hidden", 0.25),
        ("block[2]", None, None, 2.0),
        ("block[2]", "main", "hidden", 0.25),
    ]


def test_the_view_has_a_row_for_each_tap_below_its_part(command: Command, spec: Path) -> None:
    said = command("plan", spec)
    assert said.code == 0
    rows = [" ".join(line.split()) for line in said.out.splitlines()]
    first = next(i for i, row in enumerate(rows) if row.startswith("1 block[1] layer1.0"))
    assert "b x 4 x 8 x 8, weight 2" in rows[first]
    assert rows[first + 1] == "main ~ hidden b x 4 x 8 x 8 ~ b x 8 x 8 x 8, weight 0.5"
    assert rows[first + 2].startswith("2 block[2] layer2.0")


def test_a_saved_plan_is_the_same_again(command: Command, spec: Path, tmp_path: Path) -> None:
    spec.write_text(MODULES)
    saved = tmp_path / "plan.json"
    assert command("plan", spec, "--out", saved).code == 0
    assert json.loads(saved.read_text()) == json.loads(command("plan", spec, "--json").out)
    assert command("run", saved, "--out", tmp_path / "run").code == 0


def test_diff_names_the_taps(command: Command, spec: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.thx"
    other.write_text(SPEC.replace("  weight = 2", "").replace("weight = weight", "weight = 2 * weight"))
    said = command("diff", spec, other)
    assert said.code == 0
    row = next(line for line in said.out.splitlines() if "taps:" in line)
    assert "-layer1_0_relu_1 weight 2" in row
    assert "-layer1_0_bn2 ~ hidden weight 0.5" in row
    assert "+layer1_0_relu_1 +layer1_0_bn2 ~ hidden" in row


def test_diff_sees_that_a_name_stands_for_another_step(command: Command, spec: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.thx"
    moved = SPEC.replace("return hidden |> relu |>", "return hidden |>").replace(
        "\n  return", " |> relu\n  return"
    )
    other.write_text(moved)
    changes = json.loads(command("diff", spec, other, "--json").out)["stages"]["changed"][0]["changes"]
    assert [change["setting"] for change in changes] == ["part.values"]
    assert (changes[0]["old"], changes[0]["new"]) == (["hidden = step 0"], ["hidden = step 1"])


@pytest.mark.parametrize("text", [SPEC, MODULES])
def test_a_run_trains_on_each_tap_by_its_weight(command: Command, spec: Path, text: str) -> None:
    value = "main" if text is SPEC else "bn2"
    spec.write_text(text)
    said = command("run", spec, "--out", "run")
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line.get("phase") == "align")
    output, inside = 1 - first["block[1]"], 1 - first[f"block[1] {value} ~ hidden"]
    assert first["loss"] == pytest.approx((2 * output + 0.5 * inside) / 2.5)
    taps = json.loads(Path("run/summary.json").read_text())["stages"][2]["taps"]
    assert len(taps) == 6
    assert all(0 < tap["after"] <= 1 for tap in taps.values())


def test_the_output_with_its_own_weight_is_no_obstacle(command: Command, spec: Path, tmp_path: Path) -> None:
    text = MODULES.replace("  weight = 2", "").replace('  align r["bn2"] ~ hidden  weight = weight\n', "")
    spec.write_text(text.replace("param weight = 0.5\n\n", ""))
    said = command("run", spec, "--out", tmp_path / "run")
    assert said.code == 0, said.err


def test_a_mistake_has_its_place(command: Command, spec: Path) -> None:
    spec.write_text(SPEC.replace("~ hidden", "~ hiden"))
    said = command("check", spec)
    assert said.code == 1
    assert "error[THX201]: the replacement has no value `hiden`" in said.err
    assert "did you mean `hidden`?" in said.err


def test_fmt_leaves_the_rule_as_it_is(command: Command, spec: Path) -> None:
    assert command("fmt", "--check", spec).code == 0


def test_explain_has_a_page(command: Command) -> None:
    said = command("explain", "align")
    assert said.code == 0
    assert "align r.main ~ hidden" in said.out
