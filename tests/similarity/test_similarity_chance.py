"""The chance level: low where samples outnumber features, high where biased CKA saturates."""

from __future__ import annotations

import pytest
import torch

from theseus_fx.similarity import GuideGram, chance_level, cka


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_saturation_shows_as_a_high_chance_level() -> None:
    generator = torch.Generator().manual_seed(0)
    few = float(chance_level(features(512, 4, 1), features(512, 4, 2), generator))
    many = float(chance_level(features(64, 2048, 1), features(64, 2048, 2), generator))
    assert few < 0.05
    assert many > 0.9


def test_a_match_of_samples_is_far_above_chance() -> None:
    a = features(64, 8, 1)
    chance = float(chance_level(a, a, torch.Generator().manual_seed(0)))
    assert float(cka(a, a)) == 1.0
    assert chance < 0.3


def test_the_generator_decides_and_a_prepared_guide_is_the_same() -> None:
    a, b = features(16, 8, 1), features(16, 8, 2)
    first = chance_level(a, b, torch.Generator().manual_seed(3))
    again = chance_level(a, GuideGram.of(b), torch.Generator().manual_seed(3))
    other = chance_level(a, b, torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_one_permutation_is_the_cka_of_permuted_samples() -> None:
    a, b = features(16, 8, 1).double(), features(16, 8, 2).double()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(5))
    level = chance_level(a, b, torch.Generator().manual_seed(5), permutations=1)
    assert float(level) == pytest.approx(float(cka(a, b[order])), rel=1e-12)


def test_what_cannot_be_compared_is_said() -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match="the target has 4 samples, the guide 5"):
        chance_level(features(4, 2, 0), features(5, 2, 0), generator)
    with pytest.raises(ValueError, match="at least one permutation"):
        chance_level(features(4, 2, 0), features(4, 2, 0), generator, permutations=0)
