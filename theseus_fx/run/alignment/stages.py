"""The alignment stages: replace, then match the guide's activations (Network of Theseus, Algorithm 1).

Section 3.2 of the paper decides what is trained: by default all replacements introduced so far, together.
Everything else is frozen and in eval mode, the guide's BatchNorm included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from theseus_fx.data.source import Split
from theseus_fx.planning.plan import Stage
from theseus_fx.run.alignment.construction import Construction
from theseus_fx.run.alignment.network import Network
from theseus_fx.run.alignment.passes import passes
from theseus_fx.run.alignment.readings import TapReading, held_out, kept, read_stage, readings_json
from theseus_fx.run.alignment.replaced import Replaced
from theseus_fx.run.alignment.steps import Steps
from theseus_fx.run.job import Job
from theseus_fx.run.session import Stopwatch, Unit
from theseus_fx.run.start import random_start
from theseus_fx.run.training import Phase, PhaseState, StepOutcome, rate_schedule, steps_of, train

Beginning = Literal["planned", "random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """What the stages leave."""

    model: nn.Module
    """An ordinary model on the device, which shares no parameter with the guide; yet to be fine-tuned."""
    stages: tuple[Mapping[str, Any], ...]
    """What each stage did, as JSON values."""
    steps: int
    """Gradient steps taken; stages that are trained together share theirs."""
    seconds: float


def align(unit: Unit, job: Job, *, rates: Mapping[int, float | None], start: Beginning) -> Aligned:
    """Runs every stage of the plan, or takes up the unit where it was left.

    Args:
        unit: where checkpoints and the result are kept.
        job: the run.
        rates: the peak learning rate of each stage by its number; None takes no gradient step in it.
        start: how replacements begin: as planned, or at random whatever the plan says.
    """
    built = _construction(job, start)
    if (done := unit.finished()) is not None:
        built.load(done.tensors, job.plan.stages)
        facts = done.facts
        return Aligned(
            model=built.model(),
            stages=tuple(facts["stages"]),
            steps=facts["steps"],
            seconds=facts["seconds"],
        )
    work = _Work(unit=unit, job=job, built=built, start=start)
    work.run(rates)
    seconds = work.watch.seconds
    unit.finish({"stages": work.records, "steps": work.steps, "seconds": seconds}, built.state())
    return Aligned(model=built.model(), stages=tuple(work.records), steps=work.steps, seconds=seconds)


def unaligned(job: Job) -> nn.Module:
    """What the baselines train: the guide with all parts replaced at random, or the target as it is built."""
    built = _construction(job, "random")
    if isinstance(built, Replaced):
        built.parts |= {part.name: random_start(job, part) for part in job.plan.parts}
    return built.model()


def total_steps(job: Job) -> int:
    """The gradient steps that the schedule budgets for all stages together."""
    per_epoch = job.source.steps_per_epoch
    return sum(steps_of(together[0].alignment.budget, per_epoch) for together in passes(job.plan))


def _construction(job: Job, start: Beginning) -> Replaced | Network:
    target, sentence = job.plan.target, job.plan.spec.target
    if target is None or sentence is None:
        return Replaced(job, start)
    return Network.of(job, target, sentence)


@dataclass(slots=True, kw_only=True)
class _Work:
    """The stages as far as they have come."""

    unit: Unit
    job: Job
    built: Construction
    start: Beginning
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    steps: int = 0
    """Of the passes that are over."""
    before: dict[int, dict[str, dict[str, float]]] = field(
        default_factory=dict[int, dict[str, dict[str, float]]]
    )
    """Readings of stages that have begun, by number."""
    over: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    """What is known of stages that are over, and cannot be recorded before those in front of them."""
    watch: Stopwatch = field(default_factory=Stopwatch)

    def run(self, rates: Mapping[int, float | None]) -> None:
        """All passes that are not over."""
        begun = self.unit.resume()
        first, state = 0, None
        all_passes = passes(self.job.plan)
        if begun is not None:
            first, state = begun["pass"], PhaseState(step=begun["step"], optimizer=begun["optimizer"])
            self.records, self.steps = begun["records"], begun["steps"]
            self.before, self.over = begun["before"], begun["over"]
            self.watch = Stopwatch(before=begun["seconds"])
            there = [stage for together in all_passes[: first + 1] for stage in together]
            self.built.load(begun["state"], there)
        for number, together in enumerate(all_passes[first:], start=first):
            if state is None:
                state = PhaseState()
                for stage in together:
                    self.built.begin(stage)
                for stage in together:
                    self.before[stage.number] = kept(self._read(stage))
                self._keep(number, state)
            rate = rates[together[0].number]
            if rate is not None and any(self.built.parameters(stage) for stage in together):
                phase = self._phase(together, rate)
                train(self.unit, phase, state, lambda at, n=number: self._keep(n, at))
            self._close(together, state.step)
            state = None

    def _close(self, together: Sequence[Stage], taken: int) -> None:
        """Records the stages of a pass, and those that have waited for them."""
        self.steps += taken
        for stage in together:
            self.over[stage.number] = {"steps": taken, "taps": self._read_after(stage)}
        stages = self.job.plan.stages
        while len(self.records) < len(stages) and stages[len(self.records)].number in self.over:
            stage = stages[len(self.records)]
            record = self._record(stage, **self.over.pop(stage.number))
            self.records.append(record)
            session = self.job.session
            session.metrics.append([{"unit": self.unit.name, "event": "stage", **record}])
            session.observer.end(f"stage {stage.number}", _told(stage, record))

    def _phase(self, together: Sequence[Stage], peak: float) -> Phase:
        job, settings = self.job, together[0].alignment
        per_epoch = job.source.steps_per_epoch
        budget = steps_of(settings.budget, per_epoch)
        steps = Steps.of(job, self.unit.name, together, self.built.programs(together))

        def step_loss(step: int) -> StepOutcome:
            batch = steps.batch(step)
            loss, values = steps.loss(steps.forward(batch))
            return StepOutcome(loss=loss, values=values, samples=len(batch.labels))

        trained = [self.built.parameters(stage) for stage in together]
        numbers = [stage.number for stage in together]
        which = {"stage": numbers[0]} if len(numbers) == 1 else {"stages": numbers}
        return Phase(
            title=_title(job, together),
            record={"phase": "align", **which},
            parameters=[p for parameters in trained for p in parameters],
            clipped=trained,
            steps=budget,
            rate=rate_schedule(settings.lr, peak, steps=budget, steps_per_epoch=per_epoch),
            weight_decay=settings.weight_decay,
            clip=settings.clip,
            measure=steps.measure,
            step_loss=step_loss,
        )

    @torch.no_grad()
    def _read(self, stage: Stage) -> dict[str, TapReading]:
        program = self.built.programs([stage]).eval()
        (outputs,) = program(*held_out(self.job, stage).inputs)
        return read_stage(self.job, stage, outputs)

    def _read_after(self, stage: Stage) -> dict[str, Any]:
        after = self._read(stage)
        for name, reading in after.items():
            if reading.similarity.warning is not None:
                self.job.session.observer.say(f"{name}: {reading.similarity.warning}")
        return readings_json(stage, self.before.pop(stage.number), after)

    def _record(self, stage: Stage, *, steps: int, taps: Mapping[str, Any]) -> dict[str, Any]:
        """What the stage did: every tap before and after, and the hybrid's value on validation."""
        hybrid = self.built.after(stage)
        return {
            "stage": stage.number,
            "parts": list(stage.newest),
            "start": self._starts(stage),
            "steps": steps,
            "taps": taps,
            "validation": None if hybrid is None else self.job.evaluate(hybrid, Split.VALIDATION),
        }

    def _starts(self, stage: Stage) -> str:
        planned = {start.part: start.start.kind for s in self.job.plan.stages for start in s.starts}
        kinds = {planned[name] for name in stage.newest}
        if self.start == "random":
            kinds = {"given" if kind == "given" else "random" for kind in kinds}
        return " and ".join(sorted(kinds))

    def _keep(self, number: int, state: PhaseState) -> None:
        """Writes a checkpoint of the unit in the middle of pass `number`."""
        self.unit.keep(
            (number + 1) * 10**10 + state.step,
            {
                "pass": number,
                "step": state.step,
                "optimizer": state.optimizer,
                "state": self.built.state(),
                "records": self.records,
                "steps": self.steps,
                "before": self.before,
                "over": self.over,
                "seconds": self.watch.seconds,
            },
        )


def _title(job: Job, together: Sequence[Stage]) -> str:
    """For the person who watches: `stage 3 of 9: conv[3] layer1.0.conv2`."""
    plan = job.plan
    if len(together) > 1:
        numbers = ", ".join(str(stage.number) for stage in together[:3])
        more = f" and {len(together) - 3} more" if len(together) > 3 else ""
        return f"stages {numbers}{more} of {len(plan.stages)}, together"
    (stage,) = together
    newest = stage.newest[-1]
    place = {part.name: part.path for part in plan.parts} | {p.name: p.target.blocks[-1] for p in plan.pairs}
    return f"stage {stage.number} of {len(plan.stages)}: {newest} {place[newest]}"


def _told(stage: Stage, record: Mapping[str, Any]) -> str:
    newest = stage.newest[-1]
    tap = newest if newest in record["taps"] else next(iter(record["taps"]))
    read, value = record["taps"][tap], record["validation"]
    name = stage.alignment.metric.name
    own = f", {name} {read[name]['before']:.4f} -> {read[name]['after']:.4f}" if name in read else ""
    hybrid = "" if value is None else f", hybrid {value:.4f} on validation"
    return (
        f"{newest}: similarity {read['before']:.4f} -> {read['after']:.4f} (chance {read['chance']:.4f})"
        f"{own}{hybrid}"
    )
