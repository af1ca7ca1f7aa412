"""The snake_case steps of a replacement: functions as modules without parameters.

To add one, add a Python function to `OPERATIONS` (positional-only parameters are the values that flow in,
keywords are its settings) or a module class to `FUNCTIONS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Reshape(nn.Module):
    """Gives every sample another shape; the batch stays the first dimension.

    Args:
        shape: the whole shape, its first entry the word `batch`; one other entry may be -1.
    """

    def __init__(self, shape: Sequence[int | str]) -> None:
        super().__init__()
        if not shape or shape[0] != "batch":
            raise ValueError("the first dimension of a reshape is the batch")
        self.shape = tuple(d for d in shape[1:] if isinstance(d, int) and not isinstance(d, bool))
        if len(self.shape) != len(shape) - 1:
            raise ValueError(f"the sizes of a reshape after the batch are whole numbers, not {shape[1:]}")

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def extra_repr(self) -> str:
        return ", ".join(["batch", *map(str, self.shape)])


class Permute(nn.Module):
    """Reorders the dimensions: `permute([0, 2, 3, 1])`."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.dims)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.dims))


class Transpose(nn.Module):
    """Swaps two dimensions: `transpose(1, 2)`."""

    def __init__(self, dim0: int, dim1: int) -> None:
        super().__init__()
        self.dims = (dim0, dim1)

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(*self.dims)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.dims))


class Item(nn.Module):
    """Takes one entry of a tuple: `RNN(64)[0]`."""

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def forward(self, values: Sequence[Any]) -> Any:
        return values[self.index]

    def extra_repr(self) -> str:
        return str(self.index)


class Operation(nn.Module):
    """A function of `OPERATIONS` with its settings: `mean(dim=1, keepdim=True)`."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = name
        self.settings = dict(settings)

    def forward(self, *values: Tensor) -> Any:
        return OPERATIONS[self.name](*values, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.settings.items())])


def _arithmetic(operation: Callable[[Any, Any], Tensor]) -> Callable[..., Tensor]:
    def apply(*values: Tensor, left: float | None = None, right: float | None = None) -> Tensor:
        sides = [*([] if left is None else [left]), *values, *([] if right is None else [right])]
        if len(sides) != 2:
            raise TypeError(f"it takes two values, not {len(sides)}")
        return operation(*sides)

    return apply


def _elementwise(operation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def apply(x: Tensor, /) -> Tensor:
        return operation(x)

    return apply


def _concat(*values: Tensor, dim: int = 1) -> Tensor:
    return torch.cat(values, dim)


def _stack(*values: Tensor, dim: int = 1) -> Tensor:
    return torch.stack(values, dim)


def _chunk(x: Tensor, /, *, chunks: int, dim: int = -1) -> tuple[Tensor, ...]:
    return x.chunk(chunks, dim)


def _matmul(a: Tensor, b: Tensor, /) -> Tensor:
    return a @ b


def _negate(x: Tensor, /) -> Tensor:
    return -x


def _mean(x: Tensor, /, *, dim: int | tuple[int, ...], keepdim: bool = False) -> Tensor:
    return x.mean(dim, keepdim)


def _sum(x: Tensor, /, *, dim: int | tuple[int, ...], keepdim: bool = False) -> Tensor:
    return x.sum(dim, keepdim)


def _amax(x: Tensor, /, *, dim: int | tuple[int, ...], keepdim: bool = False) -> Tensor:
    return x.amax(dim, keepdim)


def _cumsum(x: Tensor, /, *, dim: int) -> Tensor:
    return x.cumsum(dim)


def _unsqueeze(x: Tensor, /, *, dim: int) -> Tensor:
    return x.unsqueeze(dim)


def _squeeze(x: Tensor, /, *, dim: int) -> Tensor:
    return x.squeeze(dim)


def _select(x: Tensor, /, *, dim: int, index: int) -> Tensor:
    return x.select(dim, index)


def _narrow(x: Tensor, /, *, dim: int, start: int, length: int) -> Tensor:
    return x.narrow(dim, start, length)


def _flip(x: Tensor, /, *, dim: int) -> Tensor:
    return x.flip(dim)


def _roll(x: Tensor, /, *, shift: int, dim: int) -> Tensor:
    return x.roll(shift, dim)


def _pad(x: Tensor, /, *, pad: tuple[int, ...], value: float = 0.0) -> Tensor:
    return functional.pad(x, pad, value=value)


def _clamp(x: Tensor, /, *, min: float | None = None, max: float | None = None) -> Tensor:  # noqa: A002
    return x.clamp(min, max)


def _normalize(x: Tensor, /, *, dim: int = -1, eps: float = 1e-12) -> Tensor:
    return functional.normalize(x, dim=dim, eps=eps)


def _interpolate(x: Tensor, /, *, size: int | tuple[int, ...], mode: str = "nearest") -> Tensor:
    return functional.interpolate(x, size=size, mode=mode)


def _patches(x: Tensor, /, *, size: int) -> Tensor:
    """Images (b, C, H, W) as patches (b, H/size * W/size, C * size * size), row by row."""
    return functional.unfold(x, size, stride=size).transpose(1, 2)


def _image(x: Tensor, /, *, size: int, height: int, width: int) -> Tensor:
    """The inverse of `patches`, for images of the given height and width in pixels."""
    return functional.fold(x.transpose(1, 2), (height, width), size, stride=size)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "abs": _elementwise(torch.abs),
    "add": _arithmetic(torch.add),
    "amax": _amax,
    "chunk": _chunk,
    "clamp": _clamp,
    "concat": _concat,
    "cumsum": _cumsum,
    "div": _arithmetic(torch.true_divide),
    "exp": _elementwise(torch.exp),
    "flip": _flip,
    "image": _image,
    "interpolate": _interpolate,
    "log": _elementwise(torch.log),
    "matmul": _matmul,
    "mean": _mean,
    "mul": _arithmetic(torch.mul),
    "narrow": _narrow,
    "neg": _negate,
    "normalize": _normalize,
    "pad": _pad,
    "patches": _patches,
    "roll": _roll,
    "select": _select,
    "sqrt": _elementwise(torch.sqrt),
    "square": _elementwise(torch.square),
    "squeeze": _squeeze,
    "stack": _stack,
    "sub": _arithmetic(torch.sub),
    "sum": _sum,
    "unsqueeze": _unsqueeze,
}
"""Functions of one or more tensors, the batch first."""

_MODULES: Mapping[str, Callable[..., nn.Module]] = {
    "elu": nn.ELU,
    "flatten": nn.Flatten,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "log_softmax": nn.LogSoftmax,
    "permute": Permute,
    "relu": nn.ReLU,
    "reshape": Reshape,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softmax": nn.Softmax,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "transpose": Transpose,
    "unflatten": nn.Unflatten,
}


def _operation(name: str) -> Callable[..., nn.Module]:
    def make(**settings: Any) -> nn.Module:
        return Operation(name, settings)

    keywords = [
        p for p in inspect.signature(OPERATIONS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    positional = [p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in keywords]
    maker = partial(make)
    maker.__signature__ = inspect.Signature(positional)  # pyright: ignore[reportAttributeAccessIssue]
    return maker


FUNCTIONS: Mapping[str, Callable[..., nn.Module]] = {
    **_MODULES,
    **{name: _operation(name) for name in OPERATIONS},
    "item": Item,
}
"""Every function of the language, as a maker of a module."""

MOVING = frozenset(
    {"flatten", "flip", "identity", "permute", "reshape", "roll", "squeeze"}
    | {"transpose", "unflatten", "unsqueeze"}
)
"""Functions that put every value of a sample somewhere and change none."""
