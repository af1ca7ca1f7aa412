"""`--trust` of the commands that look at models, and the question on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from command_line import Command
from test_cli_trust import CODE, SPEC

MODEL = 'python("mine.py").Net(width = 6)'
INPUT = ("--input", "image: f32[batch, 1, 8, 8]")
COMMANDS = [
    ("plan", "mine.thx"),
    ("trace", "mine.thx"),
    ("match", "mine.thx"),
    ("diff", "mine.thx", "mine.thx"),
    ("trace", MODEL, *INPUT),
    ("new", MODEL, *INPUT),
]
Answer = Callable[[bool], list[str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(f"{CODE}# {tmp_path}\n")  # code is run once in a process
    (tmp_path / "mine.thx").write_text(SPEC)
    return tmp_path


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """A person at a terminal who always answers alike; returns the list of questions that they get."""

    def begin(yes: bool) -> list[str]:
        questions: list[str] = []

        def confirm(text: str, *, default: bool, err: bool) -> bool:
            assert (default, err) == (False, True)
            questions.append(text)
            return yes

        monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(click, "confirm", confirm)
        return questions

    return begin


@pytest.mark.parametrize("arguments", COMMANDS)
def test_without_trust_nothing_is_run(command: Command, folder: Path, arguments: tuple[str, ...]) -> None:
    said = command(*arguments)
    assert (said.code, "THX308" in said.err, "--trust" in said.err) == (1, True, True)
    assert not (folder / "ran.txt").exists()


@pytest.mark.parametrize("arguments", COMMANDS)
def test_with_trust_it_is_run(command: Command, folder: Path, arguments: tuple[str, ...]) -> None:
    said = command(*arguments, "--trust")
    assert (said.code, said.err) == (0, "")
    assert (folder / "ran.txt").exists()


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_person_is_asked_once(
    command: Command, folder: Path, answer: Answer, arguments: tuple[str, ...]
) -> None:
    questions = answer(True)
    assert command(*arguments).code == 0
    assert questions == ["mine.py is code that this would run. Run it?"]
    assert (folder / "ran.txt").exists()


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_person_who_says_no_gets_the_refusal(
    command: Command, folder: Path, answer: Answer, arguments: tuple[str, ...]
) -> None:
    questions = answer(False)
    said = command(*arguments)
    assert (said.code, len(questions), "THX308" in said.err) == (1, 1, True)
    assert not (folder / "ran.txt").exists()


def test_run_and_resume_ask_once_each(command: Command, answer: Answer) -> None:
    questions = answer(True)
    assert command("run", "mine.thx", "--out", "run").code == 0
    assert len(questions) == 1
    assert command("resume", "run").code == 0
    assert len(questions) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "mine.thx", "--json"),
        ("match", "mine.thx", "--json"),
        ("run", "mine.thx", "--json"),
        ("run", "mine.thx", "--quiet"),
    ],
)
def test_nobody_is_asked_who_wants_json_or_silence(
    command: Command, folder: Path, answer: Answer, arguments: tuple[str, ...]
) -> None:
    questions = answer(True)
    said = command(*arguments)
    assert (said.code, questions, "THX308" in said.out + said.err) == (1, [], True)
    assert not (folder / "ran.txt").exists()


def test_nobody_is_asked_where_only_one_end_is_a_terminal(
    command: Command, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = answer(True)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert (command("plan", "mine.thx").code, questions) == (1, [])


def test_a_target_may_be_a_person_s_own(command: Command, folder: Path) -> None:
    spec = SPEC.replace("guide net = python", "guide big = small_resnet(channels = 1)\ntarget net = python")
    head, _, _ = spec.partition("rule conv")
    (folder / "own.thx").write_text(
        head.replace('use "std/images.thx"\nmodule Scale = python("mine.py").Scale\n', "")
        + 'pair conv { guide BasicBlock in big within "layer1"  target Conv2d in net }\n'
        + "schedule progressive { lr = 1e-3  for = 2 steps }\n"
    )
    assert command("plan", "own.thx", "--trust").code == 0
    assert "THX308" in command("match", "own.thx").err
    said = command("match", "own.thx", "--trust")
    assert (said.code, "1 window" in said.out) == (0, True)


def test_a_model_of_one_s_own_needs_an_input(command: Command) -> None:
    said = command("trace", MODEL, "--trust")
    assert (said.code, "THX207" in said.err, "--input" in said.err) == (1, True, True)
    assert "THX001" in command("trace", MODEL.replace("mine", "mien"), "--trust").err


def test_a_new_spec_lies_beside_the_code(command: Command, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "mine.py").rename(folder / "sub" / "mine.py")
    assert command("new", MODEL, *INPUT, "--trust", "--out", "sub/new.thx").code == 0
    assert command("plan", "sub/new.thx", "--trust").code == 0
