"""Image classification: one label for each sample, judged by accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from theseus_fx.data.evaluation import Evaluation, finite, outputs
from theseus_fx.data.source import Batch
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import ClassificationMetric

FIRST = 5
"""Of so many best classes one is right in `top5`; said where there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """One of `classes` labels for each sample."""

    classes: int
    span: Span | None = None
    """Where the spec says so."""
    metric: ClassificationMetric = "accuracy"
    """What judges: how often the label is the best class, how often among the best five, or the loss."""

    @property
    def direction(self) -> Literal["higher", "lower"]:
        """Which values of the metric are better."""
        return "lower" if self.metric == "cross_entropy" else "higher"

    @property
    def identity(self) -> str:
        """Equal for tasks that train and judge alike."""
        return f"classification {self.metric}"

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits (b, classes) against labels (b,), in nats, in float32 at least.

        Raises `Rejected` THX603 for logits of another shape; labels are not looked at, which would wait
        for the device.
        """
        self._check_logits(logits, len(labels))
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return functional.cross_entropy(logits, labels)

    def evaluate(
        self, model: Callable[..., Tensor], batches: Iterable[Batch], *, device: torch.device | None = None
    ) -> Evaluation:
        """Accuracy, top-5 accuracy where there are more than five classes, and mean cross-entropy in nats.

        The batches are moved to `device` (default: where they are) and `model(*inputs)` gives logits
        (b, classes). No gradient is recorded; modes are the caller's affair. A row of logits with a NaN
        counts as wrong; a cross-entropy that is no finite number is the largest float.

        Raises `Rejected` THX603 where logits or labels do not fit, ValueError without any sample.
        """
        tallies: list[Tensor] = []
        losses: list[Tensor] = []
        count = 0
        for logits, labels in outputs(model, batches, device):
            self._check_logits(logits, len(labels))
            tallies.append(self._tally(logits, labels))
            known = labels.clamp(0, self.classes - 1)  # wrong ones are named below, without a crash here
            losses.append(functional.cross_entropy(logits.float(), known, reduction="sum").double())
            count += len(labels)
        if not count:
            raise ValueError("accuracy of no samples")
        tally = torch.stack(tallies).cpu()  # the only waits for the device
        self.check_labels(tally[:, 2:])
        right, among = (int(total) for total in tally[:, :2].sum(0))
        details = {"accuracy": right / count}
        if self.classes > FIRST:
            details["top5"] = among / count
        details["cross_entropy"] = finite(float(torch.stack(losses).sum()) / count)
        return Evaluation(value=details[self.metric], count=count, details=details)

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

    def _tally(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Labels that are the best class, those among the best five, the least and the largest: (4,)."""
        best = logits.topk(min(FIRST, self.classes), dim=1).indices  # (b, 5)
        known = ~logits.isnan().any(1)
        right = (logits.argmax(1) == labels) & known
        among = (best == labels[:, None]).any(1) & known
        return torch.stack([right.sum(), among.sum(), labels.min(), labels.max()])

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
