"""CKA against confirmed values, finite differences, and what must hold for any activations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from theseus_fx.similarity import GuideGram, cka, cka_loss
from theseus_fx.similarity.reference import cka_reference

HALF = (torch.bfloat16, torch.float16)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def loss_and_gradient(a: Tensor, b: Tensor | GuideGram, *, scale: float = 1.0) -> tuple[float, Tensor]:
    a = a.detach().requires_grad_()
    loss = cka_loss(a, b)
    (scale * loss).backward()
    assert a.grad is not None
    return float(loss.detach()), a.grad


@pytest.mark.parametrize("case", ["g8", "relu32", "near_one", "zero_row"])
def test_confirmed_values(golden: Path, case: str) -> None:
    with np.load(golden / "similarity.npz") as values:
        a, b = torch.from_numpy(values[f"{case}/A"]), torch.from_numpy(values[f"{case}/B"])
        value, one_minus = float(values[f"{case}/cka"]), float(values[f"{case}/one_minus_cka"])
        gradient = torch.from_numpy(values[f"{case}/grad_one_minus_cka"])
    loss, got = loss_and_gradient(a, b)
    assert float(cka(a, b)) == pytest.approx(value, rel=1e-10)
    assert loss == pytest.approx(one_minus, rel=1e-10)
    torch.testing.assert_close(got, gradient, rtol=1e-10, atol=1e-10 * float(gradient.abs().max()))
    assert float(cka_reference(a, b)) == pytest.approx(value, rel=1e-10)


def test_gradient_by_finite_differences() -> None:
    a, b = normal(6, 2, 3).requires_grad_(), normal(6, 5, seed=1)
    assert torch.autograd.gradcheck(lambda x: cka_loss(x, b), (a,))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6))
def test_equals_the_literal_formula(n: int, d1: int, d2: int, seed: int) -> None:
    a, b = normal(n, d1, seed=seed) + 0.5, normal(n, d2, seed=seed + 1)
    reference_input = a.clone().requires_grad_()
    reference = 1 - cka_reference(reference_input, b)
    if not bool(reference.isfinite()):  # one feature of one sign: unit rows are constant
        assert float(cka_loss(a, b)) == 1.0
        return
    (expected,) = torch.autograd.grad(reference, reference_input)
    loss, gradient = loss_and_gradient(a, b)
    assert loss == pytest.approx(float(reference.detach()), abs=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
def test_identity_is_exactly_zero(dtype: torch.dtype) -> None:
    a = normal(16, 300, dtype=dtype)
    loss, gradient = loss_and_gradient(a, a)
    assert loss == 0.0
    assert float(cka(a, a)) == 1.0
    assert not gradient.any()


def test_invariant_under_rotation_scale_and_order() -> None:
    a, b = normal(16, 10), normal(16, 12, seed=1)
    rotation = torch.linalg.qr(normal(10, 10, seed=2))[0]
    scales = normal(16, 1, seed=3).abs() + 0.1
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    value = float(cka(a, b))
    assert float(cka(3 * a @ rotation, b)) == pytest.approx(value, rel=1e-12)
    assert float(cka(a * scales, b)) == pytest.approx(value, rel=1e-12)
    assert float(cka(a[order], b[order])) == pytest.approx(value, rel=1e-12)
    assert float(cka(b, a)) == pytest.approx(value, rel=1e-12)
    assert float(cka(a[order], b)) != pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_low_precision_input_is_summed_precisely(dtype: torch.dtype) -> None:
    a, b = normal(24, 20_000, dtype=dtype), normal(24, 9_000, seed=1, dtype=dtype)  # several chunks
    scale = 1e5  # as a gradient scaler does, or float16 would underflow
    loss, gradient = loss_and_gradient(a, b, scale=scale)
    exact, exact_gradient = loss_and_gradient(a.double(), b.double(), scale=scale)
    assert gradient.dtype == dtype
    # products are rounded to float32 (unit roundoff 6e-8) in an order that depends on the CPU
    assert loss == pytest.approx(exact, rel=1e-6, abs=1e-8)
    relative = 2 * torch.finfo(dtype).eps if dtype != torch.float32 else 1e-5
    largest = float(exact_gradient.abs().max())
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=relative, atol=relative * largest)


def test_float32_near_convergence() -> None:
    b = normal(64, 5_000)
    a = b + 0.03 * normal(64, 5_000, seed=1)
    exact = float(cka_loss(a, b))
    assert 3e-6 < exact < 3e-5
    a32, b32 = a.float(), b.float()
    assert float(cka_loss(a32, b32)) == pytest.approx(float(cka_loss(a32.double(), b32.double())), rel=1e-5)


def test_zero_row_has_no_gradient() -> None:
    a = normal(8, 5)
    a[3] = 0
    loss, gradient = loss_and_gradient(a, normal(8, 5, seed=1))
    assert 0 < loss < 1
    assert not gradient[3].any()
    assert gradient[2].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
@pytest.mark.parametrize("width", [1, 30_000])
def test_constant_features_have_loss_one_and_no_gradient(dtype: torch.dtype, width: int) -> None:
    constant = normal(1, width, dtype=dtype).expand(32, width)
    varied = normal(32, 7, seed=1, dtype=dtype)
    loss, gradient = loss_and_gradient(constant, varied)
    assert loss == 1.0
    assert not gradient.any()
    loss, gradient = loss_and_gradient(varied, constant)
    assert loss == 1.0
    assert not gradient.any()
    assert float(cka(constant, varied)) == 0.0
    scaled = constant.double() * (normal(32, 1, seed=2).abs() + 0.5)  # constant once normalised
    assert float(cka_loss(scaled, varied)) == 1.0


def test_all_zero_features_have_loss_one() -> None:
    loss, gradient = loss_and_gradient(torch.zeros(4, 3), normal(4, 3))
    assert loss == 1.0
    assert not gradient.any()
    assert float(cka_loss(torch.zeros(4, 0), normal(4, 3))) == 1.0


def test_memory_formats_agree() -> None:
    a, b = normal(8, 3, 4, 5, dtype=torch.float32), normal(8, 6, 2, 2, seed=1, dtype=torch.float32)
    loss, gradient = loss_and_gradient(a, b)
    last = torch.channels_last
    loss_last, gradient_last = loss_and_gradient(
        a.contiguous(memory_format=last), b.contiguous(memory_format=last)
    )
    assert loss_last == pytest.approx(loss, rel=1e-6)
    assert gradient_last.is_contiguous(memory_format=last)
    torch.testing.assert_close(gradient_last, gradient)


def test_prepared_guide_stands_for_its_activations() -> None:
    a, b = normal(8, 4), normal(8, 9, seed=1).requires_grad_()
    prepared = GuideGram.of(b)
    assert not prepared.hat.requires_grad
    loss, gradient = loss_and_gradient(a, b)
    loss_prepared, gradient_prepared = loss_and_gradient(a, prepared)
    assert loss == loss_prepared
    assert torch.equal(gradient, gradient_prepared)
    assert b.grad is None


def test_autocast_does_not_reach_inside() -> None:
    a, b = normal(8, 64, dtype=torch.float32), normal(8, 64, seed=1, dtype=torch.float32)
    loss, gradient = loss_and_gradient(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, gradient_inside = loss_and_gradient(a, b)
    assert inside == loss
    assert torch.equal(gradient_inside, gradient)


def test_nan_is_not_hidden() -> None:
    a, b = normal(8, 4), normal(8, 4, seed=1)
    a[2, 1] = torch.nan
    assert bool(cka_loss(a, b).isnan())
    assert bool(cka_loss(b, a).isnan())
    a[2, 1] = torch.inf
    assert bool(cka_loss(a, b).isnan())


def test_one_feature_per_sample_without_feature_dimensions() -> None:
    a = torch.tensor([1.0, -2.0, 3.0, -4.0], dtype=torch.float64)
    assert float(cka(a, a[:, None])) == 1.0


def test_keeps_the_features_and_one_small_matrix_for_backward() -> None:
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    a = normal(8, 1000).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        cka_loss(a, normal(8, 1000, seed=1))
    assert sorted(x.numel() for x in kept) == [64, 8000]


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    a, weight = normal(8, 4).requires_grad_(), torch.tensor(2.0, requires_grad=True)
    loss = weight * cka_loss(a, normal(8, 4, seed=1))
    (gradient,) = torch.autograd.grad(loss, a, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (torch.ones(1, 3), torch.ones(1, 3), "at least two samples, not 1"),
        (torch.ones(4, 3), torch.ones(5, 3), "the target has 4 samples, the guide 5"),
        (torch.ones(4, 3, dtype=torch.int64), torch.ones(4, 3), "not torch.int64"),
        (torch.tensor(1.0), torch.ones(4, 3), "no batch dimension"),
    ],
)
def test_what_cannot_be_compared_is_said(a: Tensor, b: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cka_loss(a, b)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_cuda_equals_cpu(dtype: torch.dtype) -> None:
    a, b = normal(64, 700_000, dtype=dtype), normal(64, 5_000, seed=1, dtype=dtype)
    loss, gradient = loss_and_gradient(a, b, scale=1e5)
    on_cuda, gradient_cuda = loss_and_gradient(a.cuda(), b.cuda(), scale=1e5)
    assert on_cuda == pytest.approx(loss, rel=1e-5)
    relative = max(1e-4, 2 * torch.finfo(dtype).eps)
    torch.testing.assert_close(
        gradient_cuda.cpu(), gradient, rtol=relative, atol=relative * float(gradient.abs().max())
    )
