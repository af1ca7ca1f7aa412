"""Losses that compare values one by one: activations of equal shape, and logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def mse_loss(a: Tensor, b: Tensor) -> Tensor:
    """The mean squared difference, with a gradient to `a` only, in float32 at least.

    Args:
        a: (n, ...), the target's, any floating dtype.
        b: the guide's, of the same shape.

    Returns:
        (), float64.

    Raises:
        ValueError: different shapes, no values, or a dtype that is not floating point.
    """
    _check(a, b)
    return functional.mse_loss(_precise(a), _precise(b.detach())).double()


def distillation_loss(a: Tensor, b: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(guide || target) of the softened distributions times T² (Hinton et al. 2015), mean over rows.

    The factor keeps the size of the gradient when T changes. The gradient goes to `a` only; computed in
    float32 at least.

    Args:
        a: (..., classes), the target's logits: (b, classes), or (b, length, vocabulary), where every token is
            a row.
        b: the guide's logits, of the same shape.
        temperature: T, positive.

    Returns:
        (), float64, nats.

    Raises:
        ValueError: different shapes, no values, a dtype that is not floating point, or T not positive.
    """
    _check(a, b)
    if not 0 < temperature < float("inf"):
        raise ValueError(f"the temperature is positive, not {temperature}")
    log_q = functional.log_softmax(_precise(a) / temperature, dim=-1).flatten(0, -2)
    log_p = functional.log_softmax(_precise(b.detach()) / temperature, dim=-1).flatten(0, -2)
    divergence = functional.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
    return (divergence * temperature**2).double()


def _precise(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"value by value, the target's {_of(a)} do not fit the guide's {_of(b)}")
    for x in (a, b):
        if not x.is_floating_point():
            raise ValueError(f"a loss compares floating point values, not {x.dtype}")
    if not a.numel():
        raise ValueError("a loss of no values")


def _of(x: Tensor) -> str:
    return " x ".join(str(size) for size in x.shape) or "scalar"
