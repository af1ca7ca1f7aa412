"""Reading an image file as a training or an evaluation view of it, in the manner of ImageNet training."""

from __future__ import annotations

import math
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as images_to

from theseus_fx.data.transforms import Augmentation

MEAN = torch.tensor([0.485, 0.456, 0.406])
"""Of ImageNet's pixels on the scale 0 to 1, (3,)."""
DEVIATION = torch.tensor([0.229, 0.224, 0.225])

CENTRE = 0.875
"""Share of the resized shorter side that an evaluation view keeps: 224 of 256."""

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises at a file that is no image, or a damaged one."""


def training_view(path: str, size: int, generator: torch.Generator) -> Tensor:
    """A random crop, resized and flipped half of the time: (3, size, size) uint8.

    Every random number comes from `generator`: PyTorch's global one belongs to the training loop, which
    runs at the same time.
    """
    image: Any = _read(path)
    top, left, height, width = crop_box(image.height, image.width, generator)
    image = images_to.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    if torch.rand((), generator=generator) < 0.5:
        image = images_to.horizontal_flip(image)
    return images_to.pil_to_tensor(image)


def evaluation_view(path: str, size: int) -> Tensor:
    """The centre of the image, resized: (3, size, size) uint8."""
    return images_to.pil_to_tensor(_centre(_read(path), size))


def augmented_view(path: str, size: int, augment: Augmentation, generator: torch.Generator) -> Tensor:
    """The image, its pixels augmented: (3, size, size) uint8.

    What comes out in another size is resized and cut as for evaluation. Raises `Rejected` THX208 where a
    transform cannot be done to the image.
    """
    image = augment.of_pixels(images_to.pil_to_tensor(_read(path)), generator)
    if image.shape[-2:] == (size, size):
        return image
    return images_to.pil_to_tensor(_centre(images_to.to_pil_image(image), size))  # as Pillow resizes


def normalised(views: Tensor) -> Tensor:
    """(b, 3, h, w) uint8 -> float32, standardised by ImageNet's mean and deviation."""
    scale = 1 / (255 * DEVIATION)
    return views.float().mul_(scale[:, None, None]).sub_((MEAN / DEVIATION)[:, None, None])


def crop_box(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random crop by the law of torchvision's RandomResizedCrop.

    Area uniform from 8 to 100 % of the image, logarithm of the aspect ratio uniform from 3/4 to 4/3
    (Szegedy et al. 2015, section 6); after ten crops that do not fit, the largest central one that does.
    """
    low, high = math.log(3 / 4), math.log(4 / 3)
    for _ in range(10):
        share, tilt, down, along = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        area = height * width * (0.08 + 0.92 * share)
        ratio = math.exp(low + (high - low) * tilt)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(down * (height - h + 1)), int(along * (width - w + 1)), h, w
    h, w = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def _centre(picture: Image.Image, size: int) -> Any:
    """The centre of an image, size x size."""
    image: Any = picture
    image = images_to.resize(image, [round(size / CENTRE)], antialias=True)
    return images_to.center_crop(image, [size, size])


def _read(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
