"""Which nodes of a traced graph guide and target need, which they share, and which the target runs anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from theseus_fx.graph.trace import Trace


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
    replaced: Iterable[str],
    *,
    guide_wants: Collection[str],
    target_wants: Collection[str],
    regions: Mapping[str, Sequence[str]] | None = None,
) -> Slices:
    """Cuts a traced graph down to what computes the wanted nodes.

    Args:
        trace: of the guide.
        replaced: output nodes of the leaf calls or regions that are replaced.
        guide_wants: nodes whose value in the guide is wanted.
        target_wants: nodes whose value in the target is wanted.
        regions: for the replaced nodes that are the output of a whole region, the nodes that flow in.

    Raises:
        ValueError: a replaced node is the output of no leaf call and of no region.
    """
    known = regions or {}
    parts = {name: tuple(known[name]) if name in known else _part_inputs(trace, name) for name in replaced}
    touched = _touched(trace, parts.keys())
    needed = _closure(target_wants, lambda name: parts.get(name) or _inputs(trace, name), within=touched)
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


def _part_inputs(trace: Trace, name: str) -> tuple[str, ...]:
    for call in trace.calls:
        if call.leaf and call.node == name:
            return call.inputs
    raise ValueError(f"`{name}` is the output of no leaf call, so it cannot be replaced")


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
