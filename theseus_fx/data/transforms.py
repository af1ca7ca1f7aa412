"""`augment = [...]`: transforms of torchvision by name, as functions of an image and a generator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from theseus_fx.data.drawing import Drawing
from theseus_fx.lang.check_values import shown
from theseus_fx.lang.diagnostics import Diagnostic, Label, Rejected, did_you_mean, first_line
from theseus_fx.lang.source import Span
from theseus_fx.lang.spec import Invocation, Value

AFTER = ("random_erasing",)
"""Transforms of standardised images: a black rectangle would be another thing than one of the mean."""
_REFUSALS = (TypeError, ValueError, RuntimeError, AssertionError, KeyError, IndexError)
"""What torchvision raises at arguments and images that do not suit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """One entry of the list."""

    text: str
    """As a spec writes it."""
    call: Callable[[Tensor], Tensor]
    span: Span

    def __call__(self, image: Tensor) -> Tensor:
        """The image, changed; `Rejected` THX208 where the transform cannot be done to it."""
        try:
            return self.call(image)
        except _REFUSALS as error:
            shape = " x ".join(str(size) for size in image.shape)
            kind = str(image.dtype).removeprefix("torch.")
            said = f"`{self.text}` cannot be done to an image of {shape} {kind}: {first_line(error)}"
            raise Rejected(Diagnostic(code="THX208", message=said, primary=Label(self.span))) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is done with a training image, before and after it is standardised."""

    pixels: tuple[Transform, ...]
    standardised: tuple[Transform, ...]

    @property
    def text(self) -> str:
        """The list as a spec writes it."""
        return f"[{', '.join(step.text for step in (*self.pixels, *self.standardised))}]"

    def of_pixels(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """(channels, h, w), uint8 or float32 from 0 to 1 -> such pixels, perhaps in another size."""
        return self._applied(self.pixels, image, generator)

    def of_standardised(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """(channels, h, w) float32 -> the same."""
        return self._applied(self.standardised, image, generator)

    @staticmethod
    def _applied(steps: Sequence[Transform], image: Tensor, generator: torch.Generator) -> Tensor:
        """Every step in turn; `Rejected` THX208 where one cannot be done or changes the channels."""
        changed: Tensor = tv_tensors.Image(image)
        with Drawing(generator):
            for step in steps:
                changed = step(changed)
                if changed.shape[0] != image.shape[0] or changed.dtype != image.dtype:
                    message = f"`{step.text}` makes {changed.shape[0]} channels of {image.shape[0]}"
                    raise Rejected(Diagnostic(code="THX208", message=message, primary=Label(step.span)))
        return changed.as_subclass(torch.Tensor)


def augmentation(invocation: Invocation) -> Augmentation | None:
    """The argument `augment` of a source, or None where it is none.

    Raises `Rejected` with all that is wrong: THX205 for arguments that a transform does not take, THX208
    for values that it refuses.
    """
    listed = invocation.keywords["augment"]
    if listed is None:
        return None
    if not isinstance(listed, tuple):
        raise TypeError(f"`augment` of `{invocation.name}` is no list: {listed!r}")
    steps: list[tuple[str, Transform]] = []
    problems: list[Diagnostic] = []
    for item in listed:
        if not isinstance(item, Invocation):
            raise TypeError(f"`augment` of `{invocation.name}` holds {item!r}")
        try:
            steps.append((item.name, _transform(item)))
        except Rejected as rejected:
            problems += rejected.diagnostics
    if problems:
        raise Rejected(*problems)
    return Augmentation(
        pixels=tuple(step for name, step in steps if name not in AFTER),
        standardised=tuple(step for name, step in steps if name in AFTER),
    )


def transform_class(name: str) -> Callable[..., Callable[[Tensor], Tensor]]:
    """The class of `torchvision.transforms.v2` that a name in snake_case means."""
    return getattr(v2, "".join(word.capitalize() for word in name.split("_")))


def _transform(item: Invocation) -> Transform:
    """The transform of one entry, its arguments bound as torchvision's own signature says."""
    kind = transform_class(item.name)
    signature = inspect.signature(kind)
    for key in item.keywords:
        if key not in signature.parameters:
            message = f"`{item.name}` has no argument `{key}`"
            near = did_you_mean(key, tuple(signature.parameters), what="it takes")
            place = Label(item.spans.get(key, item.span))
            raise Rejected(Diagnostic(code="THX205", message=message, primary=place, help=near))
    try:
        bound = signature.bind(*item.positional, **item.keywords)
    except TypeError as error:  # too many, or one is missing
        message = f"`{item.name}`: {error}"
        raise Rejected(Diagnostic(code="THX205", message=message, primary=Label(item.span))) from error
    try:
        given = {
            key: _given(value, signature.parameters[key].default) for key, value in bound.arguments.items()
        }
        call = kind(**given)
    except _REFUSALS as error:
        message = f"`{item.name}` does not take these arguments: {first_line(error)}"
        raise Rejected(Diagnostic(code="THX208", message=message, primary=Label(item.span))) from error
    return Transform(text=shown(item), call=call, span=item.span)


def _given(value: Value, default: object) -> Any:
    """A value as torchvision takes it: a list for a tuple, a member of an enumeration by its word."""
    if isinstance(default, Enum) and isinstance(value, str):
        return type(default)(value)
    return list(value) if isinstance(value, tuple) else value
