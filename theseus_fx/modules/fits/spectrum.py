"""A ridge regression in the singular vectors of its inputs, which is where every choice about it is made.

With centred inputs X = P S Vᵀ (N x d_in) and weighted outputs T = Y L, only S and Pᵀ T Tᵀ P matter to the
ridge and to the ranks; they come from sums over rows (`moments`) or over columns (`columns`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGES = tuple(10.0 ** (exponent / 4) for exponent in range(-24, 5))
"""What generalised cross-validation chooses from: 1e-6 to 10, four a decade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """What the inputs can reach of the outputs, direction by direction."""

    count: int
    """N, the number of rows."""
    square: Tensor
    """s², (m,), descending, float64, none negligible."""
    core: Tensor
    """Pᵀ T Tᵀ P, (m, m), float64."""
    total: Tensor
    """||T||² of the centred outputs, ()."""
    floor: Tensor
    """What of the squares of T may be rounding, ()."""
    centred: bool = True
    """Whether a mean is fitted besides, which takes one degree of freedom."""

    def kept(self, ridge: float) -> Tensor:
        """f² = s² / (s² + λ), the share of each direction that a ridge keeps; λ = ridge tr(XᵀX) / N."""
        return self.square / (self.square + ridge * self.square.sum() / self.count)

    def residual(self, explained: Tensor) -> float:
        """The share of ||T||² that is not explained: 0 is exact, 1 is the mean alone."""
        return max(0.0, float((self.total - explained) / self.total)) if self.total > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """The singular value decomposition of diag(f) Pᵀ T = Z diag(σ) Uᵀ, without U."""

    z: Tensor
    """(m, k), orthonormal columns."""
    sigma: Tensor
    """σ, (k,), descending, none negligible."""
    f: Tensor
    """(m,)."""

    def into(self, square: Tensor, rank: int) -> Tensor:
        """C with W_inᵀ = Xᵀ P C, (m, rank): diag(f / s²) Z σ."""
        return (self.f / square)[:, None] * self.z[:, :rank] * self.sigma[:rank]

    def out_of(self, rank: int) -> Tensor:
        """D with W_out = Yᵀ P D, (m, rank), whatever the metric: diag(f) Z / σ."""
        return self.f[:, None] * self.z[:, :rank] / self.sigma[:rank]

    def explained(self, rank: int) -> Tensor:
        """How much of ||T||² maps of a rank explain."""
        factors = self.z[:, :rank] * self.sigma[:rank]
        return 2 * factors.square().sum() - (self.f[:, None] * factors).square().sum()


def reduced(spectrum: Spectrum, ridge: float) -> Reduced:
    """What reduced-rank maps are made of, at a relative ridge."""
    f = spectrum.kept(ridge).sqrt()
    square, z = descending_eigen(f[:, None] * spectrum.core * f, spectrum.floor)
    return Reduced(z=z, sigma=square.sqrt(), f=f)


def cross_validated(spectrum: Spectrum) -> float:
    """The one of `RIDGES` with the least ||(I - H) T||² / (1 - tr H / N)²; the larger of equals.

    Generalised cross-validation (Golub, Heath and Wahba 1979) of the ridge at full rank.
    """
    n, mean = spectrum.count, int(spectrum.centred)
    energies = spectrum.core.diagonal()

    def error(ridge: float) -> float:
        kept = spectrum.kept(ridge)
        free = 1 - (mean + float(kept.sum())) / n
        if free <= 0:
            return float("inf")
        unexplained = spectrum.total - ((1 - (1 - kept).square()) * energies).sum()
        return float(unexplained) / free**2

    return min(reversed(RIDGES), key=error)


def descending_eigen(matrix: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, descending, and eigenvectors, without those that are zero within rounding."""
    square, vectors = torch.linalg.eigh(matrix)
    if square.numel() == 0:
        return square, vectors
    relative = torch.finfo(square.dtype).eps * square.numel() * square[-1]
    count = int((square > torch.maximum(relative, floor)).sum())
    return square.flip(0)[:count], vectors.flip(1)[:, :count]


def rounding(squared_norm: Tensor) -> Tensor:
    """The squared norm that columns which are constant may keep after centring in float64."""
    return 1e-26 * squared_norm
