"""Losses that compare values one by one: what they compute, where the gradient goes, half precision."""

from __future__ import annotations

import math

import pytest
import torch
from similarity_cases import HALF, normal
from torch import Tensor

from theseus_fx.similarity import distillation_loss, mse_loss


def test_mean_squared_difference() -> None:
    a, b = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 4.0]])
    assert float(mse_loss(a, b)) == (4 + 9) / 4


def test_divergence_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    p = 0.75
    assert float(distillation_loss(a, b)) == pytest.approx(p * math.log(2 * p) + 0.25 * math.log(0.5))


def test_tokens_are_rows_of_their_own() -> None:
    a, b = normal(4, 6, 5), normal(4, 6, 5, seed=1)
    of_rows = distillation_loss(a.reshape(24, 5), b.reshape(24, 5), temperature=2)
    assert float(distillation_loss(a, b, temperature=2)) == pytest.approx(float(of_rows), rel=1e-12)


def test_the_gradient_keeps_its_size_when_the_temperature_changes() -> None:
    a, b = 0.01 * normal(8, 5), 0.01 * normal(8, 5, seed=1)
    norms = []
    for temperature in (1.0, 4.0):
        x = a.clone().requires_grad_()
        distillation_loss(x, b, temperature).backward()
        assert x.grad is not None
        norms.append(float(x.grad.norm()))
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


@pytest.mark.parametrize("loss", [mse_loss, distillation_loss])
def test_identity_is_zero_and_the_gradient_goes_to_the_target_alone(loss: object) -> None:
    a, b = normal(4, 5).requires_grad_(), normal(4, 5, seed=1).requires_grad_()
    assert float(loss(a, a.detach()).detach()) == 0.0
    value = loss(a, b)
    value.backward()
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert a.grad is not None
    assert b.grad is None


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("loss", [mse_loss, distillation_loss])
def test_half_precision_is_computed_in_float32(loss: object, dtype: torch.dtype) -> None:
    a, b = normal(64, 50, dtype=dtype), normal(64, 50, seed=1, dtype=dtype)
    assert float(loss(a, b)) == pytest.approx(float(loss(a.double(), b.double())), rel=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (torch.ones(4, 3), torch.ones(4, 2), "target's 4 x 3 do not fit the guide's 4 x 2"),
        (torch.ones(4, 3, dtype=torch.int64), torch.ones(4, 3), r"not torch\.int64"),
        (torch.ones(0, 3), torch.ones(0, 3), "no values"),
    ],
)
def test_what_cannot_be_compared_is_said(a: Tensor, b: Tensor, words: str) -> None:
    for loss in (mse_loss, distillation_loss):
        with pytest.raises(ValueError, match=words):
            loss(a, b)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="the temperature is positive"):
        distillation_loss(torch.ones(2, 3), torch.ones(2, 3), temperature)
