"""Regions: what a match covers in the graph, and whether that can be replaced by one operation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx

from theseus_fx.graph.trace import ModuleCall, Trace
from theseus_fx.match.ops.index import Index, tensor_nodes

if TYPE_CHECKING:
    import networkx


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of the graph with one output; all names are of nodes, in graph order."""

    nodes: tuple[str, ...]
    """Between inputs and output, the output included; no parameters, no sizes."""
    output: str
    inputs: tuple[str, ...]
    """The values of the pattern's inputs, in its order; the first is the primary one."""
    others: tuple[str, ...]
    """Further tensors that flow in: masks, what `_` stands for. Parameters are not among them."""
    attributes: tuple[str, ...]
    """Parameters and buffers that functions inside read, by their names in the model."""
    names: Mapping[str, str]
    """The nodes of the bound names of the pattern."""
    entries: Mapping[str, str]
    """The nodes of the pattern's inputs, by their names in the pattern."""

    def calls(self, index: Index) -> tuple[ModuleCall, ...]:
        """The module calls that lie inside as a whole, in the order in which they began."""
        inside = set(self.nodes)
        found = [
            call for name in self.nodes for call in index.calls.get(name, ()) if index.covered(call) <= inside
        ]
        order = {id(call): position for position, call in enumerate(index.trace.calls)}
        return tuple(sorted(found, key=lambda call: order[id(call)]))


def make_region(
    index: Index, nodes: Collection[str], output: str, entries: Mapping[str, str], names: Mapping[str, str]
) -> Region | str:
    """The region of some nodes, or why they are none.

    They are one where no value inside is used outside, no input lies inside, and no other value that flows in
    is computed from the primary input: then whoever replaces the output by one operation on the inputs leaves
    the rest of the graph as it is.
    """
    trace = index.trace
    inputs = tuple(dict.fromkeys(entries.values()))
    if not inputs:
        return "reaches no input of the pattern"
    for name in inputs:
        if name in nodes:
            return f"takes `{name}` as an input, which lies inside"
    ordered = sorted(nodes, key=index.position.__getitem__)
    for name in ordered:
        for user in trace.node(name).users:
            if name != output and user.name not in nodes:
                return f"has `{name}` inside, which `{user.name}` uses outside"
    around: dict[fx.Node, None] = {}
    for name in ordered:
        around |= dict.fromkeys(trace.node(name).all_input_nodes)
    entering = [n for n in around if n.name not in nodes and n.name not in inputs]
    others = [n.name for n in entering if n.op != "get_attr" and index.is_tensor(n)]
    others.sort(key=index.position.__getitem__)
    if bypass := _second_entry(index, inputs[0], others):
        return f"also takes `{bypass}`, which is computed from its input"
    return Region(
        nodes=tuple(ordered),
        output=output,
        inputs=inputs,
        others=tuple(others),
        attributes=tuple(str(n.target) for n in entering if n.op == "get_attr"),
        names=names,
        entries=entries,
    )


def _second_entry(index: Index, primary: str, others: Iterable[str]) -> str | None:
    """The first of the other inputs that is computed from the primary one, looking upwards."""
    start = index.position[primary]
    for other in others:
        seen: set[str] = set()
        pending = [other]
        while pending:
            name = pending.pop()
            if name == primary:
                return other
            if name not in seen and index.position[name] > start:
                seen.add(name)
                pending += (node.name for node in index.trace.node(name).all_input_nodes)
    return None


def flow(trace: Trace) -> networkx.DiGraph[str]:
    """The graph of the values that flow: no parameters, sizes or devices, which would bypass every cut."""
    import networkx  # only where regions are validated: the import takes a while

    graph: networkx.DiGraph[str] = networkx.DiGraph()
    tensors = tensor_nodes(trace)
    for name, node in trace.nodes.items():
        if node.op in ("get_attr", "output") or name not in tensors:
            continue
        graph.add_node(name)
        graph.add_edges_from((source.name, name) for source in node.all_input_nodes if source.name in graph)
    return graph


def validate(trace: Trace, regions: Sequence[Region]) -> tuple[str, ...]:
    """What is wrong with regions by the definitions of graph theory; nothing, where the search did its work.

    Each must be convex (no path leaves and comes back), have one output that postdominates all of it, and be
    entered through its primary input by all that is computed from that (domination, on the descendants of the
    primary input only).
    """
    graph = flow(trace)
    return tuple(problem for region in regions for problem in _validate_one(graph, region))


def _validate_one(graph: networkx.DiGraph[str], region: Region) -> list[str]:
    import networkx

    inside = set(region.nodes) & set(graph)
    left = {user for name in inside for user in graph.successors(name)} - inside
    problems: list[str] = []
    outputs = {name for name in inside if any(user not in inside for user in graph.successors(name))}
    if outputs - {region.output}:
        problems.append(f"{region.output}: leaves through {sorted(outputs - {region.output})}")
    again = {name for user in left for name in networkx.descendants(graph, user)} & inside
    if again:
        problems.append(f"{region.output}: is not convex at {sorted(again)}")
    primary = region.inputs[0]
    below = graph.subgraph(networkx.descendants(graph, primary) | {primary})
    inner = below.subgraph((inside & set(below)) | {primary})
    if region.output not in inner or not networkx.has_path(inner, primary, region.output):
        problems.append(f"{region.output}: is not computed from {primary}")
        return problems
    entries = {source for name in inside & set(below) for source in below.predecessors(name)} - inside
    if entries - set(region.inputs):
        problems.append(f"{region.output}: is entered through {sorted(entries - set(region.inputs))}")
    after = _immediate_postdominators(inner, region.output)
    if set(inner) - set(after) - {region.output}:
        problems.append(f"{region.output}: does not postdominate {sorted(set(inner) - set(after))}")
    return problems


def _immediate_postdominators(graph: networkx.DiGraph[str], sink: str) -> Mapping[str, str]:
    import networkx

    return networkx.immediate_dominators(graph.reverse(copy=False), sink)
