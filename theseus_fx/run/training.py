"""The loop of gradient steps that training a guide, aligning and fine-tuning share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from theseus_fx.data.order import stable_seed
from theseus_fx.lang.spec import Alignment, Training
from theseus_fx.run.optimizers import make_optimizer
from theseus_fx.run.rates import PlateauRate, rate_schedule, steps_of
from theseus_fx.run.recorder import Recorder, StepOutcome
from theseus_fx.run.session import Unit
from theseus_fx.run.smoothing import WINDOW, Smoothed

StepLoss = Callable[[int], StepOutcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of gradient steps."""

    title: str
    """For the person who watches: `stage 3 of 9: conv[3] layer1.0.conv2`."""
    record: Mapping[str, Any]
    """What every record in the metrics says of the phase."""
    parameters: Sequence[nn.Parameter]
    settings: Alignment | Training
    """Optimizer, decay, clipping and the shape of the learning rate."""
    peak: float
    """The learning rate at its highest."""
    steps: int
    steps_per_epoch: int
    step_loss: StepLoss


@dataclass(slots=True)
class PhaseState:
    """Where a phase stands; a checkpoint holds its parts."""

    step: int = 0
    optimizer: dict[str, Any] | None = None
    smoothed: dict[str, Any] | None = None
    """The average of the loss."""
    plateau: dict[str, Any] | None = None
    """What a rate of the shape `plateau` has seen."""

    def kept(self) -> dict[str, Any]:
        """The fields by name, for a checkpoint; `PhaseState(**kept)` is equal."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


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
    descent = _Descent(phase, state)
    session.observer.begin(phase.title, steps=phase.steps, done=state.step)
    recorder = Recorder(unit, phase.title, phase.record)
    kept_at, kept_step = time.monotonic(), state.step
    while state.step < phase.steps:
        torch.manual_seed(stable_seed(session.seed, unit.name, phase.title, state.step))
        rate = descent.set_rate(state.step)
        outcome = phase.step_loss(state.step)
        descent.zero_grad()
        outcome.loss.backward()  # pyright: ignore[reportUnknownMemberType]
        descent.step()
        state.step += 1
        descent.watch(state.step, outcome)
        recorder.add(state.step, outcome, rate)
        late = time.monotonic() - kept_at > session.checkpoint_seconds
        if session.stop or (late and state.step < phase.steps):
            recorder.flush()
            descent.save(state)
            keep(state)
            kept_at, kept_step = time.monotonic(), state.step
            session.heed_stop()
    recorder.flush()
    state.optimizer = state.plateau = None
    if state.step > kept_step:
        keep(state)


class _Descent:
    """The optimizer of a phase, its learning rate and the average of the loss."""

    def __init__(self, phase: Phase, state: PhaseState) -> None:
        settings = phase.settings
        self._parameters = phase.parameters
        self._clip = settings.clip
        self._rate = rate_schedule(
            settings.lr, phase.peak, steps=phase.steps, steps_per_epoch=phase.steps_per_epoch
        )
        self._optimizer = make_optimizer(
            settings.optimizer, phase.parameters, lr=phase.peak, weight_decay=settings.weight_decay
        )
        plateau = settings.lr.plateau
        window = WINDOW if plateau is None else steps_of(plateau.average, phase.steps_per_epoch)
        self._smoothed = Smoothed(window)
        self._plateau = (
            None
            if plateau is None
            else PlateauRate(plateau, self._optimizer, steps_per_epoch=phase.steps_per_epoch)
        )
        if state.optimizer is not None:
            self._optimizer.load_state_dict(state.optimizer)
        if state.smoothed is not None:
            self._smoothed.load_state_dict(state.smoothed)
        if state.plateau is not None and self._plateau is not None:
            self._plateau.load_state_dict(state.plateau)

    def set_rate(self, step: int) -> float:
        """Sets the learning rate of a 0-based step, and returns it."""
        if self._plateau is not None:
            return self._optimizer.param_groups[0]["lr"]
        rate = self._rate(step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return rate

    def zero_grad(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step()

    def watch(self, step: int, outcome: StepOutcome) -> None:
        """Takes in what the step of that 1-based number computed."""
        self._smoothed.add(outcome.loss)
        if self._plateau is not None:
            self._plateau.look(step, self._smoothed)

    def save(self, state: PhaseState) -> None:
        """Puts what a checkpoint has to hold into the state."""
        state.optimizer = self._optimizer.state_dict()
        state.smoothed = self._smoothed.state_dict()
        state.plateau = None if self._plateau is None else self._plateau.state_dict()
