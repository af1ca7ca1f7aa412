"""Monitors: the chance level is low where samples outnumber features, high where biased CKA saturates."""

from __future__ import annotations

import pytest
import torch

from theseus_fx.similarity import GuideGram, chance_level, cka, read, ucka


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


def test_a_reading_has_the_numbers_and_warns_where_they_mean_little() -> None:
    a, b = features(128, 2048, 1), features(128, 512, 2)
    reading = read(a, b, torch.Generator().manual_seed(0))
    assert reading.cka == float(cka(a, b))
    assert reading.ucka == float(ucka(a, b))
    assert reading.chance == float(chance_level(a, b, torch.Generator().manual_seed(0)))
    assert reading.warning is not None
    numbers = (f"CKA {reading.cka:.3f}", f"reach {reading.chance:.3f}", f"{reading.ucka:.3f}", "128", "2,048")
    assert all(number in reading.warning for number in numbers)


def test_a_reading_of_enough_samples_does_not_warn() -> None:
    a = features(512, 4, 1)
    reading = read(a, GuideGram.of(a), torch.Generator().manual_seed(0))
    assert (reading.cka, reading.samples, reading.features) == (1.0, 512, 4)
    assert reading.warning is None


def test_of_three_samples_there_is_no_unbiased_form() -> None:
    reading = read(features(3, 2, 1), features(3, 2, 2), torch.Generator().manual_seed(0))
    assert reading.ucka is None
