"""The loop of gradient steps that training a guide, aligning and fine-tuning share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from theseus_fx.data.order import stable_seed
from theseus_fx.lang.diagnostics import Diagnostic, Rejected
from theseus_fx.lang.spec import Amount, LearningRate
from theseus_fx.run.session import Unit

_REPORT_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What the loss function of one step returns."""

    loss: Tensor
    """Scalar, with a gradient."""
    values: Mapping[str, Tensor]
    """Named scalars to record, without a gradient."""
    samples: int


StepLoss = Callable[[int], StepOutcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of gradient steps."""

    title: str
    """For the person who watches: `stage 3 of 9: conv[3] layer1.0.conv2`."""
    record: Mapping[str, Any]
    """What every record in the metrics says of the phase."""
    parameters: Sequence[nn.Parameter]
    steps: int
    rate: Callable[[int], float]
    """The learning rate at a 0-based step."""
    weight_decay: float
    clip: float | None
    clipped: Sequence[Sequence[nn.Parameter]] | None = None
    """Sets of the parameters whose gradients are clipped each by its own norm; None: all by one."""
    measure: str = "similarity"
    """What the named values of a step are."""
    step_loss: StepLoss


@dataclass(slots=True)
class PhaseState:
    """Where a phase stands; a checkpoint holds its parts."""

    step: int = 0
    optimizer: dict[str, Any] | None = None


def train(unit: Unit, phase: Phase, state: PhaseState, keep: Callable[[PhaseState], None]) -> None:
    """Takes the steps of a phase that are not taken yet; a checkpoint stands at the end.

    Randomness inside a step (dropout) is seeded from the run's seed, the unit, the phase and the step, so
    that a resumed run draws what an unbroken one would have drawn.

    Args:
        unit: the unit that the phase belongs to.
        phase: what to do.
        state: where to begin; updated in place.
        keep: writes a checkpoint of the unit with the state it is given.

    Raises:
        Rejected: THX801 where the loss is not finite.
        Interrupted: where the person asked to stop, after a checkpoint.
    """
    session = unit.session
    optimizer = AdamW(phase.parameters, lr=phase.rate(0), weight_decay=phase.weight_decay, fused=True)
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    session.observer.begin(phase.title, steps=phase.steps, done=state.step, measure=phase.measure)
    recorder = _Recorder(unit, phase)
    kept_at, kept_step = time.monotonic(), state.step
    while state.step < phase.steps:
        rate = phase.rate(state.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(stable_seed(session.seed, unit.name, phase.title, state.step))
        outcome = phase.step_loss(state.step)
        optimizer.zero_grad(set_to_none=True)
        outcome.loss.backward()  # pyright: ignore[reportUnknownMemberType]
        if phase.clip is not None:
            for together in phase.clipped or (phase.parameters,):
                nn.utils.clip_grad_norm_(together, phase.clip)
        optimizer.step()
        state.step += 1
        recorder.add(state.step, outcome, rate)
        late = time.monotonic() - kept_at > session.checkpoint_seconds
        if session.stop or (late and state.step < phase.steps):
            recorder.flush()
            state.optimizer = optimizer.state_dict()
            keep(state)
            kept_at, kept_step = time.monotonic(), state.step
            session.heed_stop()
    recorder.flush()
    state.optimizer = None
    if state.step > kept_step:
        keep(state)


@dataclass(slots=True)
class _Recorder:
    """Gathers what the steps report and reads it off the device only now and then."""

    unit: Unit
    phase: Phase
    _waiting: list[tuple[int, StepOutcome, float]] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def add(self, step: int, outcome: StepOutcome, rate: float) -> None:
        self._waiting.append((step, _detached(outcome), rate))
        if time.monotonic() - self._since > _REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what waits as lines of `metrics.jsonl` and shows the newest to the observer."""
        if not self._waiting:
            return
        names = list(self._waiting[0][1].values)
        table = torch.stack(
            [torch.stack([o.loss, *(o.values[n] for n in names)]).double() for _, o, _ in self._waiting]
        ).tolist()  # (steps, 1 + values); the one synchronisation
        records: list[dict[str, Any]] = []
        for (step, _, rate), row in zip(self._waiting, table, strict=True):
            if not math.isfinite(row[0]):
                raise _diverged(self.phase, step, dict(zip(names, row[1:], strict=True)))
            values = {n: v if math.isfinite(v) else None for n, v in zip(names, row[1:], strict=True)}
            records.append(
                {
                    "unit": self.unit.name,
                    **self.phase.record,
                    "step": step,
                    "lr": rate,
                    "loss": row[0],
                    **values,
                }
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


def _detached(outcome: StepOutcome) -> StepOutcome:
    return StepOutcome(
        loss=outcome.loss.detach(),
        values={name: value.detach().to(outcome.loss.dtype) for name, value in outcome.values.items()},
        samples=outcome.samples,
    )


def _diverged(phase: Phase, step: int, values: Mapping[str, float]) -> Rejected:
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    where = f"; not finite: {', '.join(broken)}" if broken else ""
    return Rejected(
        Diagnostic(
            code="THX801",
            message=f"the loss is not finite at step {step} of {phase.title}{where}",
            help=("lower `lr`, or set `clip`", "the last checkpoint is kept; the run can be resumed from it"),
        )
    )


def steps_of(amount: Amount, steps_per_epoch: int) -> int:
    """A budget in gradient steps; a batch is a step."""
    return amount.count * steps_per_epoch if amount.unit == "epochs" else amount.count


def rate_schedule(
    rate: LearningRate, peak: float, *, steps: int, steps_per_epoch: int
) -> Callable[[int], float]:
    """The learning rate at each 0-based step: linear warm-up, then constant or a half cosine to zero.

    The warm-up reaches the peak at its last step. Source: Loshchilov and Hutter 2017, eq. 5, no restarts.
    """
    warmup = 0 if rate.warmup is None else min(steps_of(rate.warmup, steps_per_epoch), steps)

    def at(step: int) -> float:
        if step < warmup:
            return peak * (step + 1) / warmup
        if rate.shape == "constant" or steps == warmup:
            return peak
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    return at
