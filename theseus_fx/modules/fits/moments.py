"""Sums over rows for a regression of few inputs: rows stream through, (d_in + d_out) x d_in numbers stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from theseus_fx.modules.fits.spectrum import Spectrum, descending_eigen, rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Second moments of inputs and outputs about their means, float64."""

    count: int
    """Rows seen, N."""
    mean_x: Tensor
    """(d_in,); zero where nothing was centred."""
    mean_y: Tensor
    """(d_out,)."""
    xx: Tensor
    """XᵀX, (d_in, d_in)."""
    xy: Tensor
    """XᵀY, (d_in, d_out)."""
    yy: Tensor
    """YᵀY, (d_out, d_out), or where it was not asked for its diagonal, (d_out,)."""
    norm_x: Tensor
    """||X||² before centring, ()."""
    norm_y: Tensor
    centred: bool


def moments_of(
    rows: Iterable[tuple[Tensor, Tensor]], *, centred: bool = True, products: bool = False
) -> Moments:
    """The moments of rows that come in pieces.

    Args:
        rows: inputs (n, d_in) and outputs (n, d_out), floating point; the sums do not depend on the pieces,
            but for rounding.
        centred: about the means; otherwise about zero.
        products: whether all of YᵀY is wanted, and not only its diagonal.

    Raises:
        ValueError: there are no rows, pieces that do not fit each other, or values that are not finite.
    """
    count = 0
    xx = xy = yy = norm_x = norm_y = sum_x = sum_y = shift_x = shift_y = torch.zeros(())
    for x, y in rows:
        if x.dim() != 2 or y.dim() != 2 or x.shape[0] != y.shape[0]:
            raise ValueError(f"rows are two matrices of equal height, not {_of(x)} and {_of(y)}")
        a, b = x.double(), y.double()
        if count == 0:
            # about a first mean, for sums of squares about zero would lose what is small beside the mean
            shift_x, shift_y = (t.mean(0) if centred else t.new_zeros(t.shape[1]) for t in (a, b))
        elif a.shape[1] != shift_x.numel() or b.shape[1] != shift_y.numel():
            raise ValueError(f"rows of {a.shape[1]} and {b.shape[1]} follow others of another width")
        norm_x, norm_y = norm_x + a.square().sum(), norm_y + b.square().sum()
        a, b = a - shift_x, b - shift_y
        xx, xy = xx + a.mT @ a, xy + a.mT @ b
        yy = yy + (b.mT @ b if products else b.square().sum(0))
        sum_x, sum_y = sum_x + a.sum(0), sum_y + b.sum(0)
        count += a.shape[0]
    if count == 0:
        raise ValueError("a fit needs rows")
    if centred:
        xx, xy = xx - torch.outer(sum_x, sum_x) / count, xy - torch.outer(sum_x, sum_y) / count
        yy = yy - (torch.outer(sum_y, sum_y) if products else sum_y.square()) / count
        shift_x, shift_y = shift_x + sum_x / count, shift_y + sum_y / count
    for name, value in (("inputs", xx), ("outputs", yy)):
        if not bool(value.isfinite().all()):
            raise ValueError(f"the {name} of the fit are not all finite")
    return Moments(
        count=count,
        mean_x=shift_x,
        mean_y=shift_y,
        xx=xx,
        xy=xy,
        yy=yy,
        norm_x=norm_x,
        norm_y=norm_y,
        centred=centred,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decomposed:
    """Moments in the singular vectors of the inputs."""

    spectrum: Spectrum
    v: Tensor
    """V, (d_in, m)."""
    projected: Tensor
    """PᵀY, (m, d_out)."""


def decomposed(moments: Moments, metric: Tensor | None = None) -> Decomposed:
    """The spectrum of moments, and the vectors that lead back from it.

    Args:
        moments: with all of YᵀY where there is a metric.
        metric: L, (d_out, d_out), lower triangular; None: the identity.
    """
    square, v = descending_eigen(moments.xx, rounding(moments.norm_x))
    projected = (v.mT @ moments.xy) / square.sqrt()[:, None]
    if metric is None:
        weighted, total, norm = projected, moments.yy.diagonal() if moments.yy.dim() == 2 else moments.yy, 1.0
        total = total.sum()
    else:
        lower = metric.double()
        weighted, total = projected @ lower, ((moments.yy @ lower) * lower).sum()
        norm = lower.square().sum()
    floor = rounding(moments.norm_y * norm)
    spectrum = Spectrum(
        count=moments.count,
        square=square,
        core=weighted @ weighted.mT,
        total=torch.where(total > floor, total, 0.0),
        floor=floor,
        centred=moments.centred,
    )
    return Decomposed(spectrum=spectrum, v=v, projected=projected)


def _of(x: Tensor) -> str:
    return " x ".join(map(str, x.shape)) or "a scalar"
