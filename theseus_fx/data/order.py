"""Seeds and orders that are the same in every process, on every machine."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

import torch
from torch import Tensor


def stable_seed(*parts: int | str) -> int:
    """A seed below 2**63 that depends on the parts alone (the head of their SHA-256).

    Python's own `hash` differs between processes for strings.
    """
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8]) >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A new CPU generator seeded by `stable_seed(*parts)`; PyTorch's global one is left alone."""
    return torch.Generator().manual_seed(stable_seed(*parts))


@lru_cache(maxsize=2)
def epoch_order(n: int, seed: int, epoch: int) -> Tensor:
    """The order in which epoch `epoch` (from 0) visits n samples: a permutation, (n,) int64.

    The last two are kept, since every step of an epoch asks for the same one: do not write to them.
    """
    return torch.randperm(n, generator=generator("epoch", seed, epoch))


def held_out(n: int, share: float) -> tuple[Tensor, Tensor]:
    """Indices of n samples parted into kept and held out, both ascending int64; always the same ones.

    At least one sample is held out and, of two or more, at least one is kept.
    """
    order = torch.randperm(n, generator=generator("held out", n))
    count = min(max(1, round(n * share)), max(1, n - 1))
    return order[count:].sort().values, order[:count].sort().values


def balanced(labels: Tensor, count: int) -> Tensor:
    """Indices of `count` samples with as many of each class as there are, ascending int64; always the same.

    Classes with too few samples leave their places to the others, the first classes get what cannot be
    shared out, and a larger count keeps the samples of a smaller one.

    Args:
        labels: (n,) int64.
        count: how many; all of them where there are not more.
    """
    shuffled = torch.randperm(len(labels), generator=generator("balanced", len(labels)))
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    kinds, sizes = labels.unique(return_counts=True)
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    rank = torch.arange(len(labels)) - starts  # of each sample within its class
    turn = (rank * len(kinds) + torch.arange(len(kinds)).repeat_interleave(sizes)).argsort()
    return by_class[turn[:count]].sort().values
