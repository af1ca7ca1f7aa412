"""Rows: samples in memory order, and tokens with an even subsample."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from similarity_cases import normal

from theseus_fx.similarity import cka, rows, token_rows


def test_rows_of_channels_last_are_a_view() -> None:
    x = normal(4, 3, 5, 6).contiguous(memory_format=torch.channels_last)
    assert rows(x).data_ptr() == x.data_ptr()
    assert torch.equal(rows(x), x.permute(0, 2, 3, 1).flatten(1))
    y = normal(4, 3, 5, 6)
    assert torch.equal(rows(y), y.flatten(1))


def test_all_tokens_where_no_limit_cuts() -> None:
    x = normal(3, 5, 7)
    assert torch.equal(token_rows(x), x.reshape(15, 7))
    assert torch.equal(token_rows(x, at_most=15), x.reshape(15, 7))
    assert torch.equal(token_rows(normal(3, 2, 2, 7)), normal(3, 2, 2, 7).reshape(12, 7))


@given(st.integers(1, 12), st.integers(1, 40), st.data())
def test_a_subsample_is_even_over_samples_and_positions(b: int, tokens: int, data: st.DataObject) -> None:
    if b * tokens < 3:
        return
    n = data.draw(st.integers(2, b * tokens - 1))
    names = torch.arange(b * tokens, dtype=torch.float64).reshape(b, tokens, 1)
    kept = token_rows(names, at_most=n).flatten().long()
    assert len(set(kept.tolist())) == n
    by_sample = torch.bincount(kept // tokens, minlength=b)
    by_position = torch.bincount(kept % tokens, minlength=tokens)
    assert int(by_sample.max() - by_sample.min()) <= 1
    assert int(by_position.max() - by_position.min()) <= 1


def test_guide_and_target_keep_the_same_tokens_and_the_gradient_reaches_them() -> None:
    x = normal(4, 6, 3).requires_grad_()
    kept = token_rows(x, at_most=10)
    assert float(cka(kept.detach(), token_rows(2 * x.detach(), at_most=10))) == 1.0
    kept.sum().backward()
    assert x.grad is not None
    assert int(x.grad.bool().all(-1).sum()) == 10


def test_what_has_no_tokens_is_said() -> None:
    with pytest.raises(ValueError, match="samples x positions x features, not of 4 x 3"):
        token_rows(normal(4, 3))
    with pytest.raises(ValueError, match=r"not torch\.int64"):
        token_rows(torch.ones(4, 3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least two rows, not 1"):
        token_rows(normal(4, 3, 2), at_most=1)
    with pytest.raises(ValueError, match="at least two tokens, not 1"):
        token_rows(normal(1, 1, 2))
