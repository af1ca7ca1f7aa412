"""The snake_case steps of a replacement: functions as parameterless modules.

To add one, add a module class or an entry to `FUNCTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn


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


FUNCTIONS: Mapping[str, Callable[..., nn.Module]] = {
    "flatten": nn.Flatten,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "permute": Permute,
    "relu": nn.ReLU,
    "reshape": Reshape,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softmax": nn.Softmax,
    "tanh": nn.Tanh,
    "transpose": Transpose,
}

RESHAPING = frozenset({"flatten", "identity", "reshape"})
"""Steps that move no value: what comes out is what went in, in the same order."""
