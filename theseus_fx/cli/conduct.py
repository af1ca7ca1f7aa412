"""A run with someone watching: progress while it goes on, the closing table, Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

from theseus_fx.cli.output import console, print_json
from theseus_fx.cli.progress import watching
from theseus_fx.cli.views.summary import summary_view
from theseus_fx.run.conversion import Conversion
from theseus_fx.run.events import Observer
from theseus_fx.run.interrupt import Interrupted

STOPPED = 130


def conduct(work: Callable[[Observer], Conversion], *, quiet: bool, as_json: bool) -> int:
    """Does the work under a progress display and prints its summary; returns the exit code."""
    try:
        with watching(quiet=quiet or as_json) as observer:
            conversion = work(observer)
    except Interrupted as interrupted:
        out = console(stderr=True)
        out.print(f"stopped; nothing is lost: `theseus-fx resume {interrupted.folder}` goes on from here")
        return STOPPED
    if as_json:
        print_json(conversion.summary)
        return 0
    out = console()
    for part in summary_view(conversion.summary):
        out.print(part)
    out.print(
        f"everything is in {conversion.folder}; `theseus_fx.load({str(conversion.folder)!r})` is the model"
    )
    return 0
