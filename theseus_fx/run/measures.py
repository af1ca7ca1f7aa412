"""What `until` and `require` watch: the smoothed loss of a stage, or a similarity of its taps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theseus_fx.lang.spec_stages import Condition, Gate
from theseus_fx.similarity import cka, mutual_knn, ucka


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """A stage on the held-out batch that it is read on, in eval mode and without gradients."""

    targets: Sequence[Tensor]
    """A tap's value each, rows of samples or of tokens first."""
    guides: Sequence[Tensor]
    """The guide's, in the same order."""
    weights: Sequence[float]
    """Of the taps."""
    loss: Tensor
    """What the stage trains on, scalar."""


TakeHeldOut = Callable[[], HeldOut]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A gate, and what was measured at it."""

    gate: Gate
    value: float
    passed: bool

    def __str__(self) -> str:
        """`cka is 0.6132 and has to be > 0.85`."""
        condition = self.gate.condition
        return (
            f"{called(condition)} is {self.value:.4f} and has to be {condition.operator} {condition.level:g}"
        )

    def as_json(self) -> dict[str, Any]:
        """The gate as in the plan, with the value."""
        condition = self.gate.condition
        return {
            "measure": {"name": condition.measure, **condition.arguments},
            "operator": condition.operator,
            "level": condition.level,
            "value": self.value if self.value == self.value else None,  # NaN is not JSON
            "passed": self.passed,
        }


def called(condition: Condition) -> str:
    """The measure as the language writes it: `mutual_knn(k = 10)`."""
    inside = ", ".join(f"{name} = {value}" for name, value in condition.arguments.items())
    return f"{condition.measure}({inside})" if inside else condition.measure


def judged(gates: Sequence[Gate], loss: Callable[[], float], take: TakeHeldOut) -> tuple[Passed, ...]:
    """What each gate says now.

    Args:
        gates: of the stage.
        loss: its smoothed loss.
        take: its taps on the held-out batch; called once, where a gate watches a similarity.
    """
    held = take() if any(gate.condition.measure != "loss" for gate in gates) else None
    values = [loss() if held is None or _falls(g) else similarity(g.condition, held) for g in gates]
    return tuple(
        Passed(gate=gate, value=value, passed=reached(gate.condition, value))
        for gate, value in zip(gates, values, strict=True)
    )


def reached(condition: Condition, value: float) -> bool:
    """Whether a value is where the condition wants it; NaN never is."""
    match condition.operator:
        case "<":
            return value < condition.level
        case "<=":
            return value <= condition.level
        case ">":
            return value > condition.level
        case ">=":
            return value >= condition.level


@torch.no_grad()
def similarity(condition: Condition, held: HeldOut) -> float:
    """The weighted mean over the taps of a similarity of guide and target; waits for the device.

    Raises:
        ValueError: the measure is no similarity.
    """
    pairs = zip(held.targets, held.guides, strict=True)
    match condition.measure:
        case "cka":
            values = [cka(a, b) for a, b in pairs]
        case "ucka":
            values = [ucka(a, b) for a, b in pairs]
        case "mutual_knn":
            values = [mutual_knn(a, b, int(condition.arguments["k"])) for a, b in pairs]
        case _:
            raise ValueError(f"`{condition.measure}` is no similarity")
    weights = torch.tensor(held.weights, dtype=torch.float64, device=values[0].device)
    return float((torch.stack(values) * weights).sum() / weights.sum())


def _falls(gate: Gate) -> bool:
    return gate.condition.measure == "loss"
