"""The Gram pass: chunks, memory order, precision."""

from __future__ import annotations

import pytest
import torch

from theseus_fx.similarity import gram as module
from theseus_fx.similarity.gram import gram, times_rows


def test_chunks_sum_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.randn(7, 1003, generator=torch.Generator().manual_seed(0))
    whole = gram(a)
    monkeypatch.setattr(module, "CHUNK", 64)
    chunked = gram(a)
    exact = a.double() @ a.double().mT
    assert whole.dtype == chunked.dtype == torch.float64
    torch.testing.assert_close(whole, exact, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(chunked, exact, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_product_keeps_dtype_and_chunks(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    generator = torch.Generator().manual_seed(0)
    m = torch.randn(5, 5, dtype=torch.float64, generator=generator)
    a = torch.randn(5, 999, dtype=torch.float64, generator=generator).to(dtype)
    got = times_rows(m, a)
    assert got.dtype == dtype
    expected = m @ a.double()
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(got.double(), expected, rtol=4 * eps, atol=16 * eps)


@pytest.mark.parametrize("b", [7, 64, 130, 300])
def test_blocks_of_rows_make_a_symmetric_whole(b: int) -> None:
    a = torch.randn(b, 90, generator=torch.Generator().manual_seed(0))
    whole = gram(a)
    assert torch.equal(whole, whole.mT)
    torch.testing.assert_close(whole, a.double() @ a.double().mT, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_weights_that_are_not_finite_give_zeros(dtype: torch.dtype) -> None:
    m = torch.full((3, 3), torch.nan, dtype=torch.float64)
    assert not times_rows(m, torch.full((3, 5), torch.inf, dtype=dtype)).any()


def test_operators_of_compiled_graphs_agree_with_their_descriptions() -> None:
    a, w = torch.randn(4, 6, requires_grad=False), torch.randn(4, 4, dtype=torch.float64)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        torch.library.opcheck(torch.ops.theseus_fx.gram.default, (a.to(dtype),))
        torch.library.opcheck(torch.ops.theseus_fx.times_rows.default, (w, a.to(dtype).mT.contiguous().mT))
