"""What a person sees while a run goes on: bars on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from command_line import Command


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


def test_a_terminal_shows_bars_with_stage_loss_similarities_and_speed(tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace("for    = 3 steps", "for    = 60 steps"))
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
