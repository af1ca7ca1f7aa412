"""Similarities on a GPU: what the CPU gives, compiled too, and the Triton kernels as compiled there."""

from __future__ import annotations

import math

import pytest
import torch
from similarity_cases import HALF, LossOf, normal, value_and_gradient
from test_similarity_compile import METRICS, Stage
from test_similarity_kernels import run

from theseus_fx.similarity import Metric, cka_loss, ucka_loss

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
@pytest.mark.parametrize("loss", [cka_loss, ucka_loss], ids=["cka", "ucka"])
def test_cuda_equals_cpu(loss: LossOf, dtype: torch.dtype) -> None:
    a, b = normal(64, 700_000, dtype=dtype), normal(64, 5_000, seed=1, dtype=dtype)
    value, gradient = value_and_gradient(loss, a, b, scale=1e5)
    on_cuda, gradient_cuda = value_and_gradient(loss, a.cuda(), b.cuda(), scale=1e5)
    assert on_cuda == pytest.approx(value, rel=1e-5)
    relative = max(1e-4, 2 * torch.finfo(dtype).eps)
    torch.testing.assert_close(
        gradient_cuda.cpu(), gradient, rtol=relative, atol=relative * float(gradient.abs().max())
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_gives_no_gradient_for_what_is_not_finite(dtype: torch.dtype) -> None:
    a = normal(8, 40_000, dtype=dtype)
    a[2, 1] = torch.nan
    value, gradient = value_and_gradient(cka_loss, a.cuda(), normal(8, 9, seed=1).cuda())
    assert math.isnan(value)
    assert not gradient.any()


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_inductor_on_cuda(metric: Metric) -> None:
    x = torch.randn(16, 9, generator=torch.Generator().manual_seed(1)).cuda()
    eager, compiled = Stage(metric).cuda(), Stage(metric).cuda()
    eager(x).backward()
    torch.compiler.reset()
    torch.compile(compiled, fullgraph=True)(x).backward()
    for mine, theirs in zip(compiled.gradients(), eager.gradients(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mean", [0.0, 5.0, 30.0])
def test_gradient_in_bfloat16_where_activations_have_a_large_mean(mean: float) -> None:
    common = mean * normal(1, 70_000, seed=2)
    a = (normal(64, 70_000) + common).bfloat16()
    b = (normal(64, 70_000, seed=1) + common).bfloat16()
    _, gradient = value_and_gradient(cka_loss, a.cuda(), b.cuda())
    _, exact = value_and_gradient(cka_loss, a.double(), b.double())
    assert float((gradient.cpu().double() - exact).norm() / exact.norm()) < 5e-3


def test_on_a_gpu() -> None:
    run("cuda")
