"""Similarities as numbers to report, without gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from theseus_fx.similarity.guide import GuideGram
from theseus_fx.similarity.hsic import Cka
from theseus_fx.similarity.neighbours import check_k, nearest, without_self


def cka(a: Tensor | GuideGram, b: Tensor | GuideGram) -> Tensor:
    """The linear CKA of two batches of activations (Network of Theseus, eq. 6).

    Args:
        a: (n, ...), any floating dtype; every sample is flattened and normalised. A row of zeros stays zero.
        b: (n, ...), with other features if need be. Either may be a prepared Gram.

    Returns:
        (), float64, in [0, 1]; 0 where either side is constant over the batch; NaN if a value is NaN or
        infinite.

    Raises:
        ValueError: fewer than two samples, different numbers of them, or a dtype that is not floating point.
    """
    return _similarity(a, b, Cka())


def ucka(a: Tensor | GuideGram, b: Tensor | GuideGram) -> Tensor:
    """CKA with the unbiased HSIC (Song et al. 2007, eq. 5): about 0 for unrelated features of any number.

    Args and errors: as `cka`; at least four samples.

    Returns:
        (), float64, in [-1, 1]; 0 where either side is constant over the batch; NaN if a value is NaN or
        infinite.
    """
    return _similarity(a, b, Cka(unbiased=True))


def mutual_knn(a: Tensor | GuideGram, b: Tensor | GuideGram, k: int) -> Tensor:
    """The share of the k nearest neighbours, by cosine, in common, mean over samples (Huh et al. 2024).

    Of equally near neighbours the first by number count.

    Args and errors: as `cka`; k is from 1 to n - 1.

    Returns:
        (), float64, in [0, 1]; NaN if a value is NaN or infinite.
    """
    target, guide, _ = _pair(a, b)
    n = target.shape[0]
    check_k(k, n, most=n - 1)
    common = nearest(without_self(target), k) & nearest(without_self(guide), k)
    finite = target.isfinite().all() & guide.isfinite().all()
    return torch.where(finite, common.sum(dtype=torch.float64) / (n * k), torch.nan)


def minibatch_ucka(batches: Iterable[tuple[Tensor | GuideGram, Tensor | GuideGram]]) -> Tensor:
    """The CKA of a whole data set from its batches: unbiased HSICs are averaged before they are divided.

    Source: Nguyen et al. 2021, eqs. 2 and 3.

    Args:
        batches: pairs (a, b) as of `ucka`, with at least four samples each; their sizes may differ.

    Returns:
        (), float64, at most 1; 0 where either side is constant over every batch; NaN if a value is NaN or
        infinite.

    Raises:
        ValueError: no batches; otherwise as `ucka`.
    """
    metric = Cka(unbiased=True)
    totals: list[Tensor] = []
    for a, b in batches:
        target, guide, constant = _pair(a, b)
        n = target.shape[0]
        metric.check_rows(n)
        totals.append(torch.stack(metric.products(target, guide, constant)) / (n * (n - 3)))
    if not totals:
        raise ValueError("a similarity of no batches")
    across, mine, theirs = torch.stack(totals).sum(0).unbind()
    norm = (mine * theirs).sqrt()
    return torch.where(norm == 0, 0.0, across / torch.where(norm == 0, 1.0, norm))


def _similarity(a: Tensor | GuideGram, b: Tensor | GuideGram, metric: Cka) -> Tensor:
    target, guide, constant = _pair(a, b)
    metric.check_rows(target.shape[0])
    loss, _ = metric.compare(target, guide, constant)
    return 1 - loss


def _pair(a: Tensor | GuideGram, b: Tensor | GuideGram) -> tuple[Tensor, Tensor, Tensor]:
    """Both Grams of unit rows, and what of each is rounding, as `Cka.compare` takes them."""
    target, guide = (x if isinstance(x, GuideGram) else GuideGram.of(x) for x in (a, b))
    if target.unit.shape != guide.unit.shape:
        raise ValueError(f"the target has {len(target)} samples, the guide {len(guide)}")
    constant = target.unit.new_tensor([target.resolution, guide.resolution])
    return target.unit, guide.unit, constant[:, None, None]
