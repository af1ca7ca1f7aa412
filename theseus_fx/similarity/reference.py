"""CKA by its literal formula in float64: slow, plain, and what the fast form is tested against."""

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
