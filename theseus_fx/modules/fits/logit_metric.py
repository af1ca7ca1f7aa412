"""The metric in which an error at a tap counts as much as it moves the guide's logits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

SHARE = 0.95
"""How much of the metric is the logits'; the rest is Euclidean, so that no direction is free."""

CHUNK = 4096
"""Rows that are multiplied in the precision of the gradients (at least float32) before float64 sums go on."""


def logit_metric(g: Tensor | Iterable[Tensor]) -> Tensor:
    """The factor L with L Lᵀ = 0.95 G / mean(diag G) + 0.05 I, where G = gᵀ g; `fit_low_rank` takes it.

    Any rows do whose second moment is that of the gradients of all centred logits (logit k less the mean of
    the logits), for instance K - 1 orthonormal contrasts of K logits, or random combinations of them all.

    Args:
        g: (N K, d_out), floating point: gradients with respect to the guide's output at the tap, one a row;
            their scale does not matter. In one matrix, or in pieces.

    Returns:
        (d_out, d_out), lower triangular, float64. Where the logits do not depend on the tap (all of `g` is
        zero), no direction matters more than another: a multiple of the identity.

    Raises:
        ValueError: `g` is not a matrix of finite floating point values.
    """
    square: Tensor | None = None
    for piece in (g,) if isinstance(g, Tensor) else g:
        if piece.dim() != 2 or not piece.is_floating_point():
            raise ValueError(
                f"gradients are a floating point matrix, not {tuple(piece.shape)} of {piece.dtype}"
            )
        if not bool(piece.isfinite().all()):
            raise ValueError("the gradients of the logits are not all finite")
        if square is None:
            square = piece.new_zeros((piece.shape[1], piece.shape[1]), dtype=torch.float64)
        for some in piece.split(CHUNK):
            part = some if piece.dtype == torch.float64 else some.float()
            square += part.mT @ part
    if square is None:
        raise ValueError("a metric needs gradients")
    mean = square.diagonal().mean()
    scaled = square * (SHARE / torch.where(mean == 0, 1.0, mean))
    scaled.diagonal().add_(1 - SHARE)
    return torch.linalg.cholesky(scaled)
