"""CKA and unbiased CKA as functions of two Grams of unit rows, with their gradients.

Both are the cosine of two centred Grams: HSIC is <H K H, H L H> up to a factor (Gretton et al. 2005, eq. 9),
and the unbiased HSIC (Song et al. 2007, eq. 5) is the same product of U-centred Grams (Székely and Rizzo
2014, eq. 2.3, proposition 1), up to another. With Kh and Lh scaled to norm 1 the loss is ½ ||Kh - Lh||² = 1 -
<Kh, Lh>: never negative, exactly zero at identity, and accurate near it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Cka:
    """Linear CKA (Kornblith et al. 2019, eq. 3; Network of Theseus, eqs. 3 to 7)."""

    unbiased: bool = False
    """Of the unbiased HSIC, which takes at least four rows."""

    def check_rows(self, b: int) -> None:
        """Raises ValueError where b rows are too few."""
        if self.unbiased and b < 4:
            raise ValueError(f"an unbiased CKA needs at least 4 samples, not {b}")

    def compare(self, target: Tensor, guide: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
        """The losses, 1 - similarity, and their gradients.

        Args:
            target: (..., b, b), float64, Grams of unit rows.
            guide: likewise.
            constant: (2, ..., 1, 1): root mean squares of a centred target's and guide's Gram that are
                rounding.

        Returns:
            Losses (...) and their gradients with respect to `target` (..., b, b). Where either side is
            constant the loss is 1 and the gradient 0.
        """
        k, k_norm = self._unit(target, constant[0])
        lh, l_norm = self._unit(guide, constant[1])
        difference = k - lh
        constant_side = (k_norm == 0) | (l_norm == 0)
        unequal = 1.0 + 0.0 * (k_norm + l_norm)[..., 0, 0]  # 1, or NaN where a side has one
        loss = torch.where(constant_side[..., 0, 0], unequal, difference.square().sum((-2, -1)) / 2)
        radial = (difference * k).sum((-2, -1), keepdim=True)
        g = self._centre(difference - radial * k) / k_norm
        return loss, g.masked_fill(constant_side, 0.0)

    def products(self, k: Tensor, m: Tensor, constant: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """HSIC(K, L), HSIC(K, K) and HSIC(L, L), up to a factor that depends on b alone; arguments as
        `compare`."""
        a, a_norm = self._unit(k, constant[0])
        b, b_norm = self._unit(m, constant[1])
        norms = a_norm[..., 0, 0], b_norm[..., 0, 0]
        return (a * b).sum((-2, -1)) * norms[0] * norms[1], norms[0].square(), norms[1].square()

    def _unit(self, gram: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
        """Centred and scaled to norm 1, and the norm before that; all zero where the Gram is constant."""
        centred = self._centre(gram)
        norm = torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True)
        norm = norm.masked_fill(norm <= constant * gram.shape[-1], 0.0)
        return (centred / norm).masked_fill(norm == 0, 0.0), norm

    def _centre(self, k: Tensor) -> Tensor:
        return u_centred(k) if self.unbiased else centred(k)


def centred(k: Tensor) -> Tensor:
    """H K H with H = I - 1/b, for symmetric K (..., b, b)."""
    means = k.mean(-1)
    return k - means[..., :, None] - means[..., None, :] + means.mean(-1)[..., None, None]


def u_centred(k: Tensor) -> Tensor:
    """The U-centred K, for symmetric K (..., b, b) with b of at least 4: rows sum to zero without the
    diagonal, which is zero. A projection onto such matrices, so it is its own adjoint."""
    b = k.shape[-1]
    off = k - torch.diag_embed(k.diagonal(dim1=-2, dim2=-1))
    sums = off.sum(-1)
    total = sums.sum(-1)[..., None, None]
    centred = off - (sums[..., :, None] + sums[..., None, :]) / (b - 2) + total / ((b - 1) * (b - 2))
    return centred - torch.diag_embed(centred.diagonal(dim1=-2, dim2=-1))
