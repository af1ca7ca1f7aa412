"""The guide as a graph module with regions of operations replaced: what no module path could name.

A region of operations lies in no module, so there is nothing that a replacement could be put in the place of.
The model is then the traced graph itself, with the guide's modules and parameters under their own names, and
the replacements as modules among them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import fx, nn

from theseus_fx.graph.assemble import assemble, attribute
from theseus_fx.graph.slices import Placement, check_placements
from theseus_fx.graph.trace import Trace, remove_dead


def rewritten(
    trace: Trace, guide: nn.Module, replacements: Mapping[str, Placement], names: Mapping[str, str]
) -> fx.GraphModule:
    """The whole guide with parts replaced, from its inputs in order to what it returns.

    It does what the guide does in eval mode: what `forward` decides by `self.training` is decided, but
    modules (dropout, BatchNorm) follow the mode of the result. Modules, parameters and buffers that are used
    no longer are gone. All of it is a copy, in eval mode.

    Args:
        trace: of the guide.
        guide: the real model; it is not changed.
        replacements: by the output node of the leaf call or region that each replaces.
        names: dotted paths of the replacements in the result, by the same nodes; the guide has nothing else
            there that is used.

    Raises:
        ValueError: a replaced node is the output of no leaf call and no region, or an input does not come
            before it.
    """
    check_placements(trace, replacements)
    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    for name, node in trace.nodes.items():
        if name in replacements:
            inputs = tuple(values[trace.node(source)] for source in replacements[name].inputs)
            values[node] = graph.call_module(names[name], inputs)
        else:
            values[node] = graph.node_copy(node, values.__getitem__)
    remove_dead(graph)
    by_name = {names[node]: placement.module for node, placement in replacements.items()}
    attributes: dict[str, nn.Module | torch.Tensor] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            target = str(node.target)
            attributes[target] = by_name[target] if target in by_name else attribute(guide, target)
    return copy.deepcopy(assemble(graph, attributes, persistent=guide.state_dict().keys())).eval()


def free_name(guide: nn.Module, wanted: str) -> str:
    """A name that the guide has no attribute of: the wanted one, with underscores behind it if need be."""
    while hasattr(guide, wanted):
        wanted += "_"
    return wanted
