"""What a plan says and this version of `run` does not carry out; asked before anything starts."""

from __future__ import annotations

from collections.abc import Iterator

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span
from theseus_fx.planning.plan import Plan, Stage

STARTS = ("random", "fit", "given")

Refusal = tuple[Span | None, str, str]
"""Where it stands, what it is, and what can be run instead."""


def check_supported(plan: Plan) -> None:
    """Refuses a plan that a run would not carry out as it stands.

    Raises:
        Rejected: THX820 for each setting, with its place.
    """
    found: dict[tuple[Span | None, str], str] = {}
    for span, what, instead in _refusals(plan):
        found.setdefault((span, what), instead)
    if found:
        raise Rejected(*(_diagnostic(span, what, instead) for (span, what), instead in found.items()))


def _refusals(plan: Plan) -> Iterator[Refusal]:
    for stage in plan.stages:
        yield from _of_stage(stage)


def _of_stage(stage: Stage) -> Iterator[Refusal]:
    for start in stage.starts:
        if start.start.kind not in STARTS:
            yield start.start.span, f"`init = {start.start.kind}`", "a run can start with `random` and `fit`"


def _diagnostic(span: Span | None, what: str, instead: str) -> Diagnostic:
    return Diagnostic(
        code="THX820",
        message=f"`run` cannot carry out {what} yet",
        primary=None if span is None else Label(span),
        help=(instead, "`theseus-fx plan` shows all of it; nothing has been started"),
    )
