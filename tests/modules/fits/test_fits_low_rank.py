"""Low-rank fits against exact maps, numpy's literal formula, and each other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from theseus_fx.modules.fits import columns as module
from theseus_fx.modules.fits.low_rank import LowRankFit, fit_low_rank
from theseus_fx.modules.fits.spectrum import RIDGES


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def metric(d: int, seed: int = 9) -> Tensor:
    root = normal(d, d, seed=seed)
    return torch.linalg.cholesky(root @ root.mT + 0.1 * torch.eye(d, dtype=torch.float64))


def predict(fit: LowRankFit, x: Tensor) -> Tensor:
    return x @ fit.w_in.mT @ fit.w_out.mT + fit.bias


def literal(x: Tensor, y: Tensor, rank: int, lower: Tensor | None, ridge: float) -> Tensor:
    """The same map, (d_in, d_out), by numpy's SVD of C_u⁻¹ Xᵀ Y L as it stands in the books."""
    a, b = (x - x.mean(0)).numpy(), (y - y.mean(0)).numpy()
    weight = np.eye(b.shape[1]) if lower is None else lower.numpy()
    lam = ridge * np.square(a).sum() / len(a)
    c = np.linalg.cholesky(a.T @ a + lam * np.eye(a.shape[1]))
    m = np.linalg.solve(c, a.T @ b)
    u = np.linalg.svd(m @ weight)[2][:rank].T
    return torch.from_numpy(np.linalg.solve(c.T, m @ weight @ u) @ u.T @ np.linalg.inv(weight))


@pytest.mark.parametrize(("n", "d_in", "d_out"), [(80, 12, 9), (80, 12, 30), (30, 50, 9), (30, 50, 70)])
@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_literal_formula(n: int, d_in: int, d_out: int, weighted: bool) -> None:
    x, y = normal(n, d_in) + 3, normal(n, d_out, seed=1) - 2
    y[:, :5] += x[:, :5]
    lower = metric(d_out) if weighted else None
    fit = fit_low_rank(x, y, rank=4, metric=lower, ridge=0.05)
    expected = literal(x, y, 4, lower, 0.05)
    torch.testing.assert_close((fit.w_out @ fit.w_in).mT, expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(predict(fit, x).mean(0), y.mean(0))


@pytest.mark.parametrize(("d_in", "d_out"), [(20, 15), (20, 200), (200, 15), (200, 300)])
def test_recovers_a_low_rank_map_exactly(d_in: int, d_out: int) -> None:
    x = normal(100, 18) @ normal(18, d_in, seed=1) + 1
    y = x @ normal(d_in, 5, seed=2) @ normal(5, d_out, seed=3) + normal(1, d_out, seed=4)
    fit = fit_low_rank(x, y, rank=5, metric=metric(d_out), ridge=0.0)
    torch.testing.assert_close(predict(fit, x), y, rtol=1e-7, atol=1e-7)
    assert fit.residual < 1e-12
    assert fit.spectrum[4] > 1e6 * (fit.spectrum[5] if fit.spectrum.numel() > 5 else 0.0)
    assert fit.w_in.shape == (5, d_in)
    assert fit.w_out.shape == (d_out, 5)


def test_no_other_map_of_the_rank_is_better_in_the_metric() -> None:
    x, y, lower = normal(60, 10), normal(60, 8, seed=1), metric(8)
    fit = fit_low_rank(x, y, rank=3, metric=lower, ridge=0.0)
    best = float(((y - predict(fit, x)) @ lower).square().sum())
    whole = float(((y - y.mean(0)) @ lower).square().sum())
    assert fit.residual == pytest.approx(best / whole, rel=1e-9)

    w_in, w_out, bias = (w.clone().requires_grad_() for w in (fit.w_in, fit.w_out, fit.bias))
    error = ((y - x @ w_in.mT @ w_out.mT - bias) @ lower).square().sum()
    for gradient in torch.autograd.grad(error, (w_in, w_out, bias)):
        assert float(gradient.abs().max()) < 1e-8 * whole
    for seed in range(20):
        shaken = fit.w_out + 0.05 * normal(8, 3, seed=seed)
        worse = (y - (x @ fit.w_in.mT @ shaken.mT + y.mean(0) - x.mean(0) @ fit.w_in.mT @ shaken.mT)) @ lower
        assert float(worse.square().sum()) > best
    plain = fit_low_rank(x, y, rank=3, ridge=0.0)
    assert float(((y - predict(plain, x)) @ lower).square().sum()) > best


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 40), st.integers(2, 30), st.integers(2, 30), st.integers(1, 5), st.integers(0, 999))
def test_residual_is_that_of_the_maps(n: int, d_in: int, d_out: int, rank: int, seed: int) -> None:
    x, y = normal(n, d_in, seed=seed), normal(n, d_out, seed=seed + 1)
    fit = fit_low_rank(x, y, rank=rank, ridge=0.02)
    left = float((y - predict(fit, x)).square().sum() / (y - y.mean(0)).square().sum())
    assert fit.residual == pytest.approx(left, rel=1e-9, abs=1e-12)
    assert 0 <= fit.residual <= 1


def test_primal_equals_dual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of zeros and slabs change the way, not the result."""
    x, y = normal(40, 30), normal(40, 25, seed=1)
    primal = fit_low_rank(x, y, rank=6, ridge=0.01)
    monkeypatch.setattr(module, "SLAB", 7)
    widened_x = torch.cat([x, torch.zeros(40, 20, dtype=x.dtype)], 1)  # d_in > N: dual
    widened_y = torch.cat([y, torch.zeros(40, 20, dtype=y.dtype)], 1)
    dual = fit_low_rank(widened_x, widened_y, rank=6, ridge=0.01)
    torch.testing.assert_close(dual.w_in[:, :30], primal.w_in, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(dual.w_out[:25], primal.w_out, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(dual.spectrum[:25], primal.spectrum, rtol=1e-8, atol=1e-10)
    assert float(dual.w_in[:, 30:].abs().max()) < 1e-12


def test_factors_are_balanced_and_signs_fixed() -> None:
    fit = fit_low_rank(normal(50, 12), 100 * normal(50, 9, seed=1), rank=4, ridge=0.01)
    norms = torch.linalg.vector_norm(fit.w_in, dim=1)
    torch.testing.assert_close(norms, torch.linalg.vector_norm(fit.w_out, dim=0))
    largest = fit.w_out.gather(0, fit.w_out.abs().argmax(0, keepdim=True))
    assert bool((largest > 0).all())


def test_ranks_are_nested_and_the_spectrum_says_what_each_explains() -> None:
    x, y = normal(200, 12), normal(200, 9, seed=1)
    y += x[:, :9]
    fits = [fit_low_rank(x, y, rank=r, ridge=0.0) for r in range(1, 10)]
    energy = float((y - y.mean(0)).square().sum())
    for smaller, larger in pairwise(fits):
        gain = float(smaller.spectrum[smaller.w_in.shape[0]].square()) / energy
        assert smaller.residual - larger.residual == pytest.approx(gain, rel=1e-6)
        torch.testing.assert_close(smaller.w_in, larger.w_in[:-1])


def test_cross_validation_regularises_noise_and_trusts_signal() -> None:
    x = normal(60, 40)
    truth = normal(40, 6, seed=1)
    noise = 20 * normal(60, 6, seed=2)
    clean = fit_low_rank(x, x @ truth, rank=6)
    noisy = fit_low_rank(x, x @ truth + noise, rank=6)
    assert clean.ridge_used == RIDGES[0]
    assert noisy.ridge_used > 0.1

    fresh = normal(500, 40, seed=3)

    def error(ridge: float) -> float:
        fit = fit_low_rank(x, x @ truth + noise, rank=6, ridge=ridge)
        return float((predict(fit, fresh) - fresh @ truth).square().mean())

    assert error(noisy.ridge_used) < 0.5 * error(0.0)
    assert error(noisy.ridge_used) <= 1.1 * error(1e4)


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_validation_minimises_its_literal_formula(weighted: bool) -> None:
    x, y = normal(40, 12) + 1, normal(40, 7, seed=1)
    y += 0.5 * x[:, :7]
    lower = metric(7) if weighted else torch.eye(7, dtype=torch.float64)
    centred, target = (x - x.mean(0)).numpy(), ((y - y.mean(0)) @ lower).numpy()

    def error(ridge: float) -> float:
        lam = ridge * np.square(centred).sum() / 40
        hat = centred @ np.linalg.solve(centred.T @ centred + lam * np.eye(12), centred.T) + 1 / 40
        return float(np.square(target - hat @ target).sum() / (1 - np.trace(hat) / 40) ** 2)

    fit = fit_low_rank(x, y, rank=3, metric=lower if weighted else None)
    assert RIDGES[0] < fit.ridge_used < RIDGES[-1]
    assert fit.ridge_used == min(RIDGES, key=error)


def test_what_the_data_do_not_span_is_zero() -> None:
    x, y = normal(50, 4), normal(50, 9, seed=1)
    fit = fit_low_rank(x, y, rank=7, ridge=0.0)
    assert fit.w_in.shape == (7, 4)
    assert fit.w_out.shape == (9, 7)
    assert fit.spectrum.numel() == 4
    assert not fit.w_in[4:].any()
    assert not fit.w_out[:, 4:].any()
    exact = torch.linalg.lstsq(x - x.mean(0), y - y.mean(0)).solution
    torch.testing.assert_close((fit.w_out @ fit.w_in).mT, exact)


@pytest.mark.parametrize("level", [1.0, 0.1, 1e6 / 3])
@pytest.mark.parametrize("width", [3, 50])
def test_constant_inputs_or_outputs_leave_the_mean(level: float, width: int) -> None:
    varied = normal(20, width)
    constant = torch.full((20, width), level, dtype=torch.float64)
    fit = fit_low_rank(constant, varied, rank=2)
    assert not fit.w_in.any()
    torch.testing.assert_close(fit.bias, varied.mean(0))
    assert fit.residual == 1.0
    fit = fit_low_rank(varied, constant, rank=2)
    torch.testing.assert_close(predict(fit, varied), constant)
    assert fit.residual == 0.0


def test_a_large_mean_costs_no_accuracy() -> None:
    x, y = normal(60, 8), normal(60, 5, seed=1)
    y += x[:, :5]
    fit, shifted = fit_low_rank(x, y, rank=3, ridge=0.01), fit_low_rank(x + 1e6, y - 1e6, rank=3, ridge=0.01)
    torch.testing.assert_close(shifted.w_in, fit.w_in, rtol=1e-6, atol=1e-7)
    assert shifted.residual == pytest.approx(fit.residual, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_precision_is_that_of_the_input(dtype: torch.dtype) -> None:
    x, y = normal(64, 300).to(dtype), normal(64, 200, seed=1).to(dtype)
    exact = fit_low_rank(x.double(), y.double(), rank=5, ridge=0.01)
    fit = fit_low_rank(x, y, rank=5, ridge=0.01)
    assert {fit.w_in.dtype, fit.w_out.dtype, fit.bias.dtype} == {dtype}
    assert fit.spectrum.dtype == torch.float64
    torch.testing.assert_close(fit.w_in.double(), exact.w_in, rtol=torch.finfo(dtype).eps, atol=1e-9)
    again = fit_low_rank(x, y, rank=5, ridge=0.01)
    assert torch.equal(fit.w_in, again.w_in)
    assert torch.equal(fit.w_out, again.w_out)


def test_a_wide_map_is_fitted_in_the_memory_of_its_data() -> None:
    """d_in x d_out would be 29 GB here."""
    x = torch.randn(16, 60_000, generator=torch.Generator().manual_seed(0))
    y = torch.randn(16, 60_000, generator=torch.Generator().manual_seed(1))
    fit = fit_low_rank(x, y, rank=15, ridge=0.0)
    torch.testing.assert_close(predict(fit, x), y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("x", "y", "arguments", "words"),
    [
        (torch.ones(4, 2), torch.ones(5, 2), {"rank": 1}, "got 4 x 2 and 5 x 2"),
        (torch.ones(4), torch.ones(4, 2), {"rank": 1}, "got 4 and 4 x 2"),
        (torch.ones(4, 2, dtype=torch.int64), torch.ones(4, 2), {"rank": 1}, "floating point"),
        (torch.ones(1, 2), torch.ones(1, 2), {"rank": 1}, "at least two samples"),
        (torch.ones(4, 2), torch.ones(4, 2), {"rank": 0}, "at least 1, not 0"),
        (torch.ones(4, 9), torch.ones(4, 9), {"rank": 4}, "4 samples determine at most rank 3, not 4"),
        (torch.ones(9, 2), torch.ones(9, 2), {"rank": 1, "metric": torch.eye(3)}, "is 2 x 2, not 3 x 3"),
        (torch.ones(9, 2), torch.ones(9, 2), {"rank": 1, "ridge": -1.0}, "not -1.0"),
        (torch.ones(9, 2), torch.full((9, 2), torch.nan), {"rank": 1}, "the outputs of the fit"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_said(
    x: Tensor, y: Tensor, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        fit_low_rank(x, y, **arguments)  # type: ignore[arg-type]
