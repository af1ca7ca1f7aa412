"""What differs between two plans, and which finished work of the first is also that of the second.

Its JSON is schema version 1; the human view is made from it.

    kind        "theseus-fx diff"
    schema      int; grows when a field changes its meaning or goes
    a, b        {path, from: "spec" | "plan"}
    equal       bool, whether a run of one is a run of the other
    settings    [CHANGE], outside of the stages: `param.rank`, `guide.weights`, `data.size`, `finetune.lr`
    stages      equal: int; added: [STAGE]; removed: [STAGE];
                changed: [{a: number, b: number, paths, changes: [CHANGE]}]; two stages are the same one where
                they introduce the same modules of the guide
    survives    of a run of A, with the same seed: guide: bool, the guide as trained or loaded;
                stages: [number], each with all before it; of: int, the stages of A; finetune: bool;
                because: text | null, the first thing that differs
    totals      {parameters: {a, b}, flops: {a, b}}, of the converted model

    CHANGE      setting; old; new; values as in a plan's JSON, null where it is not set
    STAGE       number; paths: of the modules that it introduces
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from theseus_fx.inspection.sides import Settings, Side

SCHEMA = 1

_DERIVED = frozenset(("number", "introduces", "guide_share", "target_share", "trainable_parameters"))
"""Of a stage's JSON, what follows from the rest."""
_OF_PARTS = frozenset(("path", "recipe", "parameters", "flops"))
"""Of a part's JSON, what is said elsewhere, or follows from the guide and the replacement's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting."""

    setting: str
    old: Any
    new: Any

    def as_json(self) -> dict[str, Any]:
        return {"setting": self.setting, "old": self.old, "new": self.new}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFacts:
    """A stage of one plan."""

    number: int
    paths: tuple[str, ...]
    """Of the modules that it introduces."""
    settings: Settings

    def as_json(self) -> dict[str, Any]:
        return {"number": self.number, "paths": list(self.paths)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedStage:
    """A stage that both plans have, with other settings."""

    a: StageFacts
    b: StageFacts
    changes: tuple[Change, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "a": self.a.number,
            "b": self.b.number,
            "paths": list(self.a.paths),
            "changes": [change.as_json() for change in self.changes],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """Which finished work of a run of A is also that of B, given the same seed."""

    guide: bool
    stages: tuple[int, ...]
    of: int
    finetune: bool
    because: str | None
    """The first thing that differs."""

    def as_json(self) -> dict[str, Any]:
        return {
            "guide": self.guide,
            "stages": list(self.stages),
            "of": self.of,
            "finetune": self.finetune,
            "because": self.because,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two plans side by side."""

    a: Side
    b: Side
    settings: tuple[Change, ...]
    equal_stages: int
    added: tuple[StageFacts, ...]
    removed: tuple[StageFacts, ...]
    changed: tuple[ChangedStage, ...]
    survives: Survival

    @property
    def equal(self) -> bool:
        """Whether nothing differs that a run would show."""
        return not (self.settings or self.added or self.removed or self.changed)

    def as_json(self) -> dict[str, Any]:
        """The difference as plain JSON values (schema version `SCHEMA`)."""
        totals = {
            key: {"a": self.a.plan["totals"][key]["target"], "b": self.b.plan["totals"][key]["target"]}
            for key in ("parameters", "flops")
        }
        return {
            "kind": "theseus-fx diff",
            "schema": SCHEMA,
            "a": {"path": self.a.name, "from": self.a.origin},
            "b": {"path": self.b.name, "from": self.b.origin},
            "equal": self.equal,
            "settings": [change.as_json() for change in self.settings],
            "stages": {
                "equal": self.equal_stages,
                "added": [stage.as_json() for stage in self.added],
                "removed": [stage.as_json() for stage in self.removed],
                "changed": [stage.as_json() for stage in self.changed],
            },
            "survives": self.survives.as_json(),
            "totals": totals,
        }


def difference(a: Side, b: Side) -> Difference:
    """What differs between two plans, and what of a run of `a` survives under `b`."""
    ground = _changes(a.ground(), b.ground())
    after = _changes(a.after(), b.after())
    ours, theirs = _by_paths(_stages(a.plan)), _by_paths(_stages(b.plan))
    both = [(ours[key], theirs[key]) for key in ours if key in theirs]
    pairs = [ChangedStage(a=x, b=y, changes=_stage_changes(x, y)) for x, y in both]
    changed = tuple(pair for pair in pairs if pair.changes)
    return Difference(
        a=a,
        b=b,
        settings=(*ground, *_changes(a.rest(), b.rest()), *after),
        equal_stages=len(pairs) - len(changed),
        added=tuple(stage for key, stage in theirs.items() if key not in ours),
        removed=tuple(stage for key, stage in ours.items() if key not in theirs),
        changed=changed,
        survives=_survival(ground, [*ours.values()], [*theirs.values()], after),
    )


def _survival(
    ground: Sequence[Change],
    ours: Sequence[StageFacts],
    theirs: Sequence[StageFacts],
    after: Sequence[Change],
) -> Survival:
    """A stage survives where it and all before it are equal, and so is what they stand on."""
    if ground:
        return Survival(guide=False, stages=(), of=len(ours), finetune=False, because=ground[0].setting)
    same = 0
    while same < min(len(ours), len(theirs)) and ours[same] == theirs[same]:
        same += 1
    kept = tuple(stage.number for stage in ours[:same])
    if same < max(len(ours), len(theirs)):
        because = f"stage {same + 1}"
    else:
        because = after[0].setting if after else None
    return Survival(guide=True, stages=kept, of=len(ours), finetune=because is None, because=because)


def _stages(plan: Mapping[str, Any]) -> list[StageFacts]:
    parts = {part["name"]: part for part in (*plan["parts"], *map(_as_part, plan["pairs"]))}
    return [_stage(stage, parts) for stage in plan["stages"]]


def _stage(stage: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> StageFacts:
    """The stage with modules of the guide in the place of part names, which are only numbers in order."""
    settings = {key: value for key, value in stage.items() if key not in _DERIVED}
    for names in ("trains", "newest"):
        settings[names] = [parts[name]["path"] for name in stage[names]]
    settings["taps"] = [_tap(tap) for tap in stage["taps"]]
    settings["guide_inputs"] = [nodes for fed in stage["guide_inputs"] for nodes in fed["nodes"]]
    starts = [
        {key: start[key] for key in start if key not in ("part", "reason", "memory")}
        for start in stage["init"]
    ]
    settings["init"] = starts[0] if len(starts) == 1 else starts
    for name in stage["introduces"]:
        part = parts[name]
        prefix = f"{part['path']}." if len(stage["introduces"]) > 1 else "part."
        settings |= {f"{prefix}{key}": value for key, value in part.items() if key not in _OF_PARTS}
        if values := part.get("recipe", {}).get("values"):
            settings[f"{prefix}values"] = [f"{name} = step {of['wire']}" for name, of in values.items()]
    paths = tuple(parts[name]["path"] for name in stage["introduces"])
    return StageFacts(number=stage["number"], paths=paths, settings=settings)


def _tap(tap: Mapping[str, Any]) -> str:
    """`layer1_0_relu`, `layer1_0_conv1 ~ hidden weight 0.5`; a plan that is older has outputs alone."""
    target, weight = tap.get("target"), tap.get("weight", 1)
    compared = tap["node"] if target is None else f"{tap['node']} ~ {target}"
    return compared if weight == 1 else f"{compared} weight {weight:g}"


def _as_part(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A pair under the path of the target's block."""
    return {**pair, "path": pair["target"]["blocks"][-1]}


def _stage_changes(a: StageFacts, b: StageFacts) -> tuple[Change, ...]:
    moved = [Change(setting="number", old=a.number, new=b.number)] if a.number != b.number else []
    return (*moved, *_changes(a.settings, b.settings))


def _by_paths(stages: Sequence[StageFacts]) -> dict[tuple[tuple[str, ...], int], StageFacts]:
    """The stages by what they introduce, and how many before them introduce the same."""
    seen: Counter[tuple[str, ...]] = Counter()
    found: dict[tuple[tuple[str, ...], int], StageFacts] = {}
    for stage in stages:
        found[stage.paths, seen[stage.paths]] = stage
        seen[stage.paths] += 1
    return found


def _changes(old: Settings, new: Settings) -> tuple[Change, ...]:
    names = {**old, **new}
    return tuple(
        Change(setting=name, old=old.get(name), new=new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    )
