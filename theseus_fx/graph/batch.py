"""The symbolic batch size of one trace: sizes as text, sizes as graph nodes, and whether it was pinned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sympy
import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.fx.proxy import GraphAppendingTracer, Proxy
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from theseus_fx.graph.values import Dim, InputSpec

HINT = 3
"""The batch size that a trace stands on; a condition on it must hold for the others too."""

PROBES = (
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    15,
    16,
    25,
    32,
    49,
    64,
    100,
    121,
    128,
    250,
    256,
    512,
    1000,
    1024,
    4095,
    4096,
)
"""Batch sizes at which a condition that the run relied on must hold; one alone would not be a rule."""

_BATCH = sympy.Symbol("batch", integer=True, positive=True)


class Batch:
    """The batch size of a trace, a symbol of its shape environment.

    Batch sizes of at least two are meant: torch decides `batch == 1` at once, without leaving a condition.
    """

    def __init__(self) -> None:
        self.env = ShapeEnv()
        self.mode = FakeTensorMode(shape_env=self.env, allow_non_fake_inputs=True)
        dynamic: Any = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC])
        witness = self.mode.from_tensor(torch.empty(HINT, device="meta"), symbolic_context=dynamic)
        self.size: Any = witness.shape[0]
        self.symbol: sympy.Symbol = self.size.node.expr
        self._seen = 0
        self._texts: dict[sympy.Expr, Dim] = {}

    def input(self, spec: InputSpec) -> torch.Tensor:
        """A fake tensor for a declared input, on the CPU."""
        shape = [self.size if size == "batch" else size for size in spec.shape]
        with self.mode:
            return torch.empty(shape, dtype=spec.dtype, device="cpu")

    def dims(self, sizes: Iterable[Any]) -> tuple[Dim, ...] | None:
        """The sizes of a fake tensor; None where one depends on the values of a tensor."""
        dims = tuple(self._dim(size) for size in sizes)
        return tuple(dim for dim in dims if dim is not None) if None not in dims else None

    @property
    def pinned(self) -> bool:
        """Whether something turned the symbol into a number; nothing after that is worth recording."""
        return self.size.node.expr != self.symbol

    def narrowed(self) -> str | None:
        """The first condition, since the last call, that does not hold for every batch size, as text."""
        fresh = self.env.guards[self._seen :]
        self._seen += len(fresh)
        for guard in fresh:
            if not all(guard.expr.xreplace({self.symbol: sympy.Integer(n)}) == sympy.true for n in PROBES):
                return str(guard.expr.xreplace({self.symbol: _BATCH}))
        return None

    def overlook(self) -> None:
        """Passes over conditions that torch itself put; it will decide them again in every run."""
        self._seen = len(self.env.guards)

    def size_node(self, size: Any, batch: fx.Node) -> Any:
        """The graph's own computation of a symbolic number; a plain number where it is constant.

        Args:
            size: a `SymInt`, `SymFloat` or `SymBool` of the run.
            batch: the node of the batch size.

        Raises:
            TypeError: the number depends on values, or on the batch in a way that has no graph form.
        """
        expression: sympy.Expr = size.node.expr
        if not expression.free_symbols <= {self.symbol}:
            raise TypeError("it depends on the values of a tensor")
        if expression == self.symbol:
            return batch
        proxy = Proxy(batch, GraphAppendingTracer(batch.graph))
        result: Any = sympy_interp(PythonReferenceAnalysis, {self.symbol: proxy}, expression)  # pyright: ignore
        return result.node if isinstance(result, Proxy) else result

    def _dim(self, size: Any) -> Dim | None:
        if isinstance(size, int):
            return size
        expression = size.node.expr
        if expression not in self._texts:
            if expression.is_Integer:
                self._texts[expression] = int(expression)
            elif expression.free_symbols <= {self.symbol}:
                self._texts[expression] = str(expression.xreplace({self.symbol: _BATCH}))
            else:
                return None
        return self._texts[expression]
