"""Ranks under a budget: the best there are on small problems, bounds, and what spectra do not decide."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from theseus_fx.modules.fits.ranks import LEAST, RankCost, spectral_ranks, uniform_ranks


def cost(per_rank: int, most: int = 20, fixed: int = 0) -> RankCost:
    return RankCost(fixed=fixed, per_rank=per_rank, most=most)


def spectrum(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_all_have_the_largest_rank_that_the_budget_allows() -> None:
    costs = {"a": cost(10, fixed=5), "b": cost(20), "c": cost(1, most=6)}
    assert uniform_ranks(costs, 5 + 30 * 9 + 6) == {"a": 9, "b": 9, "c": 6}
    assert uniform_ranks(costs, 5 + 30 * 9 + 5) == {"a": 8, "b": 8, "c": 6}
    assert uniform_ranks(costs, 10**9) == {"a": 20, "b": 20, "c": 6}
    assert uniform_ranks(costs, 5 + 31 * LEAST) == {"a": 4, "b": 4, "c": 4}
    assert uniform_ranks(costs, 5 + 31 * LEAST - 1) is None
    assert uniform_ranks({"narrow": cost(10, most=2)}, 20) == {"narrow": 2}


def test_what_explains_most_for_each_parameter_grows() -> None:
    steep, flat = spectrum(*(0.5**k for k in range(20))), spectrum(*[1.0] * 20)
    ranks = spectral_ranks({"steep": steep, "flat": flat}, {"steep": cost(10), "flat": cost(10)}, 200)
    assert ranks == {"steep": 4, "flat": 16}
    cheap = spectral_ranks({"one": flat, "two": flat}, {"one": cost(10), "two": cost(30)}, 10 * 20 + 30 * 5)
    assert cheap == {"one": 20, "two": 5}


def test_nothing_explains_more_within_the_budget() -> None:
    """Against all combinations; costs are alike, where taking the largest first is optimal."""
    generator = torch.Generator().manual_seed(0)
    spectra = {name: torch.rand(9, generator=generator).sort(descending=True).values for name in "abc"}
    costs = {name: cost(7, most=9) for name in "abc"}
    budget = 7 * 18
    ranks = spectral_ranks(spectra, costs, budget)

    def explained(chosen: dict[str, int]) -> float:
        shares = {name: s.square() / s.square().sum() for name, s in spectra.items()}
        return sum(float(shares[name][:rank].sum()) for name, rank in chosen.items())

    every = (dict(zip("abc", chosen, strict=True)) for chosen in product(range(4, 10), repeat=3))
    best = max(explained(chosen) for chosen in every if sum(chosen.values()) * 7 <= budget)
    assert explained(dict(ranks)) == pytest.approx(best)
    assert sum(ranks.values()) * 7 <= budget


def test_scales_of_the_spectra_do_not_matter() -> None:
    one, two = spectrum(*(0.7**k for k in range(20))), spectrum(*(0.9**k for k in range(20)))
    costs = {"one": cost(3), "two": cost(5)}
    assert spectral_ranks({"one": one, "two": two}, costs, 90) == spectral_ranks(
        {"one": 100 * one, "two": two}, costs, 90
    )


def test_a_part_that_is_too_dear_leaves_the_rest_to_others() -> None:
    flat = spectrum(*[1.0] * 20)
    costs = {"dear": cost(50), "cheap": cost(1)}
    ranks = spectral_ranks({"dear": 100 * flat, "cheap": flat}, costs, 204 + 49)
    assert ranks == {"dear": 4, "cheap": 20}


def test_what_a_spectrum_does_not_have_takes_no_rank() -> None:
    ranks = spectral_ranks(
        {"short": spectrum(3.0, 2.0, 1.0, 1.0, 0.5), "none": spectrum()},
        {"short": cost(1), "none": cost(1)},
        1000,
    )
    assert ranks == {"short": 5, "none": LEAST}


def test_a_budget_below_the_least_is_said() -> None:
    with pytest.raises(ValueError, match="the least ranks take 40 parameters, and the budget is 39"):
        spectral_ranks({"a": spectrum(1.0)}, {"a": cost(10)}, 39)
