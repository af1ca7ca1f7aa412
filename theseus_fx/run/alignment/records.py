"""What a run says of its stages: a title while it goes on, a record and a line when it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from theseus_fx.planning.plan import Plan, Stage


def title(plan: Plan, together: Sequence[Stage]) -> str:
    """For the person who watches: `stage 3 of 9: conv[3] layer1.0.conv2`."""
    if len(together) > 1:
        numbers = ", ".join(str(stage.number) for stage in together[:3])
        more = f" and {len(together) - 3} more" if len(together) > 3 else ""
        return f"stages {numbers}{more} of {len(plan.stages)}, together"
    (stage,) = together
    newest = (stage.newest or stage.trains)[-1]
    place = {part.name: part.path for part in plan.parts} | {p.name: p.target.blocks[-1] for p in plan.pairs}
    return f"stage {stage.number} of {len(plan.stages)}: {newest} {place[newest]}"


def starts(plan: Plan, stage: Stage, *, at_random: bool) -> str:
    """How the stage's newest parts began: `fit`, `random and fit`.

    Args:
        plan: the plan.
        stage: one of its stages.
        at_random: whether replacements begin at random whatever the plan says.
    """
    planned = {start.part: start.start.kind for s in plan.stages for start in s.starts}
    kinds = {planned[name] for name in stage.newest}
    if at_random:
        kinds = {"given" if kind == "given" else "random" for kind in kinds}
    return " and ".join(sorted(kinds))


def told(stage: Stage, record: Mapping[str, Any]) -> str:
    """The line of a stage that is over, made of its record."""
    newest = (stage.newest or stage.trains)[-1]
    tap = newest if newest in record["taps"] else next(iter(record["taps"]))
    read, value = record["taps"][tap], record["validation"]
    name = stage.alignment.metric.name
    own = f", {name} {read[name]['before']:.4f} -> {read[name]['after']:.4f}" if name in read else ""
    kept = ", does not pass: the guide's part stays" if record["kept_guide"] else ""
    hybrid = "" if value is None else f", hybrid {value:.4f} on validation"
    return (
        f"{newest}: similarity {read['before']:.4f} -> {read['after']:.4f} (chance {read['chance']:.4f})"
        f"{own}{kept}{hybrid}"
    )
