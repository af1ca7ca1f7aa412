"""What nothing covers: the modules with parameters and the operations with a cost outside of every site."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from theseus_fx.graph.trace import Trace
from theseus_fx.inspection.calls import Calls
from theseus_fx.match.matcher import Site
from theseus_fx.match.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What goes when all parts are replaced, or what windows hold."""

    modules: frozenset[str] = frozenset()
    """Paths; what is inside of a module is covered with it."""
    operations: frozenset[str] = frozenset()
    """Nodes."""
    attributes: frozenset[str] = frozenset()
    """Parameters of other modules, by name."""

    def holds(self, path: str) -> bool:
        """Whether a module is covered."""
        pieces = path.split(".")
        return any(".".join(pieces[:n]) in self.modules for n in range(1, len(pieces) + 1))


def by_sites(sites: Sequence[Site]) -> Covered:
    """What the sites of rules cover."""
    return Covered(
        modules=frozenset(path for site in sites for path in site.modules),
        operations=frozenset(node for site in sites if site.region for node in site.region.nodes),
        attributes=frozenset(name for site in sites for name in site.attributes),
    )


def by_windows(windows: Iterable[Window]) -> Covered:
    """What the blocks of windows cover."""
    return Covered(modules=frozenset(block.path for window in windows for block in window))


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
    """What is left of a network."""

    groups: tuple[Group, ...]
    """Those with the most FLOPs first, then those with the most parameters."""
    parameters: int
    """Of the whole network, shared ones once."""
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


def coverage(model: nn.Module, traced: Trace, flops: Mapping[str, int], covered: Covered) -> Coverage:
    """What is not covered.

    Args:
        model: the network.
        traced: its trace.
        flops: forward FLOPs of one sample, by node.
        covered: by sites or by windows.
    """
    groups: dict[tuple[str, str], Group] = {}
    calls, holders = Calls(traced), _holders(model, traced)
    for path, parameters in _own_parameters(model, covered):
        holder = holders[path]
        group = _group(groups, "module", type(model.get_submodule(holder)).__name__)
        group.count += holder not in group.paths
        group.paths.setdefault(holder)
        group.parameters += parameters
    parametrised = {path for group in groups.values() for path in group.paths}
    for node, owner in traced.owners.items():
        call = traced.calls[owner]
        if not flops[node] or node in covered.operations or covered.holds(call.path):
            continue
        if call.path in parametrised:
            _group(groups, "module", call.module_class.__name__).flops += flops[node]
        else:
            group = _group(groups, "operation", calls.operation(node).name)
            group.count += 1
            group.paths.setdefault(call.path)
            group.flops += flops[node]
    ranked = sorted(groups.values(), key=lambda group: (-group.flops, -group.parameters, group.name))
    whole = sum(p.numel() for p in model.parameters())
    return Coverage(groups=tuple(ranked), parameters=whole, flops=sum(flops.values()))


def _group(groups: dict[tuple[str, str], Group], kind: Literal["module", "operation"], name: str) -> Group:
    return groups.setdefault((kind, name), Group(kind=kind, name=name))


def _own_parameters(model: nn.Module, covered: Covered) -> Iterator[tuple[str, int]]:
    """The modules not covered that have parameters of their own left, and how many; shared ones once."""
    seen = {id(p) for path in covered.modules for p in model.get_submodule(path).parameters()}
    seen |= {id(p) for name, p in model.named_parameters() if name in covered.attributes}
    for path, module in model.named_modules():
        if covered.holds(path):
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
