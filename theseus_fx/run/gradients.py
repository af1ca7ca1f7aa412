"""The gradient of one step: of the whole batch at once, or of its pieces, with the same result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theseus_fx.data.source import Batch
from theseus_fx.lang.spec import Compute
from theseus_fx.run.recorder import StepOutcome
from theseus_fx.similarity.micro_batches import backward_in_pieces

Losses = tuple[Tensor, Mapping[str, Tensor]]
"""The loss, scalar and with a gradient, and named scalars to record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a step computes, in two halves, so that a batch can go through in pieces."""

    batch: Callable[[int], Batch]
    """Of a 0-based step, on the device."""
    forward: Callable[[Batch], Sequence[Tensor]]
    """Of a batch or a piece of it: tensors with a row for each sample."""
    loss: Callable[[Sequence[Tensor], Batch], Losses]
    """Of what `forward` gives for the batch."""
    modules: Sequence[nn.Module]
    """Whose buffers `forward` changes: those that train."""
    is_mean: bool
    """Whether the loss of a batch is the mean of those of its samples; a similarity is not."""


def add_gradients(
    work: Work, step: int, compute: Compute, *, pieces: int, device: torch.device
) -> StepOutcome:
    """Adds the gradient of a step's loss to the parameters, and says what it was.

    A loss that is a mean over samples is taken piece by piece, each weighted by its samples. A similarity
    compares all samples of the batch, so that all are computed first (`backward_in_pieces`); it is exact too.
    Only what a module does with a batch as a whole, BatchNorm in training mode, sees the pieces.

    Args:
        work: what to compute.
        step: 0-based.
        compute: the precision of the forward pass; losses are computed in float32 at least.
        pieces: how many pieces the batch goes through in; at most as many as it has samples.
        device: where.
    """
    batch = work.batch(step)

    def forward(piece: Batch) -> Sequence[Tensor]:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=compute.precision == "bf16"):
            return work.forward(piece)

    samples = len(batch.labels)
    if min(pieces, samples) == 1:
        loss, values = work.loss(forward(batch), batch)
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        return StepOutcome(loss=loss.detach(), values=values, samples=samples)
    parts = split(batch, pieces)
    if work.is_mean:
        return _mean(work, forward, parts, samples)
    told: list[Mapping[str, Tensor]] = []

    def whole(outputs: Sequence[Tensor]) -> Tensor:
        loss, values = work.loss(outputs, batch)
        told.append(values)
        return loss

    loss = backward_in_pieces(forward, parts, whole, modules=work.modules)
    return StepOutcome(loss=loss, values=told[0], samples=samples)


def split(batch: Batch, pieces: int) -> list[Batch]:
    """A batch in pieces whose sizes differ by one at most; none is empty."""
    pieces = min(pieces, len(batch.labels))
    inputs = zip(*(x.tensor_split(pieces) for x in batch.inputs), strict=True)
    labels = batch.labels.tensor_split(pieces)
    return [Batch(inputs=tuple(x), labels=y) for x, y in zip(inputs, labels, strict=True)]


def _mean(
    work: Work, forward: Callable[[Batch], Sequence[Tensor]], parts: Sequence[Batch], samples: int
) -> StepOutcome:
    losses: list[Tensor] = []
    values: dict[str, Tensor] = {}
    for part in parts:
        loss, told = work.loss(forward(part), part)
        share = len(part.labels) / samples
        (loss * share).backward()  # pyright: ignore[reportUnknownMemberType]
        losses.append(loss.detach() * share)
        for name, value in told.items():
            weighted = value.detach() * share
            values[name] = values[name] + weighted if name in values else weighted
    return StepOutcome(loss=torch.stack(losses).sum(), values=values, samples=samples)
