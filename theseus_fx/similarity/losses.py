"""Similarities as losses: one pass over the target's activations, and one product for their gradient.

All losses on Grams share one autograd function. Its forward pass computes the Grams of several taps and all
that is b x b for them together, down to the matrices W with d loss / dA = W A; of the activations nothing is
kept but themselves. Second derivatives are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from theseus_fx.similarity.dmnn import Dmnn, Kind, Support
from theseus_fx.similarity.gram import gram, times_rows
from theseus_fx.similarity.guide import GuideGram
from theseus_fx.similarity.hsic import Cka
from theseus_fx.similarity.rows import rows
from theseus_fx.similarity.units import resolution, row_weights, unit_gram

Metric = Cka | Dmnn
"""A similarity that needs nothing but Grams."""

Reduce = Callable[[Tensor], Tensor]
"""What makes whole Grams (taps, b, b) of partial ones, as the ranks of a process group hold them."""

TOGETHER = 2**22
"""Entries of all Grams whose b x b algebra is done at once; more would take memory and no less time."""


def cka_loss(a: Tensor, b: Tensor | GuideGram) -> Tensor:
    """1 - CKA, with a gradient to `a` only (Network of Theseus, eqs. 3 to 7).

    For the backward pass only `a` itself and one (n, n) matrix are kept. Constant features on either side
    give loss 1 and gradient 0, a row of zeros stays zero and gets gradient 0, a NaN or an infinity gives loss
    NaN and gradient 0. Autocast does not reach inside: float32, bfloat16 and float16 activations are
    multiplied in float32 and summed in float64, float64 in float64.

    Args:
        a: (n, ...), the target's, any floating dtype; every sample is flattened and normalised. `token_rows`
            makes rows of tokens.
        b: (n, ...), the guide's, with other features if need be; or its prepared Gram.

    Returns:
        (), float64, in [0, 1].

    Raises:
        ValueError: fewer than two samples, different numbers of them, or a dtype that is not floating point.
    """
    return tap_losses([a], [b], Cka())[0]


def ucka_loss(a: Tensor, b: Tensor | GuideGram) -> Tensor:
    """1 - CKA of the unbiased HSIC (Song et al. 2007, eq. 5), with a gradient to `a` only.

    Eq. 9 of Network of Theseus prints the same estimator with one of its sums for the others.

    Args and errors: as `cka_loss`; at least four samples.

    Returns:
        (), float64, in [0, 2]: unrelated features give 1 on average.
    """
    return tap_losses([a], [b], Cka(unbiased=True))[0]


def dmnn_loss(
    a: Tensor,
    b: Tensor | GuideGram,
    k: int = 10,
    tau: float = 0.1,
    kind: Kind = "dot",
    support: Support = "union",
) -> Tensor:
    """KL of the neighbour probabilities of `a` from those of `b` (Network of Theseus, eq. 16).

    Args:
        a, b: as of `cka_loss`.
        k: how many neighbours each row has, at most n - 1 (n - 2 for `soft`).
        tau: the temperature, in units of the cosine or the squared distance.
        kind: scores are cosines (`dot`) or minus squared distances (`dist`) of unit rows, over tau (eq. 13).
        support: over which rows the target's probabilities are normalised, see `Dmnn.support`. The literal
            form, over the target's own k nearest, is infinite where the two sets differ; `union` equals it
            elsewhere.

    Returns:
        (), float64, nats, 0 or more; 0 where neighbours and their weights agree.

    Raises:
        ValueError: as `cka_loss`; k or tau out of range.
    """
    return tap_losses([a], [b], Dmnn(k=k, tau=tau, kind=kind, support=support))[0]


def tap_losses(
    targets: Sequence[Tensor],
    guides: Sequence[Tensor | GuideGram],
    metric: Metric,
    *,
    reduce: Reduce | None = None,
) -> Tensor:
    """The losses of several taps, of which all that is b x b is computed together.

    Args:
        targets: (n, ...) each, with a gradient; features and dtypes may differ.
        guides: (n, ...) each or its prepared Gram, one a target.
        metric: `Cka` or `Dmnn` with its settings.
        reduce: makes whole Grams of partial ones; see `theseus_fx.similarity.distributed`.

    Returns:
        (taps,), float64.

    Raises:
        ValueError: no taps, or not one guide for each; otherwise as `cka_loss`.
    """
    if not targets or len(targets) != len(guides):
        raise ValueError(f"one guide for each target: {len(guides)} for {len(targets)}")
    flats = [rows(target) for target in targets]
    _check(flats, guides, metric)
    known = _prepared(guides, reduce)
    at_once = max(1, TOGETHER // flats[0].shape[0] ** 2)
    losses: list[Tensor] = []
    for start in range(0, len(flats), at_once):
        some = slice(start, start + at_once)
        guide = torch.stack([guide.unit for guide in known[some]])
        constant = _constants(flats[some], known[some], guide)
        losses.append(_TapLosses.apply(metric, reduce, guide, constant, *flats[some]))  # pyright: ignore
    return losses[0] if len(losses) == 1 else torch.cat(losses)


class _TapLosses(torch.autograd.Function):
    """Losses (taps,) of activations (b, d) each, with dA = W A."""

    @staticmethod
    def forward(
        ctx: Any, metric: Metric, reduce: Reduce | None, guide: Tensor, constant: Tensor, *flats: Tensor
    ) -> Tensor:
        unit, scale = unit_gram(_grams(flats, reduce))
        losses, g = metric.compare(unit, guide, constant)
        ctx.save_for_backward(row_weights(g, unit, scale), *flats)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, *flats = ctx.saved_tensors
        scaled = grads[0][:, None, None] * weights
        pairs = zip(scaled, flats, ctx.needs_input_grad[4:], strict=True)
        return None, None, None, None, *(_gradient(w, x) if wanted else None for w, x, wanted in pairs)


def _gradient(w: Tensor, flat: Tensor) -> Tensor:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return times_rows(w, flat)
    product: Tensor = _RefusesDerivatives.apply(w, flat)  # somebody asked for a graph of the gradient
    return product


class _RefusesDerivatives(torch.autograd.Function):
    """W A as a function of A that cannot be differentiated: W depends on A too, and what that adds is not
    here.

    torch's `once_differentiable` lets such a term fall silently out of a sum where the loss is differentiated
    by itself.
    """

    @staticmethod
    def forward(ctx: Any, w: Tensor, flat: Tensor) -> Tensor:
        del ctx
        return times_rows(w, flat)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("a similarity has no second derivative here")


def _prepared(guides: Sequence[Tensor | GuideGram], reduce: Reduce | None) -> list[GuideGram]:
    flats = [rows(guide.detach()) for guide in guides if not isinstance(guide, GuideGram)]
    if not flats:
        return [guide for guide in guides if isinstance(guide, GuideGram)]
    units = unit_gram(_grams(flats, reduce))[0]
    made = iter([GuideGram(u, resolution(x.dtype), x.shape[1]) for u, x in zip(units, flats, strict=True)])
    return [guide if isinstance(guide, GuideGram) else next(made) for guide in guides]


def _grams(flats: Sequence[Tensor], reduce: Reduce | None) -> Tensor:
    partial = torch.stack([gram(flat) for flat in flats])
    return partial if reduce is None else reduce(partial)


def _constants(flats: Sequence[Tensor], guides: Sequence[GuideGram], like: Tensor) -> Tensor:
    both = [[resolution(flat.dtype) for flat in flats], [guide.resolution for guide in guides]]
    return like.new_tensor(both)[..., None, None]


def _check(flats: Sequence[Tensor], guides: Sequence[Tensor | GuideGram], metric: Metric) -> None:
    for flat, guide in zip(flats, guides, strict=True):
        n = (guide.unit if isinstance(guide, GuideGram) else rows(guide)).shape[0]
        if flat.shape[0] != n:
            raise ValueError(f"the target has {flat.shape[0]} samples, the guide {n}")
    if len({flat.shape[0] for flat in flats}) > 1:
        raise ValueError("all taps of one call have equally many samples")
    metric.check_rows(flats[0].shape[0])
