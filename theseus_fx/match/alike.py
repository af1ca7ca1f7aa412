"""Diagnostics that say the same of several parts become one that counts them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from theseus_fx.lang.diagnostics import Diagnostic
from theseus_fx.lang.source import Span


def merged(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """One diagnostic for each code and set of places, in order; its help says how many it stands for."""
    groups: dict[tuple[str, Span | None, tuple[Span, ...]], list[Diagnostic]] = {}
    for diagnostic in diagnostics:
        primary = None if diagnostic.primary is None else diagnostic.primary.span
        key = (diagnostic.code, primary, tuple(label.span for label in diagnostic.secondary))
        groups.setdefault(key, []).append(diagnostic)
    return tuple(_counted(alike) for alike in groups.values())


def _counted(alike: list[Diagnostic]) -> Diagnostic:
    first, more = alike[0], len(alike) - 1
    if more == 0 or first.primary is None:
        return first
    parts = "one more part" if more == 1 else f"{more} more parts"
    return replace(first, help=(*first.help, f"the same holds for {parts}"))
