"""Differentiable mutual nearest neighbours as a function of two Grams of unit rows, with its gradient.

Each row's neighbours get the probabilities P in the guide and Q in the target, softmaxes of scores at a
temperature tau; the loss is the mean over rows of KL(P || Q) (Network of Theseus, appendix C.2, eqs. 13 to
16). As written there, with Q over the target's own k nearest, it is infinite whenever the two sets of
neighbours differ; `support` says over which rows Q is normalised instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from theseus_fx.similarity.neighbours import check_k, nearest, without_self

Kind = Literal["dot", "dist"]
Support = Literal["union", "guide", "full", "soft"]

GATE = 0.1
"""The temperature of the soft choice of neighbours, in units of scores over tau."""


@dataclass(frozen=True, slots=True)
class Dmnn:
    """The loss with its settings."""

    k: int = 10
    """How many neighbours a row has."""
    tau: float = 0.1
    """The temperature, in units of the cosine (`dot`) or squared distance (`dist`)."""
    kind: Kind = "dot"
    """Scores are cosines, or minus squared distances, over tau (eq. 13)."""
    support: Support = "union"
    """Over which rows Q is normalised: both sets of neighbours, the guide's, all others, or, `soft`, all
    others weighed by how near they come to being among the k nearest, in P too."""

    def __post_init__(self) -> None:
        if not 0 < self.tau < float("inf"):
            raise ValueError(f"the temperature tau is positive, not {self.tau}")

    def check_rows(self, b: int) -> None:
        """Raises ValueError where b rows have no k neighbours, or for `soft` none that is left out."""
        check_k(self.k, b, most=b - (2 if self.support == "soft" else 1))

    def compare(self, target: Tensor, guide: Tensor, constant: Tensor) -> tuple[Tensor, Tensor]:
        """The losses and their gradients; arguments and results as of `Cka.compare`, of which `constant` is
        not
        needed: rows that are all alike have neighbours as well, of equal probability or the first by
            number."""
        del constant
        mine, theirs = self._scores(target), self._scores(guide)
        if self.support == "soft":
            soft = _SoftNearest.of(mine, self.k)
            loss, dz = _divergence(_SoftNearest.of(theirs, self.k).logits, soft.logits)
            ds = soft.back(dz)
        else:
            neighbours = nearest(theirs, self.k)
            support = self._support(mine, neighbours)
            loss, ds = _divergence(
                theirs.masked_fill(~neighbours, -torch.inf), mine.masked_fill(~support, -torch.inf)
            )
        factor = 1.0 if self.kind == "dot" else 2.0  # d(-|x_i - x_j|²) / d <x_i, x_j>, norms being fixed
        return loss, factor / self.tau * ds

    def _scores(self, unit: Tensor) -> Tensor:
        """(..., b, b), eq. 13; -inf on the diagonal."""
        match self.kind:
            case "dot":
                scores = unit
            case "dist":
                square = unit.diagonal(dim1=-2, dim2=-1)
                scores = 2 * unit - square[..., :, None] - square[..., None, :]
            case _:
                assert_never(self.kind)
        return without_self(scores / self.tau)

    def _support(self, mine: Tensor, neighbours: Tensor) -> Tensor:
        match self.support:
            case "union":
                return neighbours | nearest(mine, self.k)
            case "guide":
                return neighbours
            case "full" | "soft":
                return mine != -torch.inf
            case _:
                assert_never(self.support)


@dataclass(frozen=True, slots=True)
class _SoftNearest:
    """Scores plus the logarithm of a gate that opens at the threshold midway between the k-th and the
    next."""

    logits: Tensor  # (..., b, b)
    closed: Tensor  # 1 - gate, (..., b, b)
    edge: Tensor  # (..., b, b): ½ at the two scores that make the threshold

    @classmethod
    def of(cls, scores: Tensor, k: int) -> _SoftNearest:
        values, places = scores.topk(k + 1, dim=-1)
        threshold = (values[..., -2:-1] + values[..., -1:]) / 2
        edge = torch.zeros_like(scores).scatter(-1, places[..., -2:], 0.5)
        opening = (scores - threshold) / GATE
        return cls(scores + functional.logsigmoid(opening), torch.sigmoid(-opening), edge)

    def back(self, dz: Tensor) -> Tensor:
        """The gradient with respect to the scores from that with respect to the logits."""
        through_gate = dz * self.closed / GATE
        return dz + through_gate - through_gate.sum(-1, keepdim=True) * self.edge


def _divergence(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over rows of KL(P || Q), and its gradient with respect to the logits of Q.

    As Σ P φ(log Q/P) + Σ Q outside of P, with φ(x) = e^x - 1 - x, which is never negative and keeps its
    digits where P and Q nearly agree.

    Args:
        p: (..., b, b), logits of P, -inf outside of its support, which lies within that of Q.
        q: likewise.
    """
    log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
    inside = log_p != -torch.inf
    probability_p, probability_q = log_p.exp(), log_q.exp()
    ratio = torch.where(inside, log_q, 0.0) - torch.where(inside, log_p, 0.0)
    terms = torch.where(inside, probability_p * _excess(ratio), probability_q)
    b = p.shape[-1]
    return terms.sum((-2, -1)) / b, (probability_q - probability_p) / b


def _excess(x: Tensor) -> Tensor:
    """e^x - 1 - x without cancellation; four terms of its series where |x| < 1e-3."""
    series = x.square() * (0.5 + x * (1 / 6 + x * (1 / 24 + x / 120)))
    return torch.where(x.abs() < 1e-3, series, x.expm1() - x)
