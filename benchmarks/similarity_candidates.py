"""The losses that the benchmark of the similarity compares, each of the same form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from similarity_peers import PEERS, Installed, load
from torch import Tensor
from torch.nn.functional import normalize

from theseus_fx.similarity import GuideGram, cka_loss, ucka_loss

OURS = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A loss 1 - CKA with a gradient to its first argument."""

    name: str
    loss: Callable[[Tensor, Any], Tensor]
    """Of the target's rows (n, d) and of what `prepare` made of the guide's."""
    prepare: Callable[[Tensor], Any] = lambda b: b
    """Done once, before the clock starts."""
    grams: int = 2
    """How many Grams of activations are made within the loss."""
    compiled: bool = False


def literal(a: Tensor, b: Tensor) -> Tensor:
    """1 - CKA as the paper writes it (eq. 3 to 7): unit rows, two Grams, two centrings, three HSICs."""
    return 1 - biased_cka(normalize(a), normalize(b))


def biased_cka(a: Tensor, b: Tensor) -> Tensor:
    """The CKA of two batches (n, d) by its formula (Kornblith et al. 2019, eq. 3)."""
    h = torch.eye(len(a), device=a.device, dtype=a.dtype) - 1 / len(a)
    k, m = h @ (a @ a.T) @ h, h @ (b @ b.T) @ h
    return (k * m).sum() / ((k * k).sum() * (m * m).sum()).sqrt()


def unbiased_cka(a: Tensor, b: Tensor) -> Tensor:
    """The same of the unbiased HSIC (Song et al. 2007, eq. 5; Nguyen et al. 2021, eq. 3)."""
    n, k, m = len(a), a @ a.T, b @ b.T
    k, m = k - k.diag().diag(), m - m.diag().diag()

    def hsic(k: Tensor, m: Tensor) -> Tensor:
        product = k @ m
        sums = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * product.sum()
        return (product.trace() + sums) / (n * (n - 3))

    return hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()


def candidates(device: str, *, compiled: bool, peers: bool) -> list[Candidate]:
    """All that can be timed here, ours first."""
    found = [
        Candidate(name=OURS, loss=cka_loss),
        Candidate(name="ours, guide prepared", loss=cka_loss, prepare=GuideGram.of, grams=1),
        Candidate(name="ours, unbiased", loss=ucka_loss),
        Candidate(name="literal formula", loss=literal),
    ]
    if compiled:
        found.append(_compiled("literal formula, torch.compile", literal))
        if device == "cuda":
            found.append(_compiled("ours, torch.compile", cka_loss))
    if peers:
        found.extend(trained_peers())
    return found


def trained_peers() -> Iterator[Candidate]:
    """The installed peers whose CKA has a gradient: as the same loss, of normalised rows, and alone."""
    for peer in PEERS:
        found = load(peer)
        if isinstance(found, Installed) and has_gradient(found):
            name = f"{peer.name}, unbiased" if peer.unbiased else peer.name
            yield Candidate(name=name, loss=_normalised(_loss_of(found)))
            yield Candidate(name=f"{name}, alone", loss=_loss_of(found))


def has_gradient(peer: Installed) -> bool:
    """Whether its value hangs on its first argument, by trying."""
    a, b = torch.rand(2, 8, 16)
    value = peer.cka(a.requires_grad_(), b)
    return isinstance(value, Tensor) and value.requires_grad


def _loss_of(peer: Installed) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: 1 - peer.cka(a, b)


def _normalised(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda a, b: loss(normalize(a), normalize(b))


def _compiled(name: str, loss: Callable[[Tensor, Tensor], Tensor]) -> Candidate:
    return Candidate(name=name, loss=torch.compile(loss, dynamic=False), compiled=True)
