"""The vocabulary of data: every source with its arguments, and what can be done with training images."""

from __future__ import annotations

from collections.abc import Mapping

from theseus_fx.lang.signatures import Argument, Signature

AUGMENTATIONS = (
    "aug_mix", "auto_augment", "center_crop", "color_jitter", "elastic_transform", "gaussian_blur",
    "gaussian_noise", "grayscale", "pad", "rand_augment", "random_adjust_sharpness", "random_affine",
    "random_autocontrast", "random_channel_permutation", "random_crop", "random_equalize", "random_erasing",
    "random_grayscale", "random_horizontal_flip", "random_invert", "random_perspective",
    "random_photometric_distort", "random_posterize", "random_resize", "random_resized_crop",
    "random_rotation", "random_shortest_size", "random_solarize", "random_vertical_flip", "random_zoom_out",
    "resize", "scale_jitter", "trivial_augment_wide",
)  # fmt: skip
"""What `augment` can do with a training image: classes of `torchvision.transforms.v2`, in snake_case."""
_AUGMENT = Argument("augment", "augment", None)
_ARRAYS = (
    Argument("at_most", "optional int", None),
    Argument("mean", "numbers", None),
    Argument("std", "numbers", None),
    _AUGMENT,
)
"""Of every source whose images are in memory."""
LAYOUTS = ("auto", "hwc", "chw")
"""Where an array of images has its channels: last, or before height and width."""

_TORCHVISION_SET = Signature(
    (
        Argument("root", "path", required=True),
        Argument("batch", "int", 128),
        Argument("size", "optional int", None),
        Argument("validation", "share", 0.1),
        Argument("download", "bool", False),
        *_ARRAYS,
    )
)
TORCHVISION_SETS = ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "SVHN")

_TOKENS = (
    Argument("tokenizer", "text", required=True),
    Argument("length", "int", 128),
    Argument("batch", "int", 32),
)
"""Of every source of text."""

SOURCES: Mapping[str, Signature] = {
    "digits": Signature(
        (
            Argument("canvas", "int", 16),
            Argument("placements", "int", 1),
            Argument("batch", "int", 128),
            _AUGMENT,
            Argument("channels", "int", 1),
        )
    ),
    "imagefolder": Signature(
        (
            Argument("root", "path", required=True),
            Argument("size", "int", 224),
            Argument("batch", "int", 256),
            Argument("validation", "share", 0.05),
            Argument("at_most", "optional int", None),
            _AUGMENT,
        )
    ),
    "npz": Signature(
        (
            Argument("root", "path", required=True),
            Argument("size", "int", required=True),
            Argument("channels", "int", 3),
            Argument("batch", "int", 128),
            Argument("validation", "share", 0.1),
            *_ARRAYS,
            Argument("train", "text", "train"),
            Argument("test", "text", "test"),
            Argument("images", "optional text", None),
            Argument("labels", "optional text", None),
            Argument("offsets", "optional text", None),
            Argument("layout", "text", "auto", choices=LAYOUTS),
        )
    ),
    "textfile": Signature(
        (
            Argument("root", "path", required=True),
            *_TOKENS,
            Argument("validation", "share", 0.05),
            Argument("test", "share", 0.05),
        )
    ),
    "datasets.images": Signature(
        (
            Argument("name", "path", required=True),
            Argument("size", "int", required=True),
            Argument("channels", "int", 3),
            Argument("batch", "int", 128),
            Argument("validation", "share", 0.1),
            *_ARRAYS,
            Argument("config", "optional text", None),
            Argument("train", "text", "train"),
            Argument("test", "text", "test"),
            Argument("image", "text", "image"),
            Argument("label", "text", "label"),
        )
    ),
    "datasets.text": Signature(
        (
            Argument("name", "path", required=True),
            *_TOKENS,
            Argument("at_most", "optional int", None),
            Argument("config", "optional text", None),
            Argument("train", "text", "train"),
            Argument("validation", "text", "validation"),
            Argument("test", "text", "test"),
            Argument("text", "text", "text"),
        )
    ),
    "stdlib": Signature(
        (
            Argument("tokenizer", "text", "bytes"),
            *_TOKENS[1:],
            Argument("validation", "share", 0.05),
            Argument("test", "share", 0.05),
            Argument("at_most", "optional int", None),
        )
    ),
    "wikitext": Signature(
        (Argument("version", "text", required=True), *_TOKENS, Argument("root", "optional path", None))
    ),
    **{f"torchvision.datasets.{name}": _TORCHVISION_SET for name in TORCHVISION_SETS},
}
"""Every data source."""
