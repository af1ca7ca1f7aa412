"""Ranks of several maps under one budget of parameters, from the spectra of their fits."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

LEAST = 4
"""The smallest rank of a map, as far as it has so many inputs and outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankCost:
    """What a replacement costs at a rank r: `fixed` + r `per_rank` parameters, for `least` <= r <= `most`."""

    fixed: int
    per_rank: int
    most: int

    @property
    def least(self) -> int:
        """The smallest rank."""
        return min(LEAST, self.most)

    def at(self, rank: int) -> int:
        """Parameters at a rank."""
        return self.fixed + rank * self.per_rank


def uniform_ranks(costs: Mapping[str, RankCost], budget: int) -> Mapping[str, int] | None:
    """The largest rank that all maps can have, each as far as it goes; None where the least is too much."""

    def ranks(rank: int) -> dict[str, int]:
        return {name: max(cost.least, min(rank, cost.most)) for name, cost in costs.items()}

    def total(rank: int) -> int:
        return sum(costs[name].at(r) for name, r in ranks(rank).items())

    low, high = 0, max(cost.most for cost in costs.values())
    if total(low) > budget:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if total(middle) <= budget else (low, middle - 1)
    return ranks(low)


def spectral_ranks(
    spectra: Mapping[str, Tensor], costs: Mapping[str, RankCost], budget: int
) -> Mapping[str, int]:
    """Ranks that explain the most per parameter.

    Beginning with the least, the rank grows by one where the next squared singular value, as a share of all
    of its map, is largest for the parameters that it costs, until no further one is affordable.

    Args:
        spectra: for each map its singular values, descending; what is beyond them explains nothing.
        costs: of each map.
        budget: parameters of all of them together.

    Raises:
        ValueError: the least ranks are beyond the budget.
    """
    ranks = {name: cost.least for name, cost in costs.items()}
    left = budget - sum(cost.at(ranks[name]) for name, cost in costs.items())
    if left < 0:
        raise ValueError(f"the least ranks take {budget - left} parameters, and the budget is {budget}")
    gains = {name: _shares(spectrum) for name, spectrum in spectra.items()}

    def entry(name: str) -> list[tuple[float, str]]:
        rank, cost = ranks[name], costs[name]
        if rank >= min(cost.most, len(gains[name])):
            return []
        return [(-gains[name][rank] / cost.per_rank, name)]

    queue = [pair for name in costs for pair in entry(name)]
    heapq.heapify(queue)
    while queue:
        _, name = heapq.heappop(queue)
        if costs[name].per_rank > left:
            continue  # it will not become cheaper
        ranks[name] += 1
        left -= costs[name].per_rank
        for pair in entry(name):
            heapq.heappush(queue, pair)
    return ranks


def _shares(spectrum: Tensor) -> list[float]:
    square = spectrum.square()
    total = square.sum()
    return (square / total).tolist() if total > 0 else []
