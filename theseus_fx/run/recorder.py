"""What the steps of a phase report, read off the device only now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.run.session import Unit

_REPORT_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What one step computed."""

    loss: Tensor
    """Scalar."""
    values: Mapping[str, Tensor]
    """Named scalars to record, without a gradient."""
    samples: int


@dataclass(slots=True)
class Recorder:
    """Gathers what the steps report; writing it is the one thing in a phase that a clock decides."""

    unit: Unit
    title: str
    """Of the phase."""
    record: Mapping[str, Any]
    """What every line says of the phase."""
    _waiting: list[tuple[int, StepOutcome, float]] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def add(self, step: int, outcome: StepOutcome, rate: float) -> None:
        """Takes in a step by its 1-based number.

        Raises:
            Rejected: THX801 where the loss of a step that was waiting is not finite.
        """
        self._waiting.append((step, _detached(outcome), rate))
        if time.monotonic() - self._since > _REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what waits as lines of `metrics.jsonl` and shows the newest to the observer.

        Raises:
            Rejected: THX801 where a loss is not finite.
        """
        if not self._waiting:
            return
        names = list(self._waiting[0][1].values)
        table = torch.stack(
            [torch.stack([o.loss, *(o.values[n] for n in names)]).double() for _, o, _ in self._waiting]
        ).tolist()  # (steps, 1 + values); the one synchronisation
        records: list[dict[str, Any]] = []
        for (step, _, rate), row in zip(self._waiting, table, strict=True):
            if not math.isfinite(row[0]):
                raise self._diverged(step, dict(zip(names, row[1:], strict=True)))
            values = {n: v if math.isfinite(v) else None for n, v in zip(names, row[1:], strict=True)}
            records.append(
                {"unit": self.unit.name, **self.record, "step": step, "lr": rate, "loss": row[0], **values}
            )
        session = self.unit.session
        session.metrics.append(records)
        session.observer.step(
            done=self._waiting[-1][0],
            loss=table[-1][0],
            values=dict(zip(names, table[-1][1:], strict=True)),
            samples=sum(outcome.samples for _, outcome, _ in self._waiting),
        )
        self._waiting.clear()
        self._since = time.monotonic()

    def _diverged(self, step: int, values: Mapping[str, float]) -> Rejected:
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        where = f"; not finite: {', '.join(broken)}" if broken else ""
        return Rejected(
            Diagnostic(
                code="THX801",
                message=f"the loss is not finite at step {step} of {self.title}{where}",
                help=(
                    "lower `lr`, or set `clip`",
                    "the last checkpoint is kept; the run can be resumed from it",
                ),
            )
        )


def _detached(outcome: StepOutcome) -> StepOutcome:
    return StepOutcome(
        loss=outcome.loss.detach(),
        values={name: value.detach().to(outcome.loss.dtype) for name, value in outcome.values.items()},
        samples=outcome.samples,
    )
