"""The settings of each stage: the schedule's, overridden by those of its own block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import Alignment, Schedule, StageOverride


def alignments(schedule: Schedule, stages: int) -> tuple[Alignment, ...]:
    """The settings of stages 1 to `stages`.

    Raises:
        Rejected: THX503 for a block of a stage that does not exist, THX504 for a stage without `for` or `lr`.
    """
    incomplete: dict[tuple[StageOverride | None, tuple[str, ...]], list[int]] = {}
    merged: list[Alignment] = []
    for number in range(1, stages + 1):
        own = next((o for o in schedule.stages if o.first <= number <= o.last), None)
        budget = own.budget if own and own.budget else schedule.budget
        lr = own.lr if own and own.lr else schedule.lr
        if budget is None or lr is None:
            missing = tuple(word for word, value in (("`for`", budget), ("`lr`", lr)) if value is None)
            incomplete.setdefault((own, missing), []).append(number)
            continue
        merged.append(
            Alignment(
                budget=budget,
                until=own.until if own and own.budget else schedule.until,
                lr=lr,
                rows=own.rows if own and own.rows else schedule.rows,
                metric=own.metric if own and own.metric else schedule.metric,
                optimizer=own.optimizer if own and own.optimizer else schedule.optimizer,
                weight_decay=_first(own.weight_decay if own else None, schedule.weight_decay),
                clip=own.clip if own and own.clip is not None else schedule.clip,
                compute=replace(schedule.compute, **cast("Any", own.compute if own else {})),
                start=own.start if own and own.start else schedule.start,
                gates=schedule.gates if own is None or own.gates is None else own.gates,
            )
        )
    problems = [*_beyond(schedule, stages)]
    problems += [_incomplete(schedule, own, missing, of) for (own, missing), of in incomplete.items()]
    if problems:
        raise Rejected(*problems)
    return tuple(merged)


def _first(own: float | None, default: float) -> float:
    return default if own is None else own


def _beyond(schedule: Schedule, stages: int) -> Iterator[Diagnostic]:
    for override in schedule.stages:
        if override.last > stages:
            shown = _span(override.first, override.last)
            count = "one stage" if stages == 1 else f"{stages} stages"
            yield Diagnostic(
                code="THX503",
                message=f"the plan has {count}, there is no stage {override.last}",
                primary=Label(override.span, f"stage {shown}"),
                help=("stages are numbered from 1, as `theseus-fx plan` prints them",),
            )


def _incomplete(
    schedule: Schedule, own: StageOverride | None, missing: Sequence[str], stages: Sequence[int]
) -> Diagnostic:
    verb = f"stage {stages[0]} has" if len(stages) == 1 else f"stages {_listed(stages)} have"
    return Diagnostic(
        code="THX504",
        message=f"{verb} no {' and no '.join(missing)}",
        primary=Label(own.span if own else schedule.span),
        help=("write `lr = 1e-3  for = 5 epochs` in the schedule, or in a `stage N { ... }` of it",),
    )


def _listed(numbers: Sequence[int]) -> str:
    """Ascending numbers as the language writes them: `1, 3..5`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(_span(first, last) for first, last in runs)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}..{last}"
