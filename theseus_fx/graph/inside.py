"""What a trace shows inside of a module call."""

from __future__ import annotations

from theseus_fx.graph.trace import ModuleCall, Trace


def operations_of(trace: Trace, call: ModuleCall) -> tuple[str, ...]:
    """The nodes of a call and of all calls inside it, in graph order."""
    inside = _inside(trace, call)
    return tuple(name for name in trace.nodes if trace.owners.get(name) in inside)


def calls_inside(trace: Trace, call: ModuleCall) -> tuple[ModuleCall, ...]:
    """The calls that a call makes, directly or not, in the order in which they began."""
    inside = _inside(trace, call)
    return tuple(other for index, other in enumerate(trace.calls) if index in inside and other is not call)


def _inside(trace: Trace, call: ModuleCall) -> frozenset[int]:
    """The indices of the call and of all inside it; a call stands before those that it makes."""
    inside: set[int] = set()
    for index, other in enumerate(trace.calls):
        if other is call or other.parent in inside:
            inside.add(index)
    return frozenset(inside)
