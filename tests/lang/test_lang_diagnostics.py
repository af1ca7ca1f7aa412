"""Diagnostics as text, as JSON, and the near names that they propose."""

from __future__ import annotations

import json

import pytest

from theseus_fx.lang.codes import CODES
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, Severity, did_you_mean, near_names
from theseus_fx.lang.source import Source

SPEC = Source("spec.thx", "theseus 1\n\tlr = 1e-3\n  lr = 2e-3\n")
USED = Source("std/used.thx", "theseus 1\nmodule A() = relu\n")
TWICE = Diagnostic(
    code="THX206",
    message="`lr` is set twice",
    primary=Label(SPEC.span(23, 25), "again here"),
    secondary=(Label(SPEC.span(11, 13), "first here"), Label(USED.span(17, 18), "and there")),
    help=("remove one of the two",),
)


def test_golden_text_with_labels_in_two_sources() -> None:
    assert TWICE.render() == (
        "error[THX206]: `lr` is set twice\n"
        " --> spec.thx:3:3\n"
        "  |\n"
        "2 |  lr = 1e-3\n"
        "  |  -- first here\n"
        "3 |   lr = 2e-3\n"
        "  |   ^^ again here\n"
        " ::: std/used.thx:2:8\n"
        "  |\n"
        "2 | module A() = relu\n"
        "  |        - and there\n"
        "  = help: remove one of the two"
    )


def test_json_form() -> None:
    said = json.loads(json.dumps(TWICE.as_json()))
    assert said["code"] == "THX206"
    assert said["severity"] == "error"
    assert said["message"] == "`lr` is set twice"
    assert said["primary"] == {
        "file": "spec.thx", "line": 3, "column": 3, "end_line": 3, "end_column": 5, "text": "again here",
    }  # fmt: skip
    assert [label["file"] for label in said["secondary"]] == ["spec.thx", "std/used.thx"]
    assert said["help"] == ["remove one of the two"]


def test_without_a_place() -> None:
    found = Diagnostic(code="THX701", message="`out` exists", severity=Severity.WARNING)
    assert found.render() == "warning[THX701]: `out` exists"
    assert found.as_json()["primary"] is None


def test_a_place_of_several_lines_is_marked_on_its_first() -> None:
    lines = Diagnostic(code="THX207", message="m", primary=Label(SPEC.span(0, 20))).render().splitlines()
    assert lines[3:] == ["1 | theseus 1", "  | ^^^^^^^^^"]


@pytest.mark.parametrize("offset", [0, 3])
def test_an_empty_place_has_one_caret(offset: int) -> None:
    source = Source("x", "abc")
    assert (
        Diagnostic(code="THX101", message="m", primary=Label(source.span(offset, offset)))
        .render()
        .endswith(f"\n  | {' ' * offset}^")
    )


def test_wide_and_control_characters_keep_the_caret_in_place() -> None:
    source = Source("x", "\x1b[2J日本 bad")
    start = source.text.index("bad")
    lines = Diagnostic(
        code="THX101", message="\x1b[2J", primary=Label(source.span(start, start + 3))
    ).render()
    assert lines.splitlines() == [
        "error[THX101]: \N{REPLACEMENT CHARACTER}[2J",
        " --> x:1:8",
        "  |",
        "1 | \N{REPLACEMENT CHARACTER}[2J日本 bad",
        "  |          ^^^",
    ]


def test_a_long_line_is_cut_around_the_place() -> None:
    source = Source("x", "a" * 500 + "BAD" + "b" * 500)
    shown, marks = (
        Diagnostic(code="THX101", message="m", primary=Label(source.span(500, 503))).render().splitlines()[3:]
    )
    assert len(shown) < 180
    assert shown[marks.index("^") : marks.rindex("^") + 1] == "BAD"


def test_unknown_codes_are_our_own_mistake() -> None:
    with pytest.raises(KeyError, match="THX999"):
        Diagnostic(code="THX999", message="m")


def test_rejected_carries_every_diagnostic() -> None:
    assert Rejected(TWICE, TWICE).diagnostics == (TWICE, TWICE)
    assert str(Rejected(TWICE)) == "`lr` is set twice"


def test_near_names() -> None:
    known = ["progressive", "sequential", "Conv2d", "Conv1d", "conv3d", "ConvTranspose2d"]
    assert near_names("progresive", known) == ("progressive",)
    assert near_names("conv2D", known)[0] == "Conv2d"
    assert len(near_names("conv", known, most=3)) == 3
    assert near_names("xyz", known) == ()


def test_help_for_a_word_that_is_not_known() -> None:
    assert did_you_mean("naiv", ["naive", "random_start"]) == ("did you mean `naive`?",)
    assert did_you_mean("convd", ["conv1d", "conv2d", "conv3d"]) == (
        "did you mean `conv3d`, `conv2d` or `conv1d`?",
    )
    assert did_you_mean("x", ["naive", "other"], what="methods") == ("methods: `naive`, `other`",)
    assert did_you_mean("x", []) == ()
    assert did_you_mean("!", [f"name{i}" for i in range(13)]) == ()


def test_every_code_has_a_page() -> None:
    for code, page in CODES.items():
        assert code[:3] == "THX"
        assert code[3:].isdigit()
        assert page.title
        assert page.title[0].islower() or not page.title[0].isalpha()
        assert page.explanation.endswith(".")


def test_a_file_is_shown_once_and_its_lines_in_order() -> None:
    labels = (Label(USED.span(17, 18), "b"), Label(SPEC.span(11, 13), "c"), Label(SPEC.span(11, 15), "d"))
    found = Diagnostic(code="THX403", message="m", primary=Label(SPEC.span(23, 25), "a"), secondary=labels)
    shown = found.render().splitlines()
    assert [line for line in shown if "-->" in line or ":::" in line] == [
        " --> spec.thx:3:3", " ::: std/used.thx:2:8",
    ]  # fmt: skip
    assert [line.rpartition(" ")[2] for line in shown if set("^-") & set(line[4:]) and "|" in line] == [
        *("1e-3", "c", "1e-3", "d", "2e-3", "a"), "b",
    ]  # fmt: skip
