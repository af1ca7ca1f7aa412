"""All matches of a pattern in a graph: leftmost first, then longest, none on the nodes of another."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import fx

from theseus_fx.lang.operations import (
    Anything,
    Bound,
    Constant,
    Either,
    Function,
    Input,
    ModuleClass,
    OperationPattern,
    Step,
    sinks,
)
from theseus_fx.match.ops.backtrack import Attempt, Search
from theseus_fx.match.ops.index import Index
from theseus_fx.match.ops.names import canonical
from theseus_fx.match.ops.regions import Region

Accept = Callable[[Region], str | None]
"""Why a region is not wanted, or None; such a region claims nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a pattern found."""

    regions: tuple[Region, ...]
    """In program order: by their outputs."""
    attempts: tuple[Attempt, ...]
    """The nodes where the pattern could have ended and did not, in graph order."""


def find(index: Index, pattern: OperationPattern, accept: Accept | None = None) -> Found:
    """The matches of a pattern that do not overlap.

    As in a regular expression, the match that begins first counts, and among those the longest; what it
    leaves is searched again.

    Args:
        index: of the graph.
        pattern: what to find.
        accept: a further condition on each match.

    Raises:
        ValueError: the pattern can be its own input, or ends in `_`, so that it matches everywhere.
    """
    search = Search(index, pattern)
    taken: set[str] = set()
    claimed: list[Region] = []
    misses: dict[str, Attempt] = {}
    queue: list[tuple[int, int, int, Region]] = []

    def push(anchor: fx.Node) -> None:
        region = _first(search, anchor, taken, accept)
        if isinstance(region, Region):
            start, end = index.position[region.nodes[0]], index.position[region.output]
            heapq.heappush(queue, (start, -len(region.nodes), end, region))
        elif region is not None:
            misses[anchor.name] = region

    for anchor in anchors(index, pattern):
        push(anchor)
    while queue:
        *_, region = heapq.heappop(queue)
        if taken.isdisjoint(region.nodes):
            taken.update(region.nodes)
            claimed.append(region)
        elif region.output not in taken:
            push(index.trace.node(region.output))
    claimed.sort(key=lambda region: index.position[region.output])
    missed = sorted(misses.values(), key=lambda attempt: index.position[attempt.anchor])
    return Found(regions=tuple(claimed), attempts=tuple(a for a in missed if a.anchor not in taken))


def anchors(index: Index, pattern: OperationPattern) -> Iterator[fx.Node]:
    """The nodes at which a pattern can end, in graph order.

    Raises:
        ValueError: it can end anywhere.
    """
    nodes: set[fx.Node] = set()
    for sink in sinks(pattern.result):
        match sink:
            case Step(operation=ModuleClass(name=name)):
                nodes.update(index.classes.get(name, ()))
            case Step(operation=Function(name=name)):
                nodes.update(index.functions.get(canonical(name), ()))
            case Step() | Input() | Anything() | Constant():
                raise ValueError(f"the pattern `{pattern.name}` can end at any value")
            case Bound() | Either():
                raise AssertionError("a sink is no name and no alternative")
    yield from sorted(nodes, key=lambda node: index.position[node.name])


def _first(
    search: Search, anchor: fx.Node, taken: set[str], accept: Accept | None
) -> Region | Attempt | None:
    """The first region that ends at a node, is free and is wanted; else the nearest miss."""
    refused: Attempt | None = None
    for region in search.solutions(anchor):
        if not taken.isdisjoint(region.nodes):
            continue
        reason = None if accept is None else accept(region)
        if reason is None:
            return region
        refused = refused or Attempt(
            anchor=anchor.name, depth=len(region.nodes), step=None, node=anchor.name, reason=reason
        )
    return refused or search.attempt
