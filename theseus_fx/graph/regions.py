"""A network cut into regions by a sequence of values: what each value needs that those before it do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import fx, nn

from theseus_fx.graph.slices import upstream
from theseus_fx.graph.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A set of nodes and the parameters that are used there for the first time."""

    nodes: frozenset[str]
    parameters: tuple[str, ...]
    """`state_dict` names, in the order of the model; one that several modules share has its first name."""
    size: int
    """Numbers in these parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """A traced network cut at taps. Every parameter of the network is in exactly one region."""

    of_taps: tuple[Region, ...]
    """For each tap what it needs and no earlier tap does; the first holds the stem as well."""
    behind: Region
    """What the outputs need and no tap does: the head."""
    unused: Region
    """Parameters that the outputs do not depend on; it has no nodes."""


def regions(trace: Trace, model: nn.Module, taps: Sequence[str]) -> Regions:
    """Cuts a network at the values of nodes.

    Args:
        trace: of the network.
        model: the network, on any device.
        taps: names of nodes, in the order in which they are reached.
    """
    owners = {id(parameter): name for name, parameter in model.named_parameters()}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    nodes: set[str] = set()
    parameters: set[str] = set()

    def region(needed: frozenset[str]) -> Region:
        fresh = needed - nodes
        used = {owners[key] for name in fresh for key in _parameters(trace.node(name), model)} - parameters
        nodes.update(fresh)
        parameters.update(used)
        return _region(fresh, used, sizes)

    of_taps = tuple(region(upstream(trace, [tap])) for tap in taps)
    behind = region(upstream(trace, trace.outputs))
    unused = _region(frozenset(), sizes.keys() - parameters, sizes)
    return Regions(of_taps=of_taps, behind=behind, unused=unused)


def _region(nodes: frozenset[str], used: set[str], sizes: Mapping[str, int]) -> Region:
    names = tuple(name for name in sizes if name in used)
    return Region(nodes=nodes, parameters=names, size=sum(sizes[name] for name in names))


def _parameters(node: fx.Node, model: nn.Module) -> Iterator[int]:
    """The ids of the parameters that a node reads."""
    if node.op == "call_module":
        yield from map(id, model.get_submodule(str(node.target)).parameters())
    elif node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        value = getattr(model.get_submodule(owner), name)
        if isinstance(value, nn.Parameter):
            yield id(value)
