"""Linear CKA of row-normalised activations, and 1 - CKA as a loss with one product as its gradient.

With Kh the centred Gram of the unit rows, scaled to Frobenius norm 1, and Lh the guide's alike,
CKA = <Kh, Lh> (Kornblith et al. 2019, eq. 3; Network of Theseus, appendix C.1). The loss is computed as
½ ||Kh - Lh||²: equal to 1 - CKA, never negative, exactly zero at identity, and accurate near it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from theseus_fx.similarity.gram import gram, rows, times_rows

RESOLUTION = {torch.float64: 1e-12, torch.float32: 4e-6}
"""A centred Gram of unit rows, multiplied in this dtype, is rounding if its root mean square is no larger."""


@dataclass(frozen=True, slots=True)
class GuideGram:
    """What CKA needs of the guide's activations: prepared once, it stands in for them."""

    hat: Tensor
    """(b, b), float64: centred and of Frobenius norm 1, or all zero for constant features."""

    @classmethod
    def of(cls, b: Tensor) -> GuideGram:
        """The Gram of activations (b, ...); nothing else of them is kept.

        Raises:
            ValueError: as `cka`.
        """
        flat = rows(b.detach())
        with torch.no_grad(), torch.autocast(b.device.type, enabled=False):
            return cls(_UnitGram.of(flat).hat)

    def permuted(self, order: Tensor) -> GuideGram:
        """The Gram of the same samples in another order."""
        return GuideGram(self.hat[order][:, order])


@dataclass(frozen=True, slots=True)
class _UnitGram:
    scale: Tensor  # (b,): 1 / norm of each row, 0 for a dead row
    unit: Tensor  # (b, b): Gram of the unit rows
    hat: Tensor  # (b, b): centred, of norm 1; zero where constant
    norm: Tensor  # (): norm before that, 1 where constant

    @classmethod
    def of(cls, flat: Tensor) -> _UnitGram:
        k = gram(flat)
        square = k.diagonal()
        alive = square != 0
        scale = torch.where(alive, torch.where(alive, square, 1.0).rsqrt(), 0.0)
        unit = scale[:, None] * k * scale
        centred = _centre(unit)
        norm = torch.linalg.vector_norm(centred)
        resolution = RESOLUTION[torch.float64 if flat.dtype == torch.float64 else torch.float32]
        constant = norm <= resolution * flat.shape[0]
        norm = torch.where(constant, 1.0, norm)
        return cls(scale, unit, torch.where(constant, 0.0, centred / norm), norm)


def cka(a: Tensor, b: Tensor | GuideGram) -> Tensor:
    """The linear CKA of two batches of activations, without gradient.

    Args:
        a: (n, ...), any floating dtype; every sample is flattened and normalised. A row of zeros stays zero.
        b: (n, ...), the guide's, with other features if need be; or its prepared Gram.

    Returns:
        (), float64, in [0, 1]; 0 where either side is constant over the batch; NaN if a value is NaN.

    Raises:
        ValueError: fewer than two samples, different numbers of them, or a dtype that is not floating point.
    """
    return 1 - cka_loss(a.detach(), b)


def cka_loss(a: Tensor, b: Tensor | GuideGram) -> Tensor:
    """1 - CKA, with a gradient to `a` only.

    For the backward pass only `a` itself and one (n, n) matrix are kept. Constant features on either side
    give loss 1 and gradient 0. Autocast does not reach inside: float32, bfloat16 and float16 activations are
    multiplied in float32 and summed in float64, float64 in float64.

    Args and errors: as `cka`.

    Returns:
        (), float64, in [0, 1].
    """
    flat = rows(a)
    guide = b if isinstance(b, GuideGram) else GuideGram.of(b)
    if guide.hat.shape[0] != flat.shape[0]:
        raise ValueError(f"the target has {flat.shape[0]} samples, the guide {guide.hat.shape[0]}")
    loss: Tensor = _CkaLoss.apply(flat, guide.hat)
    return loss


class _CkaLoss(torch.autograd.Function):
    """½ ||Kh - Lh||², with dA = 2 M A."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, guide: Tensor) -> Tensor:
        with torch.autocast(flat.device.type, enabled=False):
            target = _UnitGram.of(flat)
            difference = target.hat - guide
            both_vary = (target.hat != 0).any() & (guide != 0).any()
            if ctx.needs_input_grad[0]:
                m = torch.where(both_vary, _row_weights(target, difference), 0.0)
                ctx.save_for_backward(flat, m)
            return torch.where(both_vary, difference.square().sum() / 2, 1.0)

    @staticmethod
    @once_differentiable  # torch's stub of it makes `ctx` positional
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor, None]:
        flat, m = ctx.saved_tensors
        with torch.autocast(flat.device.type, enabled=False):
            return times_rows(2 * grads[0] * m, flat), None


def _row_weights(target: _UnitGram, difference: Tensor) -> Tensor:
    """M with d loss / dA = 2 M A: the chain rule through norm, centring and row normalisation."""
    radial = (difference * target.hat).sum()
    g = _centre(difference - radial * target.hat) / target.norm
    m = g - torch.diag((g * target.unit).sum(1))
    return target.scale[:, None] * m * target.scale


def _centre(k: Tensor) -> Tensor:
    """H K H with H = I - 1/b, for symmetric K."""
    means = k.mean(0)
    return k - means[:, None] - means + means.mean()
