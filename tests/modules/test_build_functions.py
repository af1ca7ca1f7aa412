"""The functions that a replacement can be written with."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional

from theseus_fx.modules.functions import FUNCTIONS, RESHAPING, Permute, Reshape, Transpose

X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))

EXPECTED = {
    "flatten": ({}, X.reshape(2, 12)),
    "gelu": ({}, functional.gelu(X)),
    "identity": ({}, X),
    "permute": ({"dims": (0, 2, 1)}, X.mT),
    "relu": ({}, X.clamp(min=0)),
    "reshape": ({"shape": ("batch", 4, 3)}, X.reshape(2, 4, 3)),
    "sigmoid": ({}, 1 / (1 + (-X).exp())),
    "silu": ({}, X / (1 + (-X).exp())),
    "softmax": ({"dim": -1}, X.exp() / X.exp().sum(-1, keepdim=True)),
    "tanh": ({}, torch.tanh(X)),
    "transpose": ({"dim0": 1, "dim1": 2}, X.mT),
}


def test_every_function_is_tested_here() -> None:
    assert EXPECTED.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_function_computes_what_it_says_and_has_no_parameters(name: str) -> None:
    arguments, expected = EXPECTED[name]
    module = FUNCTIONS[name](**arguments)
    torch.testing.assert_close(module(X), expected)
    assert not module.state_dict()


@pytest.mark.parametrize("name", sorted(RESHAPING))
def test_reshaping_keeps_every_value_in_order(name: str) -> None:
    arguments, _ = EXPECTED[name]
    assert torch.equal(FUNCTIONS[name](**arguments)(X).flatten(), X.flatten())


def test_one_size_of_a_reshape_may_be_left_open() -> None:
    assert Reshape(("batch", 2, -1))(X).shape == (2, 2, 6)


@pytest.mark.parametrize(
    "shape", [(), (2, 12), ("batch", "batch", 6), ("batch", "2*batch"), ("batch", 2.5), ("batch", True, 12)]
)
def test_a_reshape_keeps_the_batch_and_has_whole_sizes(shape: Sequence[int | str]) -> None:
    with pytest.raises(ValueError, match="reshape"):
        Reshape(shape)


def test_modules_print_what_they_do() -> None:
    assert str(Reshape(("batch", 2, 6))) == "Reshape(batch, 2, 6)"
    assert str(Permute((0, 2, 1))) == "Permute(0, 2, 1)"
    assert str(Transpose(1, 2)) == "Transpose(1, 2)"
