"""The logit metric against its formula, and what it is for."""

from __future__ import annotations

import pytest
import torch

from theseus_fx.modules.fits.logit_metric import logit_metric
from theseus_fx.modules.fits.low_rank import fit_low_rank


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_is_the_factor_of_the_formula() -> None:
    g = normal(40, 6)
    lower = logit_metric(g)
    square = g.mT @ g
    expected = 0.95 * square / square.diagonal().mean() + 0.05 * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(lower @ lower.mT, expected)
    assert torch.equal(lower, lower.tril())
    torch.testing.assert_close(logit_metric(1e-3 * g), lower)
    torch.testing.assert_close(logit_metric(g.float()).float(), lower.float())


def test_contrasts_stand_for_centred_logits() -> None:
    jacobian = normal(20, 10, 6)  # samples, logits, outputs
    centred = (jacobian - jacobian.mean(1, keepdim=True)).flatten(0, 1)
    contrasts = torch.linalg.qr(torch.eye(10, 9, dtype=torch.float64) - 0.1)[0]
    fewer = torch.einsum("kc,nkd->ncd", contrasts, jacobian).flatten(0, 1)
    torch.testing.assert_close(logit_metric(fewer), logit_metric(centred))


def test_fewer_gradients_than_outputs_and_none_at_all() -> None:
    lower = logit_metric(normal(2, 9))
    assert bool((torch.linalg.eigvalsh(lower @ lower.mT) > 0.049).all())
    identity = logit_metric(torch.zeros(3, 4))
    torch.testing.assert_close(identity @ identity.mT, 0.05 * torch.eye(4, dtype=torch.float64))


def test_a_fit_in_the_metric_keeps_the_logits_better() -> None:
    """Large outputs that no logit sees must not take the rank from small ones that decide."""
    x = normal(300, 12)
    y = x @ normal(12, 10, seed=1) * torch.tensor([3.0] * 5 + [1.0] * 5, dtype=torch.float64)
    head = torch.zeros(10, 3, dtype=torch.float64)
    head[5:] = normal(5, 3, seed=2)
    lower = logit_metric(head.mT.repeat(300, 1))

    def logit_error(metric: torch.Tensor | None) -> float:
        fit = fit_low_rank(x, y, rank=4, metric=metric, ridge=0.0)
        return float(((y - x @ fit.w_in.mT @ fit.w_out.mT - fit.bias) @ head).square().mean())

    assert logit_error(lower) < 0.1 * logit_error(None)


@pytest.mark.parametrize(
    ("g", "words"),
    [
        (torch.ones(4), "a floating point matrix"),
        (torch.ones(4, 2, dtype=torch.int64), "a floating point matrix"),
        (torch.full((4, 2), torch.inf), "not all finite"),
    ],
)
def test_what_is_no_gradient_is_said(g: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        logit_metric(g)
