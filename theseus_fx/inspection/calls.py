"""The nodes of a graph by the module call that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from theseus_fx.graph.trace import Trace


class Calls:
    """The tree of a trace's module calls, each with its operations."""

    def __init__(self, traced: Trace) -> None:
        self._owned: dict[int, list[str]] = {}
        self._children: dict[int, list[int]] = {}
        self._by_path = {call.path: index for index, call in reversed([*enumerate(traced.calls)])}
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

    def flops_of(self, path: str, flops: Mapping[str, int]) -> int:
        """What the first call of the module at a path takes; 0 where the graph does not show it."""
        index = self._by_path.get(path)
        return 0 if index is None else sum(flops[name] for name in self.nodes(index))

    def node_of(self, path: str, traced: Trace) -> str | None:
        """The node of the output of the first call of the module at a path, if there is one."""
        index = self._by_path.get(path)
        return None if index is None else traced.calls[index].node
