"""The Gram pass: chunks, memory order, precision."""

from __future__ import annotations

import pytest
import torch

from theseus_fx.similarity import gram as module
from theseus_fx.similarity.gram import gram, rows, times_rows


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


def test_rows_of_channels_last_are_a_view() -> None:
    x = torch.randn(4, 3, 5, 6).contiguous(memory_format=torch.channels_last)
    assert rows(x).data_ptr() == x.data_ptr()
    assert torch.equal(rows(x), x.permute(0, 2, 3, 1).flatten(1))
    y = torch.randn(4, 3, 5, 6)
    assert torch.equal(rows(y), y.flatten(1))
