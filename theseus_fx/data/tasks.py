"""What a network is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from theseus_fx.data.language import LanguageModelling
from theseus_fx.data.source import Batch
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Task, TaskKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """One of `classes` labels for each sample."""

    classes: int
    span: Span | None = None
    """Where the spec says so."""
    metric: Literal["accuracy"] = "accuracy"
    direction: Literal["higher"] = "higher"
    """Which values of the metric are better."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits (b, classes) against labels (b,), in float32 at least.

        Raises `Rejected` THX603 for logits of another shape; labels are not looked at, which would wait
        for the device.
        """
        self._check_logits(logits, len(labels))
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return functional.cross_entropy(logits, labels)

    def accuracy(
        self, model: Callable[..., Tensor], batches: Iterable[Batch], *, device: torch.device | None = None
    ) -> tuple[float, int]:
        """The share of samples whose label has the largest logit, and the number of samples.

        The batches are moved to `device` (default: where they are) and `model(*inputs)` gives logits
        (b, classes). No gradient is recorded; modes are the caller's affair. A row of logits with a NaN
        counts as wrong.

        Raises `Rejected` THX603 where logits or labels do not fit, ValueError without any sample.
        """
        tallies: list[Tensor] = []
        count = 0
        with torch.no_grad():
            for batch in batches:
                logits = model(*(x.to(device, non_blocking=True) for x in batch.inputs))
                self._check_logits(logits, len(batch.labels))
                labels = batch.labels.to(logits.device, non_blocking=True)
                right = (logits.argmax(1) == labels) & ~logits.isnan().any(1)
                tallies.append(torch.stack([right.sum(), labels.min(), labels.max()]))
                count += len(labels)
        if not count:
            raise ValueError("accuracy of no samples")
        tally = torch.stack(tallies).cpu()  # the only wait for the device
        self.check_labels(tally[:, 1:])
        return int(tally[:, 0].sum()) / count, count

    def evaluate(
        self, model: Callable[..., Tensor], batches: Iterable[Batch], *, device: torch.device | None = None
    ) -> tuple[float, int]:
        """The task's metric and the number of samples: `accuracy`."""
        return self.accuracy(model, batches, device=device)

    def check_labels(self, labels: Tensor) -> None:
        """Raises `Rejected` THX603 unless all labels lie in 0 to classes - 1; waits for their device."""
        lowest, highest = int(labels.min()), int(labels.max())
        if highest >= self.classes:
            raise self._misfit(
                f"the data has the label {highest}, and the task knows 0 to {self.classes - 1}",
                f"`task = classification(classes = {highest + 1})`, or more",
            )
        if lowest < 0:
            raise self._misfit(f"the data has the label {lowest}", "labels start at 0")

    def _check_logits(self, logits: Tensor, samples: int) -> None:
        if tuple(logits.shape) == (samples, self.classes):
            return
        shape = " x ".join(str(n) for n in logits.shape)
        raise self._misfit(
            f"the model's output is {shape}, not {samples} x {self.classes} logits",
            f"a model that gives {self.classes} numbers for each sample, or other `classes`",
        )

    def _misfit(self, message: str, fix: str) -> Rejected:
        primary = None if self.span is None else Label(self.span)
        return Rejected(Diagnostic(code="THX603", message=message, primary=primary, help=(fix,)))


Objective = Classification | LanguageModelling
"""What a run trains for and judges by."""


def check_kind(task: Task | None, kind: TaskKind, data: str) -> None:
    """Raises `Rejected` THX603 where the labels of the data source named `data` are for another task."""
    if task is None or task.kind == kind:
        return
    written: dict[TaskKind, str] = {
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


def task_of(task: Task | None, *, kind: TaskKind, classes: int) -> Objective:
    """The task that a spec declares; else the one that the labels of the data are for, with its classes."""
    span = None if task is None else task.span
    wanted: TaskKind = kind if task is None else task.kind
    match wanted:
        case "language_modelling":
            return LanguageModelling(span=span)
        case "classification":
            declared = classes if task is None or task.classes is None else task.classes
            return Classification(classes=declared, span=span)
        case _:
            assert_never(wanted)
