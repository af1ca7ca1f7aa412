"""`datasets.images` and `datasets.text`: what a data set of Hugging Face has, as images or as text."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as images_to

from theseus_fx.data.arguments import optional_positive, positive, rejected
from theseus_fx.data.arrays import ArraySource, Samples
from theseus_fx.data.encoded import MODES
from theseus_fx.data.hub_sets import HubSet, open_set
from theseus_fx.data.images import array_source, check_arguments, parted
from theseus_fx.data.npz import declared_inputs
from theseus_fx.data.source import Split
from theseus_fx.data.tokenizers import open_tokenizer
from theseus_fx.data.tokens import TokenSource, token_source
from theseus_fx.lang.spec import Invocation


def open_images(invocation: Invocation, folder: Path) -> ArraySource:
    """`datasets.images(name, size, channels, batch, ...)`: a column of images and one of labels, in memory.

    Images of another size are resized and cut to the centre. The split `test` is the test split; that of
    `train` is parted as `parted`, and all are standardised and augmented as `array_source` do.

    Raises `Rejected`: THX601 for a package, data set or split that is not there, THX602 for columns that
    are not there or hold no images, THX603 for labels that are none, THX208 for arguments out of range.
    """
    inputs = declared_inputs(invocation)
    channels, size = positive(invocation, "channels"), positive(invocation, "size")
    if channels not in MODES:
        raise rejected("THX208", invocation, "channels", f"images have 1 or 3 channels, not {channels}")
    check_arguments(invocation, channels)
    found = open_set(invocation, folder)
    train, test = (found.split(split) for split in ("train", "test"))
    labels, test_labels = _labels(found, train, "train"), _labels(found, test, "test")
    if len(labels) < 2:
        raise found.rejected("THX602", "train", f"one image in `{found.shown}` is too few to train on")
    kept, held = parted(invocation, labels)
    read = partial(_images, found, channels=channels, size=size)
    return array_source(
        invocation,
        inputs=inputs,
        classes=1 + max(int(labels.max()), int(test_labels.max()), _named_classes(found, train) - 1),
        splits={
            Split.TRAIN: Samples(images=read(train, kept), labels=labels[kept]),
            Split.VALIDATION: Samples(images=read(train, held), labels=labels[held]),
            Split.TEST: Samples(images=read(test, torch.arange(len(test_labels))), labels=test_labels),
        },
    )


def open_text(invocation: Invocation, folder: Path) -> TokenSource:
    """`datasets.text(name, tokenizer, length, batch, ...)`: a column of texts, one after the other.

    A row that does not end a line gets a line end. The three splits are those that `train`, `validation`
    and `test` name; the hub and files understand `train[:90%]` too. `at_most` takes so many characters of
    the training split, from its beginning.

    Raises `Rejected` as `open_images`, and THX601 for a tokenizer that is not there.
    """
    most = optional_positive(invocation, "at_most")
    positive(invocation, "batch")
    positive(invocation, "length")
    found = open_set(invocation, folder)
    texts = {
        split: "".join(_texts(found, split.value, most if split is Split.TRAIN else None)) for split in Split
    }
    tokenizer = open_tokenizer(invocation, "".join(texts.values()))
    splits = {split: tokenizer.encode(text) for split, text in texts.items()}
    return token_source(invocation, tokenizer.vocabulary, splits)


def _labels(found: HubSet, rows: Any, split: str) -> Tensor:
    name = found.column(rows, "label")
    labels = found.guarded(lambda: list(rows[name]), "label")
    if not all(isinstance(label, int) and not isinstance(label, bool) for label in labels):
        example = next(label for label in labels if not isinstance(label, int) or isinstance(label, bool))
        message = f"the column `{name}` of the split `{split}` has {example!r}, and labels are whole numbers"
        fix = "`class_encode_column` of `datasets.Dataset` numbers the classes"
        raise found.rejected("THX603", "label", message, fix)
    if min(labels) < 0:
        message = (
            f"the column `{name}` of the split `{split}` has the label {min(labels)}, as secret ones are"
        )
        raise found.rejected("THX603", "label", message, 'another split: `test = "validation"`')
    return torch.tensor(labels, dtype=torch.int64)


def _named_classes(found: HubSet, rows: Any) -> int:
    """How many classes the column of labels has by name, or 0 where it is plain numbers."""
    feature = rows.features[found.column(rows, "label")]
    return int(getattr(feature, "num_classes", None) or 0)


def _images(found: HubSet, rows: Any, indices: Tensor, *, channels: int, size: int) -> Tensor:
    """(n, channels, size, size) uint8."""
    name = found.column(rows, "image")
    images = torch.empty(len(indices), channels, size, size, dtype=torch.uint8)
    for place, index in enumerate(indices.tolist()):
        image = found.guarded(partial(rows.__getitem__, index), "image")[name]
        if not isinstance(image, Image.Image):
            message = f"the column `{name}` of `{found.shown}` holds {type(image).__name__}, no images"
            raise found.rejected("THX602", "image", message)
        view: Any = image.convert(MODES[channels])
        if view.size != (size, size):
            view = images_to.center_crop(images_to.resize(view, [size], antialias=True), [size, size])
        images[place] = images_to.pil_to_tensor(view)
    return images


def _texts(found: HubSet, split: str, most: int | None) -> Iterator[str]:
    rows = found.split(split)
    name = found.column(rows, "text")
    left = most
    for row in found.guarded(lambda: list(rows[name]), "text"):
        if not isinstance(row, str):
            message = f"the column `{name}` of `{found.shown}` holds {type(row).__name__}, no text"
            raise found.rejected("THX602", "text", message)
        line = row if row.endswith("\n") or not row else f"{row}\n"
        yield line if left is None else line[:left]
        if left is not None:
            left -= min(left, len(line))
            if not left:
                return
