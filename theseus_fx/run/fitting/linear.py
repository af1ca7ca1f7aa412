"""A replacement started from the closed form of its last linear map, or of its last two."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from theseus_fx.modules.endings import LinearEnding
from theseus_fx.modules.fits.columns import Columns, Held, RowMetric, dual_inputs, dual_spectrum
from theseus_fx.modules.fits.logit_metric import SHARE, logit_metric
from theseus_fx.modules.fits.low_rank import (
    LowRankFit,
    low_rank_of_columns,
    low_rank_of_moments,
    singular_values,
)
from theseus_fx.modules.fits.memory import HELD, Way, linear_footprint
from theseus_fx.modules.fits.moments import decomposed, moments_of
from theseus_fx.modules.fits.ridge import fit_linear
from theseus_fx.run.fitting.activations import MapRows, PieceColumns, Site
from theseus_fx.run.fitting.gradients import Gradients


def start_linear(
    site: Site, module: nn.Module, ending: LinearEnding, *, metric: str, ridge: float | None
) -> None:
    """Fits the last map of a replacement, or the last two, in place.

    Args:
        site: where it stands.
        module: the replacement, anew.
        ending: what is fitted.
        metric: `logits` or `plain`, of a fit of low rank.
        ridge: relative; None: by cross-validation.

    Raises:
        ValueError: the activations do not determine the fit, or are not finite.
    """
    rows = MapRows.of(site, module, ending)
    count = site.samples * rows.positions
    logits = metric == "logits" and ending.rank is not None
    way = _way(ending, count, logits=logits)
    last = module.get_submodule(ending.name)
    if ending.rank is None and way == "rows":
        fit = fit_linear(moments_of(rows.pieces(), centred=ending.bias), ridge=ridge)
        _fill(last, fit.weight, fit.bias if ending.bias else None)
        return
    gradients = Gradients.of(rows) if logits else None
    if way == "rows" and ending.rank is not None:
        lower = None if gradients is None else logit_metric(gradients.pieces())
        moments = moments_of(rows.pieces(), products=lower is not None)
        maps = low_rank_of_moments(moments, rank=ending.rank, metric=lower, ridge=ridge)
    else:
        x, y = _columns(rows, count)
        weight = None if gradients is None else RowMetric(g=_gradients(gradients), share=SHARE)
        rank = ending.rank or min(x.shape[0] - 1, ending.d_in, ending.d_out)
        maps = low_rank_of_columns(x, y, rank=rank, metric=weight, ridge=ridge)
    if ending.first is None:
        _fill(last, maps.w_out @ maps.w_in, maps.bias)
    else:
        _fill_two(module.get_submodule(ending.first), last, maps)


def spectrum_of(
    site: Site, module: nn.Module, ending: LinearEnding, *, metric: str, ridge: float | None
) -> Tensor:
    """All singular values of the fit of two maps, whatever rank they have now: (k,), descending.

    Arguments and errors are those of `start_linear`.
    """
    rows = MapRows.of(site, module, ending)
    count, logits = site.samples * rows.positions, metric == "logits"
    gradients = Gradients.of(rows) if logits else None
    if _way(ending, count, logits=logits) == "rows":
        lower = None if gradients is None else logit_metric(gradients.pieces())
        spectrum = decomposed(moments_of(rows.pieces(), products=lower is not None), lower).spectrum
    else:
        x, y = _columns(rows, count)
        weight = None if gradients is None else RowMetric(g=_gradients(gradients), share=SHARE)
        spectrum = dual_spectrum(dual_inputs(x), y, weight)
    return singular_values(spectrum, ridge)


def _way(ending: LinearEnding, rows: int, *, logits: bool) -> Way:
    return linear_footprint(
        rows=rows, d_in=ending.d_in, d_out=ending.d_out, rank=ending.rank, logits=logits
    ).way


def _columns(rows: MapRows, count: int) -> tuple[Columns, Columns]:
    ending = rows.ending
    if 4 * count * max(ending.d_in, ending.d_out) <= HELD:
        pieces = list(rows.pieces())
        return Held(torch.cat([x for x, _ in pieces])), Held(torch.cat([y for _, y in pieces]))
    return (
        PieceColumns.of(lambda: (x for x, _ in rows.pieces()), rows=count, width=ending.d_in),
        PieceColumns.of(lambda: (y for _, y in rows.pieces()), rows=count, width=ending.d_out),
    )


def _gradients(gradients: Gradients) -> Columns:
    few, width = gradients.limited, gradients.rows.ending.d_out
    return PieceColumns.of(few.pieces, rows=few.most, width=width)


def _fill_two(first: nn.Module, last: nn.Module, maps: LowRankFit) -> None:
    bias = dict(first.named_parameters()).get("bias")
    _fill(first, maps.w_in, None if bias is None else torch.zeros_like(bias))
    _fill(last, maps.w_out, maps.bias)


@torch.no_grad()
def _fill(map_: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    own = map_.get_parameter("weight")
    own.copy_(weight.reshape(own.shape))
    if bias is not None:
        map_.get_parameter("bias").copy_(bias)
