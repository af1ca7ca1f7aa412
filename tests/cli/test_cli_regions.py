"""A rule over operations on the command line: planned, and carried out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Command

import theseus_fx

SPEC = """\
theseus 1
use "std/patterns.thx"
guide net = torchvision.resnet18(weights = none)
input x: f32[batch, 3, 64, 64]
rule block {
  match residual as r in "layer*"  where r.in.channels <= 128  expect 5
  replace with Conv2d(r.out.channels, kernel_size = 1, stride = r.in.shape[2] // r.out.shape[2])
}
schedule progressive { lr = 1e-3  for = 1 steps }
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "blocks.thx"
    path.write_text(SPEC)
    return path


def test_a_plan_of_regions_shows_stages_taps_and_costs(command: Command, spec: Path) -> None:
    said = command("plan", spec, "--json")
    assert (said.code, said.err) == (0, "")
    plan = json.loads(said.out)
    assert [part["path"] for part in plan["parts"]] == [
        "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0",
    ]  # fmt: skip
    first, strided = plan["parts"][0], plan["parts"][2]
    assert first["guide_module"] == "residual: 7 operations"
    assert first["region"]["inputs"] == ["maxpool"]
    assert first["node"] == first["region"]["nodes"][-1] == "layer1_0_relu_1"
    assert "layer2.0.downsample.0" in strided["region"]["modules"]
    assert first["parameters"] == {"before": 2 * (9 * 64 * 64 + 2 * 64), "after": 64 * 64 + 64}
    assert first["flops"]["before"] == 2 * 2 * 9 * 64 * 64 * 16 * 16
    assert strided["parameters"]["before"] == 9 * 64 * 128 + 9 * 128 * 128 + 64 * 128 + 3 * 2 * 128
    assert [stage["taps"][-1]["node"] for stage in plan["stages"]] == [part["node"] for part in plan["parts"]]
    before = sum(part["parameters"]["before"] for part in plan["parts"])
    after = sum(part["parameters"]["after"] for part in plan["parts"])
    totals = plan["totals"]["parameters"]
    assert totals["guide"] - totals["target"] == before - after


def test_the_view_names_the_pattern(command: Command, spec: Path) -> None:
    said = command("plan", spec)
    assert said.code == 0
    assert "residual" in said.out
    assert "layer2.0" in said.out


def test_another_count_shows_the_nearest_attempt_with_its_step(command: Command, spec: Path) -> None:
    spec.write_text(SPEC.replace("match residual as r", "match bottleneck as r"))
    said = command("plan", spec)
    assert said.code == 1
    assert "error[THX401]: rule `block` matched nothing" in said.err
    assert "std/patterns.thx:" in said.err
    assert "the nearest attempt stops here" in said.err
    assert "= help: nearly:" in said.err


def test_a_run_of_regions_gives_a_model_that_loads(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "digits.thx"
    path.write_text(
        SPEC.replace("torchvision.resnet18(weights = none)", "small_resnet(channels = 1)")
        .replace("input x: f32[batch, 3, 64, 64]", "data = digits()\ntask = classification(classes = 10)")
        .replace("expect 5", "expect 3")
    )
    said = command("run", path, "--out", "run")
    assert said.code == 0, said.err
    model = theseus_fx.load("run")
    assert [name for name, _ in model.named_modules() if "block" in name and name.count(".") == 1] == [
        f"replaced.block_{number}" for number in (1, 2, 3)
    ]


STEM = """\
theseus 1
guide net = small_resnet(channels = 1)
input x: f32[batch, 1, 16, 16]
pattern stem(image) { return image |> Conv2d |> BatchNorm2d |> ReLU }
rule first {
  match stem as s in "conv1", "bn1", "relu"
  replace with Conv2d(s.inputs.image.channels * s.out.channels, kernel_size = 3, padding = 1)
}
rule head { match flatten |> Linear as h  replace with flatten(start_dim = 1) |> Linear(h.out.features) }
schedule progressive { lr = 1e-3  for = 1 steps }
"""


def test_a_region_that_lies_in_no_module_is_planned_and_matched(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "stem.thx"
    path.write_text(STEM)
    plan = json.loads(command("plan", path, "--json").out)
    assert [part["path"] for part in plan["parts"]] == ["conv1..relu", "fc"]
    assert [entry["name"] for entry in plan["parts"][0]["inputs"]] == ["image"]
    facts = json.loads(command("match", path, "--json").out)
    for rule, part in zip(facts["rules"], plan["parts"], strict=True):
        (site,) = rule["sites"]
        assert (site["parameters"], site["flops"]) == (part["parameters"]["before"], part["flops"]["before"])
    left = {group["name"]: group for group in facts["uncovered"]["groups"]}
    assert "Linear" not in left
    assert "conv1" not in left["Conv2d"]["paths"]
    replaced = sum(part["flops"]["before"] for part in plan["parts"])
    assert facts["uncovered"]["flops"] == plan["totals"]["flops"]["guide"] - replaced


def test_match_answers_where_a_pattern_is_found_nowhere(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "stem.thx"
    path.write_text(STEM.replace("|> ReLU }", "|> GELU }"))
    said = command("match", path)
    assert (said.code, "THX401" in said.err, "0 sites" in said.out) == (1, True, True)


def test_a_region_has_no_module_to_copy(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "stem.thx"
    path.write_text(STEM.replace("lr = 1e-3", "lr = 1e-3  init = copy"))
    said = command("plan", path)
    assert said.code == 1
    assert "error[THX508]: `first[1] conv1..relu` cannot start as a copy: there is no one module" in said.err
