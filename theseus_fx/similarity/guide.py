"""What a similarity needs of the guide's activations."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from theseus_fx.similarity.gram import gram
from theseus_fx.similarity.rows import rows
from theseus_fx.similarity.units import resolution, unit_gram


@dataclass(frozen=True, slots=True)
class GuideGram:
    """The Gram of the guide's unit rows: prepared once, it stands in for the activations in every
    similarity."""

    unit: Tensor
    """(b, b), float64: cosines of all pairs of rows; zero for a row of zeros."""
    resolution: float
    """Root mean square of the centred Gram at and below which it is rounding, and the features constant."""
    features: int
    """How many columns the activations had."""

    @classmethod
    def of(cls, b: Tensor) -> GuideGram:
        """The Gram of activations (b, ...), floating point; nothing else of them is kept.

        Raises:
            ValueError: fewer than two samples, or a dtype that is not floating point.
        """
        flat = rows(b.detach())
        return cls(unit_gram(gram(flat))[0], resolution(flat.dtype), flat.shape[1])

    def select(self, samples: Tensor) -> GuideGram:
        """The Gram of some of the samples, in a given order: (n,), int64.

        Rows are normalised one by one, so it is that of their activations: with one Gram of all samples at
        hand, no batch needs the guide again.
        """
        return GuideGram(self.unit[samples][:, samples], self.resolution, self.features)

    def __len__(self) -> int:
        return self.unit.shape[0]
