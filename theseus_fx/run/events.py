"""What a run tells whoever watches it. The command line draws it, the Python interface may ignore it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Observer(Protocol):
    """Watches a run; every method returns at once and changes nothing."""

    def expect(self, steps: int) -> None:
        """The run will take about so many gradient steps in all; called again where that changes."""
        ...

    def begin(self, title: str, *, steps: int, done: int, measure: str = "similarity") -> None:
        """A phase begins: `steps` gradient steps in all, of which `done` were taken before a resume.

        The named values of its steps are similarities, or what `measure` says: a metric of which less is
        better.
        """
        ...

    def step(self, *, done: int, loss: float, values: Mapping[str, float], samples: int) -> None:
        """The phase has taken `done` steps; the last loss, named values, samples seen since the last call."""
        ...

    def end(self, title: str, outcome: str) -> None:
        """The phase is over; `outcome` says what came of it in a few words."""
        ...

    def say(self, text: str) -> None:
        """A line for the person: a warning, or a fact worth knowing now."""
        ...


@dataclass(slots=True)
class Forecast:
    """About how many gradient steps a run takes in all, corrected as soon as more is known."""

    observer: Observer
    steps: int = 0

    def change(self, by: int) -> None:
        """So many steps more, or fewer, than was thought."""
        if by:
            self.steps += by
            self.observer.expect(self.steps)


class Silent:
    """An observer that ignores everything."""

    def expect(self, steps: int) -> None: ...

    def begin(self, title: str, *, steps: int, done: int, measure: str = "similarity") -> None: ...

    def step(self, *, done: int, loss: float, values: Mapping[str, float], samples: int) -> None: ...

    def end(self, title: str, outcome: str) -> None: ...

    def say(self, text: str) -> None: ...
