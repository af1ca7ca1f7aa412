"""Steps that are tried one after another, so that a person sees all that is wrong at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from theseus_fx.lang.diagnostics import Diagnostic, Rejected

T = TypeVar("T")


def attempt(problems: list[Diagnostic], step: Callable[[], T]) -> T | None:
    """What a step gives, or None and its diagnostics among the problems."""
    try:
        return step()
    except Rejected as rejected:
        problems += rejected.diagnostics
        return None
