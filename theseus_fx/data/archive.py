"""The arrays of a NumPy archive as images and labels, each mistake in them told by its array's name."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from theseus_fx.data.arguments import rejected, text
from theseus_fx.data.arrays import Samples
from theseus_fx.data.encoded import MODES, DamagedImageError, EncodedImages
from theseus_fx.lang.diagnostics import Rejected, did_you_mean
from theseus_fx.lang.spec import Invocation

Array = NDArray[Any]
_DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises at an archive that is none, is cut off, or holds Python objects."""
_PLACE = "{split}"
"""In the name of an array: where the name of the split stands."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Images and labels of one split, not yet decoded."""

    name: str
    """Of the array that has the images."""
    images: Tensor | EncodedImages
    """(n, channels, h, w) uint8 or float32, or files."""
    labels: Tensor
    """(n,) int64."""


class Archive:
    """The arrays of a file, each read when it is asked for."""

    def __init__(self, invocation: Invocation, path: Path, arrays: NpzFile) -> None:
        self._invocation = invocation
        self._path = path
        self._arrays = arrays

    @classmethod
    @contextmanager
    def opened(cls, invocation: Invocation, path: Path) -> Generator[Archive, None, None]:
        """The archive at a path, closed afterwards; `Rejected` THX601 or THX602."""
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise rejected("THX601", invocation, "root", f"there is no file {path}") from error
        except OSError as error:
            raise rejected("THX602", invocation, "root", f"{path} cannot be read: {error}") from error
        with file:  # NumPy would leave the file of a damaged archive open
            try:
                arrays = np.load(file, allow_pickle=False)
            except _DAMAGED as error:
                message = f"{path} cannot be read as an archive of arrays: {error}"
                raise rejected("THX602", invocation, "root", message) from error
            if not isinstance(arrays, NpzFile):
                message = f"{path} is one array, not an archive of them"
                raise rejected("THX602", invocation, "root", message, "write it with `numpy.savez`")
            with arrays:
                yield cls(invocation, path, arrays)

    def part(self, split: str, channels: int) -> Part:
        """The images and labels that the arguments name for a split."""
        encoded = self._invocation.keywords["images"] is None and f"x_{split}" not in self._arrays.files
        encoded = encoded and f"{split}_jpeg" in self._arrays.files
        images = self._name("images", split, "{split}_jpeg" if encoded else "x_{split}")
        labels = self._name("labels", split, "{split}_labels" if encoded else "y_{split}")
        pixels, classes = self._read(images, "images"), self._labels(labels)
        if pixels.ndim == 1 and pixels.dtype == np.uint8:
            offsets = self._read(self._name("offsets", split, "{split}_offsets"), "offsets")
            found: Tensor | EncodedImages = self._encoded(images, pixels, offsets, channels)
        else:
            found = self._pixels(images, pixels, channels)
        if len(found) != len(classes):
            message = f"`{images}` has {len(found):,} images, `{labels}` has {len(classes):,} labels"
            raise self._rejected("THX603", "labels", message)
        return Part(name=images, images=found, labels=classes)

    def samples(self, part: Part, indices: Tensor, channels: int) -> Samples:
        """Some images of a part, decoded; `Rejected` THX602 for one that cannot be."""
        if isinstance(part.images, Tensor):
            return Samples(images=part.images[indices], labels=part.labels[indices])
        try:
            images = part.images.decoded(indices.tolist(), channels)
        except DamagedImageError as error:
            raise self._rejected("THX602", "images", f"`{part.name}`: {error}") from error
        return Samples(images=images, labels=part.labels[indices])

    def _name(self, argument: str, split: str, default: str) -> str:
        """The name of an array: the argument, or what it is by default, with the split put in."""
        given = self._invocation.keywords[argument]
        return str(default if given is None else given).replace(_PLACE, split)

    def _read(self, name: str, argument: str) -> Array:
        if name not in self._arrays.files:
            message = f"{self._path} has no array `{name}`"
            raise self._rejected(
                "THX602", argument, message, *did_you_mean(name, self._arrays.files, what="its arrays")
            )
        try:
            return self._arrays[name]
        except _DAMAGED as error:
            message = f"the array `{name}` of {self._path} is damaged: {error}"
            raise self._rejected("THX602", argument, message) from error

    def _labels(self, name: str) -> Tensor:
        labels = self._read(name, "labels")
        if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras writes them
            labels = labels[:, 0]
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
            message = f"`{name}` is {_described(labels)}, and labels are one whole number for each image"
            raise self._rejected("THX603", "labels", message)
        if labels.min() < 0:
            raise self._rejected("THX603", "labels", f"`{name}` has the label {labels.min()}, below 0")
        return torch.from_numpy(labels.astype(np.int64))

    def _encoded(self, name: str, content: Array, offsets: Array, channels: int) -> EncodedImages:
        if channels not in MODES:
            message = f"images are decoded to 1 or 3 channels, not {channels}"
            raise rejected("THX208", self._invocation, "channels", message)
        try:
            return EncodedImages(content=content, offsets=offsets)
        except ValueError as error:
            raise self._rejected("THX602", "offsets", f"`{name}`: {error}") from error

    def _pixels(self, name: str, pixels: Array, channels: int) -> Tensor:
        if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
            message = f"`{name}` is {_described(pixels)}, and images are uint8 or floats"
            raise self._rejected("THX602", "images", message)
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise self._rejected("THX602", "images", f"`{name}` has pixels that are no finite number")
        images = torch.from_numpy(pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32))
        match self._layout(name, pixels.shape, channels):
            case "hw":
                images = images[:, None]
            case "hwc":
                images = images.permute(0, 3, 1, 2).contiguous()
            case "chw":
                pass
        if images.shape[1] == 1 < channels:
            images = images.expand(-1, channels, -1, -1)
        if images.shape[1] != channels:
            message = f"`{name}` has {images.shape[1]} channels, not {channels}"
            fix = f"write `channels = {images.shape[1]}`, or another `layout`"
            raise self._rejected("THX603", "channels", message, fix)
        return images

    def _layout(self, name: str, shape: Sequence[int], channels: int) -> Literal["hw", "hwc", "chw"]:
        """Where the channels of images are."""
        if len(shape) == 3 and min(shape) > 0:
            return "hw"
        if len(shape) != 4 or min(shape) < 1:
            message = (
                f"`{name}` is {shape_text(shape)}, and images are n x h x w, n x h x w x c or n x c x h x w"
            )
            raise self._rejected("THX602", "images", message)
        match text(self._invocation, "layout"):
            case "hwc":
                return "hwc"
            case "chw":
                return "chw"
            case _:
                last, second = (shape[axis] in (1, channels) for axis in (3, 1))
        if last == second:
            message = (
                f"`{name}` is {shape_text(shape)}: the {channels} channels may be in more than one place"
            )
            if not last:
                message = f"`{name}` is {shape_text(shape)}, without an axis of {channels} channels"
            fix = 'write `layout = "hwc"` or `layout = "chw"`' if last else "other `channels`"
            raise self._rejected("THX603", "layout" if last else "channels", message, fix)
        return "hwc" if last else "chw"

    def _rejected(self, code: str, argument: str, message: str, *helps: str) -> Rejected:
        """At the value of an argument where it is written, else at the file's."""
        written = argument if argument in self._invocation.spans else "root"
        return rejected(code, self._invocation, written, message, *helps)


def shape_text(shape: Sequence[int]) -> str:
    """A shape as messages write it."""
    return " x ".join(str(size) for size in shape)


def _described(array: Array) -> str:
    return f"{shape_text(array.shape) or 'a scalar'} {array.dtype}"
