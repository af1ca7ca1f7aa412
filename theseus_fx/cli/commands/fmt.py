"""`theseus-fx fmt`: specs in one layout, without importing torch."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

import click

from theseus_fx.cli.options import json_option
from theseus_fx.cli.output import print_json
from theseus_fx.lang import loader
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.formatter import formatted
from theseus_fx.lang.source import Source

STDIN = "-"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILES...|-")
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change as a unified diff.")
@json_option
def fmt(files: tuple[str, ...], check: bool, diff: bool, as_json: bool) -> int:
    """Rewrites specs in the one layout of the language and prints the names of those that changed.

    Comments stay, the meaning does not change. A file with mistakes is left alone and the others are still
    rewritten. `-` reads standard input and writes to standard output.

    \b
    Example:
      theseus-fx fmt specs/*.thx
      theseus-fx fmt --check --diff mine.thx
      theseus-fx fmt - < mine.thx
    """
    keep = check or diff
    if STDIN in files and as_json and not keep:
        raise click.UsageError("`-` writes the text to standard output; `--json` needs `--check` or `--diff`")
    told: list[Outcome] = []
    mistakes: list[Diagnostic] = []
    for name in files:
        try:
            source = _standard_input() if name == STDIN else loader.read(Path(name), name=name)
            outcome = Outcome(source, formatted(source))
            if not keep:
                outcome.deliver()
        except Rejected as rejected:
            mistakes += rejected.diagnostics
            continue
        told.append(outcome)
        if diff and not as_json:
            click.echo(outcome.diff(), nl=False)
        elif outcome.changed and not as_json and (check or source.path is not None):
            click.echo(source.name)
    if as_json:
        entries = [{**outcome.as_json(), **({"diff": outcome.diff()} if diff else {})} for outcome in told]
        problems = [diagnostic.as_json() for diagnostic in mistakes]
        print_json({"kind": "theseus-fx fmt", "schema": 1, "files": entries, "diagnostics": problems})
    elif mistakes:
        raise Rejected(*mistakes)
    return int(bool(mistakes) or (check and any(outcome.changed for outcome in told)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A source and the text that it becomes."""

    source: Source
    text: str

    @property
    def changed(self) -> bool:
        """Whether the text is another one."""
        return self.text != self.source.text

    def deliver(self) -> None:
        """Puts the text where the source came from."""
        if self.source.path is None:
            sys.stdout.buffer.write(self.text.encode())
            sys.stdout.buffer.flush()
        elif self.changed:
            _replace(self.source.path, self.text.encode(), self.source.name)

    def diff(self) -> str:
        """The unified diff from the source to the text, empty where they are equal."""
        before, after = (list(io.StringIO(t, newline="\n")) for t in (self.source.text, self.text))
        lines = unified_diff(before, after, self.source.name, f"{self.source.name} (formatted)")
        cut = "\n\\ No newline at end of file\n"
        return "".join(line if line.endswith("\n") else f"{line}{cut}" for line in lines)

    def as_json(self) -> dict[str, object]:
        """The facts as plain JSON values."""
        return {"path": self.source.name, "changed": self.changed}


def _standard_input() -> Source:
    return loader.decoded(sys.stdin.buffer.read(), "<stdin>")


def _replace(path: Path, content: bytes, name: str) -> None:
    """Gives a file another content and keeps its mode: all of it or, where that fails, none.

    Raises:
        Rejected: THX702 where the disk is full or the file or its folder cannot be written.
    """
    try:
        with path.open("r+b"):  # a read-only file is meant to stay as it is
            pass
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            shutil.copymode(path, temporary)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        said = f"cannot write {name}: {reason}"
        raise Rejected(Diagnostic(code="THX702", message=said, help=("it was left alone",))) from error
