"""What a network is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from theseus_fx.data.source import Batch
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Task


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


def check_classes(task: Task | None, classes: int | None) -> None:
    """Raises `Rejected` THX603 where task and data disagree about the classes; None: nobody knows yet."""
    if task is None or classes is None or task.classes == classes:
        return
    raise Rejected(
        Diagnostic(
            code="THX603",
            message=f"the task has {task.classes} classes, the data has {classes}",
            primary=Label(task.span),
            help=(f"write `task = classification(classes = {classes})`",),
        )
    )


def task_of(task: Task) -> Classification:
    """The task that a spec declares."""
    return Classification(classes=task.classes, span=task.span)
