"""Sums over columns for a regression of many inputs: slabs of columns stream through, N x N numbers stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from theseus_fx.modules.fits.spectrum import Spectrum, descending_eigen, rounding

SLAB = 8192
"""Columns that are converted to float64 at a time."""


class Columns(Protocol):
    """A matrix that comes in slabs of columns, as often as it is asked for."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def slabs(self) -> Iterator[Tensor]:
        """All columns in order, some at a time: (rows, some), floating point."""
        ...


@dataclass(frozen=True, slots=True)
class Held:
    """A matrix in memory as columns."""

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def slabs(self) -> Iterator[Tensor]:
        yield from self.matrix.split(SLAB, dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMetric:
    """An error e counts as a ||g e||² + b ||e||², which needs no matrix of outputs by outputs."""

    g: Columns
    """(K, d_out): rows are gradients, or what else an error is measured by."""
    share: float | None
    """a = share / mean(diag gᵀg) and b = 1 - share; None: a = 1 and b = 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DualInputs:
    """The inputs' side: their left singular vectors."""

    left: Tensor
    """P, (N, m): orthonormal, orthogonal to the constant vector."""
    square: Tensor
    """s², (m,)."""


def dual_inputs(x: Columns) -> DualInputs:
    """The left singular vectors of the centred inputs, from their N x N Gram."""
    gram, norm = _gram(x)
    _check_finite(gram, "inputs")
    square, left = descending_eigen(gram, rounding(norm))
    return DualInputs(left=left, square=square)


def dual_spectrum(inputs: DualInputs, y: Columns, metric: RowMetric | None = None) -> Spectrum:
    """What the inputs reach of the outputs, in a metric."""
    gram, norm = _weighted_gram(y, metric)
    _check_finite(gram, "outputs")
    floor, total = rounding(norm), gram.trace()
    return Spectrum(
        count=inputs.left.shape[0],
        square=inputs.square,
        core=inputs.left.mT @ gram @ inputs.left,
        total=torch.where(total > floor, total, 0.0),
        floor=floor,
    )


def transposed_times(x: Columns, w: Tensor) -> tuple[Tensor, Tensor]:
    """XᵀW of the rows of X less their mean row, (d, r), and that mean, (d,), in float64."""
    width = x.shape[1]
    product, means = w.new_empty((width, w.shape[1])), w.new_empty(width)
    begin = 0
    for part in _double(x):
        columns = slice(begin, begin + part.shape[1])
        means[columns] = part.mean(0)
        torch.mm((part - means[columns]).mT, w, out=product[columns])
        begin = columns.stop
    return product, means


def _gram(x: Columns) -> tuple[Tensor, Tensor]:
    """The Gram of the rows less their mean row, (N, N), and the squared norm before that."""
    total = norm = torch.zeros(())
    for part in _double(x):
        norm = norm + part.square().sum()
        part = part - part.mean(0)
        total = part @ part.mT if total.dim() == 0 else total.addmm_(part, part.mT)
    return total, norm


def _weighted_gram(y: Columns, metric: RowMetric | None) -> tuple[Tensor, Tensor]:
    """a (Y gᵀ)(Y gᵀ)ᵀ + b Y Yᵀ of centred Y, (N, N), and a bound on its trace before centring."""
    if metric is None:
        return _gram(y)
    if metric.g.shape[1] != y.shape[1]:
        raise ValueError(f"the metric is of {metric.g.shape[1]} outputs, not of {y.shape[1]}")
    own = moved = norm = square = torch.zeros(())
    for part, g in zip(_double(y), _double(metric.g), strict=True):
        norm, square = norm + part.square().sum(), square + g.square().sum()
        part = part - part.mean(0)
        moved = part @ g.mT if moved.dim() == 0 else moved.addmm_(part, g.mT)
        if metric.share is not None:
            own = part @ part.mT if own.dim() == 0 else own.addmm_(part, part.mT)
    if not bool(square.isfinite()):
        raise ValueError("the metric of the fit is not all finite")
    if metric.share is None:
        return moved @ moved.mT, norm * square
    # where nothing depends on the outputs, no direction matters more than another
    a = torch.where(square == 0, 0.0, metric.share * y.shape[1] / torch.where(square == 0, 1.0, square))
    b = 1 - metric.share
    return own.mul_(b).addmm_(moved, moved.mT, alpha=float(a)), norm * (a * square + b)


def _double(x: Columns) -> Iterator[Tensor]:
    for slab in x.slabs():
        for part in slab.split(SLAB, dim=1):
            yield part.double()


def _check_finite(gram: Tensor, name: str) -> None:
    if not bool(gram.isfinite().all()):
        raise ValueError(f"the {name} of the fit are not all finite")
