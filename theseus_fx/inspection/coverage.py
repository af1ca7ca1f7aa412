"""What no rule covers: the modules with parameters and the operations with a cost outside of every site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from theseus_fx.graph.trace import Trace
from theseus_fx.match.matcher import Site
from theseus_fx.planning.parts import held_by, inside


@dataclass(slots=True, kw_only=True)
class Group:
    """Uncovered modules of one class, or uncovered operations of one name outside of such modules."""

    kind: Literal["module", "operation"]
    name: str
    paths: dict[str, None] = field(default_factory=dict[str, None])
    """Of the modules; of operations, those of the modules that make them. In order, each once."""
    count: int = 0
    parameters: int = 0
    flops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the rules leave."""

    groups: tuple[Group, ...]
    """Those with the most FLOPs first, then those with the most parameters."""
    parameters: int
    """Of the whole guide, shared ones once."""
    flops: int

    def as_json(self) -> dict[str, Any]:
        parameters = sum(group.parameters for group in self.groups)
        flops = sum(group.flops for group in self.groups)
        return {
            "parameters": parameters,
            "flops": flops,
            "share": {
                "parameters": _share(parameters, self.parameters),
                "flops": _share(flops, self.flops),
            },
            "groups": [
                {
                    "kind": group.kind,
                    "name": group.name,
                    "count": group.count,
                    "parameters": group.parameters,
                    "flops": group.flops,
                    "share": {
                        "parameters": _share(group.parameters, self.parameters),
                        "flops": _share(group.flops, self.flops),
                    },
                    "paths": list(group.paths),
                }
                for group in self.groups
            ],
        }


def coverage(
    model: nn.Module, traced: Trace, flops: Mapping[str, int], names: Mapping[str, str], sites: Sequence[Site]
) -> Coverage:
    """What lies outside of every site.

    Args:
        model: the guide.
        traced: its trace.
        flops: forward FLOPs of one sample, by node.
        names: what to call the operation of a node.
        sites: of all rules.
    """
    groups: dict[tuple[str, str], Group] = {}
    holders = _holders(model, traced)
    for path, parameters in _own_parameters(model, sites):
        holder = holders[path]
        group = _group(groups, "module", type(model.get_submodule(holder)).__name__)
        group.count += holder not in group.paths
        group.paths.setdefault(holder)
        group.parameters += parameters
    parametrised = {path for group in groups.values() for path in group.paths}
    replaced = {node for site in sites if site.region for node in site.region.nodes}
    for node, owner in traced.owners.items():
        call = traced.calls[owner]
        if not flops[node] or node in replaced or inside(call.path, sites):
            continue
        if call.path in parametrised:
            _group(groups, "module", call.module_class.__name__).flops += flops[node]
        else:
            group = _group(groups, "operation", names[node])
            group.count += 1
            group.paths.setdefault(call.path)
            group.flops += flops[node]
    ranked = sorted(groups.values(), key=lambda group: (-group.flops, -group.parameters, group.name))
    whole = sum(p.numel() for p in model.parameters())
    return Coverage(groups=tuple(ranked), parameters=whole, flops=sum(flops.values()))


def _group(groups: dict[tuple[str, str], Group], kind: Literal["module", "operation"], name: str) -> Group:
    return groups.setdefault((kind, name), Group(kind=kind, name=name))


def _own_parameters(model: nn.Module, sites: Sequence[Site]) -> Iterator[tuple[str, int]]:
    """The modules outside of the sites that have parameters of their own, and how many; shared ones once."""
    seen = {identity for site in sites for identity in held_by(model, site)}
    for path, module in model.named_modules():
        if inside(path, sites):
            continue
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        if own:
            yield path, sum(p.numel() for p in own)


def _holders(model: nn.Module, traced: Trace) -> Mapping[str, str]:
    """For each module the one that stands for it in the graph: the leaf around it, else itself."""
    leaves = {call.path for call in traced.calls if call.leaf}
    holders: dict[str, str] = {}
    for path, _ in model.named_modules():
        parts = path.split(".")
        prefixes = (".".join(parts[:n]) for n in range(1, len(parts) + 1))
        holders[path] = next((prefix for prefix in prefixes if prefix in leaves), path)
    return holders


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
