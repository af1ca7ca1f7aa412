"""The search: every way in which a pattern ends at a node, one after another.

A choice point is a generator of lists of goals; a goal says that a value must fit a pattern. Nothing
recurses, so that long patterns cost no stack, and undoing a choice is cutting a trail back to where it was
made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from torch import fx

from theseus_fx.graph.trace import ModuleCall
from theseus_fx.lang import operations as patterns
from theseus_fx.lang.evaluate import equal
from theseus_fx.match.ops.index import Index
from theseus_fx.match.ops.names import Operand, arguments, canonical, function_name
from theseus_fx.match.ops.regions import Region, make_region
from theseus_fx.match.pattern import attribute_miss, class_names

MOST_TRIES = 20_000
"""Choices that a search at one node may take; no pattern that a person reads comes near."""

Goals = tuple[patterns.Pattern, Operand, "Goals"] | None
"""A linked list: what must fit what, and the rest."""

Ways = tuple[Goals, ...] | Iterator[Goals]
"""What remains after a goal, for each way to meet it."""


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
    """One search: `solutions` yields regions; `attempt` tells the nearest miss."""

    def __init__(self, index: Index, pattern: patterns.OperationPattern) -> None:
        self._index = index
        self._pattern = pattern
        self._options = _flattened(pattern.result)
        self._sorted_out: dict[
            tuple[int, frozenset[str]], tuple[patterns.Step | None, tuple[patterns.Pattern, ...]]
        ] = {}
        """What `_sort_out` says, by the alternatives and by what the node calls."""
        self._bound: dict[str, fx.Node] = {}
        self._covered: set[str] = set()
        self._trail: list[tuple[str, Collection[str]]] = []
        """Names that were bound, or empty names with nodes that a step covers."""
        self._depth = 0
        self._anchor = ""
        self._nearest: tuple[patterns.Step | None, fx.Node, str | None] | None = None
        self._nearest_depth = -1

    @property
    def attempt(self) -> Attempt | None:
        """The nearest miss of the last `solutions`, as far as they were asked for."""
        if self._nearest is None:
            return None
        step, node, reason = self._nearest
        if reason is None and step is not None:
            wanted = f"`{step}`" if isinstance(step.operation, patterns.Function) else _article(str(step))
            reason = f"is {_article(self._index.kind(node))}, not {wanted}"
        return Attempt(
            anchor=self._anchor, depth=self._nearest_depth, step=step, node=node.name, reason=reason or ""
        )

    def solutions(self, anchor: fx.Node) -> Iterator[Region]:
        """The regions that end at a node, in the order of the alternatives of the pattern."""
        self._undo(0)
        self._anchor = anchor.name
        self._nearest, self._nearest_depth = None, -1
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
            while goals is not None:
                ways = self._ways(goals)
                if not isinstance(ways, tuple) or len(ways) > 1:
                    choices.append((iter(ways), len(self._trail)))
                    break
                if not ways:
                    break
                goals = ways[0]
            else:
                region = self._region(anchor)
                if isinstance(region, Region):
                    yield region
                else:
                    self._miss(None, anchor, region)
        self._undo(0)
        self._depth += 1_000
        reason = f"can match in more than {MOST_TRIES:,} ways: name more of its steps"
        self._miss(None, anchor, reason)
        self._depth -= 1_000

    def _ways(self, goals: tuple[patterns.Pattern, Operand, Goals]) -> Ways:
        """The lists of goals that remain, for each way in which the first goal can be met."""
        pattern, value, rest = goals
        if isinstance(pattern, patterns.Either):
            options = self._viable(pattern, value)
            if len(options) != 1:
                return tuple((option, value, rest) for option in options)
            pattern = options[0]
        if isinstance(pattern, patterns.Constant):
            return () if isinstance(value, fx.Node) or not equal(value, pattern.value) else (rest,)
        if not isinstance(value, fx.Node):
            return ()
        match pattern:
            case patterns.Step():
                return self._step(pattern, value, rest)
            case patterns.Bound(name=name, value=inner):
                again = name in self._bound
                return self._same(name, value, rest if again else (inner, value, rest))
            case patterns.Input(name=name):
                return self._same(name, value, rest) if self._index.is_value(value) else ()
            case patterns.Anything():
                return (rest,)
            case patterns.Either():
                raise AssertionError("alternatives are flat")

    def _viable(self, either: patterns.Either, value: Operand) -> tuple[patterns.Pattern, ...]:
        """The options that a value may be; a node that is another operation than all of them is a miss."""
        if not isinstance(value, fx.Node):
            return self._options[id(either)]
        called = self._index.called[value.name]
        key = (id(either), called)
        known = self._sorted_out.get(key)
        if known is None:
            known = self._sorted_out[key] = _sort_out(self._options[id(either)], called)
        missed, viable = known
        if missed is not None:
            self._miss(missed, value, None)
        return viable

    def _same(self, name: str, value: fx.Node, rest: Goals) -> Ways:
        known = self._bound.get(name)
        if known is None:
            self._bound[name] = value
            self._trail.append((name, ()))
        elif known is not value:
            self._miss(None, value, f"is not `{known.name}`, which `{_shown(name)}` is elsewhere")
            return ()
        return (rest,)

    def _step(self, step: patterns.Step, node: fx.Node, rest: Goals) -> Ways:
        match step.operation:
            case patterns.Function(name=name):
                if function_name(node) != canonical(name):
                    return self._miss(step, node, None)
                return self._function(step, node, rest)
            case patterns.ModuleClass(name=name):
                calls = [
                    c for c in self._index.calls.get(node.name, ()) if name in class_names(c.module_class)
                ]
                if not calls:
                    return self._miss(step, node, None)
                if len(calls) == 1:
                    return self._module(step, calls[0], node, rest)
                return (goals for call in calls for goals in self._module(step, call, node, rest))
            case patterns.AnyOperation():
                leaf = next((call for call in self._index.calls.get(node.name, ()) if call.leaf), None)
                values = self._index.inputs(leaf) if leaf else self._index.operands(node)
                covered = self._index.covered(leaf) if leaf else (node.name,)
                orders = dict.fromkeys((v,) for v in values if isinstance(v, fx.Node))
                return self._taken(step, node, covered, orders, rest)

    def _module(self, step: patterns.Step, call: ModuleCall, node: fx.Node, rest: Goals) -> Ways:
        if step.attributes and (reason := attribute_miss(step.attributes, self._index.attributes(call.path))):
            return self._miss(step, node, reason)
        inputs = self._index.inputs(call)
        if len(inputs) < len(step.operands):
            return self._miss(step, node, f"takes {_values(len(inputs))}, not {len(step.operands)}")
        return self._taken(step, node, self._index.covered(call), (inputs[: len(step.operands)],), rest)

    def _function(self, step: patterns.Step, node: fx.Node, rest: Goals) -> Ways:
        if step.attributes and (reason := attribute_miss(step.attributes, arguments(node))):
            return self._miss(step, node, reason)
        orders = self._index.orders(node, len(step.operands))
        if not orders:
            has = len(self._index.operands(node))
            return self._miss(step, node, f"takes {_values(has)}, not {len(step.operands)}")
        return self._taken(step, node, (node.name,), orders, rest)

    def _taken(
        self,
        step: patterns.Step,
        node: fx.Node,
        covered: Collection[str],
        orders: Iterable[tuple[Operand, ...]],
        rest: Goals,
    ) -> Ways:
        """The operands as goals in each order, with the step's nodes covered as long as they are pursued."""
        if not self._covered.isdisjoint(covered):
            return self._miss(step, node, "is another step of the pattern already")
        self._covered.update(covered)
        self._trail.append(("", covered))
        self._depth += 1
        return tuple(_together(step.operands, values, rest) for values in orders)

    def _undo(self, mark: int) -> None:
        while len(self._trail) > mark:
            name, covered = self._trail.pop()
            if name:
                del self._bound[name]
            else:
                self._depth -= 1
                self._covered.difference_update(covered)

    def _region(self, anchor: fx.Node) -> Region | str:
        primary = self._pattern.inputs[0]
        if primary not in self._bound:
            return f"does not reach `{_shown(primary)}`"
        entries = {n: self._bound[n].name for n in self._pattern.inputs if n in self._bound}
        names = {n: self._bound[n].name for n in self._pattern.bindings if n in self._bound}
        return make_region(self._index, self._covered, anchor.name, entries, names)

    def _miss(self, step: patterns.Step | None, node: fx.Node, reason: str | None) -> tuple[()]:
        """Keeps the nearest miss; without a reason, the node is another operation."""
        if self._depth > self._nearest_depth:
            self._nearest_depth = self._depth
            self._nearest = (step, node, reason)
        return ()


def _together(operands: tuple[patterns.Pattern, ...], values: tuple[Operand, ...], rest: Goals) -> Goals:
    """The operands and their values as goals, before the rest."""
    for position in range(len(operands) - 1, -1, -1):
        rest = (operands[position], values[position], rest)
    return rest


def _sort_out(
    options: tuple[patterns.Pattern, ...], called: Collection[str]
) -> tuple[patterns.Step | None, tuple[patterns.Pattern, ...]]:
    """A step to tell as a miss, and the options without the steps that are another operation than the node.

    Such a step is told only where it comes first: else the step before it comes at least as near.
    """
    viable: list[patterns.Pattern] = []
    missed: patterns.Step | None = None
    for option in options:
        match option:
            case patterns.Step(operation=patterns.Function(name=name)) if canonical(name) not in called:
                if not viable:
                    missed = missed or option
                elif not all(isinstance(other, patterns.Step) for other in viable):
                    viable.append(option)
            case patterns.Step(operation=patterns.ModuleClass(name=name)) if name not in called:
                if not viable:
                    missed = missed or option
                elif not all(isinstance(other, patterns.Step) for other in viable):
                    viable.append(option)
            case _:
                viable.append(option)
    return missed, tuple(viable)


def _flattened(pattern: patterns.Pattern) -> dict[int, tuple[patterns.Pattern, ...]]:
    """The options of all alternatives of a pattern by id; for an option of several, those themselves."""
    found: dict[int, tuple[patterns.Pattern, ...]] = {}

    def options(either: patterns.Either) -> tuple[patterns.Pattern, ...]:
        if id(either) not in found:
            parts = (options(o) if isinstance(o, patterns.Either) else (o,) for o in either.options)
            found[id(either)] = tuple(option for part in parts for option in part)
        return found[id(either)]

    for node in patterns.parts(pattern):
        if isinstance(node, patterns.Either):
            options(node)
    return found


def _shown(name: str) -> str:
    return name.rpartition("/")[2]


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def _article(kind: str) -> str:
    if kind[:1].islower() and " " in kind:
        return kind
    return f"`{kind}`" if kind[:1].islower() else f"{'an' if kind[:1] in 'AEIOU' else 'a'} {kind}"
