"""When a stage ends: its budget is spent, `until` holds, its gates pass or no extension is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theseus_fx.lang.spec_stages import Condition
from theseus_fx.run.measures import Passed, TakeHeldOut, reached, similarity
from theseus_fx.run.smoothing import LOOKS, Smoothed


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """Ends a stage before its budget is spent."""

    condition: Condition
    every: int
    """Steps between two looks: a tenth of the loss's window or of the budget, whichever is less; for a
    similarity an epoch or a tenth of the budget."""
    take: TakeHeldOut

    @classmethod
    def of(
        cls, condition: Condition, take: TakeHeldOut, *, steps: int, window: int, steps_per_epoch: int
    ) -> Until:
        """For a stage of so many steps whose loss is smoothed over `window`."""
        often = window // LOOKS if condition.measure == "loss" else steps_per_epoch
        return cls(condition=condition, every=max(1, min(often, steps // LOOKS)), take=take)

    def holds(self, step: int, loss: Smoothed) -> bool:
        """Asked after every step by its 1-based number; waits for the device at every `every`-th."""
        if step % self.every:
            return False
        measured = self.condition.measure == "loss"
        return reached(self.condition, loss.value() if measured else similarity(self.condition, self.take()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a phase ended."""

    early: bool = False
    """Whether `until` ended it."""
    extensions: int = 0
    """How often its budget was spent again."""
    gates: tuple[Passed, ...] = ()
    """What was measured at the end."""

    @property
    def missed(self) -> tuple[Passed, ...]:
        """The gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def keeps_guide(self) -> bool:
        """Whether the guide's parts stay: each gate says so that did not pass and has no extension left.

        A stage that takes no steps has none of its extensions.
        """
        spent = [entry for entry in self.missed if entry.gate.extend <= self.extensions] or self.missed
        return bool(spent) and all(entry.gate.keep_guide for entry in spent)

    def as_json(self) -> Mapping[str, Any]:
        """For the record of the stage."""
        return {
            "ended": "until" if self.early else "budget",
            "extensions": self.extensions,
            "require": [gate.as_json() for gate in self.gates],
        }


def may_extend(missed: Sequence[Passed], extensions: int) -> bool:
    """Whether a stage whose gates did not pass goes on: all of them allow one more extension."""
    return bool(missed) and all(entry.gate.extend > extensions for entry in missed)
