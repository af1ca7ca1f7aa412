"""A network alone, cut down to what computes some of its values."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn

from theseus_fx.graph.assemble import assemble, attribute
from theseus_fx.graph.slices import upstream
from theseus_fx.graph.trace import Trace


def sliced(trace: Trace, model: nn.Module, nodes: Sequence[str]) -> fx.GraphModule:
    """The part of a network that computes the values of nodes: from the inputs in order to a tuple of them.

    Nothing is frozen and no mode is changed; nodes keep their names.

    Args:
        trace: of the network.
        model: the real network; its modules and parameters are used, not copied.
        nodes: whose values are returned, in this order.
    """
    needed = upstream(trace, nodes)
    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    for name, node in trace.nodes.items():
        if name in needed or node.op == "placeholder":
            values[node] = graph.node_copy(node, values.__getitem__)
    graph.output(tuple(values[trace.node(name)] for name in nodes))
    targets = sorted({str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")})
    return assemble(graph, {target: attribute(model, target) for target in targets})
