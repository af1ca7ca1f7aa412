"""Which name in a spec means which source of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from theseus_fx.data import (
    digits,
    hub_sources,
    imagefolder,
    npz,
    stdlib,
    textfile,
    tokenizers,
    tokens,
    torchvision_sets,
    wikitext,
)
from theseus_fx.data.arguments import positive, rejected
from theseus_fx.data.source import DataSource
from theseus_fx.data.transforms import augmentation
from theseus_fx.graph.values import InputSpec
from theseus_fx.lang.diagnostics import did_you_mean
from theseus_fx.lang.spec import DataTask, Invocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of source."""

    arguments: tuple[str, ...]
    """Names of its arguments, in order."""
    inputs: Callable[[Invocation], tuple[InputSpec, ...]]
    """Its inputs, told from the arguments alone."""
    classes: Callable[[Invocation], int | None]
    """Its number of classes or tokens, or None where only the files tell."""
    open: Callable[[Invocation, Path], DataSource]
    task: DataTask = "classification"
    """What its labels are for."""


def _open_digits(invocation: Invocation, folder: Path) -> DataSource:
    del folder  # nothing is read from disk
    return digits.open_digits(invocation)


_ARRAYS = ("at_most", "mean", "std", "augment")

SOURCES: Mapping[str, Kind] = MappingProxyType(
    {
        "digits": Kind(
            arguments=("canvas", "placements", "batch", "augment", "channels"),
            inputs=digits.declared_inputs,
            classes=lambda _: digits.CLASSES,
            open=_open_digits,
        ),
        "imagefolder": Kind(
            arguments=("root", "size", "batch", "validation", "at_most", "augment"),
            inputs=imagefolder.declared_inputs,
            classes=lambda _: None,
            open=imagefolder.open_imagefolder,
        ),
        "npz": Kind(
            arguments=(
                *("root", "size", "channels", "batch", "validation", *_ARRAYS),
                *("train", "test", "images", "labels", "offsets", "layout"),
            ),
            inputs=npz.declared_inputs,
            classes=lambda _: None,
            open=npz.open_npz,
        ),
        "textfile": Kind(
            arguments=("root", "tokenizer", "length", "batch", "validation", "test"),
            inputs=tokens.declared_inputs,
            classes=tokenizers.declared_vocabulary,
            open=textfile.open_textfile,
            task="language_modelling",
        ),
        "datasets.images": Kind(
            arguments=(
                *("name", "size", "channels", "batch", "validation", *_ARRAYS),
                *("config", "train", "test", "image", "label"),
            ),
            inputs=npz.declared_inputs,
            classes=lambda _: None,
            open=hub_sources.open_images,
        ),
        "datasets.text": Kind(
            arguments=(
                *("name", "tokenizer", "length", "batch", "at_most"),
                *("config", "train", "validation", "test", "text"),
            ),
            inputs=tokens.declared_inputs,
            classes=tokenizers.declared_vocabulary,
            open=hub_sources.open_text,
            task="language_modelling",
        ),
        "stdlib": Kind(
            arguments=("tokenizer", "length", "batch", "validation", "test", "at_most"),
            inputs=tokens.declared_inputs,
            classes=tokenizers.declared_vocabulary,
            open=stdlib.open_stdlib,
            task="language_modelling",
        ),
        "wikitext": Kind(
            arguments=("version", "tokenizer", "length", "batch", "root"),
            inputs=tokens.declared_inputs,
            classes=tokenizers.declared_vocabulary,
            open=wikitext.open_wikitext,
            task="language_modelling",
        ),
        **{
            f"torchvision.datasets.{name}": Kind(
                arguments=("root", "batch", "size", "validation", "download", *_ARRAYS),
                inputs=torchvision_sets.declared_inputs,
                classes=lambda _, count=known.classes: count,
                open=torchvision_sets.open_set,
            )
            for name, known in torchvision_sets.SETS.items()
        },
    }
)
"""Every source there is, by its name in a spec."""


def declared_inputs(invocation: Invocation) -> tuple[InputSpec, ...]:
    """The inputs that the source will give, without touching a file; `Rejected` THX209 or THX208."""
    return _kind(invocation).inputs(invocation)


def declared_batch(invocation: Invocation) -> int:
    """Samples in a training batch, without touching a file; `Rejected` THX209 or THX208."""
    _kind(invocation)
    return positive(invocation, "batch")


def declared_classes(invocation: Invocation) -> int | None:
    """The number of classes or tokens, or None where only the files tell; `Rejected` THX209."""
    return _kind(invocation).classes(invocation)


def declared_task(invocation: Invocation) -> DataTask:
    """What the labels of the source are for; `Rejected` THX209."""
    return _kind(invocation).task


def check_declared(invocation: Invocation) -> None:
    """Raises `Rejected` THX205 or THX208 for transforms of `augment` that there cannot be."""
    if "augment" in _kind(invocation).arguments:
        augmentation(invocation)


def open_source(invocation: Invocation, *, folder: Path) -> DataSource:
    """The source with its files found; relative paths start at `folder`, the spec's own.

    Raises `Rejected`: THX209 for an unknown source, THX601 to THX603 for files that are missing, damaged
    or at odds with each other, THX208 for arguments out of range.
    """
    return _kind(invocation).open(invocation, folder)


def _kind(invocation: Invocation) -> Kind:
    kind = SOURCES.get(invocation.name)
    if kind is None:
        raise rejected(
            "THX209",
            invocation,
            None,
            f"there is no data source `{invocation.name}`",
            *did_you_mean(invocation.name, tuple(SOURCES), what="data sources"),
        )
    return kind
