"""What a network is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from theseus_fx.data.classification import Classification
from theseus_fx.data.language import LanguageModelling
from theseus_fx.data.own_task import OwnTask, open_task
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.spec import DataTask, Task, TaskKind

Objective = Classification | LanguageModelling | OwnTask
"""What a run trains for and judges by."""


def check_kind(task: Task | None, kind: DataTask, data: str) -> None:
    """Raises `Rejected` THX603 where the labels of the data source named `data` are for another task.

    A task of a person's own knows itself which labels it can use.
    """
    if task is None or task.kind in (kind, "own"):
        return
    written = {
        "classification": "classification(classes = 10)",
        "language_modelling": "language_modelling",
    }
    raise Rejected(
        Diagnostic(
            code="THX603",
            message=f"the task is {task.kind}, and `{data}` has labels for {kind}",
            primary=Label(task.span),
            help=(f"write `task = {written[kind]}`, or take other data",),
        )
    )


def check_vocabulary(task: Task | None, tokens: int | None, predicted: Sequence[int | str]) -> None:
    """Raises `Rejected` THX603 where a language model knows fewer tokens than its data has.

    Args:
        task: where to point.
        tokens: of the data; None: nobody knows yet.
        predicted: the shape of the model's logits, the vocabulary last.
    """
    known = predicted[-1] if len(predicted) == 3 else None
    if tokens is None or not isinstance(known, int) or tokens <= known:
        return
    raise Rejected(
        Diagnostic(
            code="THX603",
            message=f"the data has {tokens:,} tokens, the model knows {known:,}",
            primary=None if task is None else Label(task.span),
            help=("another `tokenizer`, or a model with a larger `vocab_size`",),
        )
    )


def check_classes(task: Task | None, classes: int | None) -> None:
    """Raises `Rejected` THX603 where task and data disagree about the classes; None: nobody knows yet."""
    if task is None or task.classes is None or classes is None or task.classes == classes:
        return
    raise Rejected(
        Diagnostic(
            code="THX603",
            message=f"the task has {task.classes} classes, the data has {classes}",
            primary=Label(task.span),
            help=(f"write `task = classification(classes = {classes})`",),
        )
    )


def task_of(task: Task | None, *, kind: DataTask, classes: int) -> Objective:
    """The task that a spec declares; else the one that the labels of the data are for, with its classes.

    Raises `Rejected`: THX308 or THX309 for a task of a person's own, as `open_task` does.
    """
    span = None if task is None else task.span
    wanted: TaskKind = kind if task is None else task.kind
    match wanted:
        case "language_modelling":
            return LanguageModelling(span=span)
        case "classification":
            declared = classes if task is None or task.classes is None else task.classes
            metric = "accuracy" if task is None or task.metric is None else task.metric
            return Classification(classes=declared, span=span, metric=metric)
        case "own":
            if task is None or task.call is None:
                raise ValueError("a task of one's own has a call")
            return open_task(task.call)
        case _:
            assert_never(wanted)
