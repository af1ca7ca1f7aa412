"""Similarities of a batch whose rows are spread over the ranks of a process group: exact values and
gradients.

Rows go to column shards in one all-to-all, every rank makes the Gram of its columns, an all-reduce of b x b
matrices makes it whole, every rank has the same W, and W times the shard goes back in the second all-to-all.
Against gathering all features on every rank this moves half the number of ranks times less, and no rank holds
more than its share.

Every rank gets the loss of the whole batch, and the gradient of its own rows. `DistributedDataParallel`
averages the gradients of parameters over ranks, where the whole batch's gradient is their sum: multiply the
loss by the number of ranks there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from theseus_fx.similarity import losses
from theseus_fx.similarity.gram import gram
from theseus_fx.similarity.guide import GuideGram
from theseus_fx.similarity.losses import Metric
from theseus_fx.similarity.units import resolution, unit_gram


def tap_losses(
    targets: Sequence[Tensor],
    guides: Sequence[Tensor | GuideGram],
    metric: Metric,
    *,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """`theseus_fx.similarity.tap_losses` of the rows of all ranks, in the order of ranks; a collective call.

    Args:
        targets: this rank's rows (n_r, ...) of each tap; numbers of rows may differ from rank to rank.
        guides: this rank's rows of each, or the prepared Gram of all rows (`guide_gram`).
        metric: `Cka` or `Dmnn`.
        group: whose ranks share the batch; None: all.

    Returns:
        (taps,), float64, the same on every rank.

    Raises:
        ValueError: on every rank, where features differ between ranks; otherwise as in one process.
    """
    flats = [_flat(x) for x in targets]
    theirs = [guide if isinstance(guide, GuideGram) else _flat(guide.detach()) for guide in guides]
    layout = _Layout.of([*flats, *(x for x in theirs if isinstance(x, Tensor))], group)
    return losses.tap_losses(
        [_sharded(flat, layout) for flat in flats],
        [guide if isinstance(guide, GuideGram) else _sharded(guide, layout) for guide in theirs],
        metric,
        reduce=layout.summed,
    )


def guide_gram(b: Tensor, *, group: dist.ProcessGroup | None = None) -> GuideGram:
    """`GuideGram.of` of the rows of all ranks, in the order of ranks; a collective call.

    Args:
        b: this rank's rows, (n_r, ...).
        group: whose ranks share the batch; None: all.
    """
    flat = _flat(b.detach())
    layout = _Layout.of([flat], group)
    whole = layout.summed(gram(_sharded(flat, layout)))
    return GuideGram(unit_gram(whole)[0], resolution(flat.dtype), flat.shape[1])


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which rows and columns the ranks hold."""

    group: dist.ProcessGroup | None
    rank: int
    counts: tuple[int, ...]
    """Rows of every rank."""

    @classmethod
    def of(cls, flats: Sequence[Tensor], group: dist.ProcessGroup | None) -> _Layout:
        """Asks every rank for its rows; waits for the device."""
        rank, size = dist.get_rank(group), dist.get_world_size(group)
        counts = {x.shape[0] for x in flats}
        mine = [counts.pop() if len(counts) == 1 else -1, *(x.shape[1] for x in flats)]
        row = torch.tensor(mine, device=flats[0].device)
        gathered = [torch.empty_like(row) for _ in range(size)]
        dist.all_gather(gathered, row, group=group)
        said = torch.stack(gathered).tolist()
        if any(row[0] < 0 for row in said):
            raise ValueError("on some rank the taps have different numbers of rows")
        if any(row[1:] != said[0][1:] for row in said):
            widths = ", ".join(str(row[1:]) for row in said)
            raise ValueError(f"ranks hold rows of the same features, not of {widths}")
        return cls(group, rank, tuple(row[0] for row in said))

    def columns(self, d: int) -> list[int]:
        """How many of d columns each rank takes."""
        size = len(self.counts)
        return [d * (r + 1) // size - d * r // size for r in range(size)]

    def summed(self, partial: Tensor) -> Tensor:
        """The sum over ranks, in place, the same on every rank."""
        dist.all_reduce(partial, group=self.group)
        return partial

    def exchanged(self, pieces: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
        """Piece r to rank r; what arrives, flat, one rank's after the other's: `sizes` elements of each."""
        sent = torch.cat([piece.reshape(-1) for piece in pieces])
        received = sent.new_empty(sum(sizes))
        dist.all_to_all_single(received, sent, list(sizes), [p.numel() for p in pieces], group=self.group)
        return received


class _ColumnShard(torch.autograd.Function):
    """This rank's rows (n_r, d) -> all rows of this rank's columns (n, d_r), and the gradient back."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, layout: _Layout) -> Tensor:
        ctx.layout, ctx.width = layout, flat.shape[1]
        columns = layout.columns(flat.shape[1])
        mine = columns[layout.rank]
        received = layout.exchanged(flat.split(columns, dim=1), [n * mine for n in layout.counts])
        return received.view(sum(layout.counts), mine)

    @staticmethod
    @once_differentiable  # torch's stub of it makes `ctx` positional
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor, None]:
        layout: _Layout = ctx.layout
        columns = layout.columns(ctx.width)
        n = layout.counts[layout.rank]
        received = layout.exchanged(grads[0].split(list(layout.counts)), [n * width for width in columns])
        blocks = received.split([n * width for width in columns])
        return torch.cat([x.view(n, width) for x, width in zip(blocks, columns, strict=True)], dim=1), None


def _sharded(flat: Tensor, layout: _Layout) -> Tensor:
    shard: Tensor = _ColumnShard.apply(flat, layout)
    return shard


def _flat(x: Tensor) -> Tensor:
    """Rows in the order of the indices: ranks may keep the same activations in different memory formats."""
    if not x.is_floating_point():
        raise ValueError(f"a similarity compares floating point activations, not {x.dtype}")
    if x.dim() == 0:
        raise ValueError("a similarity compares batches; this value has no batch dimension")
    return x.flatten(1) if x.dim() > 1 else x.unsqueeze(1)
