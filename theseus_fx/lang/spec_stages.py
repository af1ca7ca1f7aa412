"""What a checked schedule says of its stages: axes, order, groups, gates, rows, optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from theseus_fx.lang import syntax
from theseus_fx.lang.source import Span

Kind = Literal["progressive", "sequential", "independent", "joint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The three decisions of which the four schedules are presets (paper, section 3.2)."""

    introduce: Literal["staged", "upfront"] = "staged"
    """Each stage replaces a group of parts, or the first stage replaces all."""
    train: Literal["introduced", "newest"] = "introduced"
    """A stage trains its own group and those of the stages before it, or its own group alone."""
    feed: Literal["target", "guide"] = "target"
    """A replacement reads what flows in the hybrid, or what flows in the guide."""
    spans: Mapping[str, Span] = field(default_factory=dict[str, Span])
    """What says each axis: its setting, or the kind of the schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEntry:
    """One entry of a listed order."""

    text: str | int
    """A part's number (1-based, in execution order), its name, path, rule, or a glob over paths."""
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """In which order the parts are introduced."""

    kind: Literal["forward", "reverse", "easiest", "listed"] = "forward"
    """`easiest` is what a run measures before its first stage; until then it is `forward`."""
    entries: tuple[OrderEntry, ...] = ()
    """Of a listed order."""
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """Which parts are introduced in one stage; exactly one of the two fields says so."""

    size: int | None = None
    """So many consecutive parts; the last group may be smaller."""
    patterns: tuple[syntax.Glob, ...] = ()
    """Parts that fit the same pattern with the same numbers in its places (`layer{i}`)."""
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A measured value and the level that it has to reach."""

    measure: str
    """`loss`, or a similarity: `cka`, `ucka`, `mutual_knn`."""
    arguments: Mapping[str, int | float | str]
    operator: Literal["<", "<=", ">", ">="]
    level: float
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a stage has to reach before the next one begins."""

    condition: Condition
    extend: int = 0
    """How often the stage's budget may be spent once more."""
    keep_guide: bool = False
    """Whether the guide's parts stay if the stage does not pass after that; else a run stops."""
    span: Span | None = None
    """Of `keep guide`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a row of the compared matrices is."""

    kind: Literal["samples", "tokens"] = "samples"
    at_most: int | None = None
    """Of tokens: how many of a batch are compared."""
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """One of torch's optimizers."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    momentum: float | None = None
    """Of `sgd`."""
    span: Span | None = None


PROGRESSIVE, FORWARD, SAMPLES, ADAMW = Axes(), Order(), Rows(), Optimizer()
"""What holds where a spec says nothing."""
