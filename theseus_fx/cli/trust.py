"""Whether the Python files that a spec names may be run: said on the command line, or asked on a terminal."""

from __future__ import annotations

import sys

import click

from theseus_fx.lang.source import Source


class Asking:
    """Asks once for each file, by its text; what is answered holds for the rest of the command."""

    def __init__(self) -> None:
        self._answers: dict[str, bool] = {}

    def __call__(self, source: Source) -> bool:
        """Whether the person lets the file be run."""
        key = source.sha256
        if key not in self._answers:
            name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in source.name)
            question = f"{name} is code that this would run. Run it?"
            self._answers[key] = click.confirm(question, default=False, err=True)
        return self._answers[key]


def trust_or_ask(trust: bool, *, quiet: bool = False, as_json: bool = False) -> bool | Asking:
    """What a command goes by: `--trust`, else a question where a person can be asked, else a refusal."""
    silent = quiet or as_json or not (sys.stdin.isatty() and sys.stderr.isatty())
    return trust if trust or silent else Asking()
