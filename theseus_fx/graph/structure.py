"""Tensors inside the structures that modules take and return: tuples, lists, dicts and dataclasses."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

Access = tuple[Callable[[Any, Any], Any], Any]
"""A function and its second argument that take a part out of a structure: `(operator.getitem, 0)`."""


def parts(value: object) -> Iterator[tuple[Access, Any]]:
    """The direct parts of a structure and how to get at each; nothing for a tensor or a constant.

    A model output of transformers is both a mapping and a dataclass; it is read as a mapping.
    """
    if isinstance(value, Mapping):
        for key in value:
            yield (operator.getitem, key), value[key]
    elif isinstance(value, (tuple, list)):
        for index, part in enumerate(value):  # pyright: ignore[reportUnknownVariableType]
            yield (operator.getitem, index), part
    elif is_record(value):
        for field in dataclasses.fields(value):  # pyright: ignore[reportArgumentType]
            yield (getattr, field.name), getattr(value, field.name)


def is_record(value: object) -> bool:
    """Whether it is an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def tensors(value: object) -> Iterator[torch.Tensor]:
    """Every tensor in a structure, in order, with repetitions."""
    if isinstance(value, torch.Tensor):
        yield value
    else:
        for _, part in parts(value):
            yield from tensors(part)


def main_tensor(value: object) -> torch.Tensor | None:
    """The tensor that a model's output is about: it itself, its `logits`, else its first tensor."""
    if isinstance(value, Mapping) and isinstance(value.get("logits"), torch.Tensor):
        return value["logits"]
    logits = getattr(value, "logits", None) if is_record(value) else None
    if isinstance(logits, torch.Tensor):
        return logits
    return next(tensors(value), None)
