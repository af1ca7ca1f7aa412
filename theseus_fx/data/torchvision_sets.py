"""Small image sets that torchvision knows how to download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from theseus_fx.data.arguments import flag, positive, rejected, root
from theseus_fx.data.arrays import ArraySource, Samples
from theseus_fx.data.images import array_source, check_arguments, parted
from theseus_fx.data.source import Split
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.spec import Invocation


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSet:
    """What is known of a set before its files are read."""

    channels: int
    side: int
    """Height and width of its images."""
    classes: int
    read: Callable[[str, bool, bool], tuple[Tensor, Tensor]]
    """(folder, training?, download?) -> images (n, channels, side, side) uint8 and labels (n,) int64."""


def _grey(kind: type[datasets.MNIST]) -> Callable[[str, bool, bool], tuple[Tensor, Tensor]]:
    def read(folder: str, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        data = kind(folder, train=train, download=download)
        return data.data[:, None], data.targets.long()

    return read


def _colour(kind: type[datasets.CIFAR10]) -> Callable[[str, bool, bool], tuple[Tensor, Tensor]]:
    def read(folder: str, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        data: Any = kind(folder, train=train, download=download)
        return torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(data.targets)

    return read


def _house_numbers(folder: str, train: bool, download: bool) -> tuple[Tensor, Tensor]:
    data: Any = datasets.SVHN(folder, split="train" if train else "test", download=download)
    return torch.from_numpy(data.data).contiguous(), torch.from_numpy(data.labels).long()


SETS: Mapping[str, KnownSet] = MappingProxyType(
    {
        "MNIST": KnownSet(channels=1, side=28, classes=10, read=_grey(datasets.MNIST)),
        "FashionMNIST": KnownSet(channels=1, side=28, classes=10, read=_grey(datasets.FashionMNIST)),
        "KMNIST": KnownSet(channels=1, side=28, classes=10, read=_grey(datasets.KMNIST)),
        "CIFAR10": KnownSet(channels=3, side=32, classes=10, read=_colour(datasets.CIFAR10)),
        "CIFAR100": KnownSet(channels=3, side=32, classes=100, read=_colour(datasets.CIFAR100)),
        "SVHN": KnownSet(channels=3, side=32, classes=10, read=_house_numbers),
    }
)
"""The sets by the name of their class in `torchvision.datasets`."""


def known_set(invocation: Invocation) -> KnownSet:
    """The set that `torchvision.datasets.NAME` means; KeyError for one that the registry lacks."""
    return SETS[invocation.name.rpartition(".")[2]]


def declared_inputs(invocation: Invocation) -> tuple[InputSpec, ...]:
    """One image, batch x channels x size x size, at the set's own size if `size` is none."""
    known = known_set(invocation)
    side = known.side if invocation.keywords["size"] is None else positive(invocation, "size")
    return (InputSpec(name="image", dtype=torch.float32, shape=("batch", known.channels, side, side)),)


def open_set(invocation: Invocation, folder: Path) -> ArraySource:
    """`torchvision.datasets.NAME(root, batch, size, validation, download, ...)`, wholly in memory.

    The official test set is the test split. Images are resized where `size` says so (bilinear, antialiased),
    parted as `parted` and standardised and augmented as `array_source` do.

    Raises `Rejected`: THX601 for files that are not there, THX602 for damaged ones, THX208 for arguments
    out of range.
    """
    known = known_set(invocation)
    inputs = declared_inputs(invocation)
    check_arguments(invocation, known.channels)
    place = root(invocation, folder)
    images, labels = _read(invocation, known, place, train=True)
    kept, held = parted(invocation, labels)
    test_images, test_labels = _read(invocation, known, place, train=False)
    splits = {
        Split.TRAIN: Samples(images=images[kept], labels=labels[kept]),
        Split.VALIDATION: Samples(images=images[held], labels=labels[held]),
        Split.TEST: Samples(images=test_images, labels=test_labels),
    }
    return array_source(invocation, inputs=inputs, classes=known.classes, splits=splits)


_UNREADABLE = (
    RuntimeError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AssertionError,
    EOFError,
    UnpicklingError,
)
"""What torchvision raises at files that are missing, damaged or not downloadable."""


def _read(invocation: Invocation, known: KnownSet, place: Path, *, train: bool) -> tuple[Tensor, Tensor]:
    download = flag(invocation, "download")
    try:
        images, labels = known.read(str(place), train, download)
    except _UNREADABLE as error:
        if download and isinstance(error, RuntimeError | OSError):
            message = f"`{invocation.name}` could not be downloaded into {place}: {error}"
            raise rejected("THX601", invocation, "root", message) from error
        if isinstance(error, RuntimeError) and "not found" in str(error):  # torchvision's words
            message = f"`{invocation.name}` is not in {place}, or is damaged"
            fix = "`download = true` fetches it there"
            raise rejected("THX601", invocation, "root", message, fix) from error
        message = f"the files of `{invocation.name}` in {place} are damaged: {error}"
        raise rejected("THX602", invocation, "root", message) from error
    expected = (len(labels), known.channels, known.side, known.side)
    if tuple(images.shape) != expected or images.dtype != torch.uint8 or len(labels) < 2:
        message = f"the files of `{invocation.name}` in {place} hold {tuple(images.shape)}, not {expected}"
        raise rejected("THX602", invocation, "root", message)
    if not 0 <= int(labels.min()) <= int(labels.max()) < known.classes:
        message = f"the files of `{invocation.name}` in {place} hold labels beyond {known.classes - 1}"
        raise rejected("THX602", invocation, "root", message)
    return images, labels
