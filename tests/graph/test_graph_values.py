"""Shapes and dtypes of values."""

from __future__ import annotations

import pytest
import torch

from theseus_fx.graph.values import InputSpec, ValueInfo


def test_features_are_all_but_the_first_dimension() -> None:
    assert ValueInfo(shape=("batch", 64, 7, 7), dtype=torch.float32).features == 64 * 49
    assert ValueInfo(shape=("batch",), dtype=torch.float32).features == 1


def test_features_that_depend_on_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="depend on the batch"):
        _ = ValueInfo(shape=(3, "2*batch"), dtype=torch.float32).features


@pytest.mark.parametrize(
    ("size", "expected"), [("batch", 6), ("2*batch", 12), ("batch + 1", 7), ("(batch//4)", 1), (5, 5)]
)
def test_sizes_at_a_batch_size(size: int | str, expected: int) -> None:
    assert ValueInfo(shape=(size, 3), dtype=torch.float32).sizes(6) == (expected, 3)


def test_an_input_says_what_it_is() -> None:
    spec = InputSpec(name="tokens", dtype=torch.int64, shape=("batch", 128))
    assert str(spec) == "tokens: int64[batch, 128]"
    assert spec.sizes(4) == (4, 128)
