"""Images that an array holds as JPEG or PNG bytes, one after the other, decoded once."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as images_to

from theseus_fx.data.augment import UNREADABLE

MODES = {1: "L", 3: "RGB"}
"""Pillow's name for images of so many channels."""


class DamagedImageError(Exception):
    """An image that cannot be decoded, or is of another size than the first; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedImages:
    """Files of images in one array."""

    content: NDArray[np.uint8]
    """The bytes of all files, (total,)."""
    offsets: NDArray[np.integer[Any]]
    """Where each begins and the last one ends, (n + 1,)."""

    def __post_init__(self) -> None:
        """Raises ValueError for offsets that do not part the bytes."""
        offsets = self.offsets
        if offsets.ndim != 1 or len(offsets) < 2 or offsets.dtype.kind not in "iu":
            raise ValueError("offsets are n + 1 whole numbers")
        if (
            offsets[0] != 0
            or offsets[-1] != len(self.content)
            or (np.diff(offsets.astype(np.int64)) < 0).any()
        ):
            raise ValueError(f"offsets do not rise from 0 to {len(self.content)}, the number of bytes")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def decoded(self, indices: Sequence[int], channels: int) -> Tensor:
        """Images at some places, (len(indices), channels, h, w) uint8; grey and colour as `channels` says.

        Raises `DamagedImageError`. KeyError for channels that `MODES` lacks.
        """
        mode = MODES[channels]
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1), thread_name_prefix="decode") as threads:
            decoded = threads.map(partial(self._one, mode=mode), indices)
            first = next(decoded)
            images = torch.empty(len(indices), *first.shape, dtype=torch.uint8)
            images[0] = first
            for place, image in enumerate(decoded, 1):
                if image.shape != first.shape:
                    raise DamagedImageError(
                        f"image {indices[place]} is {_size(image)}, image {indices[0]} is {_size(first)}"
                    )
                images[place] = image
        return images

    def _one(self, index: int, *, mode: str) -> Tensor:
        begin, end = int(self.offsets[index]), int(self.offsets[index + 1])
        try:
            with Image.open(io.BytesIO(self.content[begin:end].tobytes())) as image:
                return images_to.pil_to_tensor(image.convert(mode))
        except UNREADABLE as error:
            raise DamagedImageError(f"image {index} cannot be decoded: {error}") from error


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]} x {image.shape[-2]}"
