"""What a row of the compared matrices is: a sample, or a token."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = (math.sqrt(5) - 1) / 2


def rows(x: Tensor) -> Tensor:
    """Every sample as one row, in memory order, so that channels_last activations are not copied.

    Grams do not depend on the order of columns.

    Args:
        x: (b, ...), floating point.

    Returns:
        (b, d), a view where the memory allows it.

    Raises:
        ValueError: x has no dimensions, fewer than two rows, or is not floating point.
    """
    if not x.is_floating_point():
        raise ValueError(f"a similarity compares floating point activations, not {x.dtype}")
    if x.dim() == 0:
        raise ValueError("a similarity compares batches; this value has no batch dimension")
    if x.shape[0] < 2:
        raise ValueError(f"a similarity needs at least two samples, not {x.shape[0]}")
    features = sorted(range(1, x.dim()), key=lambda d: x.stride(d), reverse=True)
    return x.permute(0, *features).flatten(1) if features else x.unsqueeze(1)


def token_rows(x: Tensor, at_most: int | None = None) -> Tensor:
    """Every token as one row, or an even subsample of them, which depends on the shape alone.

    Guide and target of equal samples and tokens keep the same rows. The subsample takes as many tokens of
    each sample as of any other (one more at most) and visits every position of a sequence equally often:
    row i is position i s mod t of sample floor(i b / at_most), with s coprime to t and near t times the
    golden ratio.

    Args:
        x: (b, ..., d), floating point: all between the first and the last dimension are positions, t in all.
        at_most: how many rows are kept; None keeps all b t.

    Returns:
        (min(b t, at_most), d); the gradient flows to the rows that are kept.

    Raises:
        ValueError: fewer than three dimensions, not floating point, `at_most` or b t below two.
    """
    if x.dim() < 3:
        raise ValueError(f"tokens are rows of samples x positions x features, not of {_of(x)}")
    if not x.is_floating_point():
        raise ValueError(f"a similarity compares floating point activations, not {x.dtype}")
    if at_most is not None and at_most < 2:
        raise ValueError(f"a similarity needs at least two rows, not {at_most}")
    b, tokens = x.shape[0], math.prod(x.shape[1:-1])
    if b * tokens < 2:
        raise ValueError(f"a similarity needs at least two tokens, not {b * tokens}")
    flat = x.flatten(0, -2)
    if at_most is None or at_most >= b * tokens:
        return flat
    i = torch.arange(at_most, device=x.device)
    return flat[i * b // at_most * tokens + i * _stride(tokens) % tokens]


def _stride(tokens: int) -> int:
    """The number coprime to `tokens` that is nearest to `tokens` times the golden ratio."""
    wanted = GOLDEN * tokens
    return min((s for s in range(1, tokens + 1) if math.gcd(s, tokens) == 1), key=lambda s: abs(s - wanted))


def _of(x: Tensor) -> str:
    return " x ".join(str(size) for size in x.shape) or "a scalar"
