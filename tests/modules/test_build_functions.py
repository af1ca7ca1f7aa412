"""The functions that a replacement can be written with."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch.nn import functional

from theseus_fx.modules.functions import FUNCTIONS, MOVING, Permute, Reshape, Transpose

X = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))

Y = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1)) + 0.5
IMAGES = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(2))

EXPECTED = {
    "elu": ({}, torch.where(X > 0, X, X.exp() - 1)),
    "hardswish": ({}, X * (X + 3).clamp(0, 6) / 6),
    "leaky_relu": ({"negative_slope": 0.1}, torch.where(X > 0, X, 0.1 * X)),
    "log_softmax": ({"dim": 1}, X - X.exp().sum(1, keepdim=True).log()),
    "softplus": ({}, (1 + X.exp()).log()),
    "unflatten": ({"dim": 2, "unflattened_size": (2, 2)}, X.reshape(2, 3, 2, 2)),
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


OPERATIONS_EXPECTED = {
    "abs": ((X,), {}, X.abs()),
    "add": ((X, Y), {}, X + Y),
    "amax": ((X,), {"dim": 1}, X.max(1).values),
    "chunk": ((X,), {"chunks": 2}, (X[..., :2], X[..., 2:])),
    "clamp": ((X,), {"min": 0.0}, X.relu()),
    "concat": ((X, Y), {"dim": 2}, torch.cat([X, Y], 2)),
    "cumsum": ((X,), {"dim": 1}, torch.stack([X[:, 0], X[:, :2].sum(1), X.sum(1)], 1)),
    "div": ((X, Y), {}, X / Y),
    "exp": ((X,), {}, X.exp()),
    "flip": ((X,), {"dim": 1}, X[:, [2, 1, 0]]),
    "image": ((IMAGES.reshape(2, 3, 16).mT,), {"size": 1, "height": 4, "width": 4}, IMAGES),
    "interpolate": ((IMAGES,), {"size": 8}, IMAGES.repeat_interleave(2, 2).repeat_interleave(2, 3)),
    "log": ((Y,), {}, Y.log()),
    "matmul": ((X, Y.mT), {}, torch.einsum("bij,bkj->bik", X, Y)),
    "mean": ((X,), {"dim": (1, 2)}, X.reshape(2, 12).sum(1) / 12),
    "mul": ((X,), {"left": 2.0}, X + X),
    "narrow": ((X,), {"dim": 2, "start": 1, "length": 2}, X[..., 1:3]),
    "neg": ((X,), {}, -X),
    "normalize": ((X,), {}, X / X.square().sum(-1, keepdim=True).sqrt()),
    "pad": ((X,), {"pad": (1, 0), "value": 7.0}, torch.cat([torch.full((2, 3, 1), 7.0), X], 2)),
    "patches": ((IMAGES,), {"size": 4}, IMAGES.reshape(2, 1, 48)),
    "roll": ((X,), {"shift": 1, "dim": 1}, X[:, [2, 0, 1]]),
    "select": ((X,), {"dim": 1, "index": 2}, X[:, 2]),
    "sqrt": ((Y,), {}, Y.sqrt()),
    "square": ((X,), {}, X * X),
    "squeeze": ((X[:, :1],), {"dim": 1}, X[:, 0]),
    "stack": ((X, Y), {}, torch.cat([X[:, None], Y[:, None]], 1)),
    "sub": ((X,), {"left": 1.0}, 1 - X),
    "sum": ((X,), {"dim": 1, "keepdim": True}, X[:, :1] + X[:, 1:2] + X[:, 2:]),
    "unsqueeze": ((X,), {"dim": 1}, X[:, None]),
    "item": (([X, Y],), {"index": 1}, Y),
}


def test_every_function_is_tested_here() -> None:
    assert EXPECTED.keys() | OPERATIONS_EXPECTED.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("name", OPERATIONS_EXPECTED)
def test_an_operation_computes_what_it_says(name: str) -> None:
    values, settings, expected = OPERATIONS_EXPECTED[name]
    module = FUNCTIONS[name](**settings)
    torch.testing.assert_close(module(*values), expected)
    assert not module.state_dict()


@pytest.mark.parametrize("values", [(X,), (X, Y, X)])
def test_arithmetic_takes_two_sides(values: tuple[torch.Tensor, ...]) -> None:
    with pytest.raises(TypeError, match="two values"):
        FUNCTIONS["add"]()(*values)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_function_computes_what_it_says_and_has_no_parameters(name: str) -> None:
    arguments, expected = EXPECTED[name]
    module = FUNCTIONS[name](**arguments)
    torch.testing.assert_close(module(X), expected)
    assert not module.state_dict()


MOVES = {
    "flip": {"dim": 1},
    "roll": {"shift": 1, "dim": 2},
    "squeeze": {"dim": 1},
    "unsqueeze": {"dim": 1},
    **{name: EXPECTED[name][0] for name in MOVING & EXPECTED.keys()},
}


@pytest.mark.parametrize("name", sorted(MOVING))
def test_moving_keeps_every_value_of_a_sample(name: str) -> None:
    moved = FUNCTIONS[name](**MOVES[name])(X)
    assert torch.equal(moved.flatten(1).sort(1).values, X.flatten(1).sort(1).values)


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
