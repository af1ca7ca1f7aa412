"""The `data` and `task` sentences of a drafted spec, where a source of data fits the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from theseus_fx.graph.values import InputSpec
from theseus_fx.inspection.inputs import SMALL_IMAGE_SIZE
from theseus_fx.inspection.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSentences:
    """What a drafted spec says of data and task."""

    data: str | None
    """The value of `data`; None where no source fits."""
    comment: str
    """Behind it: what a person has to do."""
    classes: int | None


_NONE = DataSentences(data=None, comment="", classes=None)
_CIFAR = {10: "CIFAR10", 100: "CIFAR100"}


def data_sentences(found: Subject, output: Sequence[int | str]) -> DataSentences:
    """The sentences for a classifier of images; nothing for other models.

    Args:
        found: the model with its inputs.
        output: the shape of what it returns.
    """
    size = _image_size(found.inputs)
    own = found.invocation.code is not None or found.invocation.name.startswith("transformers.")
    if own or size is None or len(output) != 2:
        return _NONE
    classes = output[1]
    if not isinstance(classes, int):
        return _NONE
    channels = found.inputs[0].shape[1]
    if channels == 1 and classes == 10:
        comment = "embedded: no download"
        return DataSentences(data="digits(canvas = 16, batch = 128)", comment=comment, classes=classes)
    if channels == 3 and size == SMALL_IMAGE_SIZE and classes in _CIFAR:
        source = f'torchvision.datasets.{_CIFAR[classes]}("data", batch = 128, download = true)'
        return DataSentences(data=source, comment="a run downloads it once", classes=classes)
    if channels == 3:
        source = f'imagefolder(env("DATA_DIR"), size = {size}, batch = 64)'
        comment = "a folder with train/CLASS/ and val/CLASS/"
        return DataSentences(data=source, comment=comment, classes=classes)
    return _NONE


def _image_size(inputs: Sequence[InputSpec]) -> int | None:
    """The side of the square images that are the only input, if that is so."""
    if len(inputs) != 1 or inputs[0].dtype != torch.float32 or len(inputs[0].shape) != 4:
        return None
    height, width = inputs[0].shape[2:]
    return height if isinstance(height, int) and height == width else None
