"""What every source of data offers: named splits, and batches that are functions of seed and step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from torch import Tensor

from theseus_fx.graph.values import InputSpec


class Split(Enum):
    """A part of the data with its own purpose; no sample is in two of them."""

    TRAIN = "train"
    """Gradient steps, fits and batch statistics."""
    VALIDATION = "validation"
    """Every choice: learning rates, candidates, whether a step helped."""
    TEST = "test"
    """Reported at the end, never used to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples with their labels, on the CPU."""

    inputs: tuple[Tensor, ...]
    """The model's positional inputs, shaped and typed as the source's `inputs` say."""
    labels: Tensor
    """Class indices, (b,) int64; of text the next tokens, (b, length) int64."""


class DataSource(Protocol):
    """A data set that is opened and whose files have been found."""

    @property
    def name(self) -> str:
        """As in the spec: `digits`, `torchvision.datasets.CIFAR10`."""
        ...

    @property
    def batch_size(self) -> int:
        """Samples in a training batch."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes, or of tokens; labels are 0 to classes - 1."""
        ...

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """Name, dtype and shape of each of the model's inputs."""
        ...

    @property
    def sizes(self) -> Mapping[Split, int]:
        """Samples of each split."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Full training batches in an epoch; the remainder of an epoch is dropped."""
        ...

    def train_batch(self, step: int, *, seed: int) -> Batch:
        """The training batch of a step (from 0): order and augmentation depend on (seed, step) alone."""
        ...

    def batches(self, split: Split, *, batch_size: int | None = None) -> Iterator[Batch]:
        """Every sample of a split once, in fixed order, not augmented; the last batch may be short."""
        ...

    def unlabelled(self, samples: int, *, seed: int) -> Iterator[tuple[Tensor, ...]]:
        """Inputs of the training split for a closed-form fit, in a seeded order, `samples` in all.

        They come in batches of at most `batch_size`. A source that has no more different inputs than
        training samples stops after those.
        """
        ...

    def fingerprint(self) -> str:
        """SHA-256 of the content, or of names, sizes and times of the files where content is large."""
        ...
