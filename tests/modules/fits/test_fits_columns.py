"""Fits of wide maps by slabs of columns: any slabs give the same, and memory is as stated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from theseus_fx.modules.fits.columns import Held, RowMetric
from theseus_fx.modules.fits.logit_metric import SHARE, logit_metric
from theseus_fx.modules.fits.low_rank import fit_low_rank, low_rank_of_columns
from theseus_fx.modules.fits.memory import (
    HELD,
    METRIC_LIMIT,
    balanced_footprint,
    linear_footprint,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Sliced:
    """A matrix in slabs of a width of their own."""

    matrix: Tensor
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def slabs(self) -> Iterator[Tensor]:
        yield from self.matrix.split(self.width, dim=1)


@pytest.mark.parametrize("width", [1, 7, 64, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_slabs_of_any_width_give_the_same(width: int, weighted: bool) -> None:
    x, y, g = normal(40, 60), normal(40, 90, seed=1), normal(25, 90, seed=2)
    metric = RowMetric(g=Sliced(g, width), share=SHARE) if weighted else None
    fit = low_rank_of_columns(Sliced(x, width), Sliced(y, width), rank=6, metric=metric)
    plain = fit_low_rank(x, y, rank=6, metric=logit_metric(g) if weighted else None)
    assert fit.ridge_used == plain.ridge_used
    for name in ("w_in", "w_out", "bias", "spectrum"):
        torch.testing.assert_close(getattr(fit, name), getattr(plain, name), rtol=1e-7, atol=1e-9)
    assert fit.residual == pytest.approx(plain.residual)


def test_the_metric_of_rows_is_that_of_the_matrix() -> None:
    """The same map, once with the d_out x d_out matrix and once without."""
    x, g = normal(300, 30), normal(40, 20, seed=2)  # primal, with the matrix
    y = x[:, :20] * 3 + normal(300, 20, seed=1)
    by_matrix = fit_low_rank(x, y, rank=4, metric=logit_metric(g), ridge=0.01)
    rows = RowMetric(g=Held(g), share=SHARE)
    by_rows = low_rank_of_columns(Held(x), Held(y), rank=4, metric=rows, ridge=0.01)
    torch.testing.assert_close(by_rows.w_in, by_matrix.w_in, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(by_rows.w_out, by_matrix.w_out, rtol=1e-6, atol=1e-8)
    assert by_rows.residual == pytest.approx(by_matrix.residual)
    scaled = RowMetric(g=Held(1e-4 * g), share=SHARE)
    again = low_rank_of_columns(Held(x), Held(y), rank=4, metric=scaled, ridge=0.01)
    torch.testing.assert_close(again.w_out, by_rows.w_out)


def test_gradients_of_nothing_are_the_plain_metric() -> None:
    x, y = normal(20, 30), normal(20, 25, seed=1)
    none = RowMetric(g=Held(torch.zeros(3, 25, dtype=torch.float64)), share=SHARE)
    fit = low_rank_of_columns(Held(x), Held(y), rank=3, metric=none, ridge=0.01)
    torch.testing.assert_close(fit.w_in, fit_low_rank(x, y, rank=3, ridge=0.01).w_in)


@pytest.mark.parametrize(
    ("x", "y", "metric", "words"),
    [
        (torch.ones(4, 9), torch.ones(5, 9), None, "not 4 and 5"),
        (torch.full((4, 9), torch.nan), torch.ones(4, 9), None, "the inputs of the fit"),
        (torch.randn(4, 9), torch.full((4, 9), torch.inf), None, "the outputs of the fit"),
        (torch.randn(4, 9), torch.randn(4, 9), torch.ones(2, 8), "of 8 outputs, not of 9"),
        (torch.randn(4, 9), torch.randn(4, 9), torch.full((2, 9), torch.nan), "the metric of the fit"),
    ],
)
def test_what_cannot_be_fitted_is_said(x: Tensor, y: Tensor, metric: Tensor | None, words: str) -> None:
    rows = None if metric is None else RowMetric(g=Held(metric), share=SHARE)
    with pytest.raises(ValueError, match=words):
        low_rank_of_columns(Held(x), Held(y), rank=2, metric=rows)


def test_the_way_is_the_one_that_holds_less() -> None:
    tall = linear_footprint(rows=10**6, d_in=768, d_out=768, rank=None)
    wide = linear_footprint(rows=512, d_in=150_528, d_out=802_816, rank=256, logits=True)
    assert (tall.way, wide.way) == ("rows", "columns")
    assert wide.bytes < 12 * 2**30
    assert linear_footprint(rows=10**9, d_in=768, d_out=768, rank=None) == tall
    # of one position no metric is ever a matrix of more outputs than it may have
    for d_in in (16, 512, 4096):
        for rows in (128, 2048):
            takes = linear_footprint(rows=rows, d_in=d_in, d_out=METRIC_LIMIT + 1, rank=8, logits=True)
            assert takes.way == "columns"


PEAK = """
import sys, torch
from theseus_fx.modules.fits.balanced import fit_elman
from theseus_fx.modules.fits.columns import RowMetric
from theseus_fx.modules.fits.logit_metric import SHARE
from theseus_fx.modules.fits.low_rank import low_rank_of_columns
from theseus_fx.modules.fits.moments import moments_of
from theseus_fx.modules.fits.ridge import fit_linear
from theseus_fx.run.fitting.activations import PieceColumns

kind, rows, d_in, d_out, rank, metric = sys.argv[1], *map(int, sys.argv[2:])

def pieces(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(32, width, generator=generator) for _ in range(count // 32))

def fit(kind, rows, d_in, d_out, rank, metric):
    if kind == "rows":
        pairs = zip(pieces(rows, d_in, 0), pieces(rows, d_out, 1), strict=True)
        fit_linear(moments_of(pairs))
    elif kind == "columns":
        x, y, g = (
            PieceColumns.of(lambda c=c, w=w, s=s: pieces(c, w, s), rows=c, width=w)
            for c, w, s in ((rows, d_in, 0), (rows, d_out, 1), (max(metric, 32), d_out, 2))
        )
        low_rank_of_columns(x, y, rank=rank, metric=RowMetric(g=g, share=SHARE) if metric else None)
    else:
        x, y = (torch.stack([*pieces(rows, width, seed)]) for width, seed in ((d_in, 0), (d_out, 1)))
        fit_elman(x, 0.1 * y, layers=2)

def peak():  # KiB; `ru_maxrss` would begin with the size of the process that started this one
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

fit(kind, 64, 8, 8, 4, 32 if metric else 0)  # what the libraries take once
before = peak()
fit(kind, rows, d_in, d_out, rank, metric)
print((peak() - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("kind", "rows", "d_in", "d_out", "rank", "metric"),
    [
        ("columns", 512, 30_000, 60_000, 64, 0),
        ("rows", 4096, 1500, 1500, 0, 0),
        ("rows", 2048, 400, 12_000, 0, 0),
        ("elman", 4096, 100, 100, 0, 0),
    ],
)
def test_a_fit_holds_what_is_stated(
    kind: str, rows: int, d_in: int, d_out: int, rank: int, metric: int
) -> None:
    arguments = [kind, *map(str, (rows, d_in, d_out, rank, metric))]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True
    )
    if kind == "elman":
        stated = balanced_footprint(rows=rows, d_in=d_in, d_out=d_out, states=9 * d_in)
    else:
        stated = linear_footprint(rows=rows, d_in=d_in, d_out=d_out, rank=rank or None).bytes
    assert stated < HELD
    assert 0.4 * stated < int(done.stdout) < 1.1 * stated
