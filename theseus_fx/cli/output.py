"""Consoles, diagnostics and JSON on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from theseus_fx.lang.diagnostics import Diagnostic, Severity

WIDE = 1000
"""Columns of output that no terminal shows: nothing is folded or cut."""


def console(*, stderr: bool = False) -> Console:
    """A console that respects `NO_COLOR`, and that never folds what goes to a file or a pipe."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDE, highlight=False, soft_wrap=False)


def print_json(value: object) -> None:
    """A JSON value on stdout, indented."""
    click.echo(json.dumps(value, indent=2))


def print_markdown(text: str) -> None:
    """Markdown: set for a terminal, as it is written for a file or a pipe."""
    out = Console(highlight=False)
    if not out.is_terminal:
        click.echo(text)
        return
    from rich.markdown import Markdown  # brings a parser of Markdown, which other commands do without

    out.print(Markdown(text, code_theme="ansi_dark"))


def print_diagnostics(diagnostics: Sequence[Diagnostic], *, as_json: bool = False) -> None:
    """All diagnostics: on stderr for a person, or as one JSON object on stdout."""
    if as_json:
        print_json(
            {
                "kind": "theseus-fx diagnostics",
                "schema": 1,
                "diagnostics": [diagnostic.as_json() for diagnostic in diagnostics],
            }
        )
        return
    out = console(stderr=True)
    for diagnostic in diagnostics:
        out.print(_coloured(diagnostic, sources=out.color_system is not None), soft_wrap=True)
        out.print()
    errors = sum(d.severity is Severity.ERROR for d in diagnostics)
    if errors > 1:
        out.print(f"{errors} errors", style="bold red")


def _coloured(diagnostic: Diagnostic, *, sources: bool) -> Text:
    """The diagnostic in colours, with `sources` those of the language in the lines of the spec, too."""
    colour = "red" if diagnostic.severity is Severity.ERROR else "yellow"
    text = _with_sources(diagnostic.render()) if sources else Text(diagnostic.render())
    text.highlight_regex(r"^(error|warning)\[THX\d+\]", f"bold {colour}")
    text.highlight_regex(r"(?m)^\s*\|\s+\^+.*$", colour)
    text.highlight_regex(r"(?m)^\s*\|\s+-+.*$", "blue")
    text.highlight_regex(r"(?m)^\s*= help:", "bold cyan")
    text.highlight_regex(r"(?m)^\s*(-->|:::) .*$", "dim")
    return text


def _with_sources(shown: str) -> Text:
    """A diagnostic whose source lines (`12 | lr = 3`) are highlighted."""
    from rich.syntax import Syntax

    from theseus_fx.lang.highlight.pygments_lexer import ThxLexer

    highlighter = Syntax("", ThxLexer(stripnl=False), theme="ansi_dark")
    lines: list[Text] = []
    for line in shown.split("\n"):
        number, bar, source = line.partition(" | ")
        if bar and number.strip().isdigit():
            code = highlighter.highlight(source)
            code.right_crop(1)  # the line end that Pygments adds
            lines.append(Text.assemble(number, bar, code))
        else:
            lines.append(Text(line))
    return Text("\n").join(lines)
