"""The topics of `theseus-fx explain`: every example is planned, every name they mention exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import Command

from theseus_fx import api
from theseus_fx.cli.main import theseus_fx
from theseus_fx.lang import loader, syntax, words
from theseus_fx.lang.codes import CODES
from theseus_fx.lang.library import library
from theseus_fx.lang.manual import topic, topics
from theseus_fx.lang.parser import parse
from theseus_fx.lang.source import Source

EXAMPLES = [
    pytest.param(text, id=f"{name}-{number}")
    for name in topics()
    for number, text in enumerate(re.findall(r"^```thx\n(.*?)^```$", topic(name), re.M | re.S), 1)
]


def whole(example: str) -> str:
    """An example as a spec: with the sentences that it leaves out."""
    text = example if example.startswith("theseus 1") else f"theseus 1\n{example}"
    document, problems = parse(Source("example", text))
    assert not problems, problems[0].render()
    kinds = {type(statement) for statement in document.statements}
    settings = {s.name.text for s in document.statements if isinstance(s, syntax.Setting)}
    needs = {
        'use "std/low_rank.thx"': "LowRankLinear(" not in text or syntax.Use in kinds,
        "guide net = small_resnet(channels = 1)": syntax.Guide in kinds,
        "data = digits(canvas = 16)": bool({"data"} & settings) or syntax.Input in kinds,
        "task = classification(classes = 10)": "task" in settings or syntax.Input in kinds,
        "rule fc { match Linear as part  expect 1  replace with Linear(part.out.features) }": bool(
            {syntax.Rule, syntax.Pair} & kinds
        ),
        "schedule progressive { lr = 1e-3  for = 5 steps }": syntax.Schedule in kinds,
    }
    return "\n".join([text, *(sentence for sentence, there in needs.items() if not there)])


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_planned(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if "  stage " in example:  # needs as many parts
        example += "rule conv { match Conv2d as c  replace with LowRankLinear(c, rank = 4) }\n"
    path = tmp_path / "spec.thx"
    path.write_text(whole(example))
    spec = loader.load(path)
    assert spec.rules or spec.pairs
    assert api.plan(path).stages


@pytest.mark.parametrize("name", topics())
def test_a_topic_is_short_and_points_to_what_exists(name: str) -> None:
    page = topic(name)
    assert page.startswith(f"# {name}: ")
    assert 15 <= page.count("\n") <= 70
    known = {*topics(), *library(), *CODES}
    for line in page.splitlines():
        if line.startswith("See also"):
            for mentioned in re.findall(r"`(?:theseus-fx explain )?(\w+)`|(THX\d{3})", line):
                assert "".join(mentioned) in known, mentioned
    for command in re.findall(r"`theseus-fx (\w+)", page):
        assert command in theseus_fx.commands


def test_topics_name_every_word_there_is() -> None:
    named = {
        "schedule": {
            *words.ALIGNMENT_SETTINGS, *words.LAYOUT_SETTINGS, *words.OPTIMIZERS, *words.SCHEDULES,
            *words.ORDERS, *words.RATES, *(value for values in words.AXES.values() for value in values),
        },
        "init": {*words.FIT_METRICS, words.AUTO, "random", "fit", "copy"},
        "metric": {*words.METRICS, *words.MEASURES, *words.MONITORS, *words.SUPPORTS},
        "pattern": {*words.PATTERN_FORMS, *words.ANYTHING},
        "pair": {*words.SIDE_SETTINGS, *words.CROSSING},
        "finetune": {*words.TRAINING_SETTINGS, *words.LOSSES},
        "compare": {*words.METHODS, *words.COMPARE_SETTINGS},
        "data": {name.rpartition(".")[2] for name in words.SOURCES} | {*words.TASKS},
        "augment": {*words.AUGMENTATIONS},
        "task": {*words.TASKS, *words.CLASSIFICATION_METRICS},
        "input": {*words.DTYPES},
        "guide": {*words.ZOO, *words.LIBRARIES},
        "units": {*words.UNITS},
        "recalibrate": {*words.RECALIBRATE_SETTINGS},
    }  # fmt: skip
    for name, known in named.items():
        missing = {word for word in known if not re.search(rf"\b{word}\b", topic(name))}
        assert not missing, (name, missing)


def test_names_of_topics_and_of_the_library_differ() -> None:
    assert not {*topics()} & {name.lower() for name in library()}


def test_explain_shows_a_topic_and_a_code(command: Command) -> None:
    assert command("explain", "rule").out.strip() == topic("rule")
    shown = command("explain", "THX402").out
    assert shown.startswith("# THX402: unexpected number of matches\n")
    assert "$ theseus-fx plan spec.thx" in shown
    answered = json.loads(command("explain", "units", "--json").out)
    assert answered == {"topic": "units", "title": topics()["units"], "page": topic("units")}
    assert "```console" in json.loads(command("explain", "THX402", "--json").out)["page"]


def test_explain_shows_a_pattern_of_the_library(command: Command) -> None:
    said = command("explain", "residual").out
    assert said.startswith("pattern residual(x)\n")
    assert 'use "std/patterns.thx"' in said
    assert "  skip = shortcut(x)\n  return ReLU(main + skip)\n}" in said
    (found,) = json.loads(command("explain", "rotary", "--json").out)["definitions"]
    assert (found["kind"], found["signature"], found["use"]) == (
        "pattern", "rotary(x, cos, sin)", "std/patterns.thx",
    )  # fmt: skip
    assert found["doc"].startswith("Rotary position embedding")
    listed = json.loads(command("explain", "--json").out)["library"]
    kinds = {entry["name"]: entry["kind"] for entry in listed}
    assert (kinds["residual"], kinds["ElmanRNN"]) == ("pattern", "module")


def test_explain_alone_begins_with_the_topics(command: Command) -> None:
    said = command("explain").out
    assert said.index("  rule ") < said.index("LowRankLinear(") < said.index("THX001")
    listed = json.loads(command("explain", "--json").out)
    assert {entry["topic"]: entry["title"] for entry in listed["topics"]} == topics()


@pytest.mark.parametrize(
    ("typo", "meant"), [("rul", "rule"), ("LowRankLiner", "LowRankLinear"), ("thx40", "THX40")]
)
def test_explain_suggests_what_is_near(command: Command, typo: str, meant: str) -> None:
    said = command("explain", typo)
    assert said.code == 2
    assert f"Did you mean {meant}" in said.err


def test_a_page_is_set_for_a_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = command("explain", "units").out
    assert "\x1b[" in said
    assert "```" not in said
    assert "recalibrate" in said
