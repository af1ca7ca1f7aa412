"""The similarity that unrelated activations of these shapes would show."""

from __future__ import annotations

import torch
from torch import Tensor

from theseus_fx.similarity.cka import GuideGram


def chance_level(
    a: Tensor, b: Tensor | GuideGram, generator: torch.Generator, *, permutations: int = 8
) -> Tensor:
    """The mean CKA of `a` with `b` when the guide's samples are shuffled: what a CKA is to be read against.

    Biased CKA is far from 0 when features outnumber samples, whatever the features are.

    Args:
        a: (n, ...), the target's activations.
        b: (n, ...), the guide's, or their prepared Gram.
        generator: a CPU generator, which draws the orders.
        permutations: how many orders to average over; each costs O(n²).

    Returns:
        (), float64, in [0, 1].

    Raises:
        ValueError: as `theseus_fx.similarity.cka`, or `permutations` is less than 1.
    """
    if permutations < 1:
        raise ValueError(f"a chance level needs at least one permutation, not {permutations}")
    guide = b if isinstance(b, GuideGram) else GuideGram.of(b)
    target = GuideGram.of(a)
    n = target.hat.shape[0]
    if guide.hat.shape[0] != n:
        raise ValueError(f"the target has {n} samples, the guide {guide.hat.shape[0]}")
    values = [
        (target.hat * guide.permuted(torch.randperm(n, generator=generator)).hat).sum()
        for _ in range(permutations)
    ]
    return torch.stack(values).mean()
