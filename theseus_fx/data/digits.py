"""scikit-learn's handwritten digits, each at a random place of a larger canvas: no download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theseus_fx.data.arguments import check_batch, positive, rejected
from theseus_fx.data.arrays import ArraySource, Samples
from theseus_fx.data.order import epoch_order, generator
from theseus_fx.data.source import Split
from theseus_fx.data.transforms import augmentation
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.spec import Invocation

CLASSES = 10
SIDE = 8
"""Height and width of a digit."""
TRAINING, VALIDATION, TEST = 1197, 240, 360
WHITE = 16.0
"""The brightest pixel of a digit."""
EVALUATION_PLACEMENTS = 5
"""Placements of each validation and test image: the accuracy of one placement is noisy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DigitsSource(ArraySource):
    """The digits as a data source; its training images can be placed anew without end."""

    originals: Tensor
    """The training images before placement, (1197, channels, 8, 8) float32."""
    placements: int
    """Placements of each training image that are part of the data set."""

    def unlabelled(self, samples: int, *, seed: int) -> Iterator[tuple[Tensor, ...]]:
        """The training images in a seeded order, then further placements of them as far as needed.

        The further placements are those that `placements` one higher, two higher and so on would add, so
        they too are the same for every seed; the seed orders them.
        """
        canvas = self.splits[Split.TRAIN].images.shape[-1]
        left = samples
        for inputs in ArraySource.unlabelled(self, samples, seed=seed):
            left -= len(inputs[0])
            yield inputs
        number = self.placements
        while left > 0:
            fresh = placed(self.originals, canvas, "train", number)
            order = epoch_order(len(fresh), seed, number)[:left]
            for chosen in order.split(self.batch_size):
                yield (self.normalised(fresh[chosen]),)
            left -= len(order)
            number += 1


def declared_inputs(invocation: Invocation) -> tuple[InputSpec, ...]:
    """One grey image, batch x channels x canvas x canvas; `Rejected` THX208 for a canvas below 8."""
    canvas = positive(invocation, "canvas", least=SIDE)
    channels = positive(invocation, "channels")
    return (InputSpec(name="image", dtype=torch.float32, shape=("batch", channels, canvas, canvas)),)


def open_digits(invocation: Invocation) -> DigitsSource:
    """`digits(canvas, placements, batch, augment, channels)`: 1,197 training, 240 validation and 360 test
    images.

    The 1,797 images of 8 x 8 are split by class with a fixed seed and put at random places of a black
    canvas; split and places are the data set's own and do not depend on the seed of a run, so that two
    runs see the same data. A training image has `placements` places (a larger number keeps the places of
    a smaller one), validation and test images have five each. All channels are equal. Pixels are standardised
    by mean and deviation of the training canvases, which the places do not change.

    Raises `Rejected` THX208 for arguments out of range.
    """
    inputs = declared_inputs(invocation)
    canvas = positive(invocation, "canvas", least=SIDE)
    channels = positive(invocation, "channels")
    placements = positive(invocation, "placements")
    batch = check_batch(invocation, TRAINING * placements)
    # Imported here: scikit-learn takes a second to import, and declaring the inputs does without.
    from sklearn.datasets import load_digits

    loaded: Any = load_digits()
    pixels = torch.from_numpy(loaded.images).float()[:, None]  # (1797, 1, 8, 8), 0 to 16
    pixels = pixels.expand(-1, channels, -1, -1)
    labels = torch.from_numpy(loaded.target).long()
    if len(labels) != TRAINING + VALIDATION + TEST:
        message = f"scikit-learn's digits are {len(labels)} images, not {TRAINING + VALIDATION + TEST}"
        raise rejected("THX602", invocation, None, message)

    rest, test = _held_out(torch.arange(len(labels)), labels, TEST)
    train, validation = _held_out(rest, labels[rest], VALIDATION)
    splits = {
        Split.TRAIN: _samples(pixels[train], labels[train], canvas, "train", placements),
        Split.VALIDATION: _samples(
            pixels[validation], labels[validation], canvas, "validation", EVALUATION_PLACEMENTS
        ),
        Split.TEST: _samples(pixels[test], labels[test], canvas, "test", EVALUATION_PLACEMENTS),
    }
    one = placed(pixels[train], canvas, "train", 0)
    deviation, mean = torch.std_mean(one.double(), correction=0)
    source = DigitsSource(
        name=invocation.name,
        batch_size=batch,
        classes=CLASSES,
        inputs=inputs,
        splits=splits,
        mean=mean.float().repeat(channels),
        deviation=deviation.float().repeat(channels),
        originals=pixels[train],
        placements=placements,
        augment=augmentation(invocation),
        white=WHITE,
    )
    source.check_augmentation()
    return source


def placed(images: Tensor, canvas: int, split: str, number: int) -> Tensor:
    """Placement `number` (from 0) of every image of a split: (n, c, 8, 8) -> (n, c, canvas, canvas)."""
    spare = canvas - SIDE + 1
    corners = torch.randint(spare, (len(images), 2), generator=generator("digits", split, number, canvas))
    rows = corners[:, 0, None] + torch.arange(SIDE)  # (n, 8)
    columns = corners[:, 1, None] + torch.arange(SIDE)
    out = images.new_zeros(*images.shape[:2], canvas, canvas)
    every = torch.arange(len(images))[:, None, None]
    out[every, :, rows[:, :, None], columns[:, None, :]] = images.permute(0, 2, 3, 1)  # (n, 8, 8, c)
    return out


def _samples(images: Tensor, labels: Tensor, canvas: int, split: str, placements: int) -> Samples:
    return Samples(
        images=torch.cat([placed(images, canvas, split, number) for number in range(placements)]),
        labels=labels.repeat(placements),
    )


def _held_out(indices: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    from sklearn.model_selection import train_test_split

    kept, held = train_test_split(
        indices.numpy(), test_size=count, random_state=0, stratify=labels.numpy(), shuffle=True
    )
    return torch.from_numpy(kept).sort().values, torch.from_numpy(held).sort().values
