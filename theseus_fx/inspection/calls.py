"""The nodes of a graph by the module call that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from theseus_fx.graph.trace import Trace
from theseus_fx.match.ops.names import function_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of the graph, named as a pattern names it."""

    node: str
    name: str
    """The class of a module that is one operation, else the function."""
    path: str
    """The module itself, or the one that calls the function."""

    def as_json(self) -> dict[str, Any]:
        return {"node": self.node, "name": self.name, "path": self.path}


class Calls:
    """The tree of a trace's module calls, each with its operations."""

    def __init__(self, traced: Trace) -> None:
        self._trace = traced
        self._owned: dict[int, list[str]] = {}
        self._children: dict[int, list[int]] = {}
        self._by_path = {call.path: index for index, call in reversed([*enumerate(traced.calls)])}
        self._by_name = {call.name: index for index, call in enumerate(traced.calls)}
        for name, owner in traced.owners.items():
            self._owned.setdefault(owner, []).append(name)
        for index, call in enumerate(traced.calls):
            if call.parent is not None:
                self._children.setdefault(call.parent, []).append(index)

    def children(self, index: int) -> Sequence[int]:
        """The calls that a call makes, in order."""
        return self._children.get(index, ())

    def operations(self, index: int) -> Sequence[str]:
        """The nodes of the operations that a call makes itself, in graph order; of a leaf, its own."""
        return self._owned.get(index, ())

    def nodes(self, index: int) -> list[str]:
        """The nodes of a call and of all calls inside it."""
        inner = [name for child in self.children(index) for name in self.nodes(child)]
        return [*self.operations(index), *inner]

    def operation(self, node: str) -> Operation:
        """The operation of a node."""
        found, owner = self._trace.node(node), self._trace.owners.get(node)
        call = self._trace.calls[0 if owner is None else owner]
        name = call.module_class.__name__ if found.op == "call_module" else operation_name(found)
        return Operation(node=node, name=name, path=call.path)

    def flops_of(self, path: str, flops: Mapping[str, int]) -> int:
        """What the first call of the module at a path takes; 0 where the graph does not show it."""
        index = self._by_path.get(path)
        return 0 if index is None else sum(flops[name] for name in self.nodes(index))

    def flops_of_call(self, name: str, flops: Mapping[str, int]) -> int:
        """What the call of a name takes: `layers.0#2`."""
        return sum(flops[node] for node in self.nodes(self._by_name[name]))

    def node_of(self, path: str, traced: Trace) -> str | None:
        """The node of the output of the first call of the module at a path, if there is one."""
        index = self._by_path.get(path)
        return None if index is None else traced.calls[index].node


def operation_name(node: fx.Node) -> str:
    """What a pattern calls the function or method of a node; of an input or a parameter, its own name."""
    return function_name(node) or str(node.target)
