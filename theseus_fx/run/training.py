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
from theseus_fx.lang.spec_stages import Condition, Gate
from theseus_fx.run.gradients import Work, add_gradients
from theseus_fx.run.measures import HeldOut, Passed, TakeHeldOut, judged
from theseus_fx.run.memory import in_memory
from theseus_fx.run.optimizers import make_optimizer
from theseus_fx.run.rates import PlateauRate, rate_schedule, steps_of
from theseus_fx.run.recompute import recomputed
from theseus_fx.run.recorder import Recorder, StepOutcome
from theseus_fx.run.session import Unit
from theseus_fx.run.smoothing import LOOKS, WINDOW, Smoothed
from theseus_fx.run.stopping import Ending, Until, may_extend


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
    batch_size: int
    work: Work
    clipped: Sequence[Sequence[nn.Parameter]] = ()
    """Sets of the parameters whose gradients are clipped each by its own norm; none: all by one."""
    measure: str = "similarity"
    """What the named values of a step are."""
    recompute: Sequence[nn.Module] = ()
    """What is computed again in the backward pass, where `checkpointing` asks for it."""
    until: Condition | None = None
    """What may end it before its budget is spent."""
    gates: tuple[Gate, ...] = ()
    """What it has to reach, or its budget is spent again as often as they allow."""
    held_out: TakeHeldOut | None = None
    """What `until` and `gates` measure; needed where they watch a similarity."""


@dataclass(slots=True)
class PhaseState:
    """Where a phase stands; a checkpoint holds its parts."""

    step: int = 0
    optimizer: dict[str, Any] | None = None
    smoothed: dict[str, Any] | None = None
    """The average of the loss."""
    plateau: dict[str, Any] | None = None
    """What a rate of the shape `plateau` has seen."""
    begun: int = 0
    """The step at which the budget that is being spent began."""
    extensions: int = 0
    """How often it was spent before."""
    early: bool = False
    """Whether `until` holds."""
    pieces: int = 0
    """How many pieces a batch goes through in, where that is more than the settings say."""

    def kept(self) -> dict[str, Any]:
        """The fields by name, for a checkpoint; `PhaseState(**kept)` is equal."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def train(unit: Unit, phase: Phase, state: PhaseState, keep: Callable[[PhaseState], None]) -> Ending:
    """Takes the steps of a phase that are not taken yet; a checkpoint stands at the end.

    Randomness inside a step (dropout) is seeded from the run's seed, the unit, the phase and the step, so
    that a resumed run draws what an unbroken one would have drawn.

    Args:
        unit: the unit that the phase belongs to.
        phase: what to do.
        state: where to begin; updated in place.
        keep: writes a checkpoint of the unit with the state it is given.

    Returns:
        How it ended, with what its gates say; what follows from that is the caller's affair.

    Raises:
        Rejected: THX801 where the loss is not finite.
        Interrupted: where the person asked to stop, after a checkpoint.
    """
    session = unit.session
    descent = _Descent(phase, state)
    recorder = Recorder(unit, phase.title, phase.record)
    kept_at, kept_step = time.monotonic(), state.step
    while True:
        end = state.begun + phase.steps
        session.observer.begin(phase.title, steps=end, done=state.step, measure=phase.measure)
        while state.step < end and not state.early:
            rate = descent.set_rate(state.step - state.begun)
            outcome = descent.gradients(unit, state)
            descent.step()
            state.step += 1
            descent.watch(state, outcome)
            recorder.add(state.step, outcome, rate)
            late = time.monotonic() - kept_at > session.checkpoint_seconds
            if session.stop or (late and state.step < end):
                recorder.flush()
                descent.save(state)
                keep(state)
                kept_at, kept_step = time.monotonic(), state.step
                session.heed_stop()
        recorder.flush()
        gates = descent.judged()
        missed = [entry for entry in gates if not entry.passed]
        if not may_extend(missed, state.extensions):
            break
        session.observer.say(f"{phase.title}: {'; '.join(map(str, missed))}: its budget is spent again")
        state.begun, state.early = state.step, False
        state.extensions += 1
    descent.save(state)
    state.optimizer = None  # nothing of the phase is left to do; its gates may be asked again
    if state.step > kept_step:
        keep(state)
    return Ending(early=state.early, extensions=state.extensions, gates=gates)


class _Descent:
    """The optimizer of a phase, its learning rate and the average of the loss."""

    def __init__(self, phase: Phase, state: PhaseState) -> None:
        settings = phase.settings
        self._phase = phase
        self._clip, self._clipped = settings.clip, phase.clipped or (phase.parameters,)
        self._rate = rate_schedule(
            settings.lr, phase.peak, steps=phase.steps, steps_per_epoch=phase.steps_per_epoch
        )
        self._optimizer = make_optimizer(
            settings.optimizer, phase.parameters, lr=phase.peak, weight_decay=settings.weight_decay
        )
        plateau = settings.lr.plateau
        window = _window(phase)
        self._smoothed = Smoothed(window)
        self._gates, self._take = phase.gates, phase.held_out
        self._until = (
            None
            if phase.until is None
            else Until.of(
                phase.until,
                self._held_out,
                steps=phase.steps,
                window=window,
                steps_per_epoch=phase.steps_per_epoch,
            )
        )
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

    def gradients(self, unit: Unit, state: PhaseState) -> StepOutcome:
        """Computes those of the next step, in more pieces where the memory does not suffice."""
        phase, session = self._phase, unit.session
        compute = phase.settings.compute

        def attempt(pieces: int) -> StepOutcome:
            torch.manual_seed(stable_seed(session.seed, unit.name, phase.title, state.step))
            self._optimizer.zero_grad(set_to_none=True)
            with recomputed(phase.recompute if compute.checkpointing else ()):
                return add_gradients(phase.work, state.step, compute, pieces=pieces, device=session.device)

        outcome, pieces = in_memory(
            attempt,
            max(compute.accumulate, state.pieces),
            most=phase.batch_size,
            title=phase.title,
            say=session.observer.say,
        )
        state.pieces = pieces if pieces > compute.accumulate else 0
        return outcome

    def step(self) -> None:
        """Takes the step, clipped."""
        if self._clip is not None:
            for together in self._clipped:
                nn.utils.clip_grad_norm_(together, self._clip)
        self._optimizer.step()

    def watch(self, state: PhaseState, outcome: StepOutcome) -> None:
        """Takes in what the last step computed; an extension goes on to its end, whatever `until` says."""
        self._smoothed.add(outcome.loss)
        if self._plateau is not None:
            self._plateau.look(state.step, self._smoothed)
        if self._until is not None and not state.extensions:
            state.early = self._until.holds(state.step, self._smoothed)

    def judged(self) -> tuple[Passed, ...]:
        """What the gates say now."""
        return judged(self._gates, self._smoothed.value, self._held_out)

    def _held_out(self) -> HeldOut:
        if self._take is None:
            raise ValueError("a phase that watches a similarity has something to measure it on")
        return self._take()

    def save(self, state: PhaseState) -> None:
        """Puts what a checkpoint has to hold into the state."""
        state.optimizer = self._optimizer.state_dict()
        state.smoothed = self._smoothed.state_dict()
        state.plateau = None if self._plateau is None else self._plateau.state_dict()


def _window(phase: Phase) -> int:
    """Steps that the loss is smoothed over: as `plateau` says, else 500, or a tenth of a shorter budget."""
    plateau = phase.settings.lr.plateau
    if plateau is not None:
        return steps_of(plateau.average, phase.steps_per_epoch)
    return max(1, min(WINDOW, phase.steps // LOOKS))
