"""What a trace shows inside of a module call."""

from __future__ import annotations

from collections.abc import Iterator

from theseus_fx.graph.trace import ModuleCall, Trace


def operations_of(trace: Trace, call: ModuleCall) -> tuple[str, ...]:
    """The nodes of a call and of all calls inside it, in graph order."""
    inside = {index for index, other in enumerate(trace.calls) if call in _around(trace, other)}
    return tuple(name for name in trace.nodes if trace.owners.get(name) in inside)


def calls_inside(trace: Trace, call: ModuleCall) -> tuple[ModuleCall, ...]:
    """The calls that a call makes, directly or not, in the order in which they began."""
    return tuple(other for other in trace.calls if other is not call and call in _around(trace, other))


def _around(trace: Trace, call: ModuleCall) -> Iterator[ModuleCall]:
    """The call and those around it, from inside out."""
    index: int | None = trace.calls.index(call)
    while index is not None:
        yield trace.calls[index]
        index = trace.calls[index].parent
