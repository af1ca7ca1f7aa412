"""CKA and its unbiased form by their literal formulas in float64: what the fast ones are tested against."""

from __future__ import annotations

import torch
from torch import Tensor


def unit_rows(x: Tensor) -> Tensor:
    """Every sample flattened to a row of norm 1, float64; a row of zeros stays zero."""
    flat = x.double().flatten(1)
    norm = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return flat / torch.where(norm == 0, 1.0, norm)


def hsic(k: Tensor, m: Tensor) -> Tensor:
    """The biased HSIC of two Grams (b, b): tr(K H M H) / (b - 1)² (Gretton et al. 2005, eq. 9)."""
    b = k.shape[0]
    h = torch.eye(b, dtype=k.dtype, device=k.device) - 1 / b
    return torch.trace(k @ h @ m @ h) / (b - 1) ** 2


def cka_reference(a: Tensor, b: Tensor) -> Tensor:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the row-normalised activations; NaN for constant ones."""
    u, v = unit_rows(a), unit_rows(b)
    k, m = u @ u.mT, v @ v.mT
    return hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()


def unbiased_hsic(k: Tensor, m: Tensor) -> Tensor:
    """The unbiased HSIC of two Grams (b, b), b of at least 4 (Song et al. 2007, eq. 5)."""
    b = k.shape[0]
    k, m = k - k.diag().diag(), m - m.diag().diag()
    product = k @ m
    sums = k.sum() * m.sum() / ((b - 1) * (b - 2)) - 2 / (b - 2) * product.sum()
    return (product.trace() + sums) / (b * (b - 3))


def ucka_reference(a: Tensor, b: Tensor) -> Tensor:
    """CKA of the unbiased HSIC of the row-normalised activations; NaN for constant ones."""
    u, v = unit_rows(a), unit_rows(b)
    k, m = u @ u.mT, v @ v.mT
    return unbiased_hsic(k, m) / (unbiased_hsic(k, k) * unbiased_hsic(m, m)).sqrt()
