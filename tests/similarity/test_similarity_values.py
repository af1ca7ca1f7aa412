"""Similarities as numbers: ranges, ties, batches, what cannot be compared."""

from __future__ import annotations

import math

import pytest
import torch
from similarity_cases import normal

from theseus_fx.similarity import GuideGram, cka, minibatch_ucka, mutual_knn, ucka


def test_of_itself_is_one() -> None:
    a = normal(16, 30)
    assert float(cka(a, a)) == 1.0
    assert float(ucka(a, a)) == 1.0
    assert float(mutual_knn(a, a, 5)) == 1.0
    assert float(minibatch_ucka([(a[:8], a[:8]), (a[8:], a[8:])])) == pytest.approx(1.0, rel=1e-12)


def test_is_symmetric_and_takes_prepared_grams() -> None:
    a, b = normal(16, 30), normal(16, 7, seed=1)
    for value in (cka, ucka, lambda x, y: mutual_knn(x, y, 4)):
        assert float(value(a, b)) == float(value(GuideGram.of(a), GuideGram.of(b)))
        assert float(value(a, b)) == pytest.approx(float(value(b, a)), rel=1e-12)


def test_the_unbiased_form_does_not_grow_with_the_features() -> None:
    a, b = normal(32, 4000), normal(32, 4000, seed=1)
    assert float(cka(a, b)) > 0.9
    assert abs(float(ucka(a, b))) < 0.1


def test_one_feature_without_a_dimension_of_features() -> None:
    a = torch.tensor([1.0, -2.0, 3.0, -4.0], dtype=torch.float64)
    assert float(cka(a, a[:, None])) == 1.0


def test_constant_features_have_no_similarity() -> None:
    constant, varied = normal(1, 5).expand(8, 5), normal(8, 5, seed=1)
    assert float(cka(constant, varied)) == 0.0
    assert float(ucka(varied, constant)) == 0.0
    assert float(minibatch_ucka([(constant, varied)])) == 0.0


def test_of_equally_near_neighbours_the_first_counts() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    b = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    # nearest of a: 1 (the first of three at 0), 2, 1, 0; nearest of b: 1, 0, 3, 2
    assert float(mutual_knn(a, b, 1)) == 0.25


def test_unbiased_hsics_of_batches_are_averaged_before_they_are_divided() -> None:
    a, b = normal(24, 6), normal(24, 5, seed=1)
    parts = [(a[:8], b[:8]), (a[8:], b[8:])]
    whole = float(minibatch_ucka(parts))
    assert whole != pytest.approx(sum(float(ucka(x, y)) for x, y in parts) / 2, rel=1e-3)
    assert float(minibatch_ucka(parts[:1])) == pytest.approx(float(ucka(*parts[0])), rel=1e-12)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_hidden(bad: float) -> None:
    a, b = normal(8, 4), normal(8, 4, seed=1)
    a[2, 1] = bad
    for value in (cka(a, b), ucka(b, a), mutual_knn(a, b, 2), minibatch_ucka([(a, b)])):
        assert math.isnan(float(value))


def test_what_cannot_be_compared_is_said() -> None:
    a, b = normal(4, 3), normal(5, 3, seed=1)
    with pytest.raises(ValueError, match="the target has 4 samples, the guide 5"):
        cka(a, b)
    with pytest.raises(ValueError, match="at least 4 samples, not 3"):
        ucka(a[:3], b[:3])
    with pytest.raises(ValueError, match="4 rows have 1 to 3 neighbours"):
        mutual_knn(a, b[:4], 4)
    with pytest.raises(ValueError, match="no batches"):
        minibatch_ucka([])
