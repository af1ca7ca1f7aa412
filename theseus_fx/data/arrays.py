"""A data set that fits in memory: images as one tensor, normalised batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as images_to

from theseus_fx.data.order import epoch_order, generator
from theseus_fx.data.source import Batch, Split
from theseus_fx.data.transforms import Augmentation
from theseus_fx.graph.values import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """The images and labels of one split."""

    images: Tensor
    """(n, channels, h, w), uint8 or float32, before normalisation."""
    labels: Tensor
    """(n,) int64."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArraySource:
    """A `DataSource` over tensors.

    A step decides the order of the training images and, with `augment`, what is done with each: that
    depends on (seed, step, place in the batch) alone. Evaluation and fits see the images as they are.
    """

    name: str
    batch_size: int
    classes: int
    inputs: tuple[InputSpec, ...]
    splits: Mapping[Split, Samples]
    mean: Tensor
    """Of the training images, (channels,) float32."""
    deviation: Tensor
    """Standard deviation of the training images, (channels,) float32."""
    augment: Augmentation | None = None
    white: float = 1.0
    """What white is in images of floats; transforms see them from 0 to 1."""

    @property
    def sizes(self) -> Mapping[Split, int]:
        """Samples of each split."""
        return {split: len(samples.labels) for split, samples in self.splits.items()}

    @property
    def steps_per_epoch(self) -> int:
        """Full training batches in an epoch."""
        return self.sizes[Split.TRAIN] // self.batch_size

    def train_batch(self, step: int, *, seed: int) -> Batch:
        """The training batch of a step, (b, channels, h, w) float32."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = epoch_order(self.sizes[Split.TRAIN], seed, epoch)
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        samples = self.splits[Split.TRAIN]
        images = samples.images[chosen]
        if self.augment is None:
            return Batch(inputs=(self.normalised(images),), labels=samples.labels[chosen])
        drawn = [generator("augment", seed, step, number) for number in range(len(chosen))]
        return Batch(inputs=(self._augmented(self.augment, images, drawn),), labels=samples.labels[chosen])

    def batches(self, split: Split, *, batch_size: int | None = None) -> Iterator[Batch]:
        """The split in its own order."""
        samples = self.splits[split]
        size = self.batch_size if batch_size is None else batch_size
        for images, labels in zip(samples.images.split(size), samples.labels.split(size), strict=True):
            yield Batch(inputs=(self.normalised(images),), labels=labels.clone())

    def unlabelled(self, samples: int, *, seed: int) -> Iterator[tuple[Tensor, ...]]:
        """Training images in the order of the first epoch, each at most once."""
        order = epoch_order(self.sizes[Split.TRAIN], seed, 0)[:samples]
        for chosen in order.split(self.batch_size):
            yield (self.normalised(self.splits[Split.TRAIN].images[chosen]),)

    def fingerprint(self) -> str:
        """SHA-256 of name, shape of the input, every image and label, and what is done with the images."""
        digest = hashlib.sha256(f"{self.name} {self.inputs[0].shape}".encode())
        for split, samples in self.splits.items():
            digest.update(f"{split.value} {tuple(samples.images.shape)} {samples.images.dtype}".encode())
            digest.update(samples.images.contiguous().numpy().data)
            digest.update(samples.labels.numpy().data)
        digest.update(self.mean.numpy().data)
        digest.update(self.deviation.numpy().data)
        digest.update(("" if self.augment is None else self.augment.text).encode())
        return digest.hexdigest()

    def check_augmentation(self) -> None:
        """Tries the transforms on a training image; `Rejected` THX208 where one cannot be done to it."""
        if self.augment is not None:
            images = self.splits[Split.TRAIN].images[:1]
            self._augmented(self.augment, images, [generator("augment", "tried")])

    def _augmented(self, augment: Augmentation, images: Tensor, drawn: Sequence[torch.Generator]) -> Tensor:
        """(b, channels, h, w) as stored -> what the model gets, each image by the numbers of its own."""
        height, width = (int(size) for size in self.inputs[0].shape[2:])
        scale = self.white if images.is_floating_point() else 1  # uint8 stays as it is
        views: list[Tensor] = []
        for image, numbers in zip(images, drawn, strict=True):
            view = augment.of_pixels(image if scale == 1 else image / scale, numbers)
            if view.shape[-2:] != (height, width):
                view = images_to.resize(view, [height, width], antialias=True)
            views.append(view if scale == 1 else view * scale)
        rows = self.normalised(torch.stack(views))
        if not augment.standardised:
            return rows
        pairs = zip(rows, drawn, strict=True)
        return torch.stack([augment.of_standardised(row, numbers) for row, numbers in pairs])

    def normalised(self, images: Tensor) -> Tensor:
        """Images as the model gets them: resized where the input asks for it, then standardised."""
        _, _, height, width = self.inputs[0].shape
        if images.shape[-2:] != (height, width):
            images = images_to.resize(images, [int(height), int(width)], antialias=True)
        return (images.float() - self.mean[:, None, None]) / self.deviation[:, None, None]


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of (n, channels, h, w), both (channels,) float32.

    A channel without variation gets the deviation 1.
    """
    count = images.numel() // images.shape[1]
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for chunk in images.split(2048):  # never the whole set in double precision
        values = chunk.double()
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(deviation > 0, deviation, 1.0).float()
