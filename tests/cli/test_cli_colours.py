"""Diagnostics on a colour terminal: the same words, with the lines of the spec highlighted."""

from __future__ import annotations

import io
import re
import sys

import pytest

from theseus_fx.cli.output import print_diagnostics
from theseus_fx.lang.parser import parse
from theseus_fx.lang.source import Source

TEXT = "rule r { match Conv2d as c expct 3\n\n\t# é \x0c\n  replace wth relu }   \ndata = 3 ? [\n\n"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("colours", [True, False])
def test_source_lines_are_highlighted_where_there_are_colours(
    monkeypatch: pytest.MonkeyPatch, colours: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    _, problems = parse(Source("x.thx", TEXT))
    assert len(problems) == 4
    print_diagnostics(problems)
    shown = terminal.getvalue()
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown)
    expected = "".join(f"{problem.render()}\n\n" for problem in problems) + "4 errors\n"
    assert plain == expected
    assert bool(re.search(r"\x1b\[94mrule\x1b", shown)) == colours
    assert bool(re.search(r"\x1b\[94mreplace\x1b", shown)) == colours
