"""What flows through a graph: declared inputs, and the shape and dtype of every value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

Dim = int | str
"""A size. A str is symbolic: `"batch"`, or an expression over it such as `"2*batch"`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of a model."""

    name: str
    """Passed by keyword where `forward` has a parameter of this name, else by position."""
    dtype: torch.dtype
    shape: tuple[int | Literal["batch"], ...]
    """All `"batch"` dimensions of all inputs are one and the same size."""

    def sizes(self, batch: int) -> tuple[int, ...]:
        """The shape at a batch size."""
        return tuple(batch if size == "batch" else size for size in self.shape)

    def __str__(self) -> str:
        shape = ", ".join(str(size) for size in self.shape)
        return f"{self.name}: {str(self.dtype).removeprefix('torch.')}[{shape}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueInfo:
    """Shape and dtype of one tensor of a graph."""

    shape: tuple[Dim, ...]
    dtype: torch.dtype

    @property
    def features(self) -> int:
        """The product of all dimensions but the first.

        Raises:
            ValueError: one of them depends on the batch.
        """
        sizes = [size for size in self.shape[1:] if isinstance(size, int)]
        if len(sizes) != len(self.shape[1:]):
            raise ValueError(f"the features of a value of shape {self.shape} depend on the batch")
        return math.prod(sizes)

    def sizes(self, batch: int) -> tuple[int, ...]:
        """The shape at a batch size."""
        return tuple(size if isinstance(size, int) else _evaluate(size, batch) for size in self.shape)


def _evaluate(size: str, batch: int) -> int:
    if size == "batch":
        return batch
    import sympy  # only for compound sizes: the import takes a third of a second

    symbol = sympy.Symbol("batch", integer=True, positive=True)
    return int(sympy.sympify(size, locals={"batch": symbol}).subs(symbol, batch))  # pyright: ignore
