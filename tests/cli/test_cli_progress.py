"""What a person sees while a run goes on: bars on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from command_line import Command
from rich.console import Console

from theseus_fx.cli.progress import Bars, board


def on_a_terminal(*arguments: str, cwd: Path) -> str:
    """Everything that the command writes to a terminal of 160 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "theseus_fx", *arguments],
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160", "TERM": "xterm", "THESEUS_FX_CACHE": str(cwd / "cache")},
    )
    os.close(theirs)
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    assert process.wait() == 0
    return b"".join(pieces).decode()


def drawn(width: int) -> tuple[Bars, StringIO]:
    """Bars on a terminal of that width that draws only when told to, so that no clock decides."""
    screen = StringIO()
    bars = board(Console(file=screen, force_terminal=True, width=width, no_color=True, highlight=False))
    bars.live.auto_refresh = False
    return Bars(bars), screen


@pytest.mark.parametrize("width", [100, 200])
def test_the_last_numbers_of_a_phase_are_drawn_however_short_it_was(width: int) -> None:
    bars, screen = drawn(width)
    with bars.board:
        bars.expect(9)
        bars.begin("stage 3 of 3: conv[3] layer3.0.conv2", steps=2, done=0)
        bars.step(done=2, loss=0.25, values={"conv[1]": 0.5, "conv[2]": 0.7}, samples=128)
        bars.end("stage 3 of 3: conv[3] layer3.0.conv2", "similarity 0.6")
    shown = screen.getvalue()
    for words in (
        "whole run",
        "loss 0.2500",
        "samples/s",
        "similarity 0.6000 (taps, %: 50 70)",
        "left",
        "2/9",
        "2/2",
    ):
        assert words in shown
    assert shown.count("conv2: similarity 0.6") == 1


def test_a_narrow_terminal_cuts_the_words_and_does_not_wrap_them() -> None:
    bars, screen = drawn(40)
    with bars.board:
        bars.begin("stage 1", steps=2, done=0)
        bars.step(done=1, loss=0.25, values={f"conv[{n}]": 0.5 for n in range(40)}, samples=128)
        bars.board.refresh()
    assert "loss 0.2500" in screen.getvalue()
    assert "…" in screen.getvalue()


def test_a_terminal_shows_bars_with_stage_loss_similarities_and_speed(tiny: Path) -> None:
    shown = on_a_terminal("run", str(tiny), cwd=tiny.parent)
    assert "whole run" in shown
    assert "stage 3 of 3: conv[3] layer3.0.conv2" in shown
    assert "loss 0." in shown
    assert "(taps, %: " in shown
    assert "samples/s" in shown
    assert "left" in shown


def test_elsewhere_a_line_a_phase_and_no_bars(command: Command, tiny: Path) -> None:
    said = command("run", tiny)
    assert "stage 1: conv[1]: similarity" in said.err
    assert "\x1b" not in said.err + said.out
    assert "whole run" not in said.err


def test_quiet_says_nothing_but_the_result(command: Command, tiny: Path) -> None:
    said = command("run", tiny, "--quiet")
    assert said.err == ""
    assert "converted" in said.out


def test_the_whole_run_counts_what_was_taken_before_and_no_extension_twice() -> None:
    bars, screen = drawn(200)
    with bars.board:
        bars.expect(9)
        bars.begin("stage 1", steps=4, done=3)
        bars.step(done=4, loss=0.5, values={}, samples=1)
        bars.begin("stage 1", steps=8, done=4)
        bars.step(done=6, loss=0.5, values={}, samples=1)
        bars.expect(12)
        bars.board.refresh()
    assert "6/12" in screen.getvalue()
    assert "6/8" in screen.getvalue()
