"""Which nodes of a traced graph guide and target need, which they share, and which the target runs anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from theseus_fx.graph.trace import Trace


@dataclass(frozen=True, slots=True)
class Placement:
    """A replacement and what flows into it."""

    module: nn.Module
    """Called with the values of the inputs, positionally; what it returns takes the output's place."""
    inputs: tuple[str, ...]
    """Nodes of the traced graph, all of them before the output that is replaced."""
    region: bool = False
    """Whether a whole region of the graph ends in the output, and not one leaf call."""
    values: tuple[str, ...] = ()
    """Names of further values that the module returns: then a tuple of its output and these, in order."""


@dataclass(frozen=True, slots=True)
class Inside:
    """A value inside of a replacement."""

    part: str
    """The output node whose place the replacement takes."""
    value: str
    """One of the `values` of its placement."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One pair of values that a program returns side by side."""

    guide: str
    """A node, for its value in the guide."""
    target: str | Inside
    """A node, for its value in the target, or a value inside of a replacement."""

    @property
    def target_node(self) -> str:
        """The node that the target has to reach."""
        return self.target.part if isinstance(self.target, Inside) else self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """The pieces of one traced graph that a program runs. All are names of nodes."""

    parts: Mapping[str, tuple[str, ...]]
    """The replaced nodes, and the nodes that flow into their replacements."""
    guide: frozenset[str]
    """Run with the guide's own modules on the guide's own values: for the guide, for the target, or both."""
    shared: frozenset[str]
    """Those among them that guide and target both need."""
    target: frozenset[str]
    """Run by the target on values of its own: replaced parts and what lies downstream of them."""

    @property
    def executed(self) -> frozenset[str]:
        """Nodes that run at least once as they were traced."""
        return self.guide | (self.target - self.parts.keys())


def slices(
    trace: Trace,
    replacements: Mapping[str, Placement],
    *,
    guide_wants: Collection[str],
    target_wants: Collection[str],
) -> Slices:
    """Cuts a traced graph down to what computes the wanted nodes.

    Args:
        trace: of the guide.
        replacements: by the output node of the leaf call or region that each replaces.
        guide_wants: nodes whose value in the guide is wanted.
        target_wants: nodes whose value in the target is wanted.

    Raises:
        ValueError: a replaced node is the output of no leaf call and no region, or an input does not come
            before it.
    """
    check_placements(trace, replacements)
    parts = {name: placement.inputs for name, placement in replacements.items()}
    touched = _touched(trace, parts.keys())

    def sources(name: str) -> tuple[str, ...]:
        return parts[name] if name in parts else _inputs(trace, name)

    needed = _closure(target_wants, sources, within=touched)
    target = needed & touched
    for_guide = upstream(trace, guide_wants)
    for_target = upstream(trace, needed - touched)
    return Slices(
        parts={name: inputs for name, inputs in parts.items() if name in target},
        guide=for_guide | for_target,
        shared=for_guide & for_target,
        target=target,
    )


def upstream(trace: Trace, names: Iterable[str]) -> frozenset[str]:
    """The nodes that are needed to compute the named ones, these included."""
    return _closure(names, lambda name: _inputs(trace, name), within=trace.nodes.keys())


def check_placements(trace: Trace, replacements: Mapping[str, Placement]) -> None:
    """Raises ValueError where a replaced node is the output of no leaf call and no region, or an input does
    not come before it."""
    outputs = {call.node for call in trace.calls if call.leaf}
    order = {name: index for index, name in enumerate(trace.nodes)}
    for name, placement in replacements.items():
        if name not in (trace.nodes if placement.region else outputs):
            raise ValueError(f"`{name}` is the output of no leaf call, so it cannot be replaced")
        late = [source for source in placement.inputs if order.get(source, len(order)) >= order[name]]
        if late:
            raise ValueError(f"`{late[0]}` is no node before `{name}`, which is replaced")


def _inputs(trace: Trace, name: str) -> tuple[str, ...]:
    return tuple(node.name for node in trace.node(name).all_input_nodes)


def _touched(trace: Trace, replaced: Collection[str]) -> frozenset[str]:
    """The replaced nodes and everything downstream of one."""
    touched: set[str] = set()
    for name in trace.nodes:
        if name in replaced or not touched.isdisjoint(_inputs(trace, name)):
            touched.add(name)
    return frozenset(touched)


def _closure(
    names: Iterable[str], inputs: Callable[[str], Iterable[str]], *, within: Collection[str]
) -> frozenset[str]:
    """The names and all that they need, going on only through names that lie `within`."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += inputs(name) if name in within else ()
    return frozenset(found)
