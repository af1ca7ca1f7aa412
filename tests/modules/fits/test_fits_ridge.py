"""One linear map by ridge regression: exact recovery, the literal formula, sums in pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from theseus_fx.modules.fits.moments import moments_of
from theseus_fx.modules.fits.ridge import fit_linear


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_recovers_a_map_exactly() -> None:
    x, weight, bias = normal(50, 7), normal(4, 7, seed=1), normal(4, seed=2)
    fit = fit_linear(moments_of([(x, x @ weight.mT + bias)]), ridge=0.0)
    torch.testing.assert_close(fit.weight, weight)
    torch.testing.assert_close(fit.bias, bias)
    assert fit.residual < 1e-12


@pytest.mark.parametrize("centred", [True, False])
def test_equals_the_literal_formula(centred: bool) -> None:
    x, y = normal(60, 8) + 2, normal(60, 5, seed=1) - 1
    fit = fit_linear(moments_of([(x, y)], centred=centred), ridge=0.05)
    a, b = (t - t.mean(0) if centred else t for t in (x, y))
    lam = 0.05 * float(a.square().sum()) / 60
    expected = np.linalg.solve((a.mT @ a).numpy() + lam * np.eye(8), (a.mT @ b).numpy()).T
    torch.testing.assert_close(fit.weight, torch.from_numpy(expected))
    left = (b - a @ fit.weight.mT).square().sum() / b.square().sum()
    assert fit.residual == pytest.approx(float(left))
    predicted = x @ fit.weight.mT + fit.bias
    if centred:
        torch.testing.assert_close(predicted.mean(0), y.mean(0))
    else:
        assert not fit.bias.any()


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("centred", [True, False])
def test_moments_do_not_depend_on_the_pieces(size: int, centred: bool) -> None:
    x, y = normal(50, 6) + 1e3, normal(50, 3, seed=1) - 1e3
    whole = moments_of([(x, y)], centred=centred, products=True)
    pieces = moments_of(zip(x.split(size), y.split(size), strict=True), centred=centred, products=True)
    for name in ("mean_x", "mean_y", "xx", "xy", "yy", "norm_x", "norm_y"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), rtol=1e-9, atol=1e-6)
    if centred:
        torch.testing.assert_close(whole.yy, 49 * torch.cov(y.mT))
        diagonal = moments_of(zip(x.split(size), y.split(size), strict=True))
        torch.testing.assert_close(diagonal.yy, whole.yy.diagonal(), rtol=1e-9, atol=1e-6)


def test_directions_that_the_inputs_do_not_have_get_no_weight() -> None:
    x, y = normal(40, 3) @ normal(3, 9, seed=1), normal(40, 2, seed=2)
    fit = fit_linear(moments_of([(x, y)]), ridge=0.0)
    shortest = torch.linalg.lstsq(x - x.mean(0), y - y.mean(0), driver="gelsd").solution
    torch.testing.assert_close(fit.weight.mT, shortest)


def test_the_ridge_is_chosen_by_cross_validation() -> None:
    x, fresh = normal(60, 40), normal(500, 40, seed=3)
    truth, noise = normal(40, 6, seed=1), 20 * normal(60, 6, seed=2)
    chosen = fit_linear(moments_of([(x, x @ truth + noise)]))
    none = fit_linear(moments_of([(x, x @ truth + noise)]), ridge=0.0)
    assert chosen.ridge_used > 0.1
    errors = [(fresh @ (fit.weight.mT - truth) + fit.bias).square().mean() for fit in (chosen, none)]
    assert errors[0] < 0.5 * errors[1]
    assert fit_linear(moments_of([(x, x @ truth)])).ridge_used == pytest.approx(1e-6)


def test_constant_inputs_leave_the_mean() -> None:
    y = normal(20, 3)
    fit = fit_linear(moments_of([(torch.full((20, 4), 0.1), y)]))
    assert not fit.weight.any()
    torch.testing.assert_close(fit.bias, y.mean(0))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "needs rows"),
        ([(torch.ones(3, 2), torch.ones(4, 2))], "not 3 x 2 and 4 x 2"),
        ([(torch.ones(3, 2), torch.ones(3, 2)), (torch.ones(3, 4), torch.ones(3, 2))], "of another width"),
        ([(torch.ones(3, 2), torch.full((3, 2), torch.nan))], "the outputs of the fit"),
        ([(torch.full((3, 2), torch.inf), torch.ones(3, 2))], "the inputs of the fit"),
    ],
)
def test_what_makes_no_moments_is_said(rows: list[tuple[Tensor, Tensor]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        moments_of(rows)


@pytest.mark.parametrize(("rows", "ridge", "words"), [(1, None, "two rows"), (4, -1.0, "not -1.0")])
def test_what_cannot_be_fitted_is_said(rows: int, ridge: float | None, words: str) -> None:
    moments = moments_of([(normal(rows, 2), normal(rows, 2, seed=1))])
    with pytest.raises(ValueError, match=words):
        fit_linear(moments, ridge=ridge)
