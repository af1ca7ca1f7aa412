"""What all sources of images in memory have in common: who is held out, what standardises, what augments."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from theseus_fx.data.arguments import (
    channel_values,
    check_batch,
    fraction,
    optional_positive,
    positive,
    rejected,
)
from theseus_fx.data.arrays import ArraySource, Samples, moments
from theseus_fx.data.order import balanced, held_out
from theseus_fx.data.source import Split
from theseus_fx.data.transforms import augmentation
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.spec import Invocation


def check_arguments(invocation: Invocation, channels: int) -> None:
    """Raises `Rejected` THX205 or THX208 for what is wrong with arguments before any file is opened."""
    fraction(invocation, "validation")
    optional_positive(invocation, "at_most")
    positive(invocation, "batch")
    channel_values(invocation, "mean", channels)
    deviation = channel_values(invocation, "std", channels)
    if deviation is not None and not (deviation > 0).all():
        raise rejected("THX208", invocation, "std", "`std` is above zero")
    augmentation(invocation)


def parted(invocation: Invocation, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of training and of validation samples, both ascending, of the file's training split.

    A fixed seed holds out the share `validation`; of the others, at most `at_most` are kept, as many of
    each class.

    Args:
        invocation: has the arguments `validation`, `at_most` and `batch`.
        labels: of the whole split, (n,) int64, n of two or more.

    Raises `Rejected` THX208 for a batch of more samples than are left.
    """
    kept, held = held_out(len(labels), fraction(invocation, "validation"))
    most = optional_positive(invocation, "at_most")
    if most is not None:
        kept = kept[balanced(labels[kept], most)]
    check_batch(invocation, len(kept))
    return kept, held


def array_source(
    invocation: Invocation, *, inputs: tuple[InputSpec, ...], classes: int, splits: Mapping[Split, Samples]
) -> ArraySource:
    """The source of images in memory, standardised and augmented as the arguments say.

    `mean` and `std` are of pixels from 0 to 1: uint8 is divided by 255, floats are taken as they are. Where
    they are none, those of the training images, as they are after `at_most`, standardise.

    Raises `Rejected` THX208 where a transform cannot be done to the first training image.
    """
    images = splits[Split.TRAIN].images
    channels = images.shape[1]
    white = 255.0 if images.dtype == torch.uint8 else 1.0
    mean, deviation = (channel_values(invocation, name, channels) for name in ("mean", "std"))
    if mean is None or deviation is None:
        own = moments(images)
        mean = own[0] / white if mean is None else mean
        deviation = own[1] / white if deviation is None else deviation
    source = ArraySource(
        name=invocation.name,
        batch_size=positive(invocation, "batch"),
        classes=classes,
        inputs=inputs,
        splits=splits,
        mean=mean * white,
        deviation=deviation * white,
        augment=augmentation(invocation),
    )
    source.check_augmentation()
    return source
