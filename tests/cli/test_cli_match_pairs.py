"""`theseus-fx match` of a target of its own: the windows of both networks, and what none holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Command

KEYS = {
    "": "kind schema spec guide target rules pairs uncovered diagnostics",
    "target": "model parameters flops uncovered",
    "target.uncovered": "parameters flops share groups",
    "pairs.0": "name guide target expect found windows left",
    "pairs.0.windows.0": "name guide target",
    "pairs.0.windows.0.guide": "blocks node shape parameters flops",
    "pairs.0.left": "guide target",
}
SPEC = """\
theseus 1
guide big = small_resnet(width = 4, channels = 1)
target small = small_resnet(width = 2, channels = 1)
data = digits(canvas = 8, batch = 64)
task = classification(classes = 10)
pair block { guide BasicBlock in big  target BasicBlock in small }
schedule progressive { lr = 1e-3  for = 3 steps }
"""


def matched(command: Command, path: Path, text: str, code: int = 0) -> dict[str, Any]:
    path.write_text(text)
    said = command("match", path, "--json")
    assert (said.code, said.err) == (code, "")
    return json.loads(said.out)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "transfer.thx"
    path.write_text(SPEC)
    return path


def at(value: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        value = value[int(step)] if step.isdigit() else value[step]
    return value


def test_the_keys_of_the_schema(command: Command, spec: Path) -> None:
    facts = matched(command, spec, SPEC)
    for path, keys in KEYS.items():
        assert [*at(facts, path)] == keys.split()
    assert facts["rules"] == []


def test_windows_are_those_of_the_plan(command: Command, spec: Path) -> None:
    facts = matched(command, spec, SPEC)
    pairs = json.loads(command("plan", spec, "--json").out)["pairs"]
    windows = facts["pairs"][0]["windows"]
    for window, pair in zip(windows, pairs, strict=True):
        assert window["name"] == pair["name"]
        for side in ("guide", "target"):
            for key in ("blocks", "node", "shape"):
                assert window[side][key] == pair[side][key]


def test_windows_and_what_none_holds_are_both_networks(command: Command, spec: Path) -> None:
    facts = matched(command, spec, SPEC)
    networks = {
        "guide": (facts["guide"], facts["uncovered"]),
        "target": (facts["target"], facts["target"]["uncovered"]),
    }
    for side, (network, uncovered) in networks.items():
        for key in ("parameters", "flops"):
            held = sum(window[side][key] for window in facts["pairs"][0]["windows"])
            assert held + uncovered[key] == network[key]
        assert {path for group in uncovered["groups"] for path in group["paths"]} == {"conv1", "bn1", "fc"}


def test_blocks_that_no_window_holds_are_named(command: Command, spec: Path) -> None:
    text = SPEC.replace("in big", 'in big at ["layer2.0"]').replace("in small", 'in small at ["layer1.0"]')
    facts = matched(command, spec, text)
    assert facts["pairs"][0]["left"] == {"guide": ["layer3.0"], "target": ["layer2.0", "layer3.0"]}
    assert facts["pairs"][0]["windows"][0]["guide"]["blocks"] == ["layer1.0", "layer2.0"]
    said = command("match", spec)
    assert "in no window of the guide: layer3.0" in said.out
    assert "in no window of the target: layer2.0, layer3.0" in said.out


def test_it_answers_where_the_sides_do_not_fit(command: Command, spec: Path) -> None:
    text = SPEC.replace("in big", "in big every 3 crossing = allow")
    facts = matched(command, spec, text, code=1)
    (pair,) = facts["pairs"]
    assert (pair["guide"], pair["found"]) == ("BasicBlock every 3 crossing = allow", 1)
    assert [window["guide"] is None for window in pair["windows"]] == [False, True, True]
    assert [d["code"] for d in facts["diagnostics"]] == ["THX422"]
    said = command("match", spec)
    assert said.code == 1
    assert "1 window, 2 more on one side" in said.out
    assert "error[THX422]" in said.err


def test_it_answers_where_a_side_finds_nothing(command: Command, spec: Path) -> None:
    facts = matched(command, spec, SPEC.replace("guide BasicBlock", "guide Bottleneck"), code=1)
    (pair,) = facts["pairs"]
    assert (pair["windows"], pair["left"]["guide"]) == ([], [])
    assert pair["left"]["target"] == ["layer1.0", "layer2.0", "layer3.0"]
    assert [d["code"] for d in facts["diagnostics"]] == ["THX421"]
    assert command("match", spec).code == 1
