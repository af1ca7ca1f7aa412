"""Nearest neighbours in a Gram of unit rows."""

from __future__ import annotations

import torch
from torch import Tensor


def without_self(scores: Tensor) -> Tensor:
    """The scores (..., b, b) with -inf on the diagonal: nothing is its own neighbour."""
    b = scores.shape[-1]
    eye = torch.eye(b, dtype=torch.bool, device=scores.device)
    return scores.masked_fill(eye, -torch.inf)


def nearest(scores: Tensor, k: int) -> Tensor:
    """Which k of each row are largest; of equal ones the first.

    Args:
        scores: (..., b, b), -inf on the diagonal.
        k: from 1 to b - 1.

    Returns:
        (..., b, b), bool, exactly k in each row that holds no NaN.
    """
    least = scores.topk(k, dim=-1).values[..., -1:]
    above, equal = scores > least, scores == least
    room = k - above.sum(-1, keepdim=True)
    return above | (equal & (equal.cumsum(-1) <= room))


def check_k(k: int, b: int, *, most: int) -> None:
    """Raises ValueError unless k is from 1 to `most`, what b rows allow."""
    if not 1 <= k <= most:
        raise ValueError(f"{b} rows have 1 to {most} neighbours to compare, not k = {k}")
