"""What a similarity is to be read against: its chance level and its unbiased form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from theseus_fx.similarity.guide import GuideGram
from theseus_fx.similarity.values import cka, ucka

SATURATED = 0.5
"""A chance level above this leaves less than half of CKA's range to what the samples have in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A similarity with what it is to be read against."""

    cka: float
    ucka: float | None
    """Unbiased; about 0 for unrelated features whatever their number. None of fewer than four samples."""
    chance: float
    """The mean CKA when the guide's samples are shuffled: of unrelated features of these shapes."""
    samples: int
    features: int
    """Of the wider side."""

    @property
    def warning(self) -> str | None:
        """What to know before believing the CKA, with the numbers, where the batch is too small for the
        features."""
        if not self.chance > SATURATED:
            return None
        unbiased = "" if self.ucka is None else f", and the unbiased CKA is {self.ucka:.3f}"
        return (
            f"CKA {self.cka:.3f} says little: shuffled samples reach {self.chance:.3f}{unbiased}; "
            f"{self.samples} samples are few for {self.features:,} features"
        )


def read(
    a: Tensor | GuideGram, b: Tensor | GuideGram, generator: torch.Generator, *, permutations: int = 8
) -> Reading:
    """The CKA of target and guide with its chance level and its unbiased form; waits for the device.

    Args and errors: as `chance_level`.
    """
    target, guide = (x if isinstance(x, GuideGram) else GuideGram.of(x) for x in (a, b))
    return Reading(
        cka=float(cka(target, guide)),
        ucka=float(ucka(target, guide)) if len(target) > 3 else None,
        chance=float(chance_level(target, guide, generator, permutations=permutations)),
        samples=len(target),
        features=max(target.features, guide.features),
    )


def chance_level(
    a: Tensor | GuideGram, b: Tensor | GuideGram, generator: torch.Generator, *, permutations: int = 8
) -> Tensor:
    """The mean CKA of `a` with `b` when the guide's samples are shuffled.

    Biased CKA is far from 0 when features outnumber samples, whatever the features are.

    Args:
        a: (n, ...), the target's activations, or their prepared Gram.
        b: (n, ...), the guide's, likewise.
        generator: a CPU generator, which draws the orders.
        permutations: how many orders to average over; each costs O(n²).

    Returns:
        (), float64, in [0, 1].

    Raises:
        ValueError: as `theseus_fx.similarity.cka`, or `permutations` is less than 1.
    """
    if permutations < 1:
        raise ValueError(f"a chance level needs at least one permutation, not {permutations}")
    target, guide = (x if isinstance(x, GuideGram) else GuideGram.of(x) for x in (a, b))
    device = guide.unit.device
    orders = [torch.randperm(len(guide), generator=generator).to(device) for _ in range(permutations)]
    return torch.stack([cka(target, guide.select(order)) for order in orders]).mean()
