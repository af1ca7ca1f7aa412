"""What came near to a rule and stopped: modules, or operations at which a pattern could have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from theseus_fx.graph.trace import Trace
from theseus_fx.inspection.calls import Calls
from theseus_fx.match.ops.backtrack import Attempt
from theseus_fx.match.pattern import Miss

NEAREST = 5
"""How many kinds of misses are listed for a rule."""

_STEPS = ("class", "attributes", "in", "keep", "where")
"""What a module has to pass to be a site, in order; a miss knows where it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """What came near to a rule and stopped alike."""

    step: str | None
    """What was not passed: one of `_STEPS`, or a step of the pattern; None: no one step is to blame."""
    matched: int | None
    """How many steps of the pattern had matched; None of modules, and where no one step is to blame."""
    reason: str
    paths: tuple[str, ...]
    kind: str
    """Of the first, the class of the module or the name of the operation."""
    node: str | None
    """Of the first: where it stopped, of a module its output; None where that has no single one."""

    def as_json(self) -> dict[str, Any]:
        return {
            "count": len(self.paths),
            "path": self.paths[0],
            "class": self.kind,
            "node": self.node,
            "matched": self.matched,
            "step": self.step,
            "reason": self.reason,
            "paths": list(self.paths),
        }


def nearest_modules(
    misses: Sequence[Miss], model: nn.Module, traced: Trace, calls: Calls
) -> tuple[NearMiss, ...]:
    """The misses that passed a step at least, those that came furthest first."""
    alike: dict[tuple[int, str], dict[str, None]] = {}
    for miss in misses:
        if miss.step > 0:
            alike.setdefault((miss.step, miss.reason), {}).setdefault(miss.path)
    ranked = sorted(alike.items(), key=lambda entry: (-entry[0][0], -len(entry[1]), entry[0][1]))
    return tuple(
        NearMiss(
            step=_STEPS[step],
            matched=None,
            reason=reason,
            paths=tuple(paths),
            kind=type(model.get_submodule(next(iter(paths)))).__name__,
            node=calls.node_of(next(iter(paths)), traced),
        )
        for (step, reason), paths in ranked[:NEAREST]
    )


def nearest_operations(attempts: Sequence[Attempt], calls: Calls) -> tuple[NearMiss, ...]:
    """The attempts of a pattern, those that came deepest first; each stands for the node where it stopped."""
    alike: dict[tuple[int | None, int, str], list[Attempt]] = {}
    for attempt in attempts:
        matched = None if attempt.step is None else attempt.depth
        alike.setdefault((matched, id(attempt.step), attempt.reason), []).append(attempt)
    ranked = sorted(alike.values(), key=lambda group: (-max(a.depth for a in group), -len(group)))
    return tuple(_of_attempts(group, calls) for group in ranked[:NEAREST])


def _of_attempts(alike: Sequence[Attempt], calls: Calls) -> NearMiss:
    first = alike[0]
    return NearMiss(
        step=None if first.step is None else str(first.step),
        matched=None if first.step is None else first.depth,
        reason=first.reason,
        paths=tuple(calls.operation(attempt.node).path for attempt in alike),
        kind=calls.operation(first.node).name,
        node=first.node,
    )
