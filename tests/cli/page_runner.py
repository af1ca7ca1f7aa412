"""Runs the example of a diagnostic's page: its files in an empty folder, its commands, their output.

After a message has changed, `python tests/cli/page_runner.py THX402` (or `all`) writes what the commands say
now into the page. Read the difference before it is committed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from theseus_fx.cli.main import main
from theseus_fx.lang.manual import PAGES

ANYTHING = "[...]"
"""In a page's output: any text of one line; alone on a line: any lines."""
_FENCE = re.compile(r"^```([a-z]+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """A command of a page, and what it said."""

    command: str
    output: str
    """Without spaces at the ends of lines, which nobody sees."""
    code: int | None = None
    """The exit code, where it was run."""


@dataclass(frozen=True, slots=True)
class Example:
    """The fenced blocks of a page."""

    files: Mapping[str, str]
    answers: Sequence[Answer]
    """As the page has them."""
    edits: Sequence[tuple[str, str]]
    """Of each `diff`: the lines before and after."""


def read(code: str) -> str:
    """The page of a code."""
    return (PAGES / f"{code}.md").read_text(encoding="utf-8")


def example(page: str) -> Example:
    """The example in a page's text."""
    files: dict[str, str] = {}
    answers: list[Answer] = []
    edits: list[tuple[str, str]] = []
    for kind, name, body in _FENCE.findall(page):
        match kind:
            case "thx" | "python" if name:
                files[name] = body
            case "console":
                answers += _answers(body)
            case "diff":
                edits.append(_edit(body))
            case _:
                raise ValueError(f"a page has no block of kind {kind!r}")
    return Example(files, answers, edits)


def mended(files: Mapping[str, str], edits: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The files after the edits, each of which has one place."""
    after = dict(files)
    for old, new in edits:
        (name,) = [name for name, text in after.items() if text.count(old) == 1]
        after[name] = after[name].replace(old, new)
    return after


def answer(files: Mapping[str, str], commands: Sequence[str], folder: Path) -> list[Answer]:
    """Runs the commands, one after the other, in a folder that holds the files and nothing else."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    with _inside(folder):
        return [_run(command, folder) for command in commands]


def fits(expected: str, said: str) -> bool:
    """Whether an output is the expected one, where `ANYTHING` stands for any text."""
    lines = [
        r"(?:.*\n)*?" if line == ANYTHING else f"{'.*'.join(map(re.escape, line.split(ANYTHING)))}\n"
        for line in expected.split("\n")
    ]
    return re.fullmatch("".join(lines), f"{said}\n") is not None


def _run(command: str, folder: Path) -> Answer:
    program, _, rest = command.partition(" ")
    if program != "theseus-fx":
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=60
        )
        return Answer(command, _trimmed(done.stdout + done.stderr), done.returncode)
    said = StringIO()
    code: object = 0
    with redirect_stdout(said), redirect_stderr(said):
        try:
            main(rest.split())
        except SystemExit as ended:
            code = ended.code
    return Answer(command, _trimmed(said.getvalue()), code if isinstance(code, int) else 1)


@contextmanager
def _inside(folder: Path) -> Generator[None, None, None]:
    """The folder as the current one, with caches of its own and nothing of the person's settings."""
    settings = {
        "THESEUS_FX_CACHE": str(folder / ".cache"),
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "LC_ALL": "C",
    }
    with chdir(folder), patch.dict(os.environ, settings):
        yield


def _answers(body: str) -> list[Answer]:
    """The commands of a `console` block, each with the lines that follow it."""
    commands = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
    return [Answer(first, _trimmed(rest)) for first, _, rest in (text.partition("\n") for text in commands)]


def _edit(body: str) -> tuple[str, str]:
    lines = body.splitlines()
    old = [line[1:] for line in lines if line[:1] in ("-", " ")]
    new = [line[1:] for line in lines if line[:1] in ("+", " ")]
    return "".join(f"{line}\n" for line in old), "".join(f"{line}\n" for line in new)


def _trimmed(output: str) -> str:
    return "\n".join(line.rstrip() for line in output.splitlines()).strip("\n")


def _console(answers: Sequence[Answer]) -> str:
    return "\n".join(f"$ {a.command}\n{a.output}" if a.output else f"$ {a.command}" for a in answers)


def _rewrite(code: str) -> None:
    """Puts what the commands say now into a page, where it does not fit."""
    page = read(code)
    expected = example(page)
    with tempfile.TemporaryDirectory() as folder:
        said = answer(expected.files, [a.command for a in expected.answers], Path(folder))
    if all(fits(e.output, s.output) for e, s in zip(expected.answers, said, strict=True)):
        return
    blocks = [block for block in _FENCE.finditer(page) if block[1] == "console"]
    if len(blocks) != 1:
        raise ValueError(f"{code} has {len(blocks)} console blocks")
    start, end = blocks[0].span(3)
    (PAGES / f"{code}.md").write_text(f"{page[:start]}{_console(said)}\n{page[end:]}", encoding="utf-8")
    print(f"{code} written")


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for path in sorted(PAGES.glob("THX*.md")):
        if path.stem in wanted or wanted == ["all"]:
            _rewrite(path.stem)
