"""What a fit holds at most, in bytes, and by which of its two ways it holds less.

The estimates count the float64 matrices that are alive together; `tests/modules/fits` holds them against
measured peaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from theseus_fx.modules.fits.balanced import PIECE
from theseus_fx.modules.fits.columns import SLAB

HELD = 2**30
"""Bytes of activations that are held in float32 at a time; wider ones are computed anew for each slab."""

METRIC_LIMIT = 8192
"""Outputs up to which the metric of the logits is a matrix; beyond, only sums over columns can have it."""

METRIC_ROWS = 8192
"""Gradients that a sum over columns looks at; a quarter of them where there are more outputs."""

Way = Literal["rows", "columns"]
"""Sums over rows (`moments`) or over columns (`columns`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """How a linear fit is computed and what it takes."""

    way: Way
    bytes: int
    """Beside the networks and the activations of one batch."""


def linear_footprint(
    *, rows: int, d_in: int, d_out: int, rank: int | None, logits: bool = False
) -> Footprint:
    """The footprint of the fit of a map, or of two of a rank.

    Args:
        rows: samples times positions.
        d_in: of what flows in.
        d_out: of the map.
        rank: between two maps; None: there is one.
        logits: whether errors count by what they do to the logits.
    """
    by_rows = _by_rows(d_in, d_out, rank, logits)
    by_columns = _by_columns(rows, d_in, d_out, rank, logits)
    if by_rows <= by_columns:
        return Footprint(way="rows", bytes=by_rows)
    return Footprint(way="columns", bytes=by_columns)


def balanced_footprint(*, rows: int, d_in: int, d_out: int, states: int) -> int:
    """Bytes of a balanced truncation with a bank of `states` states."""
    piece = 4 * min(rows, PIECE) * states  # the bank, its lags and sums, and a copy about the mean
    return 8 * (6 * states * states + 2 * states * d_out + piece + rows * (3 * d_in + 6 * d_out))


def _by_rows(d_in: int, d_out: int, rank: int | None, logits: bool) -> int:
    # XᵀX, its eigenvectors and the workspace of `eigh`, the core and its eigenvectors;
    # XᵀY, its projection and a copy
    numbers = 6 * d_in * d_in + 3 * d_in * d_out
    if logits:
        numbers += 4 * d_out * d_out + d_in * d_out
    return 8 * (numbers + _maps(d_in, d_out, rank))


def _by_columns(rows: int, d_in: int, d_out: int, rank: int | None, logits: bool) -> int:
    # two Grams, eigenvectors, workspace, core, its eigenvectors
    numbers = 8 * rows * rows + 3 * rows * SLAB + _maps(d_in, d_out, rank or min(rows, d_in, d_out))
    if rank is None:
        numbers += d_in * d_out
    held = min(4 * rows * d_in, HELD) + min(4 * rows * d_out, HELD)
    if logits:
        numbers += metric_rows(d_out) * (rows + SLAB)
        held += min(4 * metric_rows(d_out) * d_out, HELD)
    return 8 * numbers + held


def metric_rows(d_out: int) -> int:
    """Gradients that a sum over columns of so many outputs looks at."""
    return METRIC_ROWS if d_out <= METRIC_LIMIT else METRIC_ROWS // 4


def _maps(d_in: int, d_out: int, rank: int | None) -> int:
    """Numbers of the maps: of one with a copy of it, of two as they are, with their norms and means."""
    return 2 * d_in * d_out if rank is None else (rank + 8) * (d_in + d_out)
