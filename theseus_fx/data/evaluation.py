"""What judging a model over a split says."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from theseus_fx.data.source import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A task's metrics over all samples of a split."""

    value: float
    """Of the metric that judges."""
    count: int
    """Samples, or tokens, that it is about."""
    details: Mapping[str, float]
    """Every metric by its name, the one that judges too; all finite."""


def outputs(
    model: Callable[..., Tensor], batches: Iterable[Batch], device: torch.device | None
) -> Iterable[tuple[Tensor, Tensor]]:
    """What the model says of each batch, and the labels on the same device.

    No gradient is recorded; modes are the caller's affair.
    """
    for batch in batches:
        with torch.no_grad():
            said = model(*(x.to(device, non_blocking=True) for x in batch.inputs))
        yield said, batch.labels.to(said.device, non_blocking=True)


def finite(value: float) -> float:
    """The value, or the largest float where it is none: worse than every other, and still JSON."""
    return value if math.isfinite(value) else sys.float_info.max
