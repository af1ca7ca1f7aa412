"""`theseus-fx diff`: changed settings and stages, what of a run survives, saved plans and run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_line import TINY, Command

from theseus_fx.inspection.difference import SCHEMA

KEYS = {
    "": "kind schema a b equal settings stages survives totals",
    "a": "path from",
    "settings.0": "setting old new",
    "stages": "equal added removed changed",
    "stages.removed.0": "number paths",
    "stages.changed.0": "a b paths changes",
    "stages.changed.0.changes.0": "setting old new",
    "survives": "guide stages of finetune because",
    "totals.parameters": "a b",
}
"""Every object of schema 1 and its keys in order. A change here is a change of `SCHEMA`."""


def at(value: Any, path: str) -> Any:
    for step in path.split(".") if path else ():
        value = value[int(step)] if step.isdigit() else value[step]
    return value


@pytest.fixture
def differ(command: Command, tiny: Path, tmp_path: Path) -> Any:
    """`differ(old, new)`: the difference that an edit of the spec makes."""

    def compare(old: str, new: str) -> Any:
        assert old in TINY
        (tmp_path / "other.thx").write_text(TINY.replace(old, new))
        said = command("diff", tiny, "other.thx", "--json")
        assert said.code == 0
        return json.loads(said.out)

    return compare


def test_the_keys_of_the_schema(differ: Any) -> None:
    found = differ('in "layer3*"  expect 3', 'in "layer3*"  keep "layer3.0.conv1" expect 2')
    found["settings"] = differ("finetune {", "finetune { clip = 2.0")["settings"]
    assert (found["kind"], found["schema"], SCHEMA) == ("theseus-fx diff", 1, 1)
    for path, keys in KEYS.items():
        assert [*at(found, path)] == keys.split()


def test_a_spec_equals_itself_and_its_saved_plan(command: Command, tiny: Path) -> None:
    assert command("plan", tiny, "--out", "plan.json").code == 0
    for other in (tiny, "plan.json"):
        said = command("diff", tiny, other, "--exit-code", "--json")
        assert said.code == 0
        found = json.loads(said.out)
        assert found["equal"]
        assert found["survives"] == {
            "guide": True, "stages": [1, 2, 3], "of": 3, "finetune": True, "because": None}  # fmt: skip


def test_a_comment_changes_nothing(differ: Any) -> None:
    assert differ("theseus 1\n", "# another first line\ntheseus 1\n")["equal"]


def test_a_stage_setting_spoils_that_stage_and_all_after_it(differ: Any) -> None:
    found = differ("stage 2 { init = random }", "stage 2 { init = random  for = 5 steps }")
    (changed,) = found["stages"]["changed"]
    assert (changed["a"], changed["b"], changed["paths"]) == (2, 2, ["layer3.0.conv1"])
    assert changed["changes"] == [
        {"setting": "for", "old": {"count": 3, "unit": "steps"}, "new": {"count": 5, "unit": "steps"}}
    ]
    assert found["stages"]["equal"] == 2
    assert found["survives"]["stages"] == [1]
    assert found["survives"]["guide"]
    assert (found["survives"]["finetune"], found["survives"]["because"]) == (False, "stage 2")


def test_a_narrower_rule_removes_its_stage(differ: Any) -> None:
    found = differ('in "layer3*"  expect 3', 'in "layer3*"  keep "layer3.0.conv1" expect 2')
    assert found["stages"]["removed"] == [{"number": 2, "paths": ["layer3.0.conv1"]}]
    assert found["stages"]["added"] == []
    (changed,) = found["stages"]["changed"]
    settings = {change["setting"]: change for change in changed["changes"]}
    assert settings["number"] == {"setting": "number", "old": 3, "new": 2}
    assert "layer3.0.conv1" in settings["trains"]["old"]
    assert "layer3.0.conv1" not in settings["trains"]["new"]
    assert found["survives"]["stages"] == [1]


@pytest.mark.parametrize(
    ("old", "new", "setting"),
    [
        ("batch = 64", "batch = 32", "data.batch"),
        ("width = 2", "width = 3", "guide.width"),
        ("for = 3 steps\n}\ndata", "for = 4 steps\n}\ndata", "guide.trained_by.for"),
    ],
)
def test_without_its_ground_nothing_survives(differ: Any, old: str, new: str, setting: str) -> None:
    found = differ(old, new)
    assert found["settings"][0]["setting"] == setting
    assert found["survives"] == {
        "guide": False, "stages": [], "of": 3, "finetune": False, "because": setting}  # fmt: skip


def test_fine_tuning_comes_after_the_stages(differ: Any) -> None:
    found = differ("for  = 4 steps", "for  = 5 steps")
    assert [change["setting"] for change in found["settings"]] == ["finetune.for"]
    assert found["survives"]["stages"] == [1, 2, 3]
    assert (found["survives"]["finetune"], found["survives"]["because"]) == (False, "finetune.for")


def test_baselines_spoil_no_work(differ: Any) -> None:
    found = differ("compare naive, random_start", "compare naive")
    assert not found["equal"]
    assert found["survives"]["finetune"]


def test_set_gives_the_second_another_param(command: Command, tiny: Path) -> None:
    said = command("diff", tiny, tiny, "--set", "rank=7", "--exit-code")
    assert said.code == 1
    assert "~ param.rank: 4 -> 7" in said.out
    assert "part.replacement: Linear(in_features=64, out_features=4, bias=False), Linear(" in said.out
    assert "flatten" not in said.out  # that step is the same
    assert "0 of 3 stages survive" in said.out


def test_equal_changes_of_stages_in_a_row_are_one_line(command: Command, tiny: Path) -> None:
    Path("other.thx").write_text(TINY.replace("for    = 3 steps", "for    = 9 steps"))
    said = command("diff", tiny, "other.thx")
    assert "~ stages 1..3: layer3.0.downsample.0 to layer3.0.conv2\n    for: 3 steps -> 9 steps\n" in said.out


@pytest.mark.parametrize("content", ["{", '{"kind": "theseus-fx plan", "schema": 1}'])
def test_what_is_no_plan_is_refused(command: Command, tiny: Path, content: str) -> None:
    Path("plan.json").write_text(content)
    said = command("diff", "plan.json", tiny)
    assert said.code == 1
    assert "THX506" in said.err


def test_a_plan_that_lacks_something_is_refused(command: Command, tiny: Path) -> None:
    command("plan", tiny, "--out", "plan.json")
    plan = json.loads(Path("plan.json").read_text())
    del plan["stages"]
    Path("plan.json").write_text(json.dumps(plan))
    said = command("diff", tiny, "plan.json")
    assert said.code == 1
    assert "it lacks stages" in said.err


def test_a_run_folder_is_the_plan_in_it(command: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    command("plan", tiny, "--out", "run/plan.json")
    assert json.loads(command("diff", "run", tiny, "--json").out)["equal"]
    assert command("diff", tmp_path, tiny).code == 1


def test_set_does_not_change_a_saved_plan(command: Command, tiny: Path) -> None:
    command("plan", tiny, "--out", "plan.json")
    assert command("diff", tiny, "plan.json", "--set", "rank=7").code == 2


def test_help_has_an_example(command: Command) -> None:
    assert "theseus-fx diff" in command("diff", "--help").out
