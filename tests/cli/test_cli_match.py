"""`theseus-fx match`: sites, near misses and what no rule covers, also where the spec cannot be planned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, Command

from theseus_fx.inspection.rules import SCHEMA

KEYS = {
    "": "kind schema spec guide target rules pairs uncovered diagnostics",
    "guide": "model inputs parameters flops",
    "rules.0": "name matches pattern expect found sites nearest",
    "rules.0.sites.0": "name path class node input_shape output_shape parameters flops modules operations",
    "rules.1.nearest.0": "count path class node matched step reason paths",
    "uncovered": "parameters flops share groups",
    "uncovered.share": "parameters flops",
    "uncovered.groups.0": "kind name count parameters flops share paths",
}
"""Every object of schema 2 and its keys in order. A change here is a change of `SCHEMA`."""

FAILS = TINY.replace(
    "schedule",
    """\
rule other {
  match Conv2d(kernel_size = 3, bias = false) as c  in "layer*"  keep "layer1*"  where c.in.channels > 99
  replace with LowRankLinear(c, rank = rank)
}
schedule""",
    1,
)


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    path = tmp_path / "failing.thx"
    path.write_text(FAILS)
    return path


def at(value: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        value = value[int(step)] if step.isdigit() else value[step]
    return value


def test_the_keys_of_the_schema(command: Command, failing: Path) -> None:
    facts = json.loads(command("match", failing, "--json").out)
    assert (facts["kind"], facts["schema"], SCHEMA) == ("theseus-fx match", 2, 2)
    assert (facts["target"], facts["pairs"]) == (None, [])
    for path, keys in KEYS.items():
        assert [*at(facts, path)] == keys.split()


def test_sites_are_those_of_the_plan(command: Command, tiny: Path) -> None:
    facts = json.loads(command("match", tiny, "--json").out)
    parts = json.loads(command("plan", tiny, "--json").out)["parts"]
    (rule,) = facts["rules"]
    assert (rule["found"], rule["expect"], rule["nearest"]) == (3, 3, [])
    for site, part in zip(rule["sites"], parts, strict=True):
        for key in ("name", "path", "node", "input_shape", "output_shape"):
            assert site[key] == part[key]
        assert (site["parameters"], site["flops"]) == (part["parameters"]["before"], part["flops"]["before"])


def test_sites_and_what_is_left_are_the_whole_guide(command: Command, tiny: Path) -> None:
    facts = json.loads(command("match", tiny, "--json").out)
    sites = [site for rule in facts["rules"] for site in rule["sites"]]
    for key in ("parameters", "flops"):
        assert sum(site[key] for site in sites) + facts["uncovered"][key] == facts["guide"][key]
    groups = {group["name"]: group for group in facts["uncovered"]["groups"]}
    assert {name: group["count"] for name, group in groups.items()} == {
        "Conv2d": 6, "Linear": 1, "BatchNorm2d": 9}  # fmt: skip
    assert groups["Linear"]["paths"] == ["fc"]
    assert (
        groups["Linear"]["share"]["parameters"]
        == groups["Linear"]["parameters"] / facts["guide"]["parameters"]
    )


def test_it_answers_where_a_rule_finds_nothing(command: Command, failing: Path) -> None:
    said = command("match", failing, "--json")
    assert said.code == 1
    facts = json.loads(said.out)
    good, bad = facts["rules"]
    assert (good["found"], bad["found"]) == (3, 0)
    assert [(miss["step"], miss["count"], miss["path"]) for miss in bad["nearest"]] == [
        ("where", 4, "layer2.0.conv1"),
        ("keep", 2, "layer1.0.conv1"),
        ("in", 1, "conv1"),
        ("attributes", 2, "layer2.0.downsample.0"),
    ]
    assert bad["nearest"][0]["node"] == "layer2_0_conv1"
    assert bad["nearest"][3]["reason"] == "has kernel_size = [1, 1], not 3"
    assert [d["code"] for d in facts["diagnostics"]] == ["THX401"]


def test_a_person_sees_the_facts_and_then_the_diagnostics(command: Command, failing: Path) -> None:
    said = command("match", failing)
    assert said.code == 1
    assert "conv[1]  layer3.0.downsample.0  Conv2d  b x 4 x 4 x 4 -> b x 8 x 2 x 2" in said.out
    assert "nearly: Conv2d does not fulfil `where` (4 modules, first layer2.0.conv1, node" in said.out
    assert "no rule covers" in said.out
    assert "error[THX401]" in said.err


def test_it_answers_where_expect_fails(command: Command, tiny: Path) -> None:
    tiny.write_text(TINY.replace("expect 3", "expect 2"))
    said = command("match", tiny)
    assert said.code == 1
    assert "3 sites, expects 2" in said.out
    assert "nearly" not in said.out  # it found more than it should, not less
    assert "THX402" in said.err


def test_it_answers_where_a_match_is_no_part(command: Command, tiny: Path) -> None:
    tiny.write_text(TINY.replace('Conv2d as c  in "layer3*"  expect 3', "ReLU as c"))
    said = command("match", tiny, "--json")
    assert said.code == 1
    facts = json.loads(said.out)
    assert [site["path"] for site in facts["rules"][0]["sites"]] == ["relu"]
    assert {d["code"] for d in facts["diagnostics"]} == {"THX405"}


def test_operations_outside_of_modules_with_parameters_are_counted(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "gpt.thx"
    path.write_text(
        "theseus 1\nguide net = transformers.GPT2LMHeadModel(n_layer = 1, n_embd = 24, n_head = 2)\n"
        "input input_ids: i64[batch, 16]\n"
        "rule mlp { match GPT2MLP as m  expect 1  replace with relu }\n"
        "schedule progressive { lr = 1e-3  for = 1 epochs }\n"
    )
    facts = json.loads(command("match", path, "--json").out)
    groups = {(group["kind"], group["name"]): group for group in facts["uncovered"]["groups"]}
    attention = groups["operation", "scaled_dot_product_attention"]
    assert (attention["count"], attention["parameters"]) == (1, 0)
    assert attention["flops"] == 2 * 2 * 16 * 16 * 24
    assert attention["paths"] == ["transformer.h.0.attn"]
    assert groups["module", "Conv1D"]["count"] == 2
    site = facts["rules"][0]["sites"][0]
    assert site["flops"] + facts["uncovered"]["flops"] == facts["guide"]["flops"]


def test_mistakes_of_the_spec_come_alone(command: Command, tiny: Path) -> None:
    tiny.write_text(TINY.replace("metric = cka", "metric = ckaa"))
    said = command("match", tiny)
    assert (said.code, said.out) == (1, "")
    assert "THX209" in said.err


def test_help_has_an_example(command: Command) -> None:
    assert "theseus-fx match" in command("match", "--help").out
