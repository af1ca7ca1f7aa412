"""Images in one NumPy archive: as pixels, or as the bytes of JPEG files."""

from __future__ import annotations

from pathlib import Path

import torch

from theseus_fx.data.archive import Archive, shape_text
from theseus_fx.data.arguments import positive, rejected, root, text
from theseus_fx.data.arrays import ArraySource, Samples
from theseus_fx.data.images import array_source, check_arguments, parted
from theseus_fx.data.source import Split
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.spec import Invocation


def declared_inputs(invocation: Invocation) -> tuple[InputSpec, ...]:
    """One image, batch x channels x size x size, by the arguments alone."""
    channels, size = positive(invocation, "channels"), positive(invocation, "size")
    return (InputSpec(name="image", dtype=torch.float32, shape=("batch", channels, size, size)),)


def open_npz(invocation: Invocation, folder: Path) -> ArraySource:
    """`npz(root, size, channels, batch, ...)`, wholly in memory, pixels as the file has them.

    Without `images`, the arrays are `x_train` with `y_train`, or `train_jpeg` with `train_offsets` and
    `train_labels`; `train` and `test` are the names of the splits in them. Images are (n, h, w), or have
    their channels where `layout` says; grey ones are repeated where `channels` are more. Images are resized
    to `size` (bilinear, antialiased), parted as `parted` and standardised and augmented as `array_source` do.

    Raises `Rejected`: THX601 for a file that is not there, THX602 for one that is damaged or lacks an
    array, THX603 for arrays that do not fit each other or the arguments, THX208 for arguments out of range.
    """
    inputs = declared_inputs(invocation)
    channels = positive(invocation, "channels")
    check_arguments(invocation, channels)
    with Archive.opened(invocation, root(invocation, folder)) as archive:
        train, test = (archive.part(text(invocation, split), channels) for split in ("train", "test"))
    if len(train.labels) < 2:
        raise rejected("THX602", invocation, "root", f"one image in `{train.name}` is too few to train on")
    kept, held = parted(invocation, train.labels)
    splits = {
        Split.TRAIN: archive.samples(train, kept, channels),
        Split.VALIDATION: archive.samples(train, held, channels),
        Split.TEST: archive.samples(test, torch.arange(len(test.labels)), channels),
    }
    _check_alike(invocation, splits)
    classes = 1 + max(int(part.labels.max()) for part in (train, test))
    return array_source(invocation, inputs=inputs, classes=classes, splits=splits)


def _check_alike(invocation: Invocation, splits: dict[Split, Samples]) -> None:
    """Raises `Rejected` THX603 where test images have another size or kind of pixels than training images."""
    train, test = splits[Split.TRAIN].images, splits[Split.TEST].images
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        one, other = (f"{shape_text(x.shape[1:])} {x.dtype}".replace("torch.", "") for x in (train, test))
        message = f"training images are {one}, test images are {other}"
        raise rejected("THX603", invocation, "root", message)
