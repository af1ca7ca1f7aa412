"""The shapes of what cannot be run with a symbolic batch: run it at fixed sizes and fit a line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import sympy
import torch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from theseus_fx.graph.batch import Batch

_SIZES = (5, 7, 11)


def run_at_fixed_sizes(run: Callable[..., Any], args: Any, kwargs: Any, batch: Batch) -> Any:
    """Runs a leaf or function at three batch sizes; the result has sizes affine in the symbolic one.

    For what fails on a symbolic batch (`nn.LSTM`), pins it (`nn.GRU`, `F.pad` by nothing), or branches on it.

    Args:
        run: what is called.
        args: positional arguments with fake tensors of a symbolic batch.
        kwargs: keyword arguments likewise.
        batch: the batch of the trace.

    Raises:
        ValueError: the sizes of the result are not affine in the batch, or its structure depends on it.
    """
    runs: list[tuple[list[Any], Any]] = []
    for size in _SIZES:
        fixed_args, fixed_kwargs = tree_map(partial(_at, size=size, batch=batch), (args, kwargs))
        runs.append(tree_flatten(run(*fixed_args, **fixed_kwargs)))
    if len({str(spec) for _, spec in runs}) != 1:
        raise ValueError("the structure of its result depends on the batch size")
    columns = zip(*(flat for flat, _ in runs), strict=True)
    return tree_unflatten([_symbolic(column, batch) for column in columns], runs[0][1])


def _at(value: Any, size: int, batch: Batch) -> Any:
    if isinstance(value, torch.SymInt):
        number: Any = value.node.expr.xreplace({batch.symbol: sympy.Integer(size)})
        return int(number)
    if isinstance(value, torch.Tensor):
        return value.new_empty([_at(n, size, batch) for n in value.shape])
    return value


def _symbolic(column: tuple[Any, ...], batch: Batch) -> Any:
    first = column[0]
    if not isinstance(first, torch.Tensor):
        if any(value != first for value in column):
            raise ValueError("a number in its result depends on the batch size")
        return first
    if len({tensor.dim() for tensor in column}) != 1:
        raise ValueError("the rank of its result depends on the batch size")
    return first.new_empty([_affine(sizes, batch) for sizes in zip(*(t.shape for t in column), strict=True)])


def _affine(sizes: tuple[int, ...], batch: Batch) -> Any:
    slope, rest = divmod(sizes[1] - sizes[0], _SIZES[1] - _SIZES[0])
    offset = sizes[0] - slope * _SIZES[0]
    if rest or sizes[2] != slope * _SIZES[2] + offset:
        raise ValueError(f"at batch sizes {_SIZES} it returns sizes {sizes}, which no affine rule gives")
    return slope * batch.size + offset if slope else offset
