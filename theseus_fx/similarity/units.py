"""From Grams of activations to Grams of unit rows, and back along the gradient.

Every similarity here is a function of the Gram U of unit rows alone (Network of Theseus, appendix C.1: rows
are normalised first). With s_i = K_ii^-1/2 it is U = diag(s) K diag(s), so no pass over the activations is
needed for it; and a gradient G with respect to U gives the gradient W A with respect to the activations, with
W = diag(s) (S - diag(rowsum(S ∘ U))) diag(s), S = G + Gᵀ.
"""

from __future__ import annotations

import torch
from torch import Tensor

RESOLUTION = {torch.float64: 1e-12, torch.float32: 4e-6}
"""A centred Gram of unit rows, multiplied in this dtype, is rounding if its root mean square is no larger."""


def resolution(dtype: torch.dtype) -> float:
    """That of a Gram of activations of this dtype; half precision is multiplied as float32 is."""
    return RESOLUTION[torch.float64 if dtype == torch.float64 else torch.float32]


def unit_gram(k: Tensor) -> tuple[Tensor, Tensor]:
    """The Gram of unit rows and their scale.

    Args:
        k: (..., b, b), float64, a Gram of rows.

    Returns:
        U (..., b, b) and s (..., b), 1 over the norm of each row; a row of zeros stays zero: its s is 0.
    """
    square = k.diagonal(dim1=-2, dim2=-1)
    scale = square.rsqrt().masked_fill(square == 0, 0.0)
    return scale[..., :, None] * k * scale[..., None, :], scale


def row_weights(g: Tensor, unit: Tensor, scale: Tensor) -> Tensor:
    """W, with which the gradient of the activations A is W A.

    Args:
        g: (..., b, b), the gradient of a value with respect to every entry of U.
        unit: U, (..., b, b).
        scale: s, (..., b).
    """
    s = g + g.mT
    tangent = s - torch.diag_embed((s * unit).sum(-1))
    return scale[..., :, None] * tangent * scale[..., None, :]
