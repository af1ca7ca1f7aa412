"""A compiled pattern over operations: a directed graph of values, read from the sink upwards.

Optional steps and repeats are alternatives, so that the search knows one kind of choice only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from theseus_fx.lang.source import Span

if TYPE_CHECKING:  # a spec holds patterns
    from theseus_fx.lang.spec import Value


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """A value that flows in; the same name is the same value wherever it stands."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Anything:
    """Any value, the result of any operation or an input of the model; it stays outside of the region."""


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A number among the operands."""

    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """A value with a name: it is matched once, and every other use must be the same value."""

    name: str
    """Unique in the pattern."""
    value: Pattern


@dataclass(frozen=True, slots=True, eq=False)
class Either:
    """One of several, tried in this order."""

    options: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class ModuleClass:
    """A call of a module of this class, by name along its MRO; a container counts as one step."""

    name: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function, operator or tensor method by one name, however the model calls it."""

    name: str


@dataclass(frozen=True, slots=True)
class AnyOperation:
    """Any operation of which one operand is the given one."""


Operation = ModuleClass | Function | AnyOperation


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One operation on other values."""

    operation: Operation
    operands: tuple[Pattern, ...]
    attributes: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    """Of the module, or arguments of the function, that must be equal."""
    span: Span | None = None
    """Where the step is written."""

    def __str__(self) -> str:
        match self.operation:
            case ModuleClass(name=name) | Function(name=name):
                return name
            case AnyOperation():
                return "_"


Pattern = Input | Anything | Constant | Bound | Either | Step


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPattern:
    """What one match is: a region from its inputs to its result."""

    name: str
    inputs: tuple[str, ...]
    """What flows in, by the names of the `Input`s; the first is the primary one."""
    result: Pattern = field(repr=False)
    bindings: tuple[str, ...] = ()
    """Names of bound values that a rule can refer to."""


def optional(step: Callable[[Pattern], Pattern], operand: Pattern) -> Pattern:
    """The step where it is there, else what flows into it."""
    return Either((step(operand), operand))


def repeat(step: Callable[[Pattern], Pattern], operand: Pattern, least: int, most: int) -> Pattern:
    """The step `least` to `most` times in a row, as often as it goes.

    Raises:
        ValueError: not 0 <= least <= most.
    """
    if not 0 <= least <= most:
        raise ValueError(f"a step cannot be repeated {least} to {most} times")
    result = operand
    for done in reversed(range(most)):
        longer = step(result)
        result = Either((longer, operand)) if done >= least else longer
    return result


def steps(pattern: Pattern) -> Iterator[Step]:
    """Every step of a pattern, each once, sinks before sources."""
    return (node for node in parts(pattern) if isinstance(node, Step))


def parts(pattern: Pattern) -> Iterator[Pattern]:
    """All that a pattern is made of, each once, sinks before sources."""
    seen: set[int] = set()
    pending = [pattern]
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        match node:
            case Step():
                pending += reversed(node.operands)
            case Either(options=options):
                pending += reversed(options)
            case Bound(value=value):
                pending.append(value)
            case Input() | Anything() | Constant():
                pass


def sinks(pattern: Pattern) -> tuple[Pattern, ...]:
    """What the result of a pattern can be, seen through names and alternatives."""
    match pattern:
        case Bound(value=value):
            return sinks(value)
        case Either(options=options):
            return tuple(sink for option in options for sink in sinks(option))
        case Input() | Anything() | Constant() | Step():
            return (pattern,)
