"""The windows of pairs as facts: which blocks of the guide stand against which of the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from theseus_fx.graph.cost import forward_flops
from theseus_fx.inspection.calls import Calls
from theseus_fx.inspection.coverage import Coverage, by_windows, coverage
from theseus_fx.lang.spec import Each, Every, Side
from theseus_fx.match.blocks import Network
from theseus_fx.match.pairs import PairFound, PairSurvey
from theseus_fx.match.windows import Window


class NetworkFacts:
    """One of the two networks with its costs."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._calls = Calls(network.trace)
        self._flops = forward_flops(network.trace, network.model)

    def window(self, window: Window) -> dict[str, Any]:
        """A window as JSON; parameters and FLOPs are those of its blocks, shared parameters once."""
        modules = [self._network.model.get_submodule(block.path) for block in window]
        return {
            "blocks": [block.name for block in window],
            "node": window[-1].node,
            "shape": list(window[-1].shape),
            "parameters": sum({id(p): p.numel() for m in modules for p in m.parameters()}.values()),
            "flops": sum(self._calls.flops_of_call(block.name, self._flops) for block in window),
        }

    def uncovered(self, survey: PairSurvey) -> Coverage:
        """What no window of the network holds."""
        sides = [pair.guide if self._network.role == "guide" else pair.target for pair in survey.pairs]
        held = by_windows(window for side in sides for window in side.windows)
        return coverage(self._network.model, self._network.trace, self._flops, held)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFacts:
    """One pair and what it found."""

    found: PairFound
    networks: Mapping[str, NetworkFacts]
    """By role."""

    def as_json(self) -> dict[str, Any]:
        pair, guide, target = self.found.pair, self.networks["guide"], self.networks["target"]
        both = zip_longest(self.found.guide.windows, self.found.target.windows)
        return {
            "name": pair.name,
            "guide": _written(pair.guide),
            "target": _written(pair.target),
            "expect": pair.expect,
            "found": sum(1 for _ in self.found.matches()),
            "windows": [
                {
                    "name": f"{pair.name}[{number}]",
                    "guide": None if of_guide is None else guide.window(of_guide),
                    "target": None if of_target is None else target.window(of_target),
                }
                for number, (of_guide, of_target) in enumerate(both, 1)
            ],
            "left": {"guide": list(self.found.guide.left), "target": list(self.found.target.left)},
        }


def _written(side: Side) -> str:
    """The blocks that a side asks for and its windows, as in the spec, on one line."""
    pieces = [side.pattern.span.text]
    pieces += [f'within "{glob.pattern}"' for glob in side.within]
    pieces += [f'keep "{glob.pattern}"' for glob in side.keep]
    if not isinstance(side.windows, Each):
        pieces.append(side.windows.span.text)
    if isinstance(side.windows, Every) and side.windows.crossing != "error":
        pieces.append(f"crossing = {side.windows.crossing}")
    return " ".join(" ".join(pieces).split())
