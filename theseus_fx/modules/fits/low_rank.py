"""Two linear maps fitted to a part by reduced-rank ridge regression.

With centred inputs X (N x d_in) and outputs Y (N x d_out), minimise over maps B of rank r
||(Y - X B) L||² + λ ||B L||². With the ridge solution B* = (XᵀX + λI)⁻¹ XᵀY, this is the best rank-r
approximation of B* in the norm of C_uᵀ (.) L, C_u C_uᵀ = XᵀX + λI (Eckart and Young 1936; Izenman 1975).
In the spectrum of X = P S Vᵀ that is the singular value decomposition of diag(f) Pᵀ Y L = Z Σ Uᵀ with
f = s / sqrt(s² + λ). Then W_inᵀ = V diag(1 / sqrt(s² + λ)) Z Σ, and W_out = L⁻ᵀ U = Yᵀ P diag(f) Z / Σ, in
which the metric has cancelled: it decides the spectrum alone. So no factor of size d_in x d_out is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theseus_fx.modules.fits.columns import (
    Columns,
    Held,
    RowMetric,
    dual_inputs,
    dual_spectrum,
    transposed_times,
)
from theseus_fx.modules.fits.moments import Moments, decomposed, moments_of
from theseus_fx.modules.fits.spectrum import Spectrum, cross_validated, reduced

ROWS = 8192
"""Rows that are converted to float64 at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRankFit:
    """y ≈ w_out (w_in x) + bias."""

    w_in: Tensor
    """(r, d_in); row i has the norm of column i of `w_out`."""
    w_out: Tensor
    """(d_out, r)."""
    bias: Tensor
    """(d_out,)."""
    spectrum: Tensor
    """All singular values, descending, float64: their squares are what each further rank explains."""
    ridge_used: float
    """Relative: λ is this times the mean squared norm of the centred inputs."""
    residual: float
    """The share of ||Y L||² that the maps leave on these samples: 0 is exact, 1 is the mean alone."""


def fit_low_rank(
    x: Tensor, y: Tensor, *, rank: int, metric: Tensor | None = None, ridge: float | None = None
) -> LowRankFit:
    """The best map of a given rank from samples of x to samples of y, in the metric of what matters.

    Works in float64 and through the smaller of the N x N and the d_in x d_in Gram. Equal inputs give equal
    results on one machine; signs of the factors are fixed.

    Args:
        x: (N, d_in), floating point: inputs of the part in the network that it will live in.
        y: (N, d_out), floating point: the guide's outputs for the same samples.
        rank: the width r between the two maps. Beyond what d_in, d_out and the data span, the remaining
            rows of `w_in` and columns of `w_out` are zero.
        metric: L, (d_out, d_out), lower triangular: an error e counts as ||Lᵀ e||² (`logit_metric`);
            None: as ||e||².
        ridge: λ relative to the mean squared norm of the centred inputs; None: the one of `RIDGES` with the
            least generalised cross-validation error at full rank.

    Returns:
        The two maps, balanced, on the device of `x` and in its dtype.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, a negative ridge, a rank below 1, or
            one beyond what N samples determine (N - 1) although d_in and d_out allow it.
    """
    _check(x, y, metric)
    if x.shape[1] < x.shape[0]:
        rows = zip(x.split(ROWS), y.split(ROWS), strict=True)
        moments = moments_of(rows, products=metric is not None)
        fit = low_rank_of_moments(moments, rank=rank, metric=metric, ridge=ridge)
    else:
        weight = None if metric is None else RowMetric(g=Held(metric.mT), share=None)
        fit = low_rank_of_columns(Held(x), Held(y), rank=rank, metric=weight, ridge=ridge)
    return LowRankFit(
        w_in=fit.w_in.to(x.dtype),
        w_out=fit.w_out.to(x.dtype),
        bias=fit.bias.to(x.dtype),
        spectrum=fit.spectrum,
        ridge_used=fit.ridge_used,
        residual=fit.residual,
    )


def low_rank_of_moments(
    moments: Moments, *, rank: int, metric: Tensor | None = None, ridge: float | None = None
) -> LowRankFit:
    """The same from sums over rows, for any number of rows of few inputs; float64.

    `moments` has all of YᵀY where there is a metric. Raises as `fit_low_rank`.
    """
    d_in, d_out = moments.xy.shape
    check_rank(rank, moments.count, d_in, d_out, ridge)
    found = decomposed(moments, metric)
    spectrum = found.spectrum
    ridge = cross_validated(spectrum) if ridge is None else ridge
    maps = reduced(spectrum, ridge)
    r = min(rank, maps.sigma.numel())
    w_in = (found.v @ (spectrum.square.sqrt()[:, None] * maps.into(spectrum.square, r))).mT  # (r, d_in)
    w_out = found.projected.mT @ maps.out_of(r)  # (d_out, r)
    w_in, w_out = _balanced(w_in, w_out, rank)
    return LowRankFit(
        w_in=w_in,
        w_out=w_out,
        bias=moments.mean_y - w_out @ (w_in @ moments.mean_x),
        spectrum=maps.sigma,
        ridge_used=ridge,
        residual=spectrum.residual(maps.explained(r)),
    )


def low_rank_of_columns(
    x: Columns, y: Columns, *, rank: int, metric: RowMetric | None = None, ridge: float | None = None
) -> LowRankFit:
    """The same from sums over columns, for any number of inputs and outputs of few rows; float64.

    Each of `x`, `y` and the metric is gone through once for its Gram; `x` and `y` once more for the maps.
    Only N x N matrices, one slab and the maps themselves are held. Raises as `fit_low_rank`.
    """
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"a fit needs as many inputs as outputs, not {x.shape[0]} and {y.shape[0]}")
    check_rank(rank, x.shape[0], x.shape[1], y.shape[1], ridge)
    inputs = dual_inputs(x)
    spectrum = dual_spectrum(inputs, y, metric)
    ridge = cross_validated(spectrum) if ridge is None else ridge
    maps = reduced(spectrum, ridge)
    r = min(rank, maps.sigma.numel())
    transposed, mean_x = transposed_times(x, inputs.left @ maps.into(spectrum.square, r))
    w_out, mean_y = transposed_times(y, inputs.left @ maps.out_of(r))
    w_in, w_out = _balanced(transposed.mT, w_out, rank)
    return LowRankFit(
        w_in=w_in,
        w_out=w_out,
        bias=mean_y - w_out @ (w_in @ mean_x),
        spectrum=maps.sigma,
        ridge_used=ridge,
        residual=spectrum.residual(maps.explained(r)),
    )


def singular_values(spectrum: Spectrum, ridge: float | None = None) -> Tensor:
    """All singular values of a fit, descending: their squares are what each further rank explains."""
    return reduced(spectrum, cross_validated(spectrum) if ridge is None else ridge).sigma


def check_rank(rank: int, rows: int, d_in: int, d_out: int, ridge: float | None) -> None:
    """Raises `ValueError` where so many rows do not determine a map of the rank, or the ridge is none."""
    if rows < 2:
        raise ValueError(f"a fit needs at least two samples, not {rows}")
    if rank < 1:
        raise ValueError(f"a rank is at least 1, not {rank}")
    if min(rank, d_in, d_out) > rows - 1:
        raise ValueError(f"{rows} samples determine at most rank {rows - 1}, not {rank}; use more samples")
    if ridge is not None and not 0 <= ridge < float("inf"):
        raise ValueError(f"a ridge is zero or positive, not {ridge}")


def _balanced(w_in: Tensor, w_out: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Equal norms of what goes into and out of each of the `rank` channels, in place; missing ones are zero.

    The entry of largest magnitude of each column of `w_out` becomes positive.
    """
    largest = w_out.gather(0, w_out.abs().argmax(0, keepdim=True))[0]
    norm_in = torch.linalg.vector_norm(w_in, dim=1)
    norm_out = torch.linalg.vector_norm(w_out, dim=0)
    scale = torch.where(largest < 0, -1.0, 1.0) * (norm_out / norm_in).sqrt()
    w_in.mul_(scale[:, None])
    w_out.div_(scale)
    missing = rank - scale.numel()
    if missing == 0:
        return w_in, w_out
    return torch.nn.functional.pad(w_in, (0, 0, 0, missing)), torch.nn.functional.pad(w_out, (0, missing))


def _check(x: Tensor, y: Tensor, metric: Tensor | None) -> None:
    if x.dim() != 2 or y.dim() != 2 or x.shape[0] != y.shape[0]:
        raise ValueError(f"a fit needs as many inputs as outputs, one a row; got {_of(x)} and {_of(y)}")
    if not (x.is_floating_point() and y.is_floating_point()):
        raise ValueError(f"a fit needs floating point values, not {x.dtype} and {y.dtype}")
    d_out = y.shape[1]
    if metric is not None and metric.shape != (d_out, d_out):
        raise ValueError(f"the metric of {d_out} outputs is {d_out} x {d_out}, not {_of(metric)}")
    if metric is not None and not bool(metric.isfinite().all()):
        raise ValueError("the metric of the fit is not all finite")


def _of(x: Tensor) -> str:
    return " x ".join(str(size) for size in x.shape) or "a scalar"
