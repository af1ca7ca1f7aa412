"""The closed-form start: two linear maps fitted to a part by reduced-rank ridge regression.

With centred inputs X (N x d_in) and outputs Y (N x d_out), minimise over maps B of rank r
||(Y - X B) L||² + λ ||B L||². With the ridge solution B* = (XᵀX + λI)⁻¹ XᵀY, this is the best rank-r
approximation of B* in the norm of C_uᵀ (.) L, C_u C_uᵀ = XᵀX + λI (Eckart and Young 1936; Izenman 1975).
In the spectrum of X = P S Vᵀ that is the singular value decomposition of diag(f) Pᵀ Y L with
f = s / sqrt(s² + λ), which needs no factor of size d_in x d_out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SLAB = 8192
"""Rows or columns that are converted to float64 at a time."""
RIDGES = tuple(10.0 ** (exponent / 4) for exponent in range(-24, 5))
"""What generalised cross-validation chooses from: 1e-6 to 10, four a decade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRankFit:
    """y ≈ w_out (w_in x) + bias."""

    w_in: Tensor
    """(r, d_in), the dtype of the inputs; row i has the norm of column i of `w_out`."""
    w_out: Tensor
    """(d_out, r), the dtype of the inputs."""
    bias: Tensor
    """(d_out,), the dtype of the inputs."""
    spectrum: Tensor
    """All singular values, descending, float64: their squares are what each further rank explains."""
    ridge_used: float
    """Relative: λ is this times the mean squared norm of the centred inputs."""
    residual: float
    """The share of ||Y L||² that the maps leave on these samples: 0 is exact, 1 is the mean alone."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """The thin singular value decomposition of the centred inputs, without V."""

    left: Tensor  # P, (N, m): orthonormal, orthogonal to the constant vector
    values: Tensor  # s, (m,): descending, none negligible

    def kept(self, ridge: float) -> Tensor:
        """f² = s² / (s² + λ), the share of each direction that a ridge keeps."""
        square = self.values.square()
        return square / (square + ridge * square.sum() / self.left.shape[0])


@dataclass(frozen=True, slots=True)
class _Targets:
    """T = Y L (or Y), and what the inputs can reach of it."""

    values: Tensor  # T, (N, d_out), not centred
    core: Tensor  # Pᵀ T, (m, d_out), or where d_out is larger Pᵀ T Tᵀ P, (m, m)
    energies: Tensor  # ||row i of Pᵀ T||², (m,)
    total: Tensor  # ||T||² after centring, ()
    floor: Tensor  # what of it may be rounding, ()


def fit_low_rank(
    x: Tensor, y: Tensor, *, rank: int, metric: Tensor | None = None, ridge: float | None = None
) -> LowRankFit:
    """The best map of a given rank from samples of x to samples of y, in the metric of what matters.

    Works in float64 and through the smaller of the N x N and the d_in x d_in Gram; a d_in x d_out matrix is
    never formed. Equal inputs give equal results on one machine; signs of the factors are fixed.

    Args:
        x: (N, d_in), floating point: inputs of the part in the network that it will live in.
        y: (N, d_out), floating point: the guide's outputs for the same samples.
        rank: the width r between the two maps. Beyond what d_in, d_out and the data span, the remaining
            rows of `w_in` and columns of `w_out` are zero.
        metric: L, (d_out, d_out), lower triangular: an error e counts as ||Lᵀ e||² (`logit_metric`);
            None: as ||e||².
        ridge: λ relative to the mean squared norm of the centred inputs; None: the one of `RIDGES` with the
            least generalised cross-validation error (Golub, Heath and Wahba 1979) at full rank.

    Returns:
        The two maps, balanced, on the device of `x`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, a negative ridge, a rank below 1, or
            one beyond what N samples determine (N - 1) although d_in and d_out allow it.
    """
    _check(x, y, rank, metric, ridge)
    inputs = _decompose(x)
    targets = _project(inputs, y if metric is None else _times(y, metric))
    if ridge is None:
        ridge = _cross_validated(inputs, targets)
    kept = inputs.kept(ridge)
    factors, directions, spectrum = _reduce(inputs, targets, kept.sqrt())

    r = min(rank, spectrum.numel())
    factors, directions = factors[:, :r], directions[:, :r]
    # W_inᵀ = V diag(1 / sqrt(s² + λ)) factors, with Vᵀ = diag(1 / s) Pᵀ X.
    through = inputs.left @ (kept.sqrt() / inputs.values.square())[:, None].mul(factors)  # (N, r)
    w_in = _transposed_times(x, through).mT  # (r, d_in)
    w_out = directions  # (d_out, r)
    if metric is not None:
        w_out = torch.linalg.solve_triangular(metric.double().mT, directions, upper=True)
    w_in, w_out = _balanced(w_in, w_out, rank)
    bias = y.mean(0, dtype=torch.float64) - w_out @ (w_in @ x.mean(0, dtype=torch.float64))

    left_over = targets.total - 2 * factors.square().sum() + (kept[:, None] * factors.square()).sum()
    return LowRankFit(
        w_in=w_in.to(x.dtype),
        w_out=w_out.to(x.dtype),
        bias=bias.to(x.dtype),
        spectrum=spectrum,
        ridge_used=ridge,
        residual=max(0.0, float(left_over / targets.total)) if targets.total > 0 else 0.0,
    )


def _decompose(x: Tensor) -> _Inputs:
    """Primal or dual, by which Gram is smaller; squared singular values below rounding are dropped."""
    n, d = x.shape
    floor = _rounding(x)
    if d >= n:
        square, left = _eigen(_gram(x), floor)
        return _Inputs(left, square.sqrt())
    mean = x.mean(0, dtype=torch.float64)
    square, v = _eigen(_covariance(x, mean), floor)
    values = square.sqrt()
    return _Inputs((_times(x, v) - mean @ v) / values, values)


def _project(inputs: _Inputs, t: Tensor) -> _Targets:
    left, floor = inputs.left, _rounding(t)
    if t.shape[1] <= left.shape[1]:
        centred = t.double() - t.mean(0, dtype=torch.float64)
        core, total = left.mT @ centred, centred.square().sum()
        return _Targets(t, core, core.square().sum(1), torch.where(total > floor, total, 0.0), floor)
    gram = _gram(t)
    core, total = left.mT @ gram @ left, gram.trace()
    return _Targets(t, core, core.diagonal(), torch.where(total > floor, total, 0.0), floor)


def _reduce(inputs: _Inputs, targets: _Targets, f: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The singular value decomposition of diag(f) Pᵀ T = Z diag(σ) Uᵀ: Z diag(σ), U and σ, descending."""
    t, core = targets.values, targets.core
    if t.shape[1] <= f.numel():
        weighted = f[:, None] * core
        square, u = _eigen(weighted.mT @ weighted, targets.floor)
        factors, sigma = weighted @ u, square.sqrt()
    else:
        square, z = _eigen(f[:, None] * core * f, targets.floor)
        sigma = square.sqrt()
        factors, u = z * sigma, _transposed_times(t, inputs.left @ (f[:, None] * z / sigma))
    signs = _signs(u)
    return factors * signs, u * signs, sigma


def _cross_validated(inputs: _Inputs, targets: _Targets) -> float:
    """The ridge with the least ||(I - H) T||² / (1 - tr H / N)²; the larger of equals."""
    n = inputs.left.shape[0]

    def error(ridge: float) -> float:
        kept = inputs.kept(ridge)
        free = 1 - (1 + float(kept.sum())) / n  # the mean takes one degree of freedom
        if free <= 0:
            return float("inf")
        unexplained = targets.total - ((1 - (1 - kept).square()) * targets.energies).sum()
        return float(unexplained) / free**2

    return min(reversed(RIDGES), key=error)


def _balanced(w_in: Tensor, w_out: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Equal norms of what goes into and out of each of the `rank` channels; missing channels are zero."""
    norm_in = torch.linalg.vector_norm(w_in, dim=1)
    norm_out = torch.linalg.vector_norm(w_out, dim=0)
    scale = (norm_out / norm_in).sqrt()
    missing = rank - scale.numel()
    w_in = torch.nn.functional.pad(w_in * scale[:, None], (0, 0, 0, missing))
    return w_in, torch.nn.functional.pad(w_out / scale, (0, missing))


def _eigen(matrix: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, descending, and eigenvectors, without those that are zero within rounding."""
    square, vectors = torch.linalg.eigh(matrix)
    if square.numel() == 0:
        return square, vectors
    relative = torch.finfo(square.dtype).eps * square.numel() * square[-1]
    count = int((square > torch.maximum(relative, floor)).sum())
    return square.flip(0)[:count], vectors.flip(1)[:, :count]


def _rounding(x: Tensor) -> Tensor:
    """The squared norm that columns which are constant may keep after centring in float64."""
    largest = torch.linalg.vector_norm(x, dtype=torch.float64)
    return (1e-13 * largest).square()


def _signs(u: Tensor) -> Tensor:
    """For each column 1 or -1, so that its entry of largest magnitude becomes positive."""
    largest = u.gather(0, u.abs().argmax(0, keepdim=True))
    return torch.where(largest < 0, -1.0, 1.0).to(u.dtype)[0]


def _gram(x: Tensor) -> Tensor:
    """The Gram of the rows less their mean row, (N, N), in float64."""
    total = x.new_zeros((x.shape[0], x.shape[0]), dtype=torch.float64)
    for slab in x.split(SLAB, dim=1):
        part = slab.double()
        part = part - part.mean(0)
        total.addmm_(part, part.mT)
    return total


def _covariance(x: Tensor, mean: Tensor) -> Tensor:
    """XᵀX of the rows less their mean row, (d, d), in float64."""
    total = x.new_zeros((x.shape[1], x.shape[1]), dtype=torch.float64)
    for some in x.split(SLAB):
        part = some.double() - mean
        total.addmm_(part.mT, part)
    return total


def _times(x: Tensor, w: Tensor) -> Tensor:
    """X W in float64."""
    total = x.new_zeros((x.shape[0], w.shape[1]), dtype=torch.float64)
    for slab, rows in zip(x.split(SLAB, dim=1), w.split(SLAB), strict=True):
        total.addmm_(slab.double(), rows.double())
    return total


def _transposed_times(x: Tensor, w: Tensor) -> Tensor:
    """XᵀW of the rows of X less their mean row, in float64."""
    slabs = (slab.double() for slab in x.split(SLAB, dim=1))
    return torch.cat([(slab - slab.mean(0)).mT @ w for slab in slabs])


def _check(x: Tensor, y: Tensor, rank: int, metric: Tensor | None, ridge: float | None) -> None:
    if x.dim() != 2 or y.dim() != 2 or x.shape[0] != y.shape[0]:
        raise ValueError(f"a fit needs as many inputs as outputs, one a row; got {_of(x)} and {_of(y)}")
    if not (x.is_floating_point() and y.is_floating_point()):
        raise ValueError(f"a fit needs floating point values, not {x.dtype} and {y.dtype}")
    n, d_out = y.shape
    if n < 2:
        raise ValueError(f"a fit needs at least two samples, not {n}")
    if rank < 1:
        raise ValueError(f"a rank is at least 1, not {rank}")
    if min(rank, x.shape[1], d_out) > n - 1:
        raise ValueError(f"{n} samples determine at most rank {n - 1}, not {rank}; use more samples")
    if metric is not None and metric.shape != (d_out, d_out):
        raise ValueError(f"the metric of {d_out} outputs is {d_out} x {d_out}, not {_of(metric)}")
    if ridge is not None and not 0 <= ridge < float("inf"):
        raise ValueError(f"a ridge is zero or positive, not {ridge}")
    for name, value in (("inputs", x), ("outputs", y), ("metric", metric)):
        if value is not None and not bool(value.isfinite().all()):
            raise ValueError(f"the {name} of the fit are not all finite")


def _of(x: Tensor) -> str:
    return " x ".join(str(size) for size in x.shape) or "a scalar"
