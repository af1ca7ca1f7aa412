"""The guide with parts of it replaced."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from theseus_fx.graph.fed import FedStage, fed_program
from theseus_fx.graph.program import stage_program
from theseus_fx.graph.slices import Compared, Inside, Placement
from theseus_fx.planning.plan import Plan, Stage, Tap
from theseus_fx.run.alignment.construction import OneStage, Programs
from theseus_fx.run.job import Job
from theseus_fx.run.start import copied_start, fitted_start, random_start


@dataclass(slots=True)
class Replaced:
    """The hybrid of the guide and the replacements that stand so far."""

    job: Job
    start: Literal["planned", "random"]
    """How replacements begin: as planned, or at random whatever the plan says."""
    parts: dict[str, nn.Module] = field(default_factory=dict[str, nn.Module])
    """The replacements by part name."""

    def begin(self, stage: Stage) -> None:
        for name in stage.introduces:
            self.parts[name] = self._introduced(stage, name)

    def parameters(self, stage: Stage) -> list[nn.Parameter]:
        return [p for name in stage.trains for p in self.parts[name].parameters()]

    def programs(self, stages: Sequence[Stage]) -> Programs:
        plan, guide = self.job.plan, self.job.guide
        if plan.spec.schedule.axes.feed == "guide":
            fed = [
                FedStage(
                    replacements=self._placed(stage.trains),
                    taps=tuple(_compared(plan, tap) for tap in stage.taps),
                )
                for stage in stages
            ]
            return fed_program(plan.trace, guide, fed)
        (stage,) = stages
        trained = {plan.part(name).node for name in stage.trains}
        replacements = self._placed(self.parts)
        program = stage_program(
            plan.trace,
            guide,
            replacements,
            taps=[_compared(plan, tap) for tap in stage.taps],
            frozen=replacements.keys() - trained,
        )
        return OneStage(program)

    def state(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value
            for name, module in self.parts.items()
            for key, value in module.state_dict().items()
        }

    def load(self, state: Mapping[str, Tensor], begun: Sequence[Stage]) -> None:
        for name in [name for stage in begun for name in stage.introduces]:
            module = self.job.plan.part(name).recipe.make(device=self.job.session.device)
            prefix = f"{name}/"
            own = {key.removeprefix(prefix): x for key, x in state.items() if key.startswith(prefix)}
            module.load_state_dict(own)
            self.parts[name] = module

    def give_back(self, stage: Stage) -> None:
        for name in stage.newest:
            del self.parts[name]

    @contextmanager
    def at_random(self, name: str) -> Generator[None]:
        """For a while the part has a replacement as it begins at random."""
        own = self.parts[name]
        self.parts[name] = random_start(self.job, self.job.plan.part(name))
        try:
            yield
        finally:
            self.parts[name] = own

    def after(self, stage: Stage) -> nn.Module:
        stages = self.job.plan.stages
        so_far = [name for s in stages if s.number <= stage.number for name in s.introduces]
        return self.job.hybrid({name: self.parts[name] for name in so_far if name in self.parts})

    def model(self) -> nn.Module:
        return self.job.hybrid(self.parts)

    def _introduced(self, stage: Stage, name: str) -> nn.Module:
        part = self.job.plan.part(name)
        planned = stage.start_of(name)
        if self.start == "random" or planned.kind == "random":
            return random_start(self.job, part)
        if planned.kind == "copy":
            return copied_start(self.job, part)
        self.job.session.observer.say(f"fitting {part.name} {part.path}")
        fed = self.job.plan.spec.schedule.axes.feed == "guide"  # then it reads what flows in the guide
        return fitted_start(self.job, part, {} if fed else self.parts, planned)

    def _placed(self, names: Sequence[str] | Mapping[str, nn.Module]) -> dict[str, Placement]:
        parts = [self.job.plan.part(name) for name in names]
        return {part.node: part.placed(self.parts[part.name]) for part in parts}


def _compared(plan: Plan, tap: Tap) -> Compared:
    """The values of guide and target that a tap of a replaced part compares."""
    if tap.part is None or tap.target is None:
        return Compared(tap.node, tap.node)
    return Compared(tap.node, Inside(plan.part(tap.part).node, tap.target))
