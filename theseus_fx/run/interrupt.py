"""Ctrl-C in the middle of a run: finish the step, write a checkpoint, leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Interrupted(Exception):  # noqa: N818 - the outcome of a command, not a defect
    """The person stopped the run; everything up to the last step is saved in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"the run in {folder} was stopped")
        self.folder = folder


class StopRequest:
    """Whether the person asked to stop."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def ask(self) -> None:
        """Asks the run to stop at its next step."""
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()


@contextmanager
def stop_on_interrupt(request: StopRequest) -> Generator[None, None, None]:
    """While active, the first SIGINT or SIGTERM asks to stop; the second SIGINT raises KeyboardInterrupt.

    Outside the main thread, where Python delivers no signals, it changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.ask()

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
