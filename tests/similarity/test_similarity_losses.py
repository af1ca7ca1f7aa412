"""What holds for every loss on Grams: gradients, invariance, precision, and what is degenerate."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from similarity_cases import HALF, LOSSES, LossOf, normal, value_and_gradient
from torch import Tensor

from theseus_fx.similarity import Cka, Dmnn, GuideGram, cka_loss, dmnn_loss, losses, tap_losses, ucka_loss
from theseus_fx.similarity.reference import cka_reference, ucka_reference

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
cosines = pytest.mark.parametrize("loss", [cka_loss, ucka_loss], ids=["cka", "ucka"])


@every_loss
def test_gradient_by_finite_differences(loss: LossOf) -> None:
    a, b = normal(8, 2, 3).requires_grad_(), normal(8, 5, seed=1)
    assert torch.autograd.gradcheck(lambda x: loss(x, b), (a,))


@cosines
@settings(max_examples=30, deadline=None)
@given(st.integers(4, 12), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6))
def test_equals_the_literal_formula(loss: LossOf, n: int, d1: int, d2: int, seed: int) -> None:
    a, b = normal(n, d1, seed=seed) + 0.5, normal(n, d2, seed=seed + 1)
    given_to_reference = a.clone().requires_grad_()
    literal = cka_reference if loss is cka_loss else ucka_reference
    reference = 1 - literal(given_to_reference, b)
    value, gradient = value_and_gradient(loss, a, b)
    if not bool(reference.isfinite()) or value == 1.0:  # one feature of one sign: unit rows are constant
        assert value == 1.0
        return
    (expected,) = torch.autograd.grad(reference, given_to_reference)
    assert value == pytest.approx(float(reference.detach()), abs=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
@pytest.mark.parametrize("name", ["cka", "ucka", "dmnn union dot", "dmnn guide dist", "dmnn soft dot"])
def test_identity_is_exactly_zero(name: str, dtype: torch.dtype) -> None:
    a = normal(16, 300, dtype=dtype)
    value, gradient = value_and_gradient(LOSSES[name], a, a)
    assert value == 0.0
    assert not gradient.any()


@every_loss
def test_invariant_under_rotation_scale_and_order(loss: LossOf) -> None:
    a, b = normal(16, 10), normal(16, 12, seed=1)
    rotation = torch.linalg.qr(normal(10, 10, seed=2))[0]
    scales = normal(16, 1, seed=3).abs() + 0.1
    order = torch.randperm(16, generator=torch.Generator().manual_seed(4))
    value = float(loss(a, b))
    assert float(loss(3 * a @ rotation, b)) == pytest.approx(value, rel=1e-11)
    assert float(loss(a * scales, b)) == pytest.approx(value, rel=1e-11)
    assert float(loss(a[order], b[order])) == pytest.approx(value, rel=1e-11)
    assert float(loss(a[order], b)) != pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("name", ["cka", "ucka", "dmnn union dot", "dmnn soft dist"])
def test_low_precision_input_is_summed_precisely(name: str, dtype: torch.dtype) -> None:
    a, b = normal(24, 20_000, dtype=dtype), normal(24, 9_000, seed=1, dtype=dtype)  # several chunks
    scale = 1e5  # as a gradient scaler does, or float16 would underflow
    value, gradient = value_and_gradient(LOSSES[name], a, b, scale=scale)
    exact, exact_gradient = value_and_gradient(LOSSES[name], a.double(), b.double(), scale=scale)
    assert gradient.dtype == dtype
    # products are rounded to float32 (unit roundoff 6e-8) in an order that depends on the CPU
    assert value == pytest.approx(exact, rel=2e-6, abs=1e-8)
    error = (gradient.double() - exact_gradient).norm() / exact_gradient.norm()
    assert float(error) < (1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps / 2)


@pytest.mark.parametrize("mean", [0.0, 5.0, 30.0])
def test_gradient_in_bfloat16_where_activations_have_a_large_mean(mean: float) -> None:
    common = mean * normal(1, 3000, seed=2)
    a = (normal(64, 3000) + common).bfloat16()
    b = (normal(64, 3000, seed=1) + common).bfloat16()
    _, gradient = value_and_gradient(cka_loss, a, b)
    _, exact = value_and_gradient(cka_loss, a.double(), b.double())
    assert float((gradient.double() - exact).norm() / exact.norm()) < 5e-3


@cosines
def test_float32_near_convergence(loss: LossOf) -> None:
    b = normal(64, 5_000)
    a = b + 0.03 * normal(64, 5_000, seed=1)
    a32, b32 = a.float(), b.float()
    exact = float(loss(a32.double(), b32.double()))
    assert 3e-6 < exact < 3e-3
    assert float(loss(a32, b32)) == pytest.approx(exact, rel=1e-5)


@every_loss
def test_a_row_of_zeros_has_no_gradient(loss: LossOf) -> None:
    a = normal(8, 5)
    a[3] = 0
    value, gradient = value_and_gradient(loss, a, normal(8, 5, seed=1))
    assert 0 < value < math.inf
    assert not gradient[3].any()
    assert gradient[2].any()


@cosines
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF])
@pytest.mark.parametrize("width", [1, 30_000])
def test_constant_features_have_loss_one_and_no_gradient(
    loss: LossOf, dtype: torch.dtype, width: int
) -> None:
    constant = normal(1, width, dtype=dtype).expand(32, width)
    varied = normal(32, 7, seed=1, dtype=dtype)
    for a, b in ((constant, varied), (varied, constant)):
        value, gradient = value_and_gradient(loss, a, b)
        assert value == 1.0
        assert not gradient.any()
    scaled = constant.double() * (normal(32, 1, seed=2).abs() + 0.5)  # constant once normalised
    assert float(loss(scaled, varied)) == 1.0


@every_loss
def test_all_zero_features_have_a_finite_loss_and_no_gradient(loss: LossOf) -> None:
    value, gradient = value_and_gradient(loss, torch.zeros(6, 3, dtype=torch.float64), normal(6, 3))
    assert math.isfinite(value)
    assert not gradient.any()
    assert math.isfinite(float(loss(torch.zeros(6, 0), normal(6, 3))))


@every_loss
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_is_not_finite_gives_nan_and_no_gradient(loss: LossOf, bad: float, dtype: torch.dtype) -> None:
    clean, broken = normal(8, 4, dtype=dtype), normal(8, 4, seed=1, dtype=dtype)
    broken[2, 1] = bad
    for a, b in ((broken, clean), (clean, broken), (broken, torch.ones_like(clean))):
        value, gradient = value_and_gradient(loss, a, b)
        assert math.isnan(value)
        assert not gradient.any()  # NaN counts as any


def test_a_broken_tap_leaves_the_others_alone() -> None:
    clean, broken = normal(8, 4).requires_grad_(), normal(8, 4, seed=1)
    broken[2, 1] = torch.nan
    broken.requires_grad_()
    found = tap_losses([clean, broken], [normal(8, 4, seed=2)] * 2, Cka())
    found.sum().backward()
    assert found.isnan().tolist() == [False, True]
    assert clean.grad is not None
    assert bool(clean.grad.isfinite().all())
    assert clean.grad.any()


def test_memory_formats_agree() -> None:
    a, b = normal(8, 3, 4, 5, dtype=torch.float32), normal(8, 6, 2, 2, seed=1, dtype=torch.float32)
    value, gradient = value_and_gradient(cka_loss, a, b)
    last = torch.channels_last
    value_last, gradient_last = value_and_gradient(
        cka_loss, a.contiguous(memory_format=last), b.contiguous(memory_format=last)
    )
    assert value_last == pytest.approx(value, rel=1e-6)
    assert gradient_last.is_contiguous(memory_format=last)
    torch.testing.assert_close(gradient_last, gradient)


@every_loss
def test_a_prepared_guide_stands_for_its_activations(loss: LossOf) -> None:
    a, b = normal(8, 4), normal(8, 9, seed=1).requires_grad_()
    prepared = GuideGram.of(b)
    assert not prepared.unit.requires_grad
    value, gradient = value_and_gradient(loss, a, b)
    value_prepared, gradient_prepared = value_and_gradient(loss, a, prepared)
    assert value == value_prepared
    assert torch.equal(gradient, gradient_prepared)
    assert b.grad is None


@every_loss
def test_a_batch_of_a_prepared_guide_of_all_samples(loss: LossOf) -> None:
    a, b = normal(20, 4), normal(20, 9, seed=1)
    some = torch.randperm(20, generator=torch.Generator().manual_seed(2))[:8]
    assert float(loss(a[some], GuideGram.of(b).select(some))) == pytest.approx(float(loss(a[some], b[some])))


def test_autocast_does_not_reach_inside() -> None:
    a, b = normal(8, 64, dtype=torch.float32), normal(8, 64, seed=1, dtype=torch.float32)
    value, gradient = value_and_gradient(cka_loss, a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, gradient_inside = value_and_gradient(cka_loss, a, b)
    assert inside == value
    assert torch.equal(gradient_inside, gradient)


@every_loss
def test_keeps_the_features_and_one_small_matrix_for_backward(loss: LossOf) -> None:
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    a = normal(8, 1000).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss(a, normal(8, 1000, seed=1))
    assert sorted(x.numel() for x in kept) == [64, 8000]


@pytest.mark.parametrize("weight", [None, torch.tensor(2.0, requires_grad=True)])
def test_a_second_derivative_is_refused_rather_than_left_out(weight: Tensor | None) -> None:
    a = normal(8, 4).requires_grad_()
    loss = cka_loss(a, normal(8, 4, seed=1))
    (gradient,) = torch.autograd.grad(loss if weight is None else weight * loss, a, create_graph=True)
    _, expected = value_and_gradient(cka_loss, a, normal(8, 4, seed=1))
    torch.testing.assert_close(gradient.detach(), expected if weight is None else 2 * expected)
    with pytest.raises(RuntimeError, match="no second derivative"):
        (gradient.square().sum() + a.square().sum()).backward()


@pytest.mark.parametrize("metric", [Cka(), Cka(unbiased=True), Dmnn(k=3), Dmnn(k=3, support="soft")])
@pytest.mark.parametrize("together", [losses.TOGETHER, 1])
def test_taps_together_are_the_taps_one_by_one(
    metric: Cka | Dmnn, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "TOGETHER", together)
    dtypes = (torch.float64, torch.float32, torch.bfloat16)
    targets = [normal(8, 3 + i, seed=i, dtype=dtype).requires_grad_() for i, dtype in enumerate(dtypes)]
    guides = [normal(8, 5, seed=9), GuideGram.of(normal(8, 6, seed=10)), normal(8, 2, 2, seed=11)]
    weights = torch.tensor([1.0, 0.5, 2.0])
    found = tap_losses(targets, guides, metric)
    gradients = torch.autograd.grad((weights * found).sum(), targets)
    for target, guide, weight, value, gradient in zip(
        targets, guides, weights, found, gradients, strict=True
    ):
        alone = tap_losses([target], [guide], metric)[0]
        assert float(alone.detach()) == pytest.approx(float(value.detach()), rel=1e-12)
        (expected,) = torch.autograd.grad(weight * alone, target)
        torch.testing.assert_close(gradient, expected)


def test_a_tap_without_gradient_is_passed_over() -> None:
    frozen, free = normal(8, 3), normal(8, 3, seed=1).requires_grad_()
    tap_losses([frozen, free], [normal(8, 4, seed=2)] * 2, Cka()).sum().backward()
    assert frozen.grad is None
    assert free.grad is not None


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


def test_settings_that_the_batch_does_not_allow_are_said() -> None:
    a, b = normal(4, 3), normal(4, 3, seed=1)
    with pytest.raises(ValueError, match="at least 4 samples, not 3"):
        ucka_loss(a[:3], b[:3])
    with pytest.raises(ValueError, match="4 rows have 1 to 3 neighbours to compare, not k = 4"):
        dmnn_loss(a, b, k=4)
    with pytest.raises(ValueError, match="1 to 2 neighbours to compare, not k = 3"):
        dmnn_loss(a, b, k=3, support="soft")
    with pytest.raises(ValueError, match="tau is positive, not 0"):
        dmnn_loss(a, b, tau=0)
    with pytest.raises(ValueError, match="one guide for each target: 1 for 2"):
        tap_losses([a, a], [b], Cka())
    with pytest.raises(ValueError, match="equally many samples"):
        tap_losses([a, a[:3]], [b, b[:3]], Cka())
