"""The search: every way in which a pattern ends at a node, one after another.

A choice point is a generator of lists of goals; a goal says that a value must fit a pattern. Nothing
recurses, so that long patterns cost no stack, and undoing a choice is cutting a trail back to where it was
made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from torch import fx

from theseus_fx.graph.trace import ModuleCall
from theseus_fx.lang import operations as patterns
from theseus_fx.lang.evaluate import equal
from theseus_fx.match.ops.index import Index
from theseus_fx.match.ops.names import COMMUTATIVE, Operand, arguments, canonical, function_name
from theseus_fx.match.ops.regions import Region, make_region
from theseus_fx.match.pattern import attribute_miss, class_names

MOST_TRIES = 20_000
"""Choices that a search at one node may take; no pattern that a person reads comes near."""

Goals = tuple[patterns.Pattern, Operand, "Goals"] | None
"""A linked list: what must fit what, and the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The deepest that a failed search came."""

    anchor: str
    """The node at which the pattern should have ended."""
    depth: int
    """How many steps had matched; the higher, the nearer."""
    step: patterns.Step | None
    """The step that did not match; None where all steps did and the region is none."""
    node: str
    reason: str
    """`is a BatchNorm2d, not a Conv2d`."""


class Search:
    """One search: `solutions` yields regions; `attempt` is the nearest miss so far."""

    def __init__(self, index: Index, pattern: patterns.OperationPattern) -> None:
        self._index = index
        self._pattern = pattern
        self._bound: dict[str, fx.Node] = {}
        self._covered: dict[str, None] = {}
        self._trail: list[tuple[str, frozenset[str]]] = []
        """Names that were bound, or empty names with nodes that a step covers."""
        self._depth = 0
        self.attempt: Attempt | None = None

    def solutions(self, anchor: fx.Node) -> Iterator[Region]:
        """The regions that end at a node, in the order of the alternatives of the pattern."""
        self._undo(0)
        self.attempt = None
        choices: list[tuple[Iterator[Goals], int]] = [(iter([(self._pattern.result, anchor, None)]), 0)]
        for _ in range(MOST_TRIES):
            if not choices:
                return
            alternatives, mark = choices[-1]
            self._undo(mark)
            try:
                goals = next(alternatives)
            except StopIteration:
                choices.pop()
                continue
            if goals is not None:
                choices.append((self._ways(anchor, goals), len(self._trail)))
                continue
            region = self._region(anchor)
            if isinstance(region, Region):
                yield region
            else:
                self._miss(anchor, None, anchor, region)
        self._undo(0)
        self._depth += 1_000
        reason = f"can match in more than {MOST_TRIES:,} ways: name more of its steps"
        self._miss(anchor, None, anchor, reason)
        self._depth -= 1_000

    def _ways(self, anchor: fx.Node, goals: tuple[patterns.Pattern, Operand, Goals]) -> Iterator[Goals]:
        """The lists of goals that remain, for each way in which the first goal can be met."""
        pattern, value, rest = goals
        match pattern:
            case patterns.Input(name=name):
                if isinstance(value, fx.Node) and self._index.is_value(value):
                    yield from self._same(anchor, name, value, rest)
            case patterns.Bound(name=name, value=inner):
                if isinstance(value, fx.Node):
                    again = name in self._bound
                    yield from self._same(anchor, name, value, rest if again else (inner, value, rest))
            case patterns.Anything():
                if isinstance(value, fx.Node):
                    yield rest
            case patterns.Constant(value=wanted):
                if not isinstance(value, fx.Node) and equal(value, wanted):
                    yield rest
            case patterns.Either(options=options):
                for option in options:
                    yield (option, value, rest)
            case patterns.Step():
                if isinstance(value, fx.Node):
                    yield from self._step(anchor, pattern, value, rest)

    def _same(self, anchor: fx.Node, name: str, value: fx.Node, rest: Goals) -> Iterator[Goals]:
        known = self._bound.get(name)
        if known is None:
            self._bound[name] = value
            self._trail.append((name, frozenset()))
            yield rest
        elif known is value:
            yield rest
        else:
            self._miss(anchor, None, value, f"is not `{known.name}`, which `{_shown(name)}` is elsewhere")

    def _step(self, anchor: fx.Node, step: patterns.Step, node: fx.Node, rest: Goals) -> Iterator[Goals]:
        match step.operation:
            case patterns.ModuleClass(name=name):
                yield from self._module(anchor, step, name, node, rest)
            case patterns.Function(name=name):
                yield from self._function(anchor, step, name, node, rest)
            case patterns.AnyOperation():
                calls = [call for call in self._index.calls.get(node.name, ()) if call.leaf]
                values = self._index.inputs(calls[0]) if calls else self._index.operands(node)
                covered = self._index.covered(calls[0]) if calls else frozenset({node.name})
                for value in dict.fromkeys(v for v in values if isinstance(v, fx.Node)):
                    yield from self._taken(anchor, step, node, covered, (value,), rest)

    def _module(
        self, anchor: fx.Node, step: patterns.Step, name: str, node: fx.Node, rest: Goals
    ) -> Iterator[Goals]:
        calls = self._index.calls.get(node.name, ())
        named = [call for call in calls if name in class_names(call.module_class)]
        if not named:
            self._miss(anchor, step, node, f"is {_article(self._index.kind(node))}, not {_article(name)}")
        for call in named:
            inputs = self._index.inputs(call)
            if reason := self._module_miss(step, call, len(inputs)):
                self._miss(anchor, step, node, reason)
            else:
                values = inputs[: len(step.operands)]
                yield from self._taken(anchor, step, node, self._index.covered(call), values, rest)

    def _module_miss(self, step: patterns.Step, call: ModuleCall, inputs: int) -> str | None:
        if step.attributes and (reason := attribute_miss(step.attributes, self._index.attributes(call.path))):
            return reason
        if inputs < len(step.operands):
            return f"takes {_values(inputs)}, not {len(step.operands)}"
        return None

    def _function(
        self, anchor: fx.Node, step: patterns.Step, name: str, node: fx.Node, rest: Goals
    ) -> Iterator[Goals]:
        if function_name(node) != canonical(name):
            self._miss(anchor, step, node, f"is {_article(self._index.kind(node))}, not `{name}`")
            return
        if step.attributes and (reason := attribute_miss(step.attributes, arguments(node))):
            self._miss(anchor, step, node, reason)
            return
        values = self._index.operands(node)
        fitting = _fitting(values, len(step.operands))
        if fitting is None:
            self._miss(anchor, step, node, f"takes {_values(len(values))}, not {len(step.operands)}")
            return
        anyhow = canonical(name) in COMMUTATIVE and "alpha" not in node.kwargs
        orders = dict.fromkeys(permutations(fitting)) if anyhow else (fitting,)
        for order in orders:
            yield from self._taken(anchor, step, node, frozenset({node.name}), order, rest)

    def _taken(
        self,
        anchor: fx.Node,
        step: patterns.Step,
        node: fx.Node,
        covered: frozenset[str],
        values: tuple[Operand, ...],
        rest: Goals,
    ) -> Iterator[Goals]:
        """The operands as goals, with the step's nodes covered as long as they are pursued."""
        if any(name in self._covered for name in covered):
            self._miss(anchor, step, node, "is another step of the pattern already")
            return
        self._covered |= dict.fromkeys(covered)
        self._trail.append(("", covered))
        self._depth += 1
        goals = rest
        for operand, value in zip(reversed(step.operands), reversed(values), strict=True):
            goals = (operand, value, goals)
        yield goals

    def _undo(self, mark: int) -> None:
        while len(self._trail) > mark:
            name, covered = self._trail.pop()
            if name:
                del self._bound[name]
            else:
                self._depth -= 1
                for node in covered:
                    del self._covered[node]

    def _region(self, anchor: fx.Node) -> Region | str:
        primary = self._pattern.inputs[0]
        if primary not in self._bound:
            return f"does not reach `{_shown(primary)}`"
        inputs = dict.fromkeys(self._bound[n].name for n in self._pattern.inputs if n in self._bound)
        names = {n: self._bound[n].name for n in self._pattern.bindings if n in self._bound}
        return make_region(self._index, self._covered.keys(), anchor.name, tuple(inputs), names)

    def _miss(self, anchor: fx.Node, step: patterns.Step | None, node: fx.Node, reason: str) -> None:
        if self.attempt is None or self._depth > self.attempt.depth:
            self.attempt = Attempt(
                anchor=anchor.name, depth=self._depth, step=step, node=node.name, reason=reason
            )


def _fitting(values: tuple[Operand, ...], count: int) -> tuple[Operand, ...] | None:
    """The operands that are meant where a step has so many: all, no parameters, or no numbers either."""
    flowing = tuple(v for v in values if not isinstance(v, fx.Node) or v.op != "get_attr")
    tensors = tuple(v for v in flowing if isinstance(v, fx.Node))
    return next((found for found in (values, flowing, tensors) if len(found) == count), None)


def _shown(name: str) -> str:
    return name.rpartition("/")[2]


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def _article(kind: str) -> str:
    if kind[:1].islower() and " " in kind:
        return kind
    return f"`{kind}`" if kind[:1].islower() else f"{'an' if kind[:1] in 'AEIOU' else 'a'} {kind}"
