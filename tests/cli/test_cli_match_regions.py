"""`theseus-fx match` over operations: regions, the deepest attempts, and what is covered by nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

SPEC = """\
theseus 1
use "std/patterns.thx"
guide net = small_resnet()
input image: f32[batch, 3, 16, 16]
rule block {
  match residual as r  where r.in.channels <= 8  expect 2
  replace with Conv2d(r.out.channels, kernel_size = 1, stride = r.in.shape[2] // r.out.shape[2])
}
schedule progressive { lr = 1e-3  for = 1 steps }
"""
GPT2 = """\
theseus 1
use "std/patterns.thx"
guide net = transformers.GPT2LMHeadModel(n_layer = 2, n_embd = 24, n_head = 2)
input input_ids: i64[batch, 16]
rule attention {
  match fused_attention as a  expect 2
  replace with Linear(a.out.shape[2])
}
schedule progressive { lr = 1e-3  for = 1 epochs }
"""
OPERATION = {"node", "name", "path"}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "blocks.thx"
    path.write_text(SPEC)
    return path


def matched(command: Command, spec: Path, text: str, code: int = 0) -> dict[str, Any]:
    spec.write_text(text)
    said = command("match", spec, "--json")
    assert (said.code, said.err) == (code, "")
    return json.loads(said.out)


def test_regions_are_those_of_the_plan_with_their_operations(command: Command, spec: Path) -> None:
    facts = matched(command, spec, SPEC)
    parts = json.loads(command("plan", spec, "--json").out)["parts"]
    (rule,) = facts["rules"]
    assert (rule["matches"], rule["found"], rule["nearest"]) == ("operations", 2, [])
    assert [site["path"] for site in rule["sites"]] == ["layer1.0", "layer2.0"]
    for site, part in zip(rule["sites"], parts, strict=True):
        assert [operation["node"] for operation in site["operations"]] == part["region"]["nodes"]
        assert site["modules"] == part["region"]["modules"]
        assert (site["parameters"], site["flops"]) == (part["parameters"]["before"], part["flops"]["before"])
    first = rule["sites"][0]["operations"]
    assert all(operation.keys() == OPERATION for operation in first)
    assert [operation["name"] for operation in first] == [
        "Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "add", "ReLU",
    ]  # fmt: skip
    assert (first[0]["path"], first[5]["path"]) == ("layer1.0.conv1", "layer1.0")


def test_regions_and_what_is_left_are_the_whole_guide(command: Command, spec: Path) -> None:
    for text in (SPEC, GPT2):
        facts = matched(command, spec, text)
        sites = [site for rule in facts["rules"] for site in rule["sites"]]
        for key in ("parameters", "flops"):
            assert sum(site[key] for site in sites) + facts["uncovered"][key] == facts["guide"][key]
            assert facts["uncovered"][key] < facts["guide"][key]


def test_attention_inside_of_a_region_is_no_uncovered_operation(command: Command, spec: Path) -> None:
    names = {group["name"] for group in matched(command, spec, GPT2)["uncovered"]["groups"]}
    assert "scaled_dot_product_attention" not in names
    assert {"Conv1D", "Embedding", "LayerNorm"} <= names


def test_the_deepest_attempts_name_step_node_and_reason(command: Command, spec: Path) -> None:
    facts = matched(command, spec, SPEC.replace("match residual", "match bottleneck"), code=1)
    (rule,) = facts["rules"]
    assert (rule["found"], [d["code"] for d in facts["diagnostics"]]) == (0, ["THX401"])
    nearest = rule["nearest"]
    assert [miss["matched"] for miss in nearest] == sorted((m["matched"] for m in nearest), reverse=True)
    narrow = next(miss for miss in nearest if "kernel_size" in miss["reason"])
    assert narrow == {
        "count": 1,
        "path": "layer1.0.conv2",
        "class": "Conv2d",
        "node": "layer1_0_conv2",
        "matched": 3,
        "step": "Conv2d",
        "reason": "has kernel_size = [3, 3], not 1",
        "paths": ["layer1.0.conv2"],
    }
    said = command("match", spec)
    assert (
        "nearly: layer1.0.conv2, node layer1_0_conv2, has kernel_size = [3, 3], not 1; "
        "3 steps matched, then stopped at `Conv2d`" in said.out
    )
    several = next(miss for miss in nearest if miss["count"] > 1)
    assert f"{several['reason']}, and {several['count'] - 1} more alike; " in said.out


def test_where_is_no_step_of_a_pattern(command: Command, spec: Path) -> None:
    facts = matched(command, spec, SPEC.replace("expect 2", "expect 3"), code=1)
    miss = facts["rules"][0]["nearest"][0]
    assert (miss["matched"], miss["step"], miss["reason"]) == (None, None, "does not fulfil `where`")
    assert miss["path"] == "layer3.0.relu"
    assert facts["rules"][0]["found"] == 2


def test_names_that_mean_nothing_leave_an_answer(command: Command, spec: Path) -> None:
    text = SPEC.replace("rule block", "pattern odd(x) { return x |> Conv3x }\nrule block").replace(
        "match residual", "match odd"
    )
    facts = matched(command, spec, text, code=1)
    assert facts["rules"][0]["nearest"] == []
    assert [d["code"] for d in facts["diagnostics"]] == ["THX303"]
    assert facts["uncovered"]["share"] == {"parameters": 1.0, "flops": 1.0}


def test_a_person_sees_the_operations_of_each_region(command: Command, spec: Path) -> None:
    said = command("match", spec)
    assert said.code == 0
    assert "block[1]  layer1.0  2 Conv2d, 2 BatchNorm2d, 2 ReLU, add  b x 8 x 16 x 16" in said.out
    assert "block[2]  layer2.0  3 Conv2d, 3 BatchNorm2d, 2 ReLU, add  b x 8 x 16 x 16" in said.out


def test_a_pattern_may_use_any_name_of_a_function(command: Command, spec: Path) -> None:
    text = """\
theseus 1
guide net = transformers.GPT2LMHeadModel(n_layer = 1, n_embd = 24, n_head = 2)
input input_ids: i64[batch, 16]
pattern cubed(x) { return NAME(0.5, x) }
rule half { match cubed as c  expect 1  replace with Linear(c.out.shape[2]) }
schedule progressive { lr = 1e-3  for = 1 epochs }
"""
    for name in ("mul", "multiply", "__mul__"):
        assert matched(command, spec, text.replace("NAME", name))["rules"][0]["found"] == 1
