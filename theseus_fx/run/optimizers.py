"""The optimizers that a spec can name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from torch import nn, optim

from theseus_fx.lang.spec_stages import Optimizer


def make_optimizer(
    chosen: Optimizer, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float
) -> optim.Optimizer:
    """One of torch's, fused.

    `adamw` decays the weights themselves (Loshchilov and Hutter 2019); `adam` and `sgd` add the decay to the
    gradient.
    """
    match chosen.name:
        case "adamw":
            return optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        case "adam":
            return optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        case "sgd":
            momentum = chosen.momentum or 0.0
            return optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)
        case _:
            assert_never(chosen.name)
