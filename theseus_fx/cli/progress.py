"""How a run looks while it goes on: bars on a terminal, one line a finished phase elsewhere."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from theseus_fx.cli.output import console
from theseus_fx.run.events import Observer, Silent


@contextmanager
def watching(*, quiet: bool) -> Generator[Observer, None, None]:
    """An observer that draws on stderr: bars on a terminal, lines elsewhere, nothing when quiet."""
    out = console(stderr=True)
    if quiet:
        yield Silent()
    elif not out.is_terminal:
        yield Lines(out)
    else:
        with board(out) as bars:
            yield Bars(bars)


class Board(Progress):
    """Bars with one line of words below them, cut where the terminal ends rather than wrapped."""

    words: str = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.words, style="dim", no_wrap=True, overflow="ellipsis")


def board(out: Console) -> Board:
    """Bars that vanish when they are done."""
    return Board(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=out,
        transient=True,
    )


@dataclass(slots=True)
class Lines:
    """One line for each finished phase."""

    out: Console
    _told: bool = False
    """Whether the number of steps was said; it may change, and the lines would not."""

    def expect(self, steps: int) -> None:
        if not self._told:
            self.out.print(f"about {steps:,} gradient steps in all", style="dim")
        self._told = True

    def begin(self, title: str, *, steps: int, done: int, measure: str = "similarity") -> None: ...

    def step(self, *, done: int, loss: float, values: Mapping[str, float], samples: int) -> None: ...

    def end(self, title: str, outcome: str) -> None:
        self.out.print(f"{title}: {outcome}")

    def say(self, text: str) -> None:
        self.out.print(text, style="dim")


@dataclass(slots=True)
class Bars:
    """A bar for the whole run, one for the phase, and a line for each finished phase above them."""

    board: Board
    _whole: TaskID | None = None
    _phase: TaskID | None = None
    _title: str = ""
    _done: int = 0
    _samples: int = 0
    _measure: str = "similarity"

    def expect(self, steps: int) -> None:
        if self._whole is None:
            self._whole = self.board.add_task("whole run", total=steps)
        self.board.update(self._whole, total=steps)

    def begin(self, title: str, *, steps: int, done: int, measure: str = "similarity") -> None:
        self._drop_phase()
        if self._whole is not None and title != self._title:  # else its budget was extended
            self.board.advance(self._whole, done)
        self._title, self._done, self._samples, self._measure = title, done, 0, measure
        self._phase = self.board.add_task(title, total=steps, completed=done)

    def step(self, *, done: int, loss: float, values: Mapping[str, float], samples: int) -> None:
        if self._phase is None:
            return
        if self._whole is not None:
            self.board.advance(self._whole, done - self._done)
        self._done = done
        self._samples += samples
        self.board.words = self._words(loss, values)
        self.board.update(self._phase, completed=done)

    def end(self, title: str, outcome: str) -> None:
        self._drop_phase()
        self.board.console.print(f"{title}: {outcome}")

    def say(self, text: str) -> None:
        self.board.console.print(text, style="dim")

    def _words(self, loss: float, values: Mapping[str, float]) -> str:
        words = [f"loss {loss:.4f}"]
        elapsed = self.board.tasks[-1].elapsed
        if elapsed:
            words.append(f"{self._samples / elapsed:,.0f} samples/s")
        if values and self._measure == "similarity":
            taps = " ".join(f"{100 * value:.0f}" for value in values.values())
            words.append(f"similarity {fmean(values.values()):.4f} (taps, %: {taps})")
        elif len(values) > 1:
            taps = " ".join(f"{value:.3g}" for value in values.values())
            words.append(f"{self._measure} {fmean(values.values()):.4f} (taps: {taps})")
        return "  ".join(words)

    def _drop_phase(self) -> None:
        if self._phase is None:
            return
        self.board.refresh()  # however short the phase was, its last numbers were on the screen
        self.board.remove_task(self._phase)
        self._phase, self.board.words = None, ""
