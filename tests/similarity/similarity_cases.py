"""What the tests of similarities share: activations, the losses on Grams, and a loss with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from theseus_fx.similarity import GuideGram, cka_loss, dmnn_loss, ucka_loss

HALF = (torch.bfloat16, torch.float16)
LossOf = Callable[[Tensor, "Tensor | GuideGram"], Tensor]

LOSSES: dict[str, LossOf] = {
    "cka": cka_loss,
    "ucka": ucka_loss,
    **{
        f"dmnn {support} {kind}": partial(dmnn_loss, k=3, tau=0.3, kind=kind, support=support)
        for support in ("union", "guide", "full", "soft")
        for kind in ("dot", "dist")
    },
}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Drawn in float64, so that other dtypes hold the same values rounded."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def value_and_gradient(
    loss: LossOf, a: Tensor, b: Tensor | GuideGram, *, scale: float = 1.0
) -> tuple[float, Tensor]:
    """The loss, and the gradient of `scale` times it with respect to `a`."""
    a = a.detach().requires_grad_()
    value = loss(a, b)
    (scale * value).backward()
    assert a.grad is not None
    return float(value.detach()), a.grad
