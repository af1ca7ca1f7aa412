"""The alignment stages: replace, then match the guide's activations (Network of Theseus, Algorithm 1).

Section 3.2 of the paper decides what is trained: by default all replacements introduced so far, together.
Everything else is frozen and in eval mode, the guide's BatchNorm included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from theseus_fx.data.source import Split
from theseus_fx.planning.passes import passes
from theseus_fx.planning.plan import Stage
from theseus_fx.run.alignment.construction import Construction
from theseus_fx.run.alignment.network import Network
from theseus_fx.run.alignment.readings import (
    TapReading,
    held_out,
    held_out_batch,
    kept,
    read_stage,
    readings_json,
    warning,
)
from theseus_fx.run.alignment.records import starts, title, told
from theseus_fx.run.alignment.replaced import Replaced
from theseus_fx.run.alignment.steps import Steps
from theseus_fx.run.gates import Missed, without
from theseus_fx.run.job import Job
from theseus_fx.run.measures import judged
from theseus_fx.run.rates import steps_of
from theseus_fx.run.session import Stopwatch, Unit
from theseus_fx.run.start import random_start
from theseus_fx.run.stopping import Ending
from theseus_fx.run.training import Phase, PhaseState, train

Beginning = Literal["planned", "random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """What the stages leave."""

    outcome: nn.Module | Missed
    """An ordinary model on the device, which shares no parameter with the guide and is yet to be fine-tuned;
    or the stage that did not pass, where one ended the schedule."""
    kept_guide: tuple[str, ...]
    """Parts that the guide keeps, for their stage did not pass."""
    stages: tuple[Mapping[str, Any], ...]
    """What each stage did, as JSON values."""
    steps: int
    """Gradient steps taken; stages that are trained together share theirs."""
    seconds: float


def align(
    unit: Unit,
    job: Job,
    *,
    rates: Mapping[int, float | None],
    start: Beginning,
    without_parts: Sequence[str] = (),
    enforce: bool = True,
) -> Aligned:
    """Runs every stage of the plan, or takes up the unit where it was left.

    Args:
        unit: where checkpoints and the result are kept.
        job: the run.
        rates: the peak learning rate of each stage by its number; None takes no gradient step in it.
        start: how replacements begin: as planned, or at random whatever the plan says.
        without_parts: parts that the guide keeps from the beginning; stages of nothing else are left out.
        enforce: whether a stage that does not pass its gates ends the schedule or gives its parts back to the
            guide; else it is recorded and goes on.
    """
    built = _construction(job, start)
    budgets = _budgets(job, rates)
    if (done := unit.finished()) is None:
        work = _Work(
            unit=unit,
            job=job,
            built=built,
            start=start,
            enforce=enforce,
            without_parts=without_parts,
            kept_guide=[*without_parts],
            budgets=budgets,
        )
        work.run(rates)
        facts = work.facts()
        unit.finish(facts, built.state())
    else:
        job.forecast.change(-sum(budgets.values()))
        facts = done.facts
        if facts["missed"] is None:
            built.load(done.tensors, [without(stage, facts["kept_guide"]) for stage in job.plan.stages])
    return Aligned(
        outcome=built.model() if facts["missed"] is None else Missed.from_json(facts["missed"]),
        kept_guide=tuple(facts["kept_guide"]),
        stages=tuple(facts["stages"]),
        steps=facts["steps"],
        seconds=facts["seconds"],
    )


def unaligned(job: Job, *, without_parts: Sequence[str] = ()) -> nn.Module:
    """What the baselines train: the guide with all parts replaced at random, or the target as it is built.

    Args:
        job: the run.
        without_parts: parts that the guide keeps.
    """
    built = _construction(job, "random")
    if isinstance(built, Replaced):
        replaced = [part for part in job.plan.parts if part.name not in without_parts]
        built.parts |= {part.name: random_start(job, part) for part in replaced}
    return built.model()


def total_steps(job: Job) -> int:
    """The gradient steps that the schedule budgets for all stages together."""
    per_epoch = job.source.steps_per_epoch
    return sum(steps_of(together[0].alignment.budget, per_epoch) for together in passes(job.plan))


def _budgets(job: Job, rates: Mapping[int, float | None]) -> dict[int, int]:
    """The steps that passes are expected to take, by the number of their first stage."""
    per_epoch = job.source.steps_per_epoch
    first = [together[0] for together in passes(job.plan)]
    return {s.number: steps_of(s.alignment.budget, per_epoch) for s in first if rates[s.number] is not None}


def _construction(job: Job, start: Beginning) -> Replaced | Network:
    target, sentence = job.plan.target, job.plan.spec.target
    if target is None or sentence is None:
        return Replaced(job, start)
    return Network.of(job, target, sentence, copies=start == "planned")


@dataclass(slots=True, kw_only=True)
class _Work:
    """The stages as far as they have come."""

    unit: Unit
    job: Job
    built: Construction
    start: Beginning
    enforce: bool
    without_parts: Sequence[str]
    kept_guide: list[str]
    """Those, and the parts of stages that have given them back."""
    budgets: Mapping[int, int]
    """Steps that passes are expected to take, by the number of their first stage."""
    missed: Missed | None = None
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    steps: int = 0
    """Of the passes that are over."""
    before: dict[int, dict[str, dict[str, float]]] = field(
        default_factory=dict[int, dict[str, dict[str, float]]]
    )
    """Readings of stages that have begun, by number."""
    begun: dict[int, dict[str, dict[str, float]]] = field(
        default_factory=dict[int, dict[str, dict[str, float]]]
    )
    """Similarities of the parts that a stage introduced, at a random start and at their own, by number."""
    over: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    """What is known of stages that are over, and cannot be recorded before those in front of them."""
    watch: Stopwatch = field(default_factory=Stopwatch)

    def run(self, rates: Mapping[int, float | None]) -> None:
        """All passes that are not over, up to a stage that ends the schedule."""
        begun = self.unit.resume()
        first, state = 0, None
        left_out = [stage for stage in self.job.plan.stages if not self._has_own(stage)]
        mine = [[stage for stage in together if self._has_own(stage)] for together in passes(self.job.plan)]
        all_passes = [together for together in mine if together]
        if begun is not None:
            first, state = begun["pass"], PhaseState(**begun["phase"])
            self.records, self.steps = begun["records"], begun["steps"]
            self.before, self.over, self.begun = begun["before"], begun["over"], begun["begun"]
            self.kept_guide = begun["kept_guide"]
            self.watch = Stopwatch(before=begun["seconds"])
            there = [*left_out, *(stage for together in all_passes[: first + 1] for stage in together)]
            self.built.load(begun["state"], [without(stage, self.kept_guide) for stage in there])
        todo = {together[0].number for together in all_passes[first:]}
        self.job.forecast.change(-sum(n for number, n in self.budgets.items() if number not in todo))
        for number, whole in enumerate(all_passes[first:], start=first):
            together = [without(stage, self.kept_guide) for stage in whole]
            if state is None:
                state = PhaseState()
                for stage in left_out if number == 0 else ():  # it may be the one that introduces all parts
                    self.built.begin(without(stage, self.kept_guide))
                for stage in together:
                    self.built.begin(stage)
                for stage in together:
                    self.begun[stage.number] = self._start_similarities(stage)
                for stage in together:
                    self.before[stage.number] = kept(self._read(stage))
                self._keep(number, state)
            rate = rates[together[0].number]
            if rate is not None and any(self.built.parameters(stage) for stage in together):
                phase = self._phase(together, rate)
                ending = train(self.unit, phase, state, lambda at, n=number: self._keep(n, at))
            else:
                ending = self._untrained(together)
            self._close(together, state.step, ending)
            self.job.forecast.change(state.step - self.budgets.get(together[0].number, 0))
            state = None
            if self.missed is not None:
                left = {rest[0].number for rest in all_passes[number + 1 :]}
                self.job.forecast.change(-sum(n for one, n in self.budgets.items() if one in left))
                return

    def facts(self) -> dict[str, Any]:
        """Of the unit's result."""
        return {
            "stages": self.records,
            "steps": self.steps,
            "seconds": self.watch.seconds,
            "kept_guide": self.kept_guide,
            "missed": None if self.missed is None else self.missed.as_json(),
        }

    def _has_own(self, stage: Stage) -> bool:
        """Whether a stage trains parts that are not the guide's from the beginning.

        One that introduces nothing goes on with those before it, so that budgets stay equal.
        """
        return bool(set(stage.trains) - set(self.without_parts))

    def _close(self, together: Sequence[Stage], taken: int, ending: Ending) -> None:
        """Draws the consequences of a pass, records its stages and those that have waited for them.

        A stage that has gates, and so may end one way or another, is alone in its pass.
        """
        self.steps += taken
        gives_back = self.enforce and ending.keeps_guide
        for stage in together:
            self.over[stage.number] = {
                "steps": taken,
                **ending.as_json(),
                "taps": self._read_after(stage),
                "kept_guide": list(stage.newest) if gives_back else [],
            }
            if gives_back:
                self.built.give_back(stage)
                self.kept_guide += stage.newest
            elif self.enforce and ending.missed:
                self.missed = Missed.of(stage, ending)
        stages = [stage for stage in self.job.plan.stages if self._has_own(stage)]
        while len(self.records) < len(stages) and stages[len(self.records)].number in self.over:
            stage = without(stages[len(self.records)], self.without_parts)
            record = self._record(stage, self.over.pop(stage.number))
            self.records.append(record)
            session = self.job.session
            session.metrics.append([{"unit": self.unit.name, "event": "stage", **record}])
            session.observer.end(f"stage {stage.number}", told(stage, record))

    def _phase(self, together: Sequence[Stage], peak: float) -> Phase:
        job, settings = self.job, together[0].alignment
        per_epoch = job.source.steps_per_epoch
        program = self.built.programs(together)
        steps = Steps.of(job, self.unit.name, together, program)
        trained = [self.built.parameters(stage) for stage in together]
        numbers = [stage.number for stage in together]
        which = {"stage": numbers[0]} if len(numbers) == 1 else {"stages": numbers}
        return Phase(
            title=title(job.plan, together),
            record={"phase": "align", **which},
            parameters=[p for parameters in trained for p in parameters],
            settings=settings,
            peak=peak,
            steps=steps_of(settings.budget, per_epoch),
            steps_per_epoch=per_epoch,
            batch_size=job.source.batch_size,
            work=steps.work(),
            clipped=trained,
            measure=steps.measure,
            recompute=program.blocks,
            until=settings.until,
            gates=settings.gates,
            held_out=held_out(job, together[0], program) if len(together) == 1 else None,
        )

    def _untrained(self, together: Sequence[Stage]) -> Ending:
        """How a pass ends that takes no steps."""
        stage = together[0]
        if not stage.alignment.gates:
            return Ending()
        take = held_out(self.job, stage, self.built.programs([stage]))
        return Ending(gates=judged(stage.alignment.gates, lambda: float(take().loss), take))

    @torch.no_grad()
    def _read(self, stage: Stage) -> dict[str, TapReading]:
        program = self.built.programs([stage]).eval()
        (outputs,) = program(*held_out_batch(self.job, stage).inputs)
        return read_stage(self.job, stage, outputs)

    def _start_similarities(self, stage: Stage) -> dict[str, dict[str, float]]:
        """The CKA of each introduced part's output at a random start, and at the one that it has."""
        found: dict[str, dict[str, float]] = {}
        built = self.built
        if not isinstance(built, Replaced):
            return found
        for name in stage.introduces:
            kind = "random" if self.start == "random" else stage.start_of(name).kind
            taps = tuple(tap for tap in stage.taps if tap.part == name and not tap.extra)
            if not taps:
                continue
            own = replace(stage, taps=taps)
            with built.at_random(name):
                found[name] = {"random": self._read(own)[name].similarity.cka}
            found[name][kind] = self._read(own)[name].similarity.cka
        return found

    def _read_after(self, stage: Stage) -> dict[str, Any]:
        after = self._read(stage)
        if (said := warning(stage, after)) is not None:
            self.job.session.observer.say(said)
        return readings_json(stage, self.before.pop(stage.number), after)

    def _record(self, stage: Stage, over: Mapping[str, Any]) -> dict[str, Any]:
        """What the stage did: every tap before and after, how it ended, and the hybrid on validation."""
        hybrid = self.built.after(stage)
        return {
            "stage": stage.number,
            "parts": list(stage.newest),
            "start": starts(self.job.plan, stage, at_random=self.start == "random"),
            "start_similarity": self.begun.pop(stage.number),
            **over,
            "validation": None if hybrid is None else self.job.evaluate(hybrid, Split.VALIDATION),
        }

    def _keep(self, number: int, state: PhaseState) -> None:
        """Writes a checkpoint of the unit in the middle of pass `number`."""
        self.unit.keep(
            (number + 1) * 10**10 + state.step,
            {
                "pass": number,
                "phase": state.kept(),
                "state": self.built.state(),
                "records": self.records,
                "steps": self.steps,
                "before": self.before,
                "over": self.over,
                "begun": self.begun,
                "kept_guide": self.kept_guide,
                "seconds": self.watch.seconds,
            },
        )
