"""What follows when a stage does not pass its gates: the run stops, or the guide's parts stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from theseus_fx.lang.diagnostics import Diagnostic, Label
from theseus_fx.planning.plan import Plan, Stage
from theseus_fx.run.stopping import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A stage that did not pass, so that the schedule ended there."""

    stage: int
    extensions: int
    gates: tuple[tuple[str, str], ...]
    """Of each gate that did not pass: its measure, and what was measured."""

    @classmethod
    def of(cls, stage: Stage, ending: Ending) -> Missed:
        """The gates that a stage missed."""
        gates = tuple((entry.gate.condition.measure, str(entry)) for entry in ending.missed)
        return cls(stage=stage.number, extensions=ending.extensions, gates=gates)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Missed:
        """Of what `as_json` wrote."""
        gates = tuple((measure, said) for measure, said in value["gates"])
        return cls(stage=value["stage"], extensions=value["extensions"], gates=gates)

    def as_json(self) -> dict[str, Any]:
        """For the result of a unit."""
        return {"stage": self.stage, "extensions": self.extensions, "gates": [list(g) for g in self.gates]}

    def __str__(self) -> str:
        """`stage 2 does not pass: cka is 0.6132 and has to be > 0.85, after 2 extensions`."""
        many = "1 extension" if self.extensions == 1 else f"{self.extensions} extensions"
        after = f", after {many}" if self.extensions else ""
        return f"stage {self.stage} does not pass: {'; '.join(said for _, said in self.gates)}{after}"

    def diagnostic(self, plan: Plan) -> Diagnostic:
        """THX802 at the gate in the spec."""
        stage = next(stage for stage in plan.stages if stage.number == self.stage)
        spans = {gate.condition.measure: gate.condition.span for gate in stage.alignment.gates}
        return Diagnostic(
            code="THX802",
            message=f"{self} ({', '.join(stage.newest)})",
            primary=Label(spans[self.gates[0][0]]),
            help=(
                "lower the level, allow more with `else extend(2)` or `for`, or write `else keep guide`",
                "a run is not resumed with another spec: start a new one; what this one trained stays in it",
            ),
        )


def without(stage: Stage, parts: Collection[str]) -> Stage:
    """The stage where those parts are the guide's: it neither trains nor compares them."""
    if not parts:
        return stage
    return replace(
        stage,
        introduces=_rest(stage.introduces, parts),
        newest=_rest(stage.newest, parts),
        trains=_rest(stage.trains, parts),
        taps=tuple(tap for tap in stage.taps if tap.part not in parts),
        guide_inputs=tuple(fed for fed in stage.guide_inputs if fed.part not in parts),
        starts=tuple(start for start in stage.starts if start.part not in parts),
    )


def _rest(names: tuple[str, ...], parts: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in parts)
